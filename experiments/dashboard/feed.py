"""What the page shows, read from the database a little at a time: each look reads only what is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.dashboard.judge import Judge
from experiments.dashboard.miner import RASTER_S, LiveMiner, histogram
from firmware_bridge.errors import LabError, UserError
from firmware_bridge.trace.reader import TraceReader

if TYPE_CHECKING:
    from experiments.results import Results, StoredRun

MAX_POINTS = 2000
"""Points of one plot, at most."""
MAX_RUNS = 50
"""Runs in the list."""
ROWS_AT_ONCE = 50_000
EVENT = ("wall_ns", "severity", "kind", "detail")
READING = ("temperature_c", "power_w", "frequency_mhz", "voltage_mv", "fan_percent", "hash_rate_ghs")


class RunFeed:
    """One run of the trace as it grows.

    Args:
        reader: of the trace.
        run: number of the run.
    """

    def __init__(self, reader: TraceReader, run: int) -> None:
        self._reader, self.run = reader, run
        self.miners: dict[int, LiveMiner] = {}
        self._last_share = self._last_reading = self._last_event = 0
        self._now_ns = 0
        self.events: list[dict[str, Any]] = []

    def read(self) -> None:
        """Take up what is new."""
        for row in self._reader.dicts(self.run, "miners"):
            if row["miner"] not in self.miners:
                self.miners[row["miner"]] = LiveMiner(row["miner"], row["name"], row["model"])
        self._shares()
        self._telemetry()
        self._events()

    def _shares(self) -> None:
        names = ("miner", "valid", "kernel_ns", "monotonic_ns", "wall_ns", "interval_ns")
        while True:
            found, self._last_share = self._reader.newer(
                self.run, "shares", names, after=self._last_share, limit=ROWS_AT_ONCE
            )
            if not len(found):
                return
            values, null = found.values, found.null
            arrival_ns = np.where(~null["wall_ns"], values["wall_ns"], values["kernel_ns"])
            self._now_ns = max(self._now_ns, int(arrival_ns.max()))
            good = values["valid"] | null["valid"]
            for number in np.unique(values["miner"]).tolist():
                miner = self.miners.setdefault(number, LiveMiner(number, f"miner {number}", None))
                own = values["miner"] == number
                kept = own & good
                miner.refused += int((own & ~good).sum())
                miner.add(arrival_ns[kept], np.where(null["interval_ns"], 0, values["interval_ns"])[kept])
            if len(found) < ROWS_AT_ONCE:
                return

    def _telemetry(self) -> None:
        found, self._last_reading = self._reader.newer(
            self.run, "telemetry", ("miner", "wall_ns", *READING), after=self._last_reading
        )
        for i in range(len(found)):
            number = int(found.values["miner"][i])
            if found.null["miner"][i] or number not in self.miners:
                continue
            miner = self.miners[number]
            for name in READING:
                if not found.null[name][i]:
                    miner.telemetry[name] = float(found.values[name][i])
            if not found.null["temperature_c"][i]:
                miner.heat.append((int(found.values["wall_ns"][i]), float(found.values["temperature_c"][i])))

    def _events(self) -> None:
        found, self._last_event = self._reader.newer(self.run, "events", EVENT, after=self._last_event)
        for i in range(len(found)):
            if found.values["severity"][i] in ("warning", "error"):
                self.events.append({k: _plain(found.values[k][i]) for k in EVENT})
        self.events = self.events[-20:]

    def to_json(self) -> dict[str, Any]:
        """State of the run for the page; no plot has more than ``MAX_POINTS`` points."""
        miners = [self.miners[number] for number in sorted(self.miners)]
        each = max(1, MAX_POINTS // max(1, len(miners)))
        from_ns = self._now_ns - RASTER_S * 1e9
        raster: list[list[float]] = []
        for miner in miners:
            recent = [t for t in miner.recent_ns if t > from_ns][-each:]
            raster += [[(t - self._now_ns) / 1e9, miner.number] for t in recent]
        warm = [
            {"number": m.number, "name": m.name, "s": [(t - self._now_ns) / 1e9 for t, _ in m.heat][-each:],
             "c": [c for _, c in m.heat][-each:]}
            for m in miners if m.heat
        ]  # fmt: skip
        return {
            "miners": [m.to_json(self._now_ns) for m in miners],
            "shares": sum(m.shares for m in miners),
            "raster": raster,
            "intervals": histogram(miners),
            "temperatures": warm,
            "events": self.events,
        }


class LabFeed:
    """Everything that the page shows.

    Args:
        db: where the trace and the results of experiments are.
        clock_ns: wall time.
        judge: gives verdicts while something runs; None where none are shown.
    """

    def __init__(self, db: str, clock_ns: Callable[[], int], judge: Judge | None = None) -> None:
        self.db, self._clock_ns, self._judge = db, clock_ns, judge
        self._feeds: dict[int, RunFeed] = {}
        self._counts: dict[int, int] = {}  # of runs that have ended: counting takes as long as they are

    def look(self, run_id: str = "latest") -> dict[str, Any]:
        """The state now; what cannot be read is said in ``problem`` instead of ending the page."""
        state: dict[str, Any] = {
            "wall_ns": self._clock_ns(),
            "problem": None,
            "run": None,
            "experiment": None,
        }
        try:
            state["runs"], state["run"] = self._run(run_id)
            state["experiments"], state["experiment"] = self._experiments(_begun_ns(state["runs"]))
        except LabError as error:
            state["problem"] = str(error)
        return state

    def _run(self, run_id: str) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        reader = TraceReader(self.db)
        records = reader.run_records(counted=False)
        for record in records[::-1][:MAX_RUNS]:
            record["shares"] = self._shares(reader, record)
        keys = (
            "run_id",
            "kind",
            "source",
            "mode",
            "started_wall_ns",
            "ended_wall_ns",
            "exit_status",
            "shares",
        )
        listed = [{k: record.get(k) for k in keys} for record in records[::-1][:MAX_RUNS]]
        if not records:
            return listed, None
        number = reader.resolve(run_id)
        if number not in self._feeds:
            self._feeds = dict(
                list(self._feeds.items())[-3:]
            )  # runs that nobody looks at any more are forgotten
            self._feeds[number] = RunFeed(reader, number)
        feed = self._feeds[number]
        feed.read()
        record = next(record for record in records if record["run"] == number)
        shown = {**{k: record.get(k) for k in keys}, **feed.to_json()}
        shown["verdict"] = None
        if self._judge is not None:
            ended = record["ended_wall_ns"] is not None
            shown["verdict"] = self._judge.of_run(record["run_id"], shown["shares"], ended=ended)
        return listed, shown

    def _shares(self, reader: TraceReader, record: dict[str, Any]) -> int | None:
        number = record["run"]
        if number in self._counts:
            return self._counts[number]
        if record["exit_status"] is None:
            return None  # still growing, or killed: what is shown of it says how many
        self._counts[number] = reader.count(number)
        return self._counts[number]

    def _experiments(self, cell_since_ns: int | None) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Runs of experiments, newest first, and what the newest of them shows."""
        from experiments.repeat import subject_words
        from experiments.results import Results

        try:
            with Results(self.db, create=False) as results:
                stored = results.runs()[::-1]
                newest = self._shown(results, stored[0], cell_since_ns) if stored else None
        except UserError:
            return [], None  # nobody has run one yet
        listed = [
            {
                "run": s.run_id,
                "experiment": s.experiment,
                "on": subject_words(s.plan["subject"]),
                "size": s.size,
                "seed": s.seed,
                "done": s.done,
                "total": s.plan["cells"],
                "finished": s.finished,
                "code": None if s.finding is None else s.finding["finding"]["code"],
            }
            for s in stored[:MAX_RUNS]
        ]
        return listed, newest

    def experiment(self, run_id: str) -> dict[str, Any]:
        """One run of an experiment: progress, cells as they fill a map, finding.

        Raises:
            UserError: if there is none.
        """
        from experiments.results import Results

        with Results(self.db, create=False) as results:
            return self._shown(results, results.find(run_id))

    def _shown(self, results: Results, stored: StoredRun, cell_since_ns: int | None = None) -> dict[str, Any]:
        """The run; ``cell_since_ns`` is when the cell under way began, where that is known."""
        under_way_s = 0.0
        if cell_since_ns is not None and cell_since_ns > stored.started_wall_ns:
            under_way_s = (self._clock_ns() - cell_since_ns) / 1e9
        shown = _shown(results, stored, under_way_s)
        shown["so_far"] = None
        if self._judge is not None and not stored.finished:
            shown["so_far"] = self._judge.of_experiment(stored.run_id, shown["done"])
        return shown


