"""Tests of a group run on one worker: Lean would need its memory twice, and timings would disturb each other."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("grouping")
def test_groups_of_tests_are_kept_together(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs everything: -n is not given")
    if not request.config.getvalue("loadgroup"):
        pytest.skip("--dist loadgroup is not given")
    assert request.node.nodeid.endswith("@grouping")
