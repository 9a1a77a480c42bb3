"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


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
