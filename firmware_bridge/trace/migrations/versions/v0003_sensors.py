"""Readings learn what stands beside a miner: the room, its supply, its regulator, and which sensor told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("telemetry", sa.Column("ambient_c", sa.Float()))
    op.add_column("telemetry", sa.Column("regulator_temperature_c", sa.Float()))
    op.add_column("telemetry", sa.Column("input_voltage_mv", sa.Float()))
    op.add_column("telemetry", sa.Column("current_ma", sa.Float()))
    op.add_column("telemetry", sa.Column("hardware_errors", sa.BigInteger()))
    op.add_column("telemetry", sa.Column("source", sa.Text()))
