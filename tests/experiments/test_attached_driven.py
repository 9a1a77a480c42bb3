"""Experiments that drive a miner, on a miner over its socket: whole runs, what they leave, and what a lost one keeps.

No seed fixes the times of a real socket, so where nothing is planted a value is held against what chance does not give
once in ten thousand runs, and not against the 5 % of a finding.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.analyses.driven import GUARD
from experiments.attached import Attached
from experiments.catalogue import get_experiment, memory_capacity
from experiments.experiment import CANNOT_TELL, EVIDENCE, NO_EVIDENCE, SUBJECT, Cell, Row
from experiments.live import Driven, LiveConfig, drive
from experiments.narma_plan import Plan
from experiments.narma_runs import read_run
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import Outcome, execute
from firmware_bridge.devices.journal import PoolJournal, SettingsJournal
from firmware_bridge.errors import DeviceError
from firmware_bridge.trace.reader import TraceReader
from tests.experiments.emulated_devices import FASTER, Emulated, device, lasting_port
from tests.experiments.live_runs import IMPATIENT, PATIENT, WAIT_S, cells_of, eventually, miners_of
from tests.lab_process import running
from tests.narma.test_narma_live import Hand, Lost
from tests.stratum.bridge_kit import EVERY_HASH

PERIOD_S = 0.02
PHYSICS = {
    "hash_rate_ths": FASTER, "load_ms": 1.0, "first_works": 0, "refill_ms": 0.0, "late_loads": False,
    "duplicates": False,
}  # fmt: skip
"""An S9 that takes up jobs so fast that a step of a dialogue is over in 10 ms."""
SMALL: dict[str, dict[str, Any]] = {
    "narma": {"STEPS": (260, 120)},
    "memory-capacity": {"STEPS": 200},
    "information-capacity": {"STEPS": 200},
    "separation": {"STEPS": 160, "ROWS": 120, "SHIFTS": 59},
    "echo-state": {"STEPS": 160},
    "thermal-memory": {"STEPS": 200},
    "chaotic-tasks": {"SHAPES": (160, 60), "PERMUTATIONS": 39},
    "thermal-ghost": {"JOBS": 832},
    "input-structure": {"JOBS": 300},
}
"""What is measured at size *fast*, less than usual."""
MODES = {
    "narma": ("dialogue", "monologue", "constant"), "thermal-memory": ("monologue",),
    "chaotic-tasks": ("monologue",) * 3,
}  # fmt: skip
WASHOUT = {"narma": 200}
RUNS_OF_A_CELL = {"echo-state": 5}


def smaller(name: str) -> str:
    """The same as lines of a program, for a process of its own."""
    lines = [f"import experiments.catalogue.{name.replace('-', '_')} as catalogued"]
    lines += [f"catalogued.{what}['fast'] = {value!r}" for what, value in SMALL[name].items()]
    return "\n".join([*lines, *(["catalogued.DRAWS = 99"] if name == "memory-capacity" else [])]) + "\n"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sizes in SMALL.items():
        module = importlib.import_module(f"experiments.catalogue.{name.replace('-', '_')}")
        for what, value in sizes.items():
            monkeypatch.setitem(getattr(module, what), "fast", value)
        if name == "memory-capacity":
            monkeypatch.setattr(module, "DRAWS", 99)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def emulated_s9(folder: Path, **more: Any) -> Attached:
    return Attached(
        f"sqlite:///{folder}/lab.db", "emulate:s9", physics=PHYSICS, period_s=PERIOD_S, **more
    ).asked()


def carried_out(name: str, subject: Attached, *, resume: bool = False) -> Outcome:
    experiment = get_experiment(name)
    plan = make_plan(experiment, subject, size="fast", seed=1)
    with Results(subject.db) as results:
        outcome = execute(experiment, subject, plan, results, resume=resume)
    assert [row.cell for row in outcome.rows] == list(plan.cells)
    assert outcome.finding.code in (EVIDENCE, NO_EVIDENCE, CANNOT_TELL)
    return outcome


def on_the_miner(outcome: Outcome) -> list[Row]:
    """Rows of its cells, as they were measured."""
    by_number = {row.cell.number: row for row in outcome.rows}
    return [row for n in outcome.plan.order if (row := by_number[n]).cell.arm == SUBJECT]


def check_run(reader: TraceReader, number: int, mode: str, steps: int) -> None:
    """A run in the trace was driven to its end with the input that its record names."""
    record = reader.run(number)
    assert (record["kind"], record["exit_status"]) == ("live", "success")
    assert record["config"]["experiment"] is True
    told = record["config"]["narma"]
    assert (told["mode"], told["steps"]) == (mode, steps)
    symbols = [job["symbol"] for job in reader.dicts(number, "jobs")]
    assert len(symbols) == steps + 1  # the last one ends the last step
    assert symbols[-1] is None
    assert None not in symbols[:-1]
    assert (len(set(symbols)) == 2) is (mode == "constant")
    stored = read_run(reader, record["run_id"], Plan(train=steps, test=0, washout=0))  # symbols and all
    assert stored.driven
    assert stored.steps.sent_ns.shape[0] >= steps


def cried(values: Mapping[str, Any]) -> bool:
    """Whether a value lies where chance does not bring it: five standard deviations of its null, or p below 1e-4."""
    for name in ("capacity", "correlation"):
        if name in values and "null_high" in values:  # which is 1.64 of them
            return bool(values[name] > 3.0 * values["null_high"])
    if "gain_ci" in values:
        gain = values.get("gain", values.get("gain_over_input_only"))
        return bool(gain > 2.5 * (gain - values["gain_ci"][0]))
    return bool(values["p_value"] < 1e-4)


def check_whole(name: str, subject: Attached) -> Outcome:
    """Run an experiment that drives its miner, and hold what it left against its plan."""
    outcome = carried_out(name, subject)
    size = SMALL[name].get("STEPS", SMALL[name].get("SHAPES"))
    steps = WASHOUT.get(name, GUARD) + int(np.sum(size))
    reader = TraceReader(subject.db)
    rows, per_cell = on_the_miner(outcome), RUNS_OF_A_CELL.get(name, 1)
    assert sorted(row.values.get("mode", "monologue") for row in rows) == sorted(
        MODES.get(name, ("monologue", "dialogue"))
    )
    records = reader.run_records(counted=False)
    assert len(records) == len(rows) * per_cell
    for number, _ in enumerate(records, 1):
        row = rows[(number - 1) // per_cell]
        check_run(reader, number, row.values.get("mode", "monologue"), steps)
    for row in rows:
        assert 0.0 < row.values.get("p_value", row.values.get("gain_p")) <= 1.0
        assert row.values.get("missing", 0.0) < 0.9  # a busy machine leaves steps without a share
        assert not cried(row.values), row.values
    return outcome


# ---- whole experiments -----------------------------------------------------------------------------------------------


@pytest.mark.costly
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
def test_an_experiment_drives_an_emulated_miner_over_its_socket(tmp_path: Path) -> None:
    check_whole("separation", emulated_s9(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize(
    "name", ["narma", "memory-capacity", "information-capacity", "thermal-memory", "chaotic-tasks"]
)
def test_so_does_every_other_that_drives_one(tmp_path: Path, name: str) -> None:
    outcome = check_whole(name, emulated_s9(tmp_path))
    if name == "thermal-memory":
        (row,) = on_the_miner(outcome)
        assert row.values["period_s"] == pytest.approx(PERIOD_S, rel=0.2)
    if name == "narma":
        for row in on_the_miner(outcome):
            assert {"emulator_null", "other_run"} <= set(row.values["baselines"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
def test_replicas_get_one_input_and_runs_that_begin_differently_another_one_first(tmp_path: Path) -> None:
    subject = emulated_s9(tmp_path)
    check_whole("echo-state", subject)
    reader = TraceReader(subject.db)
    for first in (1, 6):
        told = [reader.run(number)["config"]["narma"] for number in range(first, first + 5)]
        assert [one["lead"] for one in told] == [0, 0, 0, GUARD, -GUARD]
        assert len({one["seed"] for one in told}) == 1
        bases = [_input(reader, number) for number in range(first, first + 5)]
        for base in bases[1:]:
            assert base[GUARD:] == pytest.approx(bases[0][GUARD:])
        assert bases[3][:GUARD] != pytest.approx(bases[4][:GUARD])


def _input(reader: TraceReader, number: int) -> list[float]:
    """What was sent in a run, whatever a dialogue mixed in."""
    record = reader.run(number)
    stored = read_run(reader, record["run_id"], Plan())
    return [float(u) for u in stored.plan.sent(stored.task)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
def test_symbols_of_an_experiment_reach_the_jobs_of_a_miner(tmp_path: Path) -> None:
    subject = emulated_s9(tmp_path)
    (ghost,) = on_the_miner(carried_out("thermal-ghost", subject))
    assert ghost.values["n"] >= 50
    assert not cried(ghost.values)
    reader = TraceReader(subject.db)
    symbols = [job["symbol"] for job in reader.dicts(1, "jobs")]
    jobs = SMALL["thermal-ghost"]["JOBS"]
    assert symbols[:jobs] == pytest.approx([0.9 if i // 32 % 2 == 0 else 0.1 for i in range(jobs)])
    assert symbols[jobs:] == [None]

    rows = on_the_miner(carried_out("input-structure", subject))
    means = [row.values["mean_ms"] for row in rows]
    # a busy machine spreads the times of an emulated miner, and their mean little
    assert max(means) < 1.35 * min(means)
    for number, row in enumerate(rows, 2):
        symbols = [job["symbol"] for job in reader.dicts(number, "jobs")][:-1]
        assert len(symbols) == SMALL["input-structure"]["JOBS"]
        assert row.values["n"] >= 200
        distinct = {"idle": 1, "structure": 8}.get(str(row.cell.point["input"]), len(symbols))
        assert len(set(symbols)) == distinct


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
def test_planted_memory_is_found_over_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pipeline finds what is there, so that finding nothing says something."""
    monkeypatch.setitem(memory_capacity.STEPS, "fast", 500)
    # nine tenths of the time are served: 0.3 to 0.4 of memory, at an error of 0.05; the period is long against what a
    # busy machine is late by
    subject = replace(emulated_s9(tmp_path, plants={"queue": 180.0}), period_s=0.1)
    cell = Cell(0, {"mode": "monologue"}, 0, SUBJECT, 5, "fast")
    values = get_experiment("memory-capacity").measure(cell, subject)
    assert cried(values), values
    assert values["p_value"] == 0.01


