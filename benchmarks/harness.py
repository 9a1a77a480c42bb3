"""Rows, and how two sides are measured so that a busy machine hurts both alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = "s"
PROJECT = Path(__file__).resolve().parent.parent
ASICLAB = [sys.executable, "-m", "experiments.cli"]  # runs in PROJECT, installed or not


class SkippedError(Exception):
    """A benchmark that this machine cannot run; the message says why and what would help."""


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        name: of the row.
        ours: what the lab reached, in `unit`, in its best round.
        reference: what the peer reached in its best round, or the budget or limit, in `unit`.
        unit: of both; where it is seconds, less is better, else more is.
        ratio: how much better ours is than the reference (below 1: worse).
        aim: smallest ratio that is good; None where there is none.
        detail: further figures, such as the spread over the rounds.
        skipped: why nothing was measured.
    """

    name: str
    ours: float | None = None
    reference: float | None = None
    unit: str = ""
    ratio: float | None = None
    aim: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    skipped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The six fields that every row has, and `detail` or `skipped` where there is one."""
        names = ("name", "ours", "reference", "unit", "ratio", "aim")
        row: dict[str, Any] = {name: _short(getattr(self, name)) for name in names}
        if self.detail:
            row["detail"] = {key: _short(value) for key, value in self.detail.items()}
        if self.skipped is not None:
            row["skipped"] = self.skipped
        return row


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Benchmark:
    """One file's measurement: `run` yields rows as they are ready; `heavy` ones run only when asked for."""

    name: str
    run: Callable[[bool], Iterator[Row]]
    heavy: bool = False


def paired(
    name: str,
    ours: Callable[[], float],
    reference: Callable[[], float],
    *,
    unit: str,
    aim: float | None,
    rounds: int = 7,
    detail: dict[str, Any] | None = None,
) -> Row:
    """Measure both sides in turn, swapping who goes first, and compare the best round of either.

    Whatever else runs on the machine can only make a round worse, so the best one says most of the code; the median
    and the range of the rounds' own ratios stand in the detail.

    Args:
        name: of the row.
        ours: measures the lab once, returns a rate, or seconds where `unit` is "s".
        reference: the same of the peer.
        unit: of both.
        aim: smallest good ratio, or None.
        rounds: how many pairs; odd, so that the median ratio is one that was measured.
        detail: further figures to put into the row.

    Returns:
        The row.
    """
    pairs: list[tuple[float, float]] = []
    for index in range(rounds):
        if index % 2:
            theirs = reference()
            mine = ours()
        else:
            mine = ours()
            theirs = reference()
        pairs.append((mine, theirs))
    seconds = unit == SECONDS
    best = min if seconds else max
    mine, theirs = best(pair[0] for pair in pairs), best(pair[1] for pair in pairs)

    def ratio(mine: float, theirs: float) -> float:
        return theirs / mine if seconds else mine / theirs

    ranked = sorted(ratio(*pair) for pair in pairs)
    spread = {"ratio_median": ranked[len(ranked) // 2], "ratio_min": ranked[0], "ratio_max": ranked[-1]}
    return Row(
        name, mine, theirs, unit, ratio(mine, theirs), aim, {"rounds": rounds, **spread, **(detail or {})}
    )


def against_budget(
    name: str,
    ours: Callable[[], float],
    budget: float,
    *,
    unit: str,
    aim: float | None,
    rounds: int = 3,
    detail: dict[str, Any] | None = None,
) -> Row:
    """Measure one side several times against a fixed figure; the best round counts, as in `paired`."""
    values = sorted(ours() for _ in range(rounds))
    mine = values[0] if unit == SECONDS else values[-1]
    ratio = budget / mine if unit == SECONDS else mine / budget
    spread = {"rounds": rounds, "median_ours": values[len(values) // 2]}
    return Row(name, mine, budget, unit, ratio, aim, {**spread, **(detail or {})})


def seconds_of(action: Callable[[], object]) -> float:
    """Wall seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def tell(text: str) -> None:
    """Say on stderr what is going on, so that stdout stays rows."""
    print(text, file=sys.stderr, flush=True)
