"""Jobs learn LBRY's claim trie root; the flight recorder gets a table for the bytes of each link."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_number = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("claimtrie", sa.Text()))
    op.create_table(
        "recorded_bytes",
        sa.Column("id", _id, primary_key=True),
        sa.Column("run", _id, nullable=False),
        sa.Column("miner", _number),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("direction", sa.String(8).with_variant(sa.Text(), "postgresql"), nullable=False),
        sa.Column("kernel_ns", sa.BigInteger()),
        sa.Column("monotonic_ns", sa.BigInteger()),
        sa.Column("wall_ns", sa.BigInteger()),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