def _begun_ns(runs: Sequence[Mapping[str, Any]]) -> int | None:
    """When the newest run of the trace began, if it has no end: of an attached miner that is the cell under way."""
    return runs[0]["started_wall_ns"] if runs and runs[0]["exit_status"] is None else None


def _left_s(stored: StoredRun, took: Mapping[int, float], under_way_s: float) -> float | None:
    """Seconds of measuring that are left; None where nothing tells."""
    from experiments.plan import left_s

    left = sorted(set(range(stored.plan["cells"])) - took.keys())
    planned = stored.plan.get("seconds")
    if not left:
        return None
    if planned is None:
        if not took or stored.plan["subject"]["kind"] == "device":
            return None
        return len(left) * sum(took.values()) / len(took)
    on_miner = [float(planned[number]) for number in left if planned[number] > 0.0]
    return max(0.0, left_s(planned, took, left) - min([under_way_s, *on_miner]))


def _shown(results: Results, stored: StoredRun, under_way_s: float) -> dict[str, Any]:
    """A run of an experiment for the page."""
    from experiments.catalogue import catalogue
    from experiments.repeat import subject_words

    rows = results.rows(stored.run_id, stored.size)
    known = catalogue().get(stored.experiment)
    cells = [
        {"arm": r.cell.arm, "point": dict(r.cell.point), "values": _numbers(r.values)}
        for r in rows[-MAX_POINTS:]
    ]
    return {
        "run": stored.run_id,
        "experiment": stored.experiment,
        "title": stored.experiment if known is None else known.title,
        "decision": "" if known is None else known.decision,
        "size": stored.size,
        "seed": stored.seed,
        "subject": dict(stored.plan["subject"]),
        "on": subject_words(stored.plan["subject"]),
        "digest": stored.digest,
        "done": len(rows),
        "total": stored.plan["cells"],
        "left_s": _left_s(stored, results.seconds(stored.run_id), under_way_s),
        "finished": stored.finished,
        "stopping": not stored.finished and results.asked_to_stop(stored.run_id),
        "finding": None if stored.finding is None else stored.finding["finding"],
        "placebo": None if stored.finding is None else stored.finding["placebo"],
        "cells": cells,
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a cell can be drawn."""
    return {k: v for k, v in values.items() if isinstance(v, (int, float, bool)) or k == "verdict"}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
