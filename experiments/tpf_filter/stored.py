"""A comparison of filters read back from the trace: what is judged is always a stored run.

The events say which jobs went out under which arm and what was decided; jobs, shares and telemetry are those of any
other run. Power is taken from a sensor at the miner where the run has one (a meter at the wall), else from the device
itself, else it is the constant that the user stated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.tpf_filter.plan import ARMS, FilterPlan
from experiments.tpf_filter.result import FilterBlock, FilterResult, Latency, LiveFacts, judge
from experiments.tpf_filter.schedule import AGAIN, DECISION, TURN
from firmware_bridge.errors import UserError
from tpf.paired_blocks import FEWEST_BLOCKS

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader
    from tpf.classifier import ModelCard
    from tpf.dataset import FloatArray, IntArray
    from tpf.job_history import JobRun

MODEL = "filter-model"
"""Kind of the event that holds the card and the rule of the filter."""
NO_POWER = (
    "nobody tells the power of this miner, so that its energy is not known: give its power with --watts, or a meter "
    "with --mqtt and --sensor power_w=TOPIC"
)
LONGEST_GAP = 10.0
"""Periods of the telemetry that may pass in a block without a reading of power."""


@dataclass(frozen=True)
class StoredTurn:
    """A turn that is over, as its event tells it."""

    part: str
    number: int
    arm: str
    miner: int
    begin_ns: int
    end_ns: int


@dataclass(frozen=True, eq=False)
class Work:
    """Jobs and valid shares of a run, on the monotonic clock.

    Attributes:
        sent_ns: of each job, ascending.
        miner: of each job.
        symbol: of each job, nan for none.
        share_ns: of each valid share.
        share_at: index of its job, -1 where it names none.
        difficulty: that its job asked for.
    """

    sent_ns: IntArray
    miner: IntArray
    symbol: FloatArray
    share_ns: IntArray
    share_at: IntArray
    difficulty: FloatArray

    @classmethod
    def read(cls, reader: TraceReader, run: int) -> Work:
        """Of a run."""
        jobs = reader.columns(
            run, "jobs", ["job", "miner", "sent_monotonic_ns", "symbol", "difficulty"]
        ).values
        shares = reader.columns(run, "shares", ["job", "valid", "monotonic_ns"]).values
        order = np.argsort(jobs["sent_monotonic_ns"], kind="stable")
        jobs = {name: values[order] for name, values in jobs.items()}
        valid = shares["valid"].astype(bool)
        at = np.full(int(max(jobs["job"].max(initial=0), shares["job"].max(initial=0))) + 1, -1)
        at[jobs["job"]] = np.arange(order.size)
        share_at = np.where(shares["job"] > 0, at[shares["job"]], -1)[valid]
        asked = np.append(jobs["difficulty"], 0.0)[share_at]
        return cls(
            jobs["sent_monotonic_ns"],
            jobs["miner"],
            jobs["symbol"],
            shares["monotonic_ns"][valid],
            share_at,
            asked,
        )

    def within(self, turn: StoredTurn) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which shares are of jobs of a turn, shape (shares,)."""
        mine = (self.sent_ns >= turn.begin_ns) & (self.sent_ns < turn.end_ns) & (self.miner == turn.miner)
        return np.asarray(np.append(mine, False)[self.share_at])


@dataclass(frozen=True, eq=False)
class Power:
    """Power of the miner over time.

    Attributes:
        told_by: ``device``, ``sensor NAME``, or ``stated``.
        at_ns: of each reading, ascending; empty where it is stated.
        watts: at each; one number where it is stated.
        longest_ns: longest time without a reading that is bridged.
    """

    told_by: str
    at_ns: IntArray
    watts: FloatArray
    longest_ns: float

    def joules(self, begin_ns: int, end_ns: int) -> float | None:
        """Energy between two moments, straight lines between readings; None where one lacks for too long."""
        if not self.at_ns.size:
            return float(self.watts[0]) * (end_ns - begin_ns) / 1e9
        before = int(np.searchsorted(self.at_ns, begin_ns, side="right")) - 1
        after = int(np.searchsorted(self.at_ns, end_ns))
        near = self.at_ns[max(0, before) : after + 1].tolist()
        first = [begin_ns] if before < 0 else []
        last = [end_ns] if after == self.at_ns.size else []
        if np.diff([*first, *near, *last]).max(initial=0) > self.longest_ns:
            return None
        inside = [t for t in near if begin_ns < t < end_ns]
        since = np.array([begin_ns, *inside, end_ns]) - begin_ns
        watts = np.interp(since, self.at_ns - begin_ns, self.watts)
        return float((watts[1:] + watts[:-1]) @ np.diff(since)) / 2e9

    def readings(self, turns: Sequence[StoredTurn]) -> int:
        """How many lie in these turns."""
        return sum(int(((self.at_ns >= t.begin_ns) & (self.at_ns < t.end_ns)).sum()) for t in turns)


def read_turns(events: Sequence[dict[str, Any]]) -> list[StoredTurn]:
    """Turns of a run that are over, in order."""
    found = [json.loads(e["detail"]) for e in events if e["kind"] == TURN]
    return [StoredTurn(**detail) for detail in found]


def power_of(reader: TraceReader, run: int) -> Power:
    """Who told the power of the one miner of a comparison, and what.

    Raises:
        UserError: if nobody did.
    """
    told = reader.run(run)["config"]["filter_live"]
    rows = [
        (row["source"], row["monotonic_ns"], row["power_w"])
        for row in reader.dicts(run, "telemetry")
        if row["power_w"] is not None and row["monotonic_ns"] is not None
    ]
    sensors = sorted({source for source, _, _ in rows if source is not None})
    chosen = sensors[0] if sensors else None
    mine = sorted((at_ns, watts) for source, at_ns, watts in rows if source == chosen)
    if mine:
        at_ns, watts = (np.array(column) for column in zip(*mine, strict=True))
        longest_ns = LONGEST_GAP * 1e9 * float(told["device_period_s"])
        return Power(
            "device" if chosen is None else f"sensor {chosen}", at_ns, watts.astype(float), longest_ns
        )
    if told["watts"] is None:
        raise UserError(NO_POWER)
    return Power("stated", np.empty(0, np.int64), np.array([float(told["watts"])]), 0.0)


