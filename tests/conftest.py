"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres_kit

PROJECT = Path(__file__).resolve().parent.parent

# Equal inputs on every machine, and no verdict that hangs on how busy it is; ASICLAB_HYPOTHESIS=search draws anew.
settings.register_profile(
    "equal", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("ASICLAB_HYPOTHESIS", "equal"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lean first: its group is the longest, and everything else fits beside it."""

    def late(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("xdist_group")
        return mark is None or mark.args != ("lean",)

    items.sort(key=late)


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the lab remembers of devices, away from the user's own."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASICLAB_STATE", str(folder))
        yield folder


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_kit.Server]:
    """A PostgreSQL server of the tests' own; skipped where its programs are not installed."""
    try:
        postgres_kit.programs()
    except postgres_kit.AbsentError as reason:
        pytest.skip(str(reason))
    with postgres_kit.running() as server:
        yield server


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database: on the server that $ASICLAB_TEST_DATABASE names, else on one of the tests' own."""
    elsewhere = os.environ.get(postgres_kit.VARIABLE)
    if elsewhere:
        with postgres_kit.database_beside(elsewhere) as url:
            yield url
        return
    server: postgres_kit.Server = request.getfixturevalue("postgres")
    yield server.url(server.database())
