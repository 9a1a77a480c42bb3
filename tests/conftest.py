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


# Lean first: its group is the longest, and everything else fits beside it.
FIRST_GROUP = "lean"
# What these find hangs on the machine's clock and no seed fixes it: once more, since a real fault fails twice.
CLOCK_GROUP = "timing"


def group_of(item: pytest.Item) -> str | None:
    """Name of the group that a test belongs to."""
    mark = item.get_closest_marker("xdist_group")
    return None if mark is None else str(mark.args[0] if mark.args else mark.kwargs["name"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest group first, and let the tests that measure time fail twice before they count as failed."""
    items.sort(key=lambda item: group_of(item) != FIRST_GROUP)
    for item in items:
        if group_of(item) == CLOCK_GROUP:
            item.add_marker(pytest.mark.flaky(reruns=1))
            given = item.get_closest_marker("timeout")
            # of the test itself, or both attempts would share one limit, and the second have none once it was reached
            limit_s = given.args[0] if given is not None else None
            item.add_marker(pytest.mark.timeout(limit_s, func_only=True), append=False)


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
