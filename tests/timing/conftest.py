from __future__ import annotations

from pathlib import Path

import pytest
from s9_csv import run_data_from_s9_csv

from firmware_bridge.timing.run_data import FloatArray, RunData


@pytest.fixture(scope="session")
def recording(traces: Path) -> RunData:
    return run_data_from_s9_csv(traces / "s9_stratum_shares.csv")


@pytest.fixture(scope="session")
def recording_intervals(recording: RunData) -> FloatArray:
    return recording.intervals().values_ms
