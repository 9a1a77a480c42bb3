"""What is drawn of an experiment, as plain data: curves, rungs beside their null, and maps. The report draws them.

A module of the catalogue says with these what of its cells a reader should see; what it does not say,
:mod:`experiments.report.any_charts` chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.experiment import PLACEBO, SUBJECT, Row, Values

NULL, PUBLISHED = "null", "published"
ROLES = (SUBJECT, PLACEBO, NULL, PUBLISHED)
"""Whose numbers: the miner's, the placebo arm's, what chance or a model gives, what was published."""
ARMS = {SUBJECT: "this miner", PLACEBO: "placebo arm"}
POINTS, LINE, BARS = "points", "line", "bars"
Z95 = 1.96
SPREAD = (0.025, 0.25, 0.5, 0.75, 0.975)
"""Quantiles that a null is kept by."""

Numbers = Sequence[float | None]
Span = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Numbers over an axis.

    Attributes:
        label: in the legend; empty for none.
        x: places; with categories their numbers.
        y: values; what is None is not drawn.
        low: lower ends of the 95 % intervals.
        high: upper ends.
        role: one of ``ROLES``; decides the colour.
        form: ``points``, ``line`` or ``bars``.
        second: drawn apart from another series of the same role.
    """

    label: str
    x: Sequence[float]
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()
    role: str = SUBJECT
    form: str = POINTS
    second: bool = False


@dataclass(frozen=True)
class Mark:
    """A line across a chart: what would be expected, or what was published."""

    at: float
    label: str
    role: str = NULL
    vertical: bool = False


@dataclass(frozen=True)
class Chart:
    """Series over one axis.

    Attributes:
        title: a heading, as a question where it can be one.
        caption: what is drawn and what chance would give.
        x: label of the axis.
        y: label of the axis.
        series: what is drawn.
        marks: lines across.
        categories: names of the places on the x axis, if they are no numbers.
        log_x: scale.
        log_y: scale.
        band: 95 % of what chance gives, at all x.
    """

    title: str
    caption: str
    x: str
    y: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    categories: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False
    band: Span | None = None


@dataclass(frozen=True)
class Rung:
    """One number with its interval, beside the spread of its null.

    Attributes:
        label: on the left.
        value: None where there is none.
        ci: 95 % interval.
        null: quantiles ``SPREAD`` of the null, empty where it is not known.
        role: one of ``ROLES``.
        second: drawn hollow: what others of its role are held against.
    """

    label: str
    value: float | None
    ci: Span | None = None
    null: Sequence[float] = ()
    role: str = SUBJECT
    second: bool = False


@dataclass(frozen=True)
class Ladder:
    """Numbers of one kind, one above the other.

    Attributes:
        title: a heading.
        caption: what is drawn.
        x: label of the axis.
        rungs: from above.
        marks: lines down (always vertical).
        log: scale.
    """

    title: str
    caption: str
    x: str
    rungs: Sequence[Rung]
    marks: Sequence[Mark] = ()
    log: bool = False