def test_a_share_of_the_job_behind_the_last_symbol_is_none_of_the_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bridge sends one more job to end the last step, and stops a moment later."""
    from experiments.catalogue import thermal_ghost
    from experiments.subjects import Emulated as Virtual

    monkeypatch.setitem(thermal_ghost.JOBS, "fast", 1024)
    cell = Cell(0, {}, 0, SUBJECT, 5, "fast")
    usual = thermal_ghost.measure(cell, Virtual("s9"))

    class Late(Virtual):
        def data(self, seed: int, *, shares: int, **settings: Any) -> Any:
            data = super().data(seed, shares=shares, **settings)
            job, symbol = data.job.copy(), data.symbol.copy()
            job[-1], symbol[-1] = 1025, np.nan
            return replace(data, job=job, symbol=symbol)

    assert thermal_ghost.measure(cell, Late("s9"))["n"] == usual["n"] >= 50


# ---- a device of its own page ----------------------------------------------------------------------------------------


HURRIED = """
from firmware_bridge.devices import lucky_lv06
lucky_lv06.POLL_S = 0.2
"""
"""An emulated LV06 is back at once."""
MEASURES = "2.15.0"
"""A firmware that tells its hash rate at once; older ones wait for shares of the built-in pool."""


def lv06_device(folder: Path, miner: Emulated) -> Attached:
    return Attached(
        f"sqlite:///{folder}/lab.db", miner.url, model="lv06", agreed=True, patience_s=60.0, period_s=PERIOD_S
    ).asked()


@pytest.mark.costly
@pytest.mark.usefixtures("small")
@pytest.mark.xdist_group("timing")
def test_a_device_is_driven_by_an_experiment_and_left_as_it_was(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridge.devices.lucky_lv06.POLL_S", 0.2)
    with device(firmware=MEASURES) as miner:
        before, pool = miner.point(), miner.pool()
        subject = lv06_device(tmp_path, miner)
        check_whole("thermal-memory", subject)
        assert (miner.point(), miner.pool()) == (before, pool)
    (told,) = TraceReader(subject.db).run_records(counted=False)
    assert (told["config"]["device"], told["config"]["model"]) == (miner.url, "lv06")
    assert PoolJournal(state).addresses() == SettingsJournal(state).addresses() == []


def test_a_driven_miner_that_could_not_be_set_back_is_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its steps were sent, and still somebody has to know."""

    class Kept(Lost):
        async def failed(self) -> str:
            return await Hand.failed(self)

    async def easily(plan: Plan, config: LiveConfig, *rest: Any, **more: Any) -> Driven:
        return await drive(plan, replace(config, difficulty=EVERY_HASH), *rest, **more)

    async def joins(subject: Attached, seed: int, **_: Any) -> Any:
        return Kept()

    monkeypatch.setattr("experiments.attached_miner.miner_of", joins)
    monkeypatch.setattr("experiments.live.drive", easily)
    subject = Attached(f"sqlite:///{tmp_path}/lab.db", "any", patience_s=30.0)
    with pytest.raises(DeviceError, match=r"any: 20 of 20 steps were sent: its own pool is NOT set again"):
        subject.driven(Plan(train=10, test=10, washout=0, seed=3), 3)


