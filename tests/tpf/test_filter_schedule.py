"""A comparison in the bridge without its sockets: turns, what belongs to which, and what the stored run then says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.tpf_filter.plan import ARMS, PILOTS, FilterPlan
from experiments.tpf_filter.schedule import AGAIN, DECISION, TURN, Schedule, UniformSymbols
from experiments.tpf_filter.stored import MODEL, Power, StoredTurn, Work, judge_run, recorded_jobs
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, prevhash_symbol
from firmware_bridge.stratum.dispatch import DispatchContext, HearsShares, JobPolicy, SymbolSource
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.writer import TraceWriter
from tpf.classifier import Model, train
from tpf.filter import Rule, rule_of
from tpf.job_history import job_dataset

PLAN = FilterPlan(blocks=8, job_s=1.0, replace_s=0.1, block_s=30.0, training_jobs=200, seed=4).timed(None)
RATE_HZ = 20.0


def due(now_ns: int, index: int, miner: int = 1, name: str = "w") -> DispatchContext:
    return DispatchContext(miner, name, index, 0, now_ns, None, 0, False)


class Mine:
    """A miner whose lucky jobs find more, its pool and the store, on one clock that nobody waits for."""

    def __init__(self, folder: Path, plan: FilterPlan, luck: float, **told: Any) -> None:
        self.plan, self.luck, self.now_ns = plan, luck, 0
        self.rng = np.random.default_rng([plan.seed, 5])
        self.db = f"sqlite:///{folder / 'lab.db'}"
        self.writer = TraceWriter(self.db)
        about = {"plan": plan.to_json(), "watts": None, "device_period_s": 3.0, "emulated": True, **told}
        config = {"filter_live": about, "device": "a mine"}
        self.run = self.writer.begin_run(RunRecord("live", "bridge", config=config))
        self.run.miner(MinerRow("w"))
        self.ended = False
        self.index, self.miner = 0, 1
        self.schedule = Schedule(
            plan, lambda: self.now_ns + 200_000, self.note, on_recorded=self.learn, on_end=self.end
        )
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def note(self, kind: str, miner: int, at_ns: int, detail: dict[str, Any]) -> None:
        self.seen.append((kind, detail))
        self.run.event(kind, "info", detail, miner=miner, monotonic_ns=at_ns)

    def end(self) -> None:
        self.ended = True

    def learn(self) -> None:
        self.run.flush()
        reader = TraceReader(self.db)
        table = job_dataset(recorded_jobs(reader, 1))
        model = train(table, "logistic")
        self.give(model, rule_of(model, table, self.plan.keep_rate))

    def give(self, model: Model, rule: Rule) -> None:
        self.run.event(MODEL, "info", {"card": model.card.to_json()})
        self.schedule.give(model, rule)

    def job(self) -> None:
        """One job from its sending to the next one's, with what it brings; a share in ten comes late."""
        symbol = self.schedule.next(due(self.now_ns, self.index, self.miner))
        assert symbol is not None
        assert symbol.value is not None
        self.index += 1
        sent_ns = self.now_ns + 300_000
        job = Job("1", "00" * 32, "", "", (), "0", "0", "0", "0", difficulty=256.0, symbol=symbol.value)
        number = self.run.job(self.miner, job, sent_wall_ns=sent_ns, sent_monotonic_ns=sent_ns)
        length_ns = round(self.schedule.deadline_s() * 1e9)
        factor = 1.0 + self.luck * (2.0 * symbol.value - 1.0)
        found = self.rng.poisson(RATE_HZ * factor * length_ns / 1e9)
        for at_ns in np.sort(self.now_ns + self.rng.integers(400_000, length_ns, found)).tolist():
            late_ns = length_ns if self.rng.random() < 0.1 else 0
            row = ShareRow(
                self.miner, number, *[None] * 5, 300.0, True, None, None, at_ns + late_ns, *[None] * 4
            )
            self.run.share(row)
            self.schedule.hear(self.miner, [at_ns])
        self.now_ns += length_ns

    def all_of_it(self, watts: float = 1350.0) -> None:
        while not self.ended:
            self.job()
        self.run.telemetry_rows(
            [TelemetryRow(1, at, at, power_w=watts) for at in range(0, self.now_ns, 3_000_000_000)]
        )
        self.close()

    def close(self) -> None:
        self.run.end("success")
        self.writer.close()