def recorded_jobs(reader: TraceReader, run: int) -> JobRun:
    """The jobs of the recording, as a table for training takes them.

    Raises:
        UserError: if there is no recording.
    """
    from tpf.job_history import READINGS, JobRun

    record = reader.run(run)
    turns = [t for t in read_turns(reader.dicts(run, "events")) if t.part == "recording"]
    if not turns:
        raise UserError(f"run {record['run_id']} has no recording to train a filter on")
    (turn,) = turns
    work = Work.read(reader, run)
    jobs = np.flatnonzero(
        (work.sent_ns >= turn.begin_ns) & (work.sent_ns < turn.end_ns) & (work.miner == turn.miner)
    )
    place = np.full(work.sent_ns.size + 1, -1)
    place[jobs] = np.arange(jobs.size)
    own = place[work.share_at]
    order = np.flatnonzero(own >= 0)
    order = order[np.argsort(work.share_ns[order], kind="stable")]
    readings = [row for row in reader.dicts(run, "telemetry") if row["source"] is None]
    return JobRun(
        name=f"run {record['run_id']}, {jobs.size} jobs",
        sent_ns=work.sent_ns[jobs],
        symbol=work.symbol[jobs],
        share_ns=work.share_ns[order],
        share_job=own[order],
        end_ns=turn.end_ns,
        reading_ns=np.array([row["monotonic_ns"] for row in readings], np.int64),
        readings={
            name: np.array([np.nan if row[name] is None else row[name] for row in readings], np.float64)
            for name in READINGS
        },
    )


def judge_run(reader: TraceReader, name: str) -> FilterResult:
    """What a stored comparison says; of one that was ended early, what its whole blocks say.

    Raises:
        UserError: if it is no comparison of filters, or too few of its blocks are whole.
    """
    run = reader.resolve(name)
    record = reader.run(run)
    config = record["config"]
    if "filter_live" not in config:
        raise UserError(
            f"run {record['run_id']} is no comparison of filters; asiclab tpf filter --time wall makes one"
        )
    plan = FilterPlan.from_json(config["filter_live"]["plan"])
    events = reader.dicts(run, "events")
    turns = [t for t in read_turns(events) if t.part == "block"]
    models = [json.loads(e["detail"]) for e in events if e["kind"] == MODEL]
    if not models or not turns:
        raise UserError(
            f"run {record['run_id']} ended before its first block was over; there is nothing to judge"
        )
    work = Work.read(reader, run)
    power = power_of(reader, run)
    at_ns, decisions = _decisions(events)
    blocks = []
    latency: dict[str, list[int]] = {}
    for turn in turns:
        made = decisions[slice(*np.searchsorted(at_ns, [turn.begin_ns, turn.end_ns]))]
        latency.setdefault(turn.arm, []).extend(d["latency_ns"] for d in made)
        blocks.append(_block(turn, work, power, sum(bool(d["kept"]) for d in made), len(made)))
    whole = {
        n
        for n in range(plan.blocks)
        if {b.arm for b in blocks if b is not None and b.number == n} == set(ARMS)
    }
    if len(whole) < FEWEST_BLOCKS:
        raise UserError(
            f"run {record['run_id']} has {len(whole)} whole blocks, and fewer than {FEWEST_BLOCKS} cannot show a "
            "difference at 5 %; what there is, is kept"
        )
    facts = LiveFacts(
        run=str(record["run_id"]),
        device=str(config["device"]),
        emulated=bool(config["filter_live"]["emulated"]),
        power=power.told_by,
        readings=power.readings(turns),
        latency={arm: Latency.of(latency[arm]) for arm in ARMS},
        repeated=sum(e["kind"] == AGAIN for e in events),
        left_out=sorted({t.number for t in turns} - whole),
        complete=len(turns) == len(plan.order()),
    )
    kept = [b for b in blocks if b is not None and b.number in whole]
    return judge(plan, card_of(models[-1]), kept, facts)


def card_of(detail: dict[str, Any]) -> ModelCard:
    """The card in the event of the filter."""
    from tpf.classifier import ModelCard

    told = dict(detail["card"])
    told["trained_rows"], told["tested_rows"] = tuple(told["trained_rows"]), tuple(told["tested_rows"])
    return ModelCard(**told)


def _decisions(events: Sequence[dict[str, Any]]) -> tuple[IntArray, list[dict[str, Any]]]:
    mine = sorted(
        ((e["monotonic_ns"], json.loads(e["detail"])) for e in events if e["kind"] == DECISION),
        key=lambda d: d[0],
    )
    return np.array([at for at, _ in mine], np.int64), [detail for _, detail in mine]


def _block(turn: StoredTurn, work: Work, power: Power, kept: int, jobs: int) -> FilterBlock | None:
    """A turn as a block; None where its energy is not known."""
    joules = power.joules(turn.begin_ns, turn.end_ns)
    if joules is None:
        return None
    shares = work.within(turn)
    return FilterBlock(
        number=turn.number,
        arm=turn.arm,
        seconds=(turn.end_ns - turn.begin_ns) / 1e9,
        shares=int(shares.sum()),
        difficulty=float(work.difficulty[shares].sum()),
        joules=joules,
        kept=kept,
        replaced=jobs - kept,
    )