# ---- a miner that is lost --------------------------------------------------------------------------------------------


def under_way(folder: Path, run: int, jobs: int) -> bool:
    """Whether a cell is there, and the next run has come so far."""
    if not cells_of(folder):
        return False
    reader = TraceReader(f"sqlite:///{folder}/lab.db")
    return len(reader.run_records(counted=False)) == run and len(reader.dicts(run, "jobs")) >= jobs


def how_runs_ended(folder: Path) -> list[str]:
    records = TraceReader(f"sqlite:///{folder}/lab.db").run_records(counted=False)
    return [str(record["exit_status"]) for record in records]


def check_resumed(folder: Path, before: list[tuple[Any, ...]], out: str) -> None:
    """Only what was missing was measured; what was there is there byte for byte."""
    after = cells_of(folder)
    assert (len(before), len(after)) == (1, 2)
    assert set(before) < set(after)
    assert how_runs_ended(folder) == ["success", "fail", "success"]
    outcome = json.loads(out)
    assert outcome["cells"] == 4
    assert outcome["finding"]["code"] in (EVIDENCE, NO_EVIDENCE)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_emulated_miner_that_is_killed_in_the_middle_costs_its_cell_alone(tmp_path: Path) -> None:
    physics = [word for name, value in PHYSICS.items() for word in ("--physics", f"{name}={value}")]
    command = (
        "run", "memory-capacity", "--emulate", "s9", "--time", "wall", "--size", "fast", "--seed", "1",
        "--job-period", str(PERIOD_S), *physics, "--db", f"sqlite:///{tmp_path}/lab.db", "--json",
    )  # fmt: skip
    script = smaller("memory-capacity")
    with running(tmp_path, *command, before=script) as child:
        eventually(lambda: under_way(tmp_path, 2, 60), child)
        for number in miners_of(child):
            os.kill(number, signal.SIGKILL)
        _, said = child.communicate(timeout=WAIT_S)
    assert child.returncode == 1, said
    assert "of 250 steps were sent: emulated s9 ended early" in said
    assert "Traceback" not in said
    there = cells_of(tmp_path)
    with running(tmp_path, *command, "--resume", before=script) as child:
        out, said = child.communicate(timeout=WAIT_S)
    assert child.returncode == 0, said
    check_resumed(tmp_path, there, out)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_device_whose_plug_is_pulled_in_the_middle_costs_its_cell_alone(
    tmp_path: Path, state: Path
) -> None:
    command = (
        "run", "memory-capacity", "--size", "fast", "--seed", "1", "--job-period", str(PERIOD_S), "--patience", "5",
        "--db", f"sqlite:///{tmp_path}/lab.db", "--yes", "--json", "--device",
    )  # fmt: skip
    script = smaller("memory-capacity") + HURRIED
    port = lasting_port()
    with (
        device(firmware=MEASURES, port=port) as miner,
        running(tmp_path, *command, miner.url, before=script + IMPATIENT) as child,
    ):
        eventually(lambda: under_way(tmp_path, 2, 100), child)
        miner.appliance.request_stop("the plug")
        _, said = child.communicate(timeout=WAIT_S)
    assert child.returncode == 1, said
    assert "of 250 steps were sent" in said
    assert "no miner came back" in said  # what happened, and what is left to be done
    assert "NOT set again" in said
    assert "Traceback" not in said
    assert PoolJournal(state).addresses() == [miner.url]
    there = cells_of(tmp_path)
    with device(firmware=MEASURES, port=port) as again:
        assert again.url == miner.url
        before, pool = again.point(), again.pool()
        with running(tmp_path, *command, again.url, "--resume", before=script + PATIENT) as child:
            out, said = child.communicate(timeout=WAIT_S)
        assert child.returncode == 0, said
        assert (again.point(), again.pool()) == (before, pool)
    check_resumed(tmp_path, there, out)
    assert PoolJournal(state).addresses() == []