def compared(folder: Path, luck: float, **more: Any) -> Mine:
    plan = replace(PLAN, winning_jobs=luck, **more)
    mine = Mine(folder, plan, luck)
    mine.all_of_it()
    return mine


def test_it_is_what_a_bridge_asks_for() -> None:
    schedule = Schedule(PLAN, lambda: 0, lambda *event: None, on_recorded=lambda: None, on_end=lambda: None)
    as_policy: JobPolicy = schedule
    as_source: SymbolSource = schedule
    assert isinstance(as_policy, HearsShares)
    assert as_source is schedule
    symbols = UniformSymbols(np.random.default_rng(1))
    drawn = [symbols.next(due(0, 0)) for _ in range(2000)]
    assert all(s.value == prevhash_symbol(str(s.prevhash)) for s in drawn)
    assert abs(np.mean([s.value or 0.0 for s in drawn]) - 0.5) < 0.03


@pytest.mark.costly
@pytest.mark.parametrize("luck", [0.6, 0.0])
def test_the_stored_run_has_the_planted_gain_or_none(tmp_path: Path, luck: float) -> None:
    mine = compared(tmp_path, luck, physics=None)
    result = judge_run(TraceReader(mine.db), "latest")
    assert result.live is not None
    # each sent job lies in one turn, and every late share counts for the turn of its own job
    work = Work.read(TraceReader(mine.db), 1)
    turns = [StoredTurn(**detail) for kind, detail in mine.seen if kind == TURN]
    before_the_end = int((work.share_at < work.sent_ns.size - 1).sum())
    assert sum(int(work.within(turn).sum()) for turn in turns) == before_the_end
    assert sum(b.shares for b in result.blocks) < work.share_at.size
    assert [(t.number, t.arm) for t in turns if t.part == "block"] == mine.plan.order()
    assert Counter(t.part for t in turns) == {
        "recording": 1, "training": 1, "pilot": PILOTS, "block": 24, "closing": 1,
    }  # fmt: skip
    for turn, after in pairwise(turns):
        assert turn.end_ns == after.begin_ns
    assert all(abs(b.seconds - 30.0) < 1.1 for b in result.blocks)
    assert result.live.latency["filter"].median_ms == pytest.approx(0.2)
    assert result.live.power == "device"
    assert result.live.left_out == []
    assert result.live.complete
    # no dead time in this mine, as in the accounting of physics that are switched off
    gain = result.saving
    if luck:
        assert result.verdict["code"] == "saves"
        kept = result.keep_rate["filter"]
        found = kept + luck * kept * (1.0 - kept)
        expected = 1.0 - (kept + (1.0 - kept) * 0.1) / (found + (1.0 - found) * 0.1)
        assert gain.low < expected < gain.high
        assert abs(gain.saving - expected) < 0.1
    else:
        assert result.verdict["code"] != "saves"
        assert abs(gain.saving) < 0.06
    assert abs(result.placebo.saving) < 0.1  # three standard errors of eight blocks
    assert set(result.to_json()["live"]["latency"]) == set(ARMS)


def test_a_run_that_was_ended_early_says_what_its_whole_blocks_say(tmp_path: Path) -> None:
    mine = Mine(tmp_path, replace(PLAN, block_s=10.0, training_jobs=60), 0.6, watts=900.0)
    while mine.schedule.done < 20:
        mine.job()
    mine.close()
    result = judge_run(TraceReader(mine.db), mine.run.run_id)
    assert result.live is not None
    assert (result.live.complete, result.live.left_out, result.saving.blocks) == (False, [6], 6)
    assert result.live.power == "stated"
    assert all(b.joules == pytest.approx(900.0 * b.seconds) for b in result.blocks)
    assert result.plan == mine.plan


def test_too_little_and_no_power_are_said(tmp_path: Path) -> None:
    mine = Mine(tmp_path, replace(PLAN, block_s=10.0, training_jobs=60), 0.6)
    while mine.schedule.done < 10:
        mine.job()
    mine.close()
    with pytest.raises(UserError, match="--watts"):
        judge_run(TraceReader(mine.db), "latest")
    (tmp_path / "b").mkdir()
    few = Mine(tmp_path / "b", replace(PLAN, block_s=10.0, training_jobs=60), 0.6, watts=900.0)
    while few.schedule.done < 10:
        few.job()
    few.close()
    with pytest.raises(UserError, match="3 whole blocks"):
        judge_run(TraceReader(few.db), "latest")


