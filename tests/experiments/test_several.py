"""Several devices: each in turn, or against each other where an experiment compares them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import repeat
from experiments.attached import Attached
from experiments.catalogue import get_experiment, puf, reproducibility
from experiments.experiment import CANNOT_TELL, EVIDENCE, NO_EVIDENCE, SUBJECT, Cell, Row
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import execute
from experiments.several import STRETCHES, AttachedDevices, RecordedDevices, attached_at
from experiments.subjects import Emulated, Recorded
from firmware_bridge.devices.journal import SettingsJournal
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tests.cli.conftest import Lab
from tests.experiments.emulated_devices import FASTER, device

LV06 = Attached(
    "sqlite:///x.db", "lv06://10.0.0.7", model="lv06", host="10.0.0.1", agreed=True, settable=("frequency_mhz",)
)  # fmt: skip
OTHER = replace(LV06, device="lv06://10.0.0.8")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


def stored(db: str, device: int, seed: int, *, shares: int = 700, model: str = "s9", **more: Any) -> str:
    """A run of an emulated device in the trace."""
    with TraceWriter(db) as writer:
        config = VirtualConfig(model=model, shares=shares, device=device, seed=seed, **more)
        return run_virtual(config, writer).run_id


def rows_of(values: list[dict[str, Any]]) -> list[Row]:
    return [Row(Cell(n, {}, 0, SUBJECT, 7, "fast"), v) for n, v in enumerate(values)]


# ---- stored runs -----------------------------------------------------------------------------------------------------


def test_devices_of_stored_runs_have_responses_of_one_length(db: str) -> None:
    runs = [stored(db, 1, 1, shares=700), stored(db, 1, 2, shares=600), stored(db, 2, 3, shares=2400)]
    found = RecordedDevices.find(db, runs)
    assert found.names == ("s9-1", "s9-2")
    assert [len(own) for own in found.responses] == [2, STRETCHES]  # an only run is cut
    assert found.shares <= 600
    lengths = {found.data(0, shares=1, device=d, response=r).n for d in (0, 1) for r in (0, 1)}
    assert lengths == {found.shares}
    first, second = (found.data(0, shares=1, device=1, response=r) for r in (0, 1))
    assert first.time_ns[-1] < second.time_ns[0]


def test_a_name_lays_a_run_to_a_device(db: str) -> None:
    runs = [stored(db, 1, seed) for seed in (1, 2, 3)]
    found = RecordedDevices.find(db, [f"left={runs[0]}", f"right={runs[1]}", f"left={runs[2]}"])
    assert found.names == ("left", "right")
    assert [response.run.run for response in found.responses[0]] == [runs[0], runs[2]]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("one",), "no other than s9-1"),
        (("one", "one"), "named twice"),
        (("one", "short"), "gives 15 shares a response; 100 are needed"),
        (("one", "lv06"), "devices of one model are compared, and these are lv06, s9"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(db: str, names: tuple[str, ...], why: str) -> None:
    runs = {
        "one": stored(db, 1, 1),
        "short": stored(db, 2, 2, shares=60),
        "lv06": stored(db, 1, 3, model="lv06"),
    }
    with pytest.raises(UserError, match=why):
        RecordedDevices.find(db, [runs[name] for name in names])


def test_stored_devices_whose_chips_differ_are_told_apart_and_alike_ones_are_not(db: str) -> None:
    codes = {}
    for variation_ms in (0.0, 0.5):
        runs = [
            stored(db, number, 10 * number + r, variation_ms=variation_ms)
            for number in (1, 2, 3)
            for r in range(3)
        ]
        subject = RecordedDevices.find(db, runs)
        plan = make_plan(get_experiment("puf"), subject, size="fast", seed=1)
        with Results(db) as results:
            outcome = execute(get_experiment("puf"), subject, plan, results)
            again = results.find(outcome.run_id)
        codes[variation_ms] = outcome.finding.code
        assert repeat.same_plan(again, db)
        assert repeat.command(again).count("--trace") == 9
        assert "3 emulated devices of model s9: s9-1, s9-2, s9-3" in repeat.subject_words(
            again.plan["subject"]
        )
    assert codes == {0.0: NO_EVIDENCE, 0.5: EVIDENCE}


def test_a_run_of_several_miners_is_of_several_devices(db: str) -> None:
    from sqlalchemy import create_engine, text

    run = stored(db, 1, 1, shares=2400)
    # three quarters of its shares are laid to another miner
    engine = create_engine(db)
    kept = "run, user_agent, address, model, extranonce1, version_mask, scale, floor, connected_wall_ns"
    with engine.begin() as connection:
        connection.execute(
            text(f"insert into miners (miner, name, {kept}) select miner + 1, name, {kept} from miners")
        )
        connection.execute(text("update shares set miner = miner + 1 where id > 600"))
    engine.dispose()
    found = RecordedDevices.find(db, [run])
    assert [name.partition(" ")[2] for name in found.names] == ["(1)", "(2)"]  # workers of one name
    assert repeat._options(found.to_json()) == ["--trace", run]
    lengths = {found.data(0, shares=1, device=d, response=r).n for d in (0, 1) for r in range(STRETCHES)}
    assert lengths == {found.shares}  # as many as the device with the fewest has
    with pytest.raises(UserError, match="is of 2 miners"):
        RecordedDevices.find(db, [f"left={run}"])


# ---- what is concluded -----------------------------------------------------------------------------------------------


def test_devices_that_differ_as_stated_are_found_and_alike_ones_are_not() -> None:
    rng = np.random.default_rng(5)
    devices, runs, times = 4, 4, 200
    spread = reproducibility.detectable_ratio(devices, runs)
    found = {0.0: 0, spread: 0}
    for ratio in found:
        for _ in range(times):
            own = ratio * rng.standard_normal(devices)
            values = [
                {"device": d, "name": str(d), "mean_ms": own[d] + rng.standard_normal(), "cv": rng.standard_normal(),
                 "response_ms": None}
                for d in range(devices) for _ in range(runs)
            ]  # fmt: skip
            found[ratio] += reproducibility.conclude(rows_of(values)).code == EVIDENCE
    assert found[0.0] <= 20  # 99.9 % point of the binomial law at 5 %
    assert found[spread] >= 143  # likewise of 0.8, from below


def test_one_run_of_each_device_says_nothing() -> None:
    values = [
        {"device": d, "name": str(d), "mean_ms": 1.0 + d, "cv": 1.0, "response_ms": 2.0} for d in (0, 1)
    ]
    assert reproducibility.conclude(rows_of(values)).code == CANNOT_TELL


def test_a_population_without_responses_yet_says_nothing() -> None:
    subject_rows = rows_of(
        [
            puf.measure(
                Cell(0, {"planted_ms": 0.0, "device": 0.0}, 0, SUBJECT, 1, "fast"),
                Emulated("s9"),
            )
        ]
    )
    assert puf.conclude(subject_rows).code == CANNOT_TELL
    assert puf.charts(subject_rows)


# ---- attached --------------------------------------------------------------------------------------------------------


def test_devices_take_turns_and_a_cell_is_measured_on_its_own(db: str) -> None:
    subject = AttachedDevices((LV06, OTHER))
    plan = make_plan(get_experiment("reproducibility"), subject, size="full", seed=1)
    own = [plan.cells[n] for n in plan.order if plan.cells[n].arm == SUBJECT]
    measured = [attached_at(subject, cell.point).device for cell in own]
    assert measured.count(LV06.device) == measured.count(OTHER.device) == 8
    assert measured != sorted(measured)
    assert plan.seconds is not None
    assert all(plan.seconds[cell.number] > 0 for cell in own)
    plan = make_plan(get_experiment("puf"), subject, size="quick", seed=1)
    assert plan.seconds is not None
    own = [cell for cell in plan.cells if cell.arm == SUBJECT]
    assert [plan.seconds[cell.number] > 0 for cell in own] == [cell.point["planted_ms"] == 0 for cell in own]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ((LV06,), "no other than lv06://10.0.0.7"),
        ((LV06, LV06), "no other than"),
        ((LV06, OTHER, OTHER), "given twice"),
        ((LV06, replace(OTHER, device="s9://10.0.0.9", model="s9")), "devices of one model"),
        ((LV06, replace(OTHER, device="any")), "need a URL each"),
    ],
)
def test_devices_that_cannot_be_compared_are_refused(members: tuple[Attached, ...], why: str) -> None:
    with pytest.raises(UserError, match=why):
        AttachedDevices(members)


def test_devices_whose_responses_could_never_tell_are_refused_before_they_are_measured() -> None:
    two = AttachedDevices((LV06, OTHER))
    with pytest.raises(UserError, match="in 10 ways only"):
        make_plan(get_experiment("puf"), two, size="fast", seed=1)
    three = AttachedDevices((LV06, OTHER, replace(OTHER, device="lv06://10.0.0.9")))
    assert make_plan(get_experiment("puf"), three, size="fast", seed=1).cells


def test_one_device_is_not_compared_and_several_are_not_one(db: str) -> None:
    with pytest.raises(UserError, match="give --device twice or more"):
        make_plan(get_experiment("puf"), LV06, size="fast", seed=1)
    with pytest.raises(UserError, match="run it on each"):
        make_plan(get_experiment("poisson"), AttachedDevices((LV06, OTHER)), size="fast", seed=1)
    recorded = Recorded(db, "x", "s9", 1000)
    with pytest.raises(UserError, match="compares devices"):
        make_plan(get_experiment("reproducibility"), recorded, size="fast", seed=1)


@pytest.mark.slow
def test_two_devices_in_the_network_are_compared_and_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reproducibility.SHARES, "fast", 60)
    monkeypatch.setitem(reproducibility.REPETITIONS, "fast", 3)
    db = f"sqlite:///{tmp_path}/lab.db"
    experiment = get_experiment("reproducibility")
    with device(hash_rate_ths=FASTER / 4) as left, device() as right, Results(db) as results:
        pools = [one.pool() for one in (left, right)]
        members = (Attached(db, one.url, model="lv06", agreed=True).asked() for one in (left, right))
        subject = AttachedDevices(tuple(members))
        outcome = execute(experiment, subject, make_plan(experiment, subject, size="fast", seed=1), results)
        assert [one.pool() for one in (left, right)] == pools
    assert (outcome.finding.code, outcome.placebo.code) == (EVIDENCE, NO_EVIDENCE)  # type: ignore[union-attr]
    assert left.url in outcome.finding.text
    assert not SettingsJournal().addresses()
    assert len(TraceReader(db).runs()) == 6


def test_the_command_line_makes_several_of_several(lab: Lab) -> None:
    db = f"sqlite:///{lab.folder}/lab.db"
    runs = [stored(db, number, 10 * number + r, shares=400) for number in (1, 2) for r in (0, 1)]
    traces = [word for run in runs for word in ("--trace", run)]
    plans = [
        json.loads(line)
        for line in lab("run", "--all", "--quick", "--dry-run", "--json", *traces).stdout.splitlines()
    ]
    by_name = {name: [p["subject"] for p in plans if p["experiment"] == name] for name in ("puf", "short-cv")}
    assert [one["run"] for one in by_name["short-cv"]] == runs
    assert [len(one["devices"]) for one in by_name["puf"]] == [2]
    lab("run", "short-cv", "--size", "fast", *traces[:4], "--out", "out")
    assert all((lab.folder / "out" / run / "short-cv" / "report.html").exists() for run in runs[:2])
    alone = lab("run", "--all", "--quick", "--dry-run", *traces[:2])
    assert "puf, " in alone.stderr
    assert "reproducibility" not in alone.stdout
    wall = lab("run", "--all", "--quick", "--dry-run", "--emulate", "s9", "--time", "wall")
    assert "poisson" in wall.stdout
    assert "puf" not in wall.stdout
    assert "no other than s9-1" in lab("run", "puf", "--quick", *traces[:2], code=2).stderr
