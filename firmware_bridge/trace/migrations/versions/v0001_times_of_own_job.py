"""Shares learn the time since their own job and since the newest one, jobs which fields carried the symbol."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = "0000"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("symbol_fields", sa.Text()))
    op.add_column("shares", sa.Column("response_ns", sa.BigInteger()))
    op.add_column("shares", sa.Column("since_notify_ns", sa.BigInteger()))
