"""From a stored run to :class:`RunData`, whether it was captured live, drawn in virtual time or imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import (
    TIME_SOURCES,
    BoolArray,
    FloatArray,
    IntArray,
    JobTimes,
    MinerInfo,
    RunData,
    Stream,
    build_run_data,
)

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import Columns, TraceReader

__all__ = ["MinerInfo", "RunData", "Stream", "build_run_data", "hex_numbers", "load_run"]

_TIMING_COLUMNS = (
    "miner",
    "job",
    "difficulty",
    "valid",
    "reason",
    "kernel_ns",
    "monotonic_ns",
    "wall_ns",
    "response_ns",
    "since_notify_ns",
)
_JOB_COLUMNS = ("job", "miner", "symbol", "difficulty", "claimtrie", "sent_monotonic_ns")
_FIELD_COLUMNS = ("extranonce2", "nonce", "version_bits")


def hex_numbers(column: Sequence[str | None], *, little_endian: bool = False) -> NDArray[np.uint64]:
    """Hex strings of at most 16 digits as numbers; None counts as 0.

    Args:
        column: strings, length n.
        little_endian: read the bytes from the right (extranonce2) instead of as one big-endian number.

    Raises:
        ValueError: if a string is not hex or longer than 16 digits.
    """
    strings = [s or "" for s in column]
    widths = {len(s) for s in strings}
    if widths == {8}:  # every miner known so far: one pass over one long string
        words = np.frombuffer(bytes.fromhex("".join(strings)), "<u4" if little_endian else ">u4")
        return words.astype(np.uint64)
    if max(widths, default=0) > 16:
        raise ValueError(f"a field of {max(widths)} hex digits does not fit into 64 bits")
    if little_endian:
        numbers = [int.from_bytes(bytes.fromhex(s), "little") for s in strings]
    else:
        numbers = [int(s, 16) if s else 0 for s in strings]
    return np.array(numbers, np.uint64)


def load_run(
    reader: TraceReader,
    run: int,
    miner: int | str | None = None,
    *,
    timing_only: bool = False,
    most: int | None = None,
) -> RunData:
    """Read a run.

    Args:
        reader: the trace.
        run: number of the run.
        miner: only this miner, by number or by name.
        timing_only: leave out the submitted fields, symbols and telemetry (faster for large runs).
        most: of a run with more shares than these, read stretches that are spread evenly over it.

    Raises:
        UserError: if the run has no such miner.
    """
    record = reader.run(run)
    miners = _read_miners(reader, run)
    wanted = _miner_number(miners, miner)
    stretches = None if most is None else reader.stretches(run, most)
    names = _TIMING_COLUMNS + (() if timing_only else _FIELD_COLUMNS) + (("id",) if stretches else ())
    shares = reader.columns(run, "shares", names, stretches=stretches)
    unverified = bool(record["unverified"])
    value, null = shares.values, shares.null

    duplicate = value["reason"] == "duplicate"
    keep = (value["valid"].astype(bool) & ~null["valid"]) | duplicate
    if unverified:
        keep |= null["valid"]
    if wanted is not None:
        keep &= value["miner"] == wanted
    verified = int(keep.sum())
    source = _time_source(shares, keep)
    keep &= ~null[f"{source}_ns"]

    time_ns = value[f"{source}_ns"][keep].astype(np.int64)
    number = value["miner"][keep]
    job = np.where(null["job"], -1, value["job"])[keep].astype(np.int64)
    submitted: dict[str, NDArray[Any]] = {}
    jobs_sent, job_times = None, None
    if stretches is not None:
        submitted["place"] = value["id"][keep].astype(np.int64) - stretches.first_id
        submitted["stretch"] = submitted["place"] // stretches.period
    if not timing_only:
        if not unverified:
            submitted.update(_submitted_fields(shares, keep))
        jobs = reader.columns(run, "jobs", _JOB_COLUMNS)
        of_miner = np.ones(jobs.values["job"].size, bool)
        if wanted is not None:
            of_miner = jobs.null["miner"] | (jobs.values["miner"] == wanted)
        jobs_sent = int(of_miner.sum())
        submitted["symbol"] = _of_job(jobs, "symbol", job)
        submitted["job_difficulty"] = _of_job(jobs, "difficulty", job)
        lbry_jobs = jobs.values["job"][~jobs.null["claimtrie"]].astype(np.int64)
        if lbry_jobs.size:
            submitted["lbry"] = np.isin(job, lbry_jobs)
        if record["source"] != "import":  # a file names only the jobs that shares came for
            job_times = _job_times(jobs)
        submitted["temperature_c"] = _temperatures(reader, run, source, number, time_ns)
    return build_run_data(
        run_id=record["run_id"],
        kind=record["kind"],
        mode=record["mode"],
        unverified=unverified,
        miner=number,
        job=job,
        time_ns=time_ns,
        time_source=source,
        response_ns=_with_nan(shares, "response_ns")[keep],
        since_notify_ns=_with_nan(shares, "since_notify_ns")[keep],
        difficulty=_with_nan(shares, "difficulty")[keep],
        duplicate=duplicate[keep],
        miners=miners if wanted is None else {wanted: miners[wanted]},
        clock_tick_ns=record["clock_tick_ns"],
        jitter_floor=record["jitter_floor"],
        plants=record["plants"],
        physics=record["physics"],
        jobs_sent=jobs_sent,
        rows_left_out=verified - int(keep.sum()),
        jobs=job_times,
        not_read=0 if stretches is None else reader.count(run) - len(shares),
        **submitted,
    )


def _read_miners(reader: TraceReader, run: int) -> dict[int, MinerInfo]:
    names = ("miner", "name", "model", "user_agent", "scale", "floor")
    table = reader.columns(run, "miners", names)

    def cell(name: str, row: int) -> Any:
        return None if table.null[name][row] else table.values[name][row]

    return {
        int(table.values["miner"][row]): MinerInfo(
            name=str(cell("name", row) or ""),
            model=cell("model", row),
            user_agent=cell("user_agent", row),
            scale=float(cell("scale", row) or 1.0),
            floor=None if cell("floor", row) is None else float(cell("floor", row)),
        )
        for row in range(table.values["miner"].size)
    }


def _miner_number(miners: Mapping[int, MinerInfo], miner: int | str | None) -> int | None:
    if miner is None:
        return None
    for number, info in miners.items():
        if miner in (number, str(number), info.name):
            return number
    known = ", ".join(f"{number} ({info.name})" for number, info in miners.items()) or "none"
    raise UserError(f"the run has no miner {miner!r}; it has {known}")


def _time_source(shares: Columns, keep: BoolArray) -> str:
    missing = {s: int((shares.null[f"{s}_ns"] & keep).sum()) for s in TIME_SOURCES}
    return min(TIME_SOURCES, key=lambda s: (missing[s], TIME_SOURCES.index(s)))


def _with_nan(table: Columns, name: str) -> FloatArray:
    return np.where(table.null[name], np.nan, table.values[name].astype(np.float64))


def _submitted_fields(shares: Columns, keep: BoolArray) -> dict[str, NDArray[Any]]:
    column = {name: shares.values[name][keep].tolist() for name in _FIELD_COLUMNS}
    try:
        return {
            "extranonce2": hex_numbers(column["extranonce2"], little_endian=True),
            "nonce": hex_numbers(column["nonce"]),
            "version_bits": hex_numbers(column["version_bits"]),
        }
    except ValueError:  # an extranonce2 beyond 64 bits: the scan position is unknown, the timing is not
        return {}


def _of_job(jobs: Columns, name: str, job: IntArray) -> FloatArray:
    # shares of a damaged trace may name jobs that it does not hold
    last = max(jobs.values["job"].max(initial=0), job.max(initial=0))
    table = np.full(int(last) + 2, np.nan)
    table[jobs.values["job"].astype(np.int64)] = _with_nan(jobs, name)
    return table[np.where(job >= 0, job, -1)]  # the last element stands for "no job"


def _job_times(jobs: Columns) -> JobTimes | None:
    """When jobs gave way to the next; None where nobody stamped them."""
    known = ~jobs.null["miner"]
    sent_ns = _with_nan(jobs, "sent_monotonic_ns")[known]
    if np.isnan(sent_ns).all():
        return None
    number, miner = (jobs.values[name][known].astype(np.int64) for name in ("job", "miner"))
    return JobTimes.from_sent(number, miner, sent_ns, _with_nan(jobs, "difficulty")[known])


def _temperatures(
    reader: TraceReader, run: int, source: str, miner: NDArray[Any], time_ns: IntArray
) -> FloatArray:
    clock = "monotonic_ns" if source == "monotonic" else "wall_ns"  # kernel stamps are wall time
    readings = reader.columns(run, "telemetry", ("miner", clock, "temperature_c", "source"))
    result = np.full(time_ns.size, np.nan)
    known, by_device = ~readings.null[clock] & ~readings.null["temperature_c"], readings.null["source"]
    for number in np.unique(miner):
        of_miner = ~readings.null["miner"] & (readings.values["miner"] == number)
        rows = known & by_device & (readings.null["miner"] | of_miner)
        if not rows.any():  # a sensor at this very miner, where the device itself tells nothing
            rows = known & ~by_device & of_miner
        if not rows.any():
            continue
        at, celsius = readings.values[clock][rows], readings.values["temperature_c"][rows].astype(np.float64)
        order = np.argsort(at, kind="stable")
        mine = np.flatnonzero(miner == number)
        last = np.searchsorted(at[order], time_ns[mine], side="right") - 1
        result[mine[last >= 0]] = celsius[order][last[last >= 0]]
    return result