def test_a_block_begins_anew_where_the_miner_was_away_and_strangers_change_nothing(tmp_path: Path) -> None:
    mine = Mine(tmp_path, replace(PLAN, block_s=10.0, training_jobs=60), 0.0, watts=900.0)
    schedule = mine.schedule
    while schedule.done < 2:
        mine.job()
    for _ in range(3):
        mine.job()
    before = len(mine.seen)
    assert schedule.next(due(mine.now_ns, 0, miner=2, name="other")) is None
    assert schedule.deadline_s() == 1.0
    schedule.hear(2, [mine.now_ns])
    assert len(mine.seen) == before
    mine.now_ns += 400_000_000_000  # it is away for longer than a block
    mine.index = 0
    mine.job()
    mine.miner = 3  # the old connection of this name is still there, so that it has a new number
    mine.index = 0
    mine.job()
    again = [detail for kind, detail in mine.seen if kind == AGAIN]
    assert len(again) == 2
    assert schedule.done == 2
    mine.all_of_it()
    turns = [StoredTurn(**detail) for kind, detail in mine.seen if kind == TURN]
    blocks = [t for t in turns if t.part == "block"]
    assert [(t.number, t.arm) for t in blocks] == mine.plan.order()
    assert max(t.end_ns - t.begin_ns for t in blocks) < 12e9
    result = judge_run(TraceReader(mine.db), "latest")
    assert result.live is not None
    assert result.live.repeated == 2


def test_a_miner_that_never_stays_ends_it(tmp_path: Path) -> None:
    mine = Mine(tmp_path, replace(PLAN, block_s=10.0, training_jobs=60), 0.0)
    while mine.schedule.part != "pilot":
        mine.job()

    def coming_and_going() -> None:
        for _ in range(1000):
            mine.index = 0
            mine.job()

    with pytest.raises(UserError, match="left and came back"):
        coming_and_going()
    mine.close()


def test_every_decision_is_an_event_of_its_own(tmp_path: Path) -> None:
    mine = Mine(tmp_path, replace(PLAN, block_s=10.0, training_jobs=60), 0.6, watts=900.0)
    mine.all_of_it()
    made = [detail for kind, detail in mine.seen if kind == DECISION]
    jobs = len(TraceReader(mine.db).dicts(1, "jobs"))
    assert len(made) == jobs
    assert {d["arm"] for d in made} == set(ARMS)
    assert all((d["score"] is None) == (d["arm"] != "filter") for d in made)
    assert all(d["kept"] for d in made if d["arm"] == "none")


def test_energy_is_the_area_below_the_readings_and_unknown_where_they_lack() -> None:
    at = np.array([0, 10, 20, 30]) * 1_000_000_000
    power = Power("device", at, np.array([100.0, 100.0, 200.0, 200.0]), 15e9)
    assert power.joules(0, 10_000_000_000) == pytest.approx(1000.0)
    assert power.joules(10_000_000_000, 20_000_000_000) == pytest.approx(1500.0)
    assert power.joules(12_000_000_000, 18_000_000_000) == pytest.approx(900.0)
    assert power.joules(25_000_000_000, 40_000_000_000) == pytest.approx(
        3000.0
    )  # the last one holds for a while
    assert power.joules(25_000_000_000, 50_000_000_000) is None
    holes = Power("device", at[[0, 3]], np.array([100.0, 200.0]), 15e9)
    assert holes.joules(5_000_000_000, 6_000_000_000) is None
    rng = np.random.default_rng(3)
    many = np.sort(rng.integers(0, 100_000_000_000, 200))
    watts = rng.uniform(900, 1400, 200)
    fine = np.linspace(20e9, 77e9, 400_001)
    expected = np.interp(fine, many, watts).mean() * 57.0
    assert Power("device", many, watts, 1e12).joules(20_000_000_000, 77_000_000_000) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    db = f"sqlite:///{tmp_path / 'lab.db'}"
    with partial(TraceWriter, db)() as writer:
        writer.begin_run(RunRecord("live", "bridge")).end("success")
    with pytest.raises(UserError, match="no comparison of filters"):
        judge_run(TraceReader(db), "latest")
