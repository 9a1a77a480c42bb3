"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parent.parent

# Equal inputs on every machine, and no verdict that hangs on how busy it is; ASICLAB_HYPOTHESIS=search draws anew.
settings.register_profile(
    "equal", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("ASICLAB_HYPOTHESIS", "equal"))


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def traces() -> Path:
    """Folder of the full recordings: $ASICLAB_TRACES, or ../shared/traces beside the checkout."""
    folder = Path(os.environ.get("ASICLAB_TRACES") or PROJECT.parent / "shared" / "traces")
    if not (folder / "s9_stratum_shares.csv").is_file():
        pytest.skip(
            f"no recording in {folder}; set ASICLAB_TRACES to the folder that holds s9_stratum_shares.csv"
        )
    return folder


@pytest.fixture(scope="session")
def excerpt() -> Path:
    """First 300 rows of the recorded Antminer S9, part of every checkout."""
    return PROJECT / "tests" / "vectors" / "s9_stratum_shares_300.csv"
