"""Tables of a trace, and the records that go into them.

Every time is an integer number of nanoseconds; unknown is NULL, never 0. Event tables (jobs, shares, telemetry,
settings, events, recorded bytes) carry no secondary index while capturing: a run stores the range of row ids that its
shares occupy, and readers use that. ``miner`` and ``job`` in event tables are numbers that count from 1 within their
run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.types import JSON

SCHEMA_VERSION = "0003"

metadata = MetaData()
_id = BigInteger().with_variant(Integer, "sqlite")
_number = Integer().with_variant(BigInteger(), "postgresql")


def short_text(length: int) -> String:
    """A text that is seldom longer; SQLite keeps longer ones as well, and so does PostgreSQL then."""
    return String(length).with_variant(Text(), "postgresql")


runs = Table(
    "runs",
    metadata,
    Column("run", _id, primary_key=True),
    Column("run_id", short_text(40), nullable=False, unique=True),
    Column("kind", short_text(16), nullable=False),  # live | virtual | recorded | merged
    Column("source", short_text(64), nullable=False),  # bridge | emulator | import | merge
    Column("unverified", Boolean, nullable=False, default=False),
    Column("mode", short_text(16)),  # stream | swh
    Column("started_wall_ns", BigInteger),
    Column("started_monotonic_ns", BigInteger),
    Column("ended_wall_ns", BigInteger),
    Column("exit_status", short_text(16)),  # NULL while running or killed | success | abort | fail
    Column("exit_reason", Text),
    Column("config", JSON, nullable=False, default=dict),
    Column("seeds", JSON, nullable=False, default=dict),
    Column("plants", JSON, nullable=False, default=dict),
    Column("physics", JSON, nullable=False, default=dict),
    Column("versions", JSON, nullable=False, default=dict),
    Column("git", JSON, nullable=False, default=dict),
    Column("host", JSON, nullable=False, default=dict),
    Column("clock_tick_ns", BigInteger),
    Column("clock_source", short_text(64)),
    Column("jitter_floor", JSON, nullable=False, default=dict),
    Column("tags", JSON, nullable=False, default=list),
    Column("notes", Text, nullable=False, default=""),
    Column("first_share_id", BigInteger),
    Column("last_share_id", BigInteger),
)

miners = Table(
    "miners",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number, nullable=False),
    Column("name", Text, nullable=False),
    Column("user_agent", Text),
    Column("address", Text),
    Column("model", short_text(32)),  # s9 | lv06 | ... where known
    Column("extranonce1", Text),
    Column("version_mask", BigInteger),
    Column("scale", Float, nullable=False, default=1.0),
    Column("floor", Float),  # smallest difficulty that this miner ever submits, where known
    Column("connected_wall_ns", BigInteger),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("job", _number, nullable=False),
    Column("miner", _number),
    Column("job_id", Text, nullable=False),
    Column("prevhash", Text),
    Column("coinb1", Text),
    Column("coinb2", Text),
    Column("merkle_branch", Text),  # JSON list of hex
    Column("version", Text),
    Column("nbits", Text),
    Column("ntime", Text),
    Column("extranonce1", Text),
    Column("extranonce2_size", _number),
    Column("clean", Boolean),
    Column("difficulty", Float),
    Column("scale", Float),
    Column("version_mask", BigInteger),
    Column("symbol", Float),
    Column("symbol_fields", Text),  # JSON object: which fields carried the symbol, as sent
    Column("sent_wall_ns", BigInteger),
    Column("sent_monotonic_ns", BigInteger),
    Column("claimtrie", Text),  # LBRY's claim trie root; NULL in a Bitcoin job
)

shares = Table(
    "shares",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number, nullable=False),
    Column("job", _number),  # jobs.job; NULL where the share names no job that was sent
    Column("job_id", Text),
    Column("extranonce2", Text),
    Column("ntime", Text),
    Column("nonce", Text),
    Column("version_bits", Text),
    Column("difficulty", Float),  # nominal difficulty of the share's own hash
    Column("valid", Boolean),  # NULL where nothing can be verified (imported arrival times)
    Column("reason", Text),  # why it is not valid: stale | duplicate | low-difficulty | unauthorized | ...
    Column("kernel_ns", BigInteger),
    Column("monotonic_ns", BigInteger),
    Column("wall_ns", BigInteger),
    Column("interval_ns", BigInteger),  # since the same miner's previous share
    Column("response_ns", BigInteger),  # since its own job was sent
    Column("since_notify_ns", BigInteger),  # since the newest job was sent to that miner
)

telemetry = Table(
    "telemetry",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number),
    Column("wall_ns", BigInteger),
    Column("monotonic_ns", BigInteger),
    Column("temperature_c", Float),
    Column("board_temperature_c", Float),
    Column("voltage_mv", Float),
    Column("frequency_mhz", Float),
    Column("power_w", Float),
    Column("fan_rpm", Float),
    Column("fan_percent", Float),
    Column("hash_rate_ghs", Float),
    Column("raw", Text),
    Column("ambient_c", Float),  # of the room, or of the air at the inlet
    Column("regulator_temperature_c", Float),
    Column("input_voltage_mv", Float),  # of the supply, before the regulator
    Column("current_ma", Float),  # drawn from the supply
    Column("hardware_errors", BigInteger),  # nonces that the host of the chips rejected, since its start
    Column("source", Text),  # NULL: the device itself; else the sensor beside it, by its name
)

settings = Table(
    "settings",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number),
    Column("wall_ns", BigInteger),
    Column("setting", Text, nullable=False),
    Column("previous", Text),
    Column("requested", Text),
    Column("measured", Text),
    Column("reason", Text),
)

events = Table(
    "events",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number),
    Column("wall_ns", BigInteger),
    Column("monotonic_ns", BigInteger),
    Column("kind", short_text(48), nullable=False),
    Column("severity", short_text(8), nullable=False),  # info | warning | error
    Column("detail", Text),  # JSON object
)

recorded_bytes = Table(
    "recorded_bytes",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, nullable=False),
    Column("miner", _number),
    Column(
        "link", Text, nullable=False
    ),  # which conversation, as a URL: stratum://, serial://, http://, cgminer://
    Column("direction", short_text(8), nullable=False),  # received | sent
    Column("kernel_ns", BigInteger),
    Column("monotonic_ns", BigInteger),
    Column("wall_ns", BigInteger),
    Column("data", LargeBinary, nullable=False),  # secrets replaced; empty where that direction ended
)

EVENT_TABLES = (miners, jobs, shares, telemetry, settings, events, recorded_bytes)


@dataclass(slots=True)
class RunRecord:
    """What is known of a run when it starts; see the table for the meaning of each field."""

    kind: str
    source: str
    mode: str | None = None
    unverified: bool = False
    run_id: str | None = None  # made from the start time and chance where None
    started_wall_ns: int | None = None
    started_monotonic_ns: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, Any] = field(default_factory=dict)
    plants: dict[str, float] = field(default_factory=dict)
    physics: dict[str, Any] = field(default_factory=dict)
    clock_tick_ns: int | None = None
    clock_source: str | None = None
    jitter_floor: dict[str, Any] = field(default_factory=dict)


class MinerRow(NamedTuple):
    """One miner of a run, in the order of the table's columns after ``miner``."""

    name: str
    user_agent: str | None = None
    address: str | None = None
    model: str | None = None
    extranonce1: str | None = None
    version_mask: int | None = None
    scale: float = 1.0
    floor: float | None = None
    connected_wall_ns: int | None = None


class ShareRow(NamedTuple):
    """One share, in the order of the table's columns after ``run``: what the writer and replay pass around."""

    miner: int
    job: int | None
    job_id: str | None
    extranonce2: str | None
    ntime: str | None
    nonce: str | None
    version_bits: str | None
    difficulty: float | None
    valid: bool | None
    reason: str | None
    kernel_ns: int | None
    monotonic_ns: int | None
    wall_ns: int | None
    interval_ns: int | None
    response_ns: int | None
    since_notify_ns: int | None


class TelemetryRow(NamedTuple):
    """One reading, in the order of the table's columns after ``run``."""

    miner: int | None
    wall_ns: int | None
    monotonic_ns: int | None
    temperature_c: float | None = None
    board_temperature_c: float | None = None
    voltage_mv: float | None = None
    frequency_mhz: float | None = None
    power_w: float | None = None
    fan_rpm: float | None = None
    fan_percent: float | None = None
    hash_rate_ghs: float | None = None
    raw: str | None = None
    ambient_c: float | None = None
    regulator_temperature_c: float | None = None
    input_voltage_mv: float | None = None
    current_ma: float | None = None
    hardware_errors: int | None = None
    source: str | None = None
