"""One run read, summarised and judged once; the command line, the report and the demo show the same object."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.timing.run_data import RunData

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader

MAX_EVENTS = 20


@dataclass(frozen=True)
class Part:
    """One miner of a run.

    Attributes:
        number: the miner's number in the run.
        data: its shares.
        summary: as ``asiclab stats --json`` of this miner alone, the verdict included.
    """

    number: int
    data: RunData
    summary: dict[str, Any]


@dataclass(frozen=True)
class Analysis:
    """A run and everything that is said of it.

    Attributes:
        run: its row in the table of runs.
        data: all its shares that verify.
        summary: as ``asiclab stats --json``.
        parts: one per miner that has shares, the one with the most shares first.
        events: rows of the table of events that are warnings or errors.
        left_out: shares that do not verify, reason to count.
        seed: of bootstrap, surrogates and Monte-Carlo tests.
    """

    run: dict[str, Any]
    data: RunData
    summary: dict[str, Any]
    parts: tuple[Part, ...]
    events: tuple[dict[str, Any], ...]
    left_out: dict[str, int]
    seed: int


def analyse(
    database_url: str, name: str, *, miner: str | None = None, seed: int = 0, parts: bool = False
) -> Analysis:
    """Read a run and work out its statistics and verdict.

    Args:
        database_url: where the trace is.
        name: id of the run, a unique prefix, or ``latest``.
        miner: only this miner, by number or name.
        seed: of bootstrap, surrogates and Monte-Carlo tests.
        parts: whether each miner is summarised on its own as well (a report needs it).

    Raises:
        UserError: if there is no such run or miner.
        TraceError: if the database cannot be read.
    """
    from firmware_bridge.timing.intervals import load_run
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(database_url)
    number = reader.resolve(name)
    row = reader.run(number)
    only: int | str | None = int(miner) if miner is not None and miner.isdigit() else miner
    data = load_run(reader, number, only)
    events, left_out = _warnings(reader, number), _left_out(reader, number)
    several = bool(np.unique(data.miner).size > 1)
    # where each miner is summarised on its own, intervals and surrogates of all of them together say nothing more
    summary = _summarise(data, seed, confidence=not (parts and several))
    return Analysis(row, data, summary, _parts(data, summary, seed) if parts else (), events, left_out, seed)


def _summarise(data: RunData, seed: int, *, confidence: bool = True, verdict: bool = True) -> dict[str, Any]:
    from firmware_bridge.timing.summary import summarise

    return summarise(data, seed=seed, confidence=confidence, verdict=verdict).to_json()


def _parts(data: RunData, summary: dict[str, Any], seed: int) -> tuple[Part, ...]:
    numbers, counts = np.unique(data.miner, return_counts=True)
    if numbers.size <= 1:
        return tuple(Part(int(number), data, summary) for number in numbers)
    parts = []
    # the miners of a run share the level of its verdict, so theirs are not judged a second time on their own
    verdicts = dict(zip(numbers.tolist(), summary["verdict"]["miners"].values(), strict=True))
    for number in numbers[np.argsort(-counts, kind="stable")].tolist():
        own = data.select(data.miner == number)
        part = _summarise(own, seed, verdict=False) | {"verdict": verdicts[number]}
        parts.append(Part(number, own, part))
    return tuple(parts)


def _warnings(reader: TraceReader, number: int) -> tuple[dict[str, Any], ...]:
    rows = (row for row in reader.dicts(number, "events") if row["severity"] in ("warning", "error"))
    return tuple(islice(rows, MAX_EVENTS))


def _left_out(reader: TraceReader, number: int) -> dict[str, int]:
    columns = reader.columns(number, "shares", ["valid", "reason"])
    refused = ~columns.values["valid"] & ~columns.null["valid"]
    reasons = Counter(str(reason) for reason in columns.values["reason"][refused] if reason != "duplicate")
    return dict(reasons.most_common())
