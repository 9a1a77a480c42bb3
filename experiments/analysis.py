"""One run read, summarised and judged once; the command line, the report and the demo show the same object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import RunData


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
        UserError: if there is no such run or miner, or it has no share that verifies.
        TraceError: if the database cannot be read.
    """
    from firmware_bridge.trace.reader import TraceReader

    from firmware_bridge.timing.intervals import load_run

    reader = TraceReader(database_url)
    try:
        number = reader.resolve(name)
        row = reader.run(number)
        only: int | str | None = int(miner) if miner is not None and miner.isdigit() else miner
        data = load_run(reader, number, only)
        events = _warnings(reader, number)
        left_out = _left_out(reader, number)
    finally:
        reader.close()
    if data.n == 0:
        raise UserError(f"run {row['run_id']} has no share that verifies, so there is nothing to look at")
    summary = _summarise(data, seed)
    return Analysis(row, data, summary, _parts(data, summary, seed) if parts else (), events, left_out, seed)


def _summarise(data: RunData, seed: int) -> dict[str, Any]:
    from firmware_bridge.timing.summary import summarise

    return summarise(data, seed=seed)


def _parts(data: RunData, summary: dict[str, Any], seed: int) -> tuple[Part, ...]:
    numbers, counts = np.unique(data.miner, return_counts=True)
    if numbers.size == 1:
        return (Part(int(numbers[0]), data, summary),)
    parts = []
    for number in numbers[np.argsort(-counts, kind="stable")]:
        own = data.select(data.miner == number)
        parts.append(Part(int(number), own, _summarise(own, seed)))
    return tuple(parts)


def _warnings(reader: Any, number: int) -> tuple[dict[str, Any], ...]:
    frame = reader.frame(number, "events")
    kept = frame[frame["severity"].isin(["warning", "error"])]
    return tuple(kept[["kind", "severity", "detail"]].head(20).to_dict("records"))


def _left_out(reader: Any, number: int) -> dict[str, int]:
    frame = reader.frame(number, "shares")
    rejected = frame[(frame["valid"] == False) & (frame["reason"] != "duplicate")]  # noqa: E712 - nullable column
    return {str(reason): int(count) for reason, count in rejected["reason"].value_counts().items()}
