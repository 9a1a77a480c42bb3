"""The examples of the documentation on adding things: they load, run, and find what they say that they find."""

from __future__ import annotations

import asyncio
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import experiments.catalogue as catalogue_package
from experiments.alarms import Alarms
from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import EVIDENCE, NO_EVIDENCE, SIZES, SUBJECT, Cell, Experiment, Row
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import execute, serially
from experiments.subjects import Emulated
from tests.devices.conftest import emulated

DOCS = Path(__file__).resolve().parents[2] / "docs"
RUNS = 200


def example(page: str) -> str:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), flags=re.M | re.S
    )
    return block


@pytest.fixture
def late_winners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Experiment]:
    """The example as a file of the catalogue, as its page says."""
    (tmp_path / "late_winners.py").write_text(example("adding-an-experiment.md"), encoding="utf-8")
    monkeypatch.setattr(catalogue_package, "__path__", [*catalogue_package.__path__, str(tmp_path)])
    catalogue.cache_clear()
    yield get_experiment("late-winners")
    sys.modules.pop("experiments.catalogue.late_winners", None)
    catalogue.cache_clear()


def found(experiment: Experiment, subject: Emulated, seed: int, db: str) -> str:
    plan = make_plan(experiment, subject, size="fast", seed=seed)
    outcome = execute(experiment, subject, plan, Results(db), executor=serially)
    return outcome.finding.code


def test_the_example_of_an_experiment_is_found_and_runs(late_winners: Experiment, tmp_path: Path) -> None:
    db = f"sqlite:///{tmp_path}/lab.db"
    assert "late-winners" in catalogue()
    assert all(late_winners.sample(size).detectable for size in SIZES)
    assert found(late_winners, Emulated(), 1, db) == NO_EVIDENCE
    planted = Emulated(plants=dict([late_winners.effect or ("", 0.0)]))
    assert found(late_winners, planted, 1, db) == EVIDENCE


@pytest.mark.slow
def test_the_example_finds_its_effect_and_cries_no_wolf(late_winners: Experiment) -> None:
    for plants in ({}, dict([late_winners.effect or ("", 0.0)])):
        cells = [Cell(0, {}, 0, SUBJECT, seed, "fast") for seed in range(RUNS)]
        rows = [[Row(cell, late_winners.measure(cell, Emulated(plants=plants)))] for cell in cells]
        codes = [late_winners.conclude(one).code for one in rows]
        alarms = Alarms(late_winners.name, plants, RUNS, codes.count(EVIDENCE))
        assert alarms.holds, f"{plants}: {alarms.evidence} of {RUNS}, allowed {alarms.allowed}"


def test_the_example_of_a_driver_reads_a_miner() -> None:
    module = types.ModuleType("my_miner")
    sys.modules["my_miner"] = module
    try:
        exec(compile(example("adding-a-device.md"), "my_miner.py", "exec"), module.__dict__)
    finally:
        del sys.modules["my_miner"]
    shown, telemetry = asyncio.run(_read_with(module))
    assert shown["model"] == "Antminer S9"
    assert telemetry["hash_rate_ghs"] > 1000
    assert telemetry["uptime_s"] > 0
    assert telemetry["power_w"] is None


async def _read_with(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    async with emulated("s9") as (_, ready):
        parts = urlsplit(ready["url"])
        address = f"cgminer://{parts.hostname}:{parts.port}"
        async with module.open_cgminer(address, urlsplit(address)) as device:
            identity, telemetry = await device.identify(), await device.read_telemetry()
            able = await device.capabilities()
            assert set(telemetry.to_json()) >= able.reads
            return identity.to_json(), telemetry.to_json()
