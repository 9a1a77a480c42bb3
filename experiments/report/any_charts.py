"""Charts of any experiment, chosen from what its cells hold: over a setting, as a map, or spread over repetitions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from experiments.charts import (
    ARMS,
    AnyChart,
    Chart,
    Ladder,
    Map,
    Mark,
    Panel,
    Rung,
    Series,
    arms,
    finite,
    interval,
    rungs,
    swept,
)
from experiments.experiment import ALPHA, SUBJECT, Row

MOST = 3
"""Values that are drawn, the most telling first."""
MOST_PANELS = 12
UNITS = {"_mhz": "MHz", "_mv": "mV", "_ms": "ms", "_s": "s", "_hz": "Hz", "_c": "°C", "_w": "W"}
WIDE = 8.0
"""A setting that grows by more than this factor is drawn on a logarithmic scale."""
ABOUT = {
    SUBJECT: "Filled circles: this miner. ",
    "both": "Circles: this miner. Squares: the placebo arm, an ordinary emulated miner in the same pipeline. ",
}


def charts_of(rows: Sequence[Row], statistic: str = "") -> list[AnyChart]:
    """Up to three values of the cells, each over the settings that vary.

    Args:
        rows: of both arms.
        statistic: name of what was decided on; values that it names come first.
    """
    if not rows:
        return []
    keys = list(dict.fromkeys(key for row in rows for key in row.cell.point))
    moving = [key for key in keys if len({row.cell.point.get(key) for row in rows}) > 1]
    axes = [k for k in moving if all(finite(row.cell.point.get(k)) for row in rows)]
    names = [key for key in moving if key not in axes]
    about = ABOUT["both" if len(arms(rows)) > 1 else SUBJECT]
    chosen = _telling(rows, statistic, axes)
    if not axes:
        return [_over_names(rows, name, names, about) for name in chosen]
    if len(axes) == 1:
        return [_over_axis(rows, name, axes[0], names, about) for name in chosen]
    return [_over_two(rows, name, axes, names) for name in chosen if name != "p_value"]


def _telling(rows: Sequence[Row], statistic: str, axes: Sequence[str]) -> list[str]:
    """Numbers that vary from cell to cell: named by the statistic first, then with an interval, then any."""
    keys = sorted({key for row in rows for key in row.values})
    same = (
        1 if len(rows) > 1 else 0
    )  # what is the same in every cell is a setting, unless there is one cell alone
    numbers = [
        key
        for key in keys
        if key not in axes
        and len({row.values.get(key) for row in rows if finite(row.values.get(key))}) > same
    ]
    told = set(re.findall(r"[a-z]+", statistic.lower()))
    errors = {"error", "seed"} | {key for key in numbers if key.endswith(("_error", "_sd", "_high", "_low"))}

    def rank(key: str) -> tuple[bool, bool, bool, str]:
        named = bool(told & set(key.lower().split("_")))
        return (not named, _bounds(rows, key) == ("", ""), key != "p_value", key)

    first = sorted((key for key in numbers if key not in errors), key=rank)[:MOST]
    return first or numbers[:MOST]


def _bounds(rows: Sequence[Row], key: str) -> tuple[str, str]:
    """Names of standard error and interval of a value, where the cells hold them."""
    there = {name for row in rows for name in row.values}
    ci = next((c for c in (f"{key}_ci", key.removesuffix("_s") + "_ci_s") if c in there), "")
    error = next((e for e in (f"{key}_error", "error") if e in there and _fits(key, e)), "")
    return error, ci


def _fits(key: str, error: str) -> bool:
    # a bare "error" belongs to the one value that experiments give with an error
    return error != "error" or key in ("cv", "excess", "capacity")


def _name(key: str) -> str:
    """A key in words, its unit taken off."""
    known = {"p_value": "p", "cv": "CV", "nrmse": "NRMSE", "auc": "AUC", "eer": "EER", "n": "n"}
    bare = key.removesuffix(_suffix(key))
    return known.get(bare, bare.replace("_", " "))


def _suffix(key: str) -> str:
    return next((suffix for suffix in UNITS if key.endswith(suffix) and "_per" not in key), "")


def _label(key: str) -> str:
    unit = UNITS.get(_suffix(key))
    return _name(key) + (f", {unit}" if unit else "")


def _title(key: str, where: str) -> str:
    name = _name(key)
    return (name if key == "p_value" else name[0].upper() + name[1:]) + where


def _marks(key: str) -> list[Mark]:
    return [Mark(ALPHA, f"{ALPHA:g}")] if key == "p_value" else []


def _about_p(key: str) -> str:
    return (
        "Each p stands for its cell alone; the decision allows for their number. " if key == "p_value" else ""
    )


def _over_axis(rows: Sequence[Row], key: str, axis: str, names: Sequence[str], about: str) -> AnyChart:
    error, ci = _bounds(rows, key)
    series = swept(rows, axis, key, error=error, ci=ci, by=names[0] if names else "")
    bars = "Bars: 95 %. " if error or ci else "The cells hold no interval of it. "
    return Chart(
        _title(key, f" over {_name(axis)}"),
        about + bars + _about_p(key),
        _label(axis),
        _label(key),
        series,
        _marks(key),
        log_x=_is_wide([row.cell.point[axis] for row in rows]),
        log_y=key == "p_value",
    )


def _is_wide(places: Sequence[Any]) -> bool:
    return bool(min(places) > 0 and max(places) / min(places) > WIDE)


def _over_names(rows: Sequence[Row], key: str, names: Sequence[str], about: str) -> AnyChart:
    """One place for each combination of words, every repetition a point."""

    def place(row: Row) -> str:
        return ", ".join(str(row.cell.point.get(name)) for name in names)

    error, ci = _bounds(rows, key)
    places = list(dict.fromkeys(place(row) for row in rows))
    if len(rows) <= 12 and len(places) * len(arms(rows)) == len(rows):
        ladder = rungs(rows, key, error=error, ci=ci, label=place)
        return Ladder(
            _title(key, ""), about + _about_p(key), _label(key), ladder, _marks(key), log=key == "p_value"
        )
    series = []
    for arm, own in arms(rows):
        told = [row for row in own if finite(row.values.get(key))]
        spans = [interval(row.values, key, error, ci) for row in told]
        series.append(
            Series(
                ARMS[arm],
                [float(places.index(place(row))) for row in told],
                [float(row.values[key]) for row in told],
                [None if s is None else s[0] for s in spans],
                [None if s is None else s[1] for s in spans],
                arm,
            )
        )
    return Chart(
        _title(key, "" if not names else f" by {', '.join(map(_label, names))}"),
        f"{about}One mark for each repetition. {_about_p(key)}",
        "",
        _label(key),
        series,
        _marks(key),
        categories=[place or "all cells" for place in places],
        log_y=key == "p_value",
    )


def _over_two(rows: Sequence[Row], key: str, axes: Sequence[str], names: Sequence[str]) -> AnyChart:
    """Maps over the two settings with the most values; a third one, words and arms make panels."""
    many = sorted(axes, key=lambda axis: -len({row.cell.point[axis] for row in rows}))
    x, y, *rest = many
    panels = []
    others = [*rest, *names]
    for arm, own in arms(rows):
        for where in dict.fromkeys(tuple(row.cell.point.get(name) for name in others) for row in own):
            some = [row for row in own if tuple(row.cell.point.get(name) for name in others) == where]
            cells: dict[tuple[float, float], float | None] = {}
            for place in dict.fromkeys((float(r.cell.point[x]), float(r.cell.point[y])) for r in some):
                told = [
                    float(r.values[key])
                    for r in some
                    if (r.cell.point[x], r.cell.point[y]) == place and finite(r.values.get(key))
                ]
                cells[place] = sum(told) / len(told) if told else None
            words = [
                f"{_label(n)} {v:g}" if finite(v) else str(v) for n, v in zip(others, where, strict=True)
            ]
            panels.append(Panel(", ".join([ARMS[arm], *words]), cells))
    centre = median([v for panel in panels for v in panel.cells.values() if v is not None] or [0.0])
    left = len(panels) - MOST_PANELS
    return Map(
        _title(key, f" over {_name(x)} and {_name(y)}"),
        f"Coloured by how far a cell lies from the median of all, {centre:.3g}; a dash: no number. "
        + (f"{left} more panels are in the table alone. " if left > 0 else ""),
        _label(x),
        _label(y),
        panels[:MOST_PANELS],
        min(3, len(panels)),
        centre,
    )


def of_finding(finding: Mapping[str, Any], placebo: Mapping[str, Any] | None) -> list[AnyChart]:
    """The statistic that was decided on, with its interval, of both arms; nothing where it has no interval."""
    told = [(SUBJECT, finding), *([] if placebo is None else [("placebo", placebo)])]
    found = []
    for arm, said in told:
        value, ci = said.get("value"), said.get("ci")
        if isinstance(value, float) and isinstance(ci, list):
            found.append(Rung(ARMS[arm], value, (float(ci[0]), float(ci[1])), role=arm))
    if not found or found[0].role != SUBJECT:
        return []
    name = str(finding["statistic"])
    return [
        Ladder(
            "What it was decided on",
            f"{name[0].upper()}{name[1:]}, with its 95 % interval, of the miner and of the placebo arm.",
            name,
            found,
        )
    ]
