"""Sweeps on recordings: each stored run is a point, and is judged as it was when it was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import repeat
from experiments.analyses.sweeps import jobs_of
from experiments.attached import Attached
from experiments.catalogue import (
    difficulty,
    frequency_sweep,
    get_experiment,
    regime_map,
    share_rate,
    voltage_sweep,
)
from experiments.compared_findings import recordings
from experiments.experiment import CANNOT_TELL, NO_EVIDENCE, SUBJECT
from experiments.plan import make_plan
from experiments.recorded_runs import RecordedRuns
from experiments.results import Results
from experiments.runner import Outcome, execute, problem_of
from experiments.subjects import Emulated, Subject
from firmware_bridge.clock import SystemClock
from firmware_bridge.emulator.drive import Drive
from firmware_bridge.emulator.program import Step
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.writer import TraceWriter
from tests.cli.conftest import Lab
from tests.experiments.emulated_devices import FASTER, device

NEW = ("run", "expected", "held")
"""What the values of a stored run have beside those of the cell that was measured."""


@pytest.fixture
def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/lab.db"


def stored(db: str, **settings: Any) -> str:
    """A run of an emulated LV06 in the trace."""
    with TraceWriter(db) as writer:
        return run_virtual(
            VirtualConfig(**{"model": "lv06", "shares": 150, "seed": 1, **settings}), writer
        ).run_id


def at(db: str, frequency_mhz: float, core_voltage_mv: float, **more: Any) -> str:
    """One that was held at a point."""
    step = Step(600.0, frequency_mhz=frequency_mhz, core_voltage_mv=core_voltage_mv)
    return stored(db, shares=None, program=(step,), **more)


def judged(db: str, name: str, subject: Subject, size: str = "fast") -> Outcome:
    experiment = get_experiment(name)
    with Results(db) as results:
        return execute(experiment, subject, make_plan(experiment, subject, size=size, seed=3), results)


def gathered(db: str, name: str, runs: list[str]) -> RecordedRuns:
    together = get_experiment(name).together
    assert together is not None
    found = together(db, runs)
    assert isinstance(found, RecordedRuns)
    return found


def values_of(outcome: Outcome) -> list[dict[str, Any]]:
    told = [row.values for row in outcome.rows if row.cell.arm == SUBJECT]
    return [{name: value for name, value in values.items() if name not in NEW} for values in told]


# ---- what was measured, judged again ---------------------------------------------------------------------------------


def test_a_sweep_of_stored_runs_says_what_the_sweep_itself_said(
    db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(frequency_sweep.CLOCKS_MHZ, "fast", (440.0, 500.0))
    monkeypatch.setitem(frequency_sweep.SHARES, "fast", 600)
    subject = Emulated("lv06")
    original = judged(db, "frequency-sweep", subject)
    runs = []
    for row in original.rows:
        if row.cell.arm != SUBJECT:
            continue
        step = Step(
            row.values["seconds"],
            frequency_mhz=float(row.cell.point["frequency_mhz"]),
            core_voltage_mv=frequency_sweep.CORE_VOLTAGE_MV["lv06"],
        )
        jobs = jobs_of(str(row.cell.point["content"]), step.seconds)
        config = subject.config(row.cell.seed, shares=None, difficulty=256.0, program=(step,), **jobs)
        with TraceWriter(db) as writer:
            runs.append(run_virtual(config, writer).run_id)
    again = judged(db, "frequency-sweep", gathered(db, "frequency-sweep", runs[::-1]))
    of_body = ("critical_mv", "wrong", "seconds", "core_voltage_mv")  # known of an emulator alone
    assert [{k: v for k, v in one.items() if k not in of_body} for one in values_of(again)] == [
        {k: v for k, v in one.items() if k not in of_body} for one in values_of(original)
    ]
    assert again.finding.text == original.finding.text
    assert again.finding.numbers == original.finding.numbers
    assert again.placebo == original.placebo
    told = again.plan.subject
    assert recordings(told) == set(runs)
    assert repeat.subject_words(told).startswith("4 stored runs of an emulated lv06: ")
    with Results(db) as results:
        run = results.find(again.run_id)
    assert repeat.same_plan(run, db)
    assert repeat.command(run).count("--trace") == 4


@pytest.mark.parametrize("name", ["difficulty", "share-rate"])
def test_difficulties_are_those_of_the_jobs(db: str, name: str) -> None:
    subject = Emulated("lv06")
    module: Any = {"difficulty": difficulty, "share-rate": share_rate}[name]
    original = judged(db, name, subject)
    runs = []
    for row in original.rows:
        if row.cell.arm == SUBJECT:
            own = float(row.cell.point["difficulty"])
            config = subject.config(row.cell.seed, shares=module.SHARES["fast"], difficulty=own)
            with TraceWriter(db) as writer:
                runs.append(run_virtual(config, writer).run_id)
    again = judged(db, name, gathered(db, name, runs[::-1]))
    assert values_of(again) == values_of(original)
    assert replace(again.finding, detectable="") == replace(original.finding, detectable="")


@pytest.mark.slow
def test_a_sweep_that_was_measured_on_a_device_is_judged_again_from_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setitem(frequency_sweep.CLOCKS_MHZ, "fast", (400.0, 450.0, 500.0))
    monkeypatch.setitem(frequency_sweep.SHARES, "fast", 900)  # on a busy host part of them are no use
    monkeypatch.setattr(frequency_sweep, "CONTENTS", ("noise",))
    db = f"sqlite:///{tmp_path}/lab.db"
    with device(firmware="2.15.0") as miner:
        subject = Attached(
            db, miner.url, model="lv06", agreed=True, settle_s=0.5, physics={"hash_rate_ths": FASTER}
        ).asked()
        original = judged(db, "frequency-sweep", subject)
    runs = [str(run["run_id"]) for run in TraceReader(db).run_records()]
    assert len(runs) == 3
    recorded = gathered(db, "frequency-sweep", runs)
    assert [point["frequency_mhz"] for point in recorded.points()] == [400.0, 450.0, 500.0]
    whole = [TraceReader(db).count(number) for number in (1, 2, 3)]
    assert sum(member.shares for member in recorded.members) < sum(whole)  # type: ignore[attr-defined]
    again = judged(db, "frequency-sweep", recorded)
    assert values_of(again) == values_of(original)
    assert [row.values["held"] for row in again.rows if row.cell.arm == SUBJECT] == [
        row.values["held"] for row in original.rows if row.cell.arm == SUBJECT
    ]
    assert replace(again.finding, detectable="") == replace(original.finding, detectable="")
    assert any(values["p_value"] is not None for values in values_of(again))


# ---- where a point comes from ----------------------------------------------------------------------------------------


def test_each_step_of_a_programme_is_a_point(db: str) -> None:
    steps = tuple(Step(402.0, frequency_mhz=clock, core_voltage_mv=1200.0) for clock in (425.0, 500.0, 425.0))
    run = stored(db, shares=None, program=steps)
    subject = gathered(db, "frequency-sweep", [run])
    assert subject.points() == (
        {"frequency_mhz": 425.0, "content": "noise"},
        {"frequency_mhz": 500.0, "content": "noise"},
    )
    assert [subject.repetitions(point) for point in subject.points()] == [2, 1]
    parts = [member.data(0, shares=0) for member in subject.members]
    assert sum(part.n for part in parts) == TraceReader(db).count(1)
    assert all(np.isnan(part.interval_ms[0]) for part in parts)
    assert parts[0].time_ns[-1] < 402e9 <= parts[2].time_ns[0] < 804e9 <= parts[1].time_ns[0]


def test_a_plain_emulated_run_is_at_the_point_of_its_model(db: str) -> None:
    runs = [stored(db, seed=seed, difficulty=d) for seed, d in ((1, 256.0), (2, 1024.0))]
    found = gathered(db, "regime-map", runs)
    assert [dict(point) for point in found.points()] == [
        {"core_voltage_mv": 1200.0, "frequency_mhz": 485.0, "difficulty": d} for d in (256.0, 1024.0)
    ]


def test_jobs_tell_what_the_miner_was_given(db: str) -> None:
    every = (
        {"mode": "swh"}, {"mode": "stream", "job_period_s": 5000.0}, {"mode": "stream", "job_period_s": 30.0},
    )  # fmt: skip
    runs = [at(db, 400.0 + 50.0 * n, 1200.0, **jobs) for n, jobs in enumerate(every)]
    found = gathered(db, "frequency-sweep", runs)
    assert [point["content"] for point in found.points()] == ["noise", "structure", "stream"]


def live(db: str, clocks_mhz: list[float] | None, volts_mv: float = 1197.0, difficulty: float = 256.0) -> str:
    """A run of a real miner: its telemetry, where it has some, and bare shares."""
    clock = SystemClock()
    now_ns = clock.wall_ns()
    with TraceWriter(db) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge", mode="swh"))
        run.miner(
            MinerRow(
                name="w", user_agent="bitaxe", address=None, model="lv06", extranonce1=None, version_mask=None,
                scale=1.0, floor=256.0, connected_wall_ns=now_ns,
            )
        )  # fmt: skip
        rng = np.random.default_rng(5)
        times = now_ns + np.cumsum(rng.exponential(2e9, 150)).astype(np.int64)
        columns: dict[str, Any] = dict.fromkeys(ShareRow._fields)
        rows = [
            ShareRow(
                **{
                    **columns,
                    "miner": 1,
                    "valid": True,
                    "kernel_ns": int(t),
                    "wall_ns": int(t),
                    "monotonic_ns": int(t),
                }
            )
            for t in times
        ]
        run.shares(rows)
        for place, mhz in enumerate(clocks_mhz or []):
            run.telemetry(
                TelemetryRow(
                    1,
                    now_ns + place * 10**9,
                    place * 10**9,
                    frequency_mhz=mhz,
                    voltage_mv=volts_mv + place % 3,
                )
            )
        run.end("success")
        return str(run.run_id)


def test_where_nobody_held_it_telemetry_tells_the_point(db: str) -> None:
    runs = [live(db, [clock + 0.2] * 20) for clock in (425.0, 500.0)]
    found = gathered(db, "frequency-sweep", runs)
    assert [point["frequency_mhz"] for point in found.points()] == [425.0, 500.0]
    assert {member.point["core_voltage_mv"] for member in found.members} == {1200.0}
    assert all("difficulty" not in member.point for member in found.members)


def test_runs_that_are_no_sweep_are_refused_by_name(db: str) -> None:
    here = at(db, 425.0, 1200.0)
    silent, wandering = live(db, None), live(db, [400.0] * 10 + [485.0] * 10)
    symbols = Drive(tuple([0.2, 0.8] * 5), field="frequency")
    driven = stored(
        db, shares=None, mode="stream", job_period_s=60.0, drive=symbols,
        program=tuple(Step(60.0, frequency_mhz=400.0 + 50.0 * s) for s in symbols.symbols),
    )  # fmt: skip
    s9 = stored(db, model="s9")
    refused = {
        ("frequency-sweep", (here,)): "these runs are all at 425 MHz: give the runs of another clock",
        ("frequency-sweep", (here, at(db, 425.0, 1200.0, seed=2))): "two points or more",
        ("frequency-sweep", (here, here)): f"run {here} is named twice",
        ("frequency-sweep", (here, silent)): f"run {silent} does not say its clock.*bridge --device",
        ("frequency-sweep", (here, wandering)): f"run {wandering}: its clock went from 400 to 485 MHz",
        ("frequency-sweep", (here, driven)): f"run {driven} had another clock or voltage with every symbol",
        ("frequency-sweep", (here, s9)): "are of lv06 and s9",
        (
            "frequency-sweep",
            (here, at(db, 500.0, 1100.0)),
        ): "varies the clock alone, so give runs of one core voltage",
        ("voltage-sweep", (here, at(db, 500.0, 1100.0))): "varies the core voltage alone",
        ("difficulty", (here, silent)): f"run {silent} does not say its difficulty",
        ("difficulty", (stored(db, shares=50), here)): "has 49 shares|has 50 shares",
    }
    for (name, runs), why in refused.items():
        with pytest.raises(UserError, match=why):
            make_plan(get_experiment(name), gathered(db, name, list(runs)), size="fast", seed=1)
    high = gathered(db, "share-rate", [stored(db, difficulty=d) for d in (1.0, 1024.0)])
    with pytest.raises(
        UserError, match=r"one difficulty below the chip's own, 256, against that: .* 1, 1024"
    ):
        make_plan(get_experiment("share-rate"), high, size="fast", seed=1)


# ---- what is said of them --------------------------------------------------------------------------------------------


def test_several_runs_at_one_point_are_its_repetitions(db: str) -> None:
    runs = [at(db, clock, 1200.0, seed=seed) for clock in (425.0, 500.0) for seed in (1, 2)]
    outcome = judged(db, "frequency-sweep", gathered(db, "frequency-sweep", runs))
    own = [row for row in outcome.rows if row.cell.arm == SUBJECT]
    assert [row.cell.repetition for row in own] == [0, 1, 0, 1]
    assert {row.values["run"] for row in own} == set(runs)
    # 4 runs of about 240 shares find other effects than the size of the command says
    assert outcome.finding.detectable != frequency_sweep._detectable("fast")
    assert outcome.finding.code == NO_EVIDENCE
    assert "criterion: ." not in outcome.finding.text


def test_a_map_of_runs_that_do_not_say_their_voltage_is_drawn(db: str) -> None:
    s9 = [stored(db, model="s9", shares=700, seed=d, difficulty=float(d)) for d in (256, 1024)]
    outcome = judged(db, "regime-map", gathered(db, "regime-map", s9))
    assert outcome.finding.code == NO_EVIDENCE
    rows = [
        replace(row, cell=replace(row.cell, point={k: v for k, v in row.cell.point.items() if k != "core_voltage_mv"}),
                values={**row.values, "core_voltage_mv": None})
        for row in outcome.rows
    ]  # fmt: skip
    assert regime_map.conclude(rows[:2]).code == NO_EVIDENCE
    assert "At 0 V stands" in regime_map.charts(rows)[0].caption


def test_a_voltage_sweep_of_runs_of_one_voltage_each_tells_of_hung_ones(db: str) -> None:
    runs = [at(db, 485.0, volts) for volts in (1200.0, 1150.0, 900.0)]
    outcome = judged(db, "voltage-sweep", gathered(db, "voltage-sweep", runs))
    assert [row.values["hung"] for row in outcome.rows if row.cell.arm == SUBJECT][-1]
    assert "as where a chip hangs, at 900 mV" in outcome.finding.text
    s9 = [at(db, 650.0, volts, model="s9") for volts in (8800.0, 9000.0)]
    assert judged(db, "voltage-sweep", gathered(db, "voltage-sweep", s9)).finding.code == CANNOT_TELL
    assert voltage_sweep.FREQUENCY_MHZ not in {row.values["frequency_mhz"] for row in outcome.rows[:3]}


def test_rates_of_several_runs_are_pooled(db: str) -> None:
    runs = [stored(db, shares=100, difficulty=d, seed=s) for d in (1.0, 256.0) for s in (1, 2)]
    outcome = judged(db, "share-rate", gathered(db, "share-rate", runs))
    assert outcome.finding.detectable == share_rate._detectable(198, 198)


def test_a_worker_that_cannot_read_one_of_the_runs_is_named(db: str, tmp_path: Path) -> None:
    subject = gathered(db, "frequency-sweep", [at(db, clock, 1200.0) for clock in (425.0, 500.0)])
    assert problem_of(subject) is None
    (tmp_path / "lab.db").unlink()
    assert "lab.db" in (problem_of(subject) or "")


def test_bursts_of_a_stored_run_need_few_jobs(db: str) -> None:
    from experiments.subjects import Recorded

    emulated = Emulated("lv06")
    config = emulated.config(7, shares=2000, mode="stream", job_period_s=30.0)
    with TraceWriter(db) as writer:
        run = run_virtual(config, writer).run_id
    experiment = get_experiment("avalanche")
    cell = replace(make_plan(experiment, emulated, size="fast", seed=3).cells[0], seed=7)
    assert experiment.measure(cell, Recorded.find(db, run)) == experiment.measure(cell, emulated)
    many = judged(db, "avalanche", Recorded.find(db, stored(db, shares=2000))).finding
    assert many.code == CANNOT_TELL
    assert "A new job came for every 1 shares" in many.text
    silent = judged(db, "avalanche", Recorded.find(db, live(db, None))).finding
    assert "does not say which job" in silent.text


def test_what_has_to_act_says_why(db: str) -> None:
    from experiments.subjects import Recorded

    run = Recorded.find(db, stored(db))
    with pytest.raises(UserError, match="not on a trace: a controller has to act"):
        make_plan(get_experiment("controllers"), run, size="fast", seed=1)
    with pytest.raises(UserError, match="needs several stored runs"):
        make_plan(get_experiment("regime-map"), run, size="fast", seed=1)


def test_the_command_line_makes_one_sweep_of_several_runs(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    db = f"sqlite:///{lab.folder}/lab.db"
    runs = [at(db, clock, 1200.0) for clock in (425.0, 500.0)]
    traces = [word for run in runs for word in ("--trace", run)]
    told = lab("run", "--all", "--quick", "--dry-run", "--json", *traces).stdout.splitlines()
    by_name: dict[str, list[Any]] = {}
    for line in told:
        plan = json.loads(line)
        by_name.setdefault(plan["experiment"], []).append(plan["subject"])
    assert len(by_name["poisson"]) == 2
    assert [one["runs"] for one in by_name["frequency-sweep"]] == [runs]
    assert "voltage-sweep" not in by_name
    lab("run", "frequency-sweep", "--size", "fast", *traces, "--out", "out")
    page = (lab.folder / "out" / "frequency-sweep" / "report.html").read_text()
    assert "2 stored runs of an emulated lv06" in page
    assert "all at 425 MHz" in lab("run", "frequency-sweep", *traces[:2], code=2).stderr
