"""A table from a file as a dataset: a label column, every other column a feature; words are numbered."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.trace import tabular
from tpf.dataset import BoolArray, Dataset, Feature, FloatArray, IntArray

TIME_COLUMNS = ("timestamp", "time", "time_s", "wall_ns", "datetime", "date")
"""Names of the column that rows are put in order by; a file without one is taken to be in order."""

TRUE = frozenset(
    {"true", "yes", "t", "y", "success", "win", "won", "pass", "passed", "accepted", "valid", "ok"}
)
FALSE = frozenset(
    {"false", "no", "f", "n", "fail", "failed", "failure", "loss", "lost", "rejected", "invalid"}
)
MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "nil", "-", "--", "?", "missing"})
"""Cells that say, in lower case, that there is no value."""

INFINITE = frozenset(sign + word for sign in ("", "+", "-") for word in ("inf", "infinity"))

INTEGER = re.compile(r"[+-]?\d+")
EXACT_INTEGERS = 2.0**53
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

GAP = 3
"""Rows between training and test: as many windows of the past as the published models looked at (claims.md F2)."""


def read_csv(path: Path | str, label: str, *, threshold: float | None = None, gap: int = GAP) -> Dataset:
    """Read a CSV file.

    Args:
        path: the file.
        label: column of the label: two values (0 and 1, true and false), or numbers with ``threshold``.
        threshold: success is a label at or above it.
        gap: rows that a split keeps between training and test.

    Raises:
        UserError: if the file cannot be read, has no such column, no feature, or a label of more than two values.
    """
    path = Path(path)
    table = tabular.open_csv(path)
    if label not in table.columns:
        raise UserError(
            f"{path}, line 1: there is no column {label!r} to predict; it has {', '.join(table.columns)}"
        )
    lines, cells, left_out = _cells(table, label)
    if not lines:
        raise UserError(f"{path}: no row has a label in column {label!r}")
    columns = {name or f"column {i + 1}": [row[i] for row in cells] for i, name in enumerate(table.columns)}
    y, label_text = _labels(path, label, columns[label], threshold)
    times, time_column = _times(columns)
    found: dict[str, tuple[str, str, FloatArray]] = {}
    for name, texts in columns.items():
        if name == label:
            continue
        values = _numbers(texts)
        if values is not None and np.isnan(values).all():
            continue
        if values is not None:
            found[name] = ("column", f"column {name} of {path.name}", values)
        elif name != time_column and (codes := _words(texts)) is not None:
            how = f"column {name} of {path.name}, its words numbered in alphabetical order"
            found[name] = ("category", how, codes)
    if not found:
        raise UserError(f"{path}: no column beside {label!r} says anything; there is nothing to predict from")
    order = np.arange(len(lines)) if times is None else np.argsort(times, kind="stable")
    X = np.column_stack([values for _, _, values in found.values()])[order]
    interval = None
    if times is not None and times.size > 1:
        interval = float(times.max() - times.min()) / 1e6 / (times.size - 1)
    return Dataset(
        name=path.name,
        X=X,
        y=y[order],
        features=tuple(Feature(name, kind, text=text) for name, (kind, text, _) in found.items()),
        label=label_text,
        row=np.array(lines, np.int64)[order],
        gap=gap,
        threshold=threshold,
        left_out=left_out,
        mean_interval_ms=interval,
    )


def _cells(table: tabular.CsvFile, label: str) -> tuple[list[int], list[list[str]], dict[str, int]]:
    lines: list[int] = []
    cells: list[list[str]] = []
    left_out: Counter[str] = Counter()
    for line, row in table.rows():
        if isinstance(row, tabular.RowError):
            left_out[str(row)] += 1
        elif row[label].strip().lower() in MISSING | INFINITE:
            left_out["no label"] += 1
        else:
            lines.append(line)
            cells.append([_point(row[name].strip(), table.delimiter) for name in table.columns])
    return lines, cells, dict(left_out)


def _labels(path: Path, name: str, texts: list[str], threshold: float | None) -> tuple[BoolArray, str]:
    low = {text.lower() for text in texts}
    numbers = _numbers(texts)
    if threshold is not None:
        if numbers is None or low <= TRUE | FALSE:
            raise UserError(f"{path}: column {name!r} is not numeric, so --threshold has no meaning for it")
        return numbers >= threshold, f"{name} >= {threshold:g}"
    if numbers is None:
        raise UserError(
            f"{path}: column {name!r} is no label: it has values like {texts[0]!r}; a label is 0 or 1, true or false"
        )
    if low <= TRUE | FALSE:
        return numbers > 0, name
    values = np.unique(numbers)
    if values.size > 2:
        raise UserError(
            f"{path}: column {name!r} has {values.size} different values; a label has two, or say above what a row "
            "counts as a success: --threshold D"
        )
    if values.size == 2:
        return numbers == values[1], f"{name} = {values[1]:g}"
    return np.full(numbers.size, bool(values[0] > 0)), f"{name} = 1"


def _point(text: str, delimiter: str) -> str:
    """A decimal comma, where commas separate nothing, as a point."""
    return text.replace(",", ".") if delimiter != "," and DECIMAL_COMMA.fullmatch(text) else text


def _numbers(texts: list[str]) -> FloatArray | None:
    """A column as numbers, yes and no as 1 and 0, nan where a cell is missing or not finite; None of other words."""
    low = [text.lower() for text in texts]
    told = set(low) - MISSING
    if told and told <= TRUE | FALSE:
        return np.array([np.nan if text in MISSING else float(text in TRUE) for text in low])
    try:
        values = np.array([np.nan if text in MISSING else float(text) for text in low])
    except ValueError:
        return None
    large = np.abs(values[np.isfinite(values)]) > EXACT_INTEGERS
    if large.any() and all(text in MISSING or INTEGER.fullmatch(text) for text in low):
        # differences that a float of this size does not hold
        whole = [None if text in MISSING else int(text) for text in low]
        least = min(number for number in whole if number is not None)
        values = np.array([np.nan if number is None else float(number - least) for number in whole])
    values[~np.isfinite(values)] = np.nan
    return values


def _words(texts: list[str]) -> FloatArray | None:
    """A column of words as their places in alphabetical order, nan where a cell is missing; None of no words."""
    known = sorted({text for text in texts if text.lower() not in MISSING})
    if not known:
        return None
    place = {text: float(at) for at, text in enumerate(known)}
    return np.array([place.get(text, np.nan) for text in texts])


def _times(columns: dict[str, list[str]]) -> tuple[IntArray | None, str | None]:
    """Times of the rows and the column that tells them; neither where none does."""
    for name in columns:
        if name.lower() in TIME_COLUMNS:
            parser = tabular.TimeParser()
            try:
                return np.array([parser.parse(text) for text in columns[name]], np.int64), name
            except tabular.RowError:
                return None, name
    return None, None
