"""The layout before shares knew the send time of their own job.

Frozen here on purpose: a migration must not change when schema.py does.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0000"
down_revision = None

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_number = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def _short(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.Text(), "postgresql")  # as SQLite, which holds nobody to it


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number),
        sa.Column("wall_ns", sa.BigInteger()),
        sa.Column("monotonic_ns", sa.BigInteger()),
        sa.Column("kind", _short(48), nullable=False),
        sa.Column("severity", _short(8), nullable=False),
        sa.Column("detail", sa.Text()),
    )
    op.create_table(
        "jobs",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("job", _number, nullable=False),
        sa.Column("miner", _number),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("prevhash", sa.Text()),
        sa.Column("coinb1", sa.Text()),
        sa.Column("coinb2", sa.Text()),
        sa.Column("merkle_branch", sa.Text()),
        sa.Column("version", sa.Text()),
        sa.Column("nbits", sa.Text()),
        sa.Column("ntime", sa.Text()),
        sa.Column("extranonce1", sa.Text()),
        sa.Column("extranonce2_size", _number),
        sa.Column("clean", sa.Boolean()),
        sa.Column("difficulty", sa.Float()),
        sa.Column("scale", sa.Float()),
        sa.Column("version_mask", sa.BigInteger()),
        sa.Column("symbol", sa.Float()),
        sa.Column("sent_wall_ns", sa.BigInteger()),
        sa.Column("sent_monotonic_ns", sa.BigInteger()),
    )
    op.create_table(
        "miners",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("model", _short(32)),
        sa.Column("extranonce1", sa.Text()),
        sa.Column("version_mask", sa.BigInteger()),
        sa.Column("scale", sa.Float(), nullable=False),
        sa.Column("floor", sa.Float()),
        sa.Column("connected_wall_ns", sa.BigInteger()),
    )
    op.create_table(
        "runs",
        sa.Column("run", _id, primary_key=True),
        sa.Column("run_id", _short(40), nullable=False, unique=True),
        sa.Column("kind", _short(16), nullable=False),
        sa.Column("source", _short(64), nullable=False),
        sa.Column("unverified", sa.Boolean(), nullable=False),
        sa.Column("mode", _short(16)),
        sa.Column("started_wall_ns", sa.BigInteger()),
        sa.Column("started_monotonic_ns", sa.BigInteger()),
        sa.Column("ended_wall_ns", sa.BigInteger()),
        sa.Column("exit_status", _short(16)),
        sa.Column("exit_reason", sa.Text()),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.Column("plants", sa.JSON(), nullable=False),
        sa.Column("physics", sa.JSON(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("git", sa.JSON(), nullable=False),
        sa.Column("host", sa.JSON(), nullable=False),
        sa.Column("clock_tick_ns", sa.BigInteger()),
        sa.Column("clock_source", _short(64)),
        sa.Column("jitter_floor", sa.JSON(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("first_share_id", sa.BigInteger()),
        sa.Column("last_share_id", sa.BigInteger()),
    )
    op.create_table(
        "settings",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number),
        sa.Column("wall_ns", sa.BigInteger()),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text()),
        sa.Column("requested", sa.Text()),
        sa.Column("measured", sa.Text()),
        sa.Column("reason", sa.Text()),
    )
    op.create_table(
        "shares",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number, nullable=False),
        sa.Column("job", _number),
        sa.Column("job_id", sa.Text()),
        sa.Column("extranonce2", sa.Text()),
        sa.Column("ntime", sa.Text()),
        sa.Column("nonce", sa.Text()),
        sa.Column("version_bits", sa.Text()),
        sa.Column("difficulty", sa.Float()),
        sa.Column("valid", sa.Boolean()),
        sa.Column("reason", sa.Text()),
        sa.Column("kernel_ns", sa.BigInteger()),
        sa.Column("monotonic_ns", sa.BigInteger()),
        sa.Column("wall_ns", sa.BigInteger()),
        sa.Column("interval_ns", sa.BigInteger()),
    )
    op.create_table(
        "telemetry",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number),
        sa.Column("wall_ns", sa.BigInteger()),
        sa.Column("monotonic_ns", sa.BigInteger()),
        sa.Column("temperature_c", sa.Float()),
        sa.Column("board_temperature_c", sa.Float()),
        sa.Column("voltage_mv", sa.Float()),
        sa.Column("frequency_mhz", sa.Float()),
        sa.Column("power_w", sa.Float()),
        sa.Column("fan_rpm", sa.Float()),
        sa.Column("fan_percent", sa.Float()),
        sa.Column("hash_rate_ghs", sa.Float()),
        sa.Column("raw", sa.Text()),
    )