@dataclass(frozen=True)
class Panel:
    """One map.

    Attributes:
        title: above it.
        cells: by (x, y) value; None is a cell that gave no number.
        notes: words in place of a number.
    """

    title: str
    cells: Mapping[tuple[float, float], float | None]
    notes: Mapping[tuple[float, float], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Map:
    """A number over two settings, one panel for each value of a third.

    Attributes:
        title: a heading.
        caption: what is drawn.
        x: label of the axis.
        y: label of the axis.
        panels: from the left, row by row.
        columns: panels in a row.
        centre: value that is left without a colour.
    """

    title: str
    caption: str
    x: str
    y: str
    panels: Sequence[Panel]
    columns: int
    centre: float


AnyChart = Chart | Ladder | Map


def arms(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of each arm that has some, the subject's first."""
    every = list(rows)
    found = [(arm, [row for row in every if row.cell.arm == arm]) for arm in (SUBJECT, PLACEBO)]
    return [(arm, own) for arm, own in found if own]


def spread(null: Any) -> list[float]:
    """Quantiles ``SPREAD`` of a null: what is kept of it in a cell."""
    import numpy as np

    return [float(q) for q in np.quantile(null, SPREAD)]


def normal_spread(mean: float, sd: float) -> list[float]:
    """Quantiles ``SPREAD`` of a null that is normal."""
    from scipy.stats import norm

    return [mean + sd * float(norm.ppf(q)) for q in SPREAD]


def mean_interval(values: Sequence[float]) -> tuple[float | None, Span | None]:
    """Mean of some values and Student's 95 % interval of it; None where there are too few."""
    import numpy as np
    from scipy.stats import t

    n = len(values)
    if not n:
        return None, None
    mean = float(np.mean(values))
    if n < 2:
        return mean, None
    reach = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return mean, (mean - reach, mean + reach)


def interval(values: Values, name: str, error: str = "", ci: str = "") -> Span | None:
    """95 % interval of a value, from its standard error or as it stands in the cell; None where it has none."""
    if ci and values.get(ci):
        low, high = values[ci]
        return float(low), float(high)
    value, sd = values.get(name), values.get(error) if error else None
    return None if value is None or sd is None else (value - Z95 * sd, value + Z95 * sd)


def swept(
    rows: Sequence[Row],
    x: str,
    y: str,
    *,
    error: str = "",
    ci: str = "",
    by: str = "",
    form: str = POINTS,
    scale: Callable[[Values], float] = lambda values: 1.0,
) -> list[Series]:
    """A value over a condition of the cells, for each arm and each value of ``by``.

    Args:
        rows: of both arms.
        x: condition, a number.
        y: value.
        error: name of its standard error.
        ci: or of its interval.
        by: condition that makes a series of its own.
        form: of the series.
        scale: factor on value and interval.
    """
    found = []
    for arm, own in arms(rows):
        groups = list(dict.fromkeys(row.cell.point.get(by) for row in own))
        for number, group in enumerate(groups):
            some = sorted(
                (row for row in own if row.cell.point.get(by) == group), key=lambda r: float(r.cell.point[x])
            )
            spans = [interval(row.values, y, error, ci) for row in some]
            factors = [scale(row.values) for row in some]
            label = ARMS[arm] + (f", {group}" if by and group is not None else "")
            found.append(
                Series(
                    label,
                    [float(row.cell.point[x]) for row in some],
                    [scaled(row.values.get(y), f) for row, f in zip(some, factors, strict=True)],
                    [None if s is None else s[0] * f for s, f in zip(spans, factors, strict=True)],
                    [None if s is None else s[1] * f for s, f in zip(spans, factors, strict=True)],
                    arm,
                    form,
                    number > 0,
                )
            )
    return found


def scaled(value: Any, factor: float) -> float | None:
    """A value times a factor; None stays None."""
    return None if value is None else float(value) * factor


def rungs(
    rows: Sequence[Row],
    y: str,
    *,
    error: str = "",
    ci: str = "",
    null: str = "",
    label: Callable[[Row], str] = lambda row: "",
) -> list[Rung]:
    """A value of every cell beside its null, arm by arm.

    Args:
        rows: of both arms.
        y: value.
        error: name of its standard error.
        ci: or of its interval.
        null: name of the quantiles of its null.
        label: of a cell, beside the name of its arm.
    """
    found = []
    for arm, own in arms(rows):
        for row in own:
            name = ", ".join(word for word in (ARMS[arm], label(row)) if word)
            value = row.values.get(y)
            found.append(
                Rung(
                    name,
                    None if value is None else float(value),
                    interval(row.values, y, error, ci),
                    row.values.get(null) or (),
                    arm,
                )
            )
    return found


def histogram(values: Any, low: float, high: float, bins: int) -> dict[str, Any]:
    """Counts in equal bins as a cell keeps them; what lies outside is counted at the ends."""
    import numpy as np

    counts, _ = np.histogram(np.clip(values, low, high), bins, (low, high))
    return {"low": low, "high": high, "counts": counts.tolist()}


def shares_of(kept: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Middles of the bins of a kept histogram, and the part of the values in each."""
    counts = kept["counts"]
    width, total = (kept["high"] - kept["low"]) / len(counts), max(1, sum(counts))
    return [kept["low"] + (i + 0.5) * width for i in range(len(counts))], [c / total for c in counts]


def survival(values: Any, points: int = 80) -> dict[str, list[float]]:
    """Values as a cell keeps them: some, the denser the nearer to the largest, with the part that is above each."""
    import numpy as np

    x, times = np.unique(np.asarray(values, float), return_counts=True)
    above = 1.0 - np.cumsum(times) / (times.sum() + 1)
    keep = x.size - np.unique(np.geomspace(1, x.size, min(points, x.size)).astype(int))[::-1]
    return {"at": x[keep].tolist(), "above": above[keep].tolist()}


def finite(value: Any) -> bool:
    """Whether a value of a cell is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def holds(chart: AnyChart) -> bool:
    """Whether there is anything to draw: a miner of another model has no published cells, one that hangs no shares."""
    if isinstance(chart, Chart):
        return any(y is not None and math.isfinite(y) for series in chart.series for y in series.y)
    if isinstance(chart, Ladder):
        return any(rung.value is not None and math.isfinite(rung.value) for rung in chart.rungs)
    return any(panel.cells for panel in chart.panels)


def by_word(
    rows: Sequence[Row], word: str, y: str, *, error: str = "", ci: str = "", null: str = ""
) -> tuple[list[Series], list[str]]:
    """A value of each arm over a condition that is a word, every repetition a point; and the words.

    Args:
        rows: of both arms.
        word: condition, or value, that names the place.
        y: value.
        error: name of its standard error.
        ci: or of its interval.
        null: name of what 95 % of its null stay below.
    """

    def place(row: Row) -> str:
        return str(row.cell.point.get(word, row.values.get(word)))

    words = list(dict.fromkeys(place(row) for row in rows))
    series: list[Series] = []
    high: list[Series] = []
    for arm, own in arms(rows):
        at = [float(words.index(place(row))) for row in own]
        spans = [interval(row.values, y, error, ci) for row in own]
        series.append(
            Series(
                ARMS[arm],
                at,
                [scaled(row.values.get(y), 1.0) for row in own],
                [None if s is None else s[0] for s in spans],
                [None if s is None else s[1] for s in spans],
                arm,
            )
        )
        if null:
            beside = -0.09 if arm == SUBJECT else 0.09
            label = "" if high else "95 % of its null stay below"
            values = [scaled(row.values.get(null), 1.0) for row in own]
            high.append(Series(label, [x + beside for x in at], values, role=NULL))
    return [*high, *series], words
