"""A table from a file as a dataset: a label column, every other numeric column a feature."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.trace import tabular
from tpf.dataset import BoolArray, Dataset, Feature, FloatArray, IntArray

TIME_COLUMNS = ("timestamp", "time", "time_s", "wall_ns", "datetime", "date")
"""Names of the column that rows are put in order by; a file without one is taken to be in order."""

TRUE = frozenset({"true", "yes", "t", "y", "success", "win"})
FALSE = frozenset({"false", "no", "f", "n", "fail", "failure", "loss"})

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
    columns = {name: [row[i] for row in cells] for i, name in enumerate(table.columns)}
    y, text = _labels(path, label, columns[label], threshold)
    numeric = {name: _numbers(values) for name, values in columns.items() if name != label}
    found = {name: values for name, values in numeric.items() if values is not None}
    if not found:
        raise UserError(f"{path}: no column beside {label!r} is numeric; there is nothing to predict from")
    times = _times(columns)
    order = np.arange(len(lines)) if times is None else np.argsort(times, kind="stable")
    X = np.column_stack(list(found.values()))[order]
    keys = [int.from_bytes(hashlib.sha256("\0".join(row).encode()).digest()[:7], "big") for row in cells]
    interval = None
    if times is not None and times.size > 1:
        interval = float(times.max() - times.min()) / 1e6 / (times.size - 1)
    return Dataset(
        name=path.name,
        X=X,
        y=y[order],
        features=tuple(Feature(name, "column", text=f"column {name} of {path.name}") for name in found),
        label=text,
        row=np.array(lines, np.int64)[order],
        gap=gap,
        threshold=threshold,
        left_out=left_out,
        key=np.array(keys, np.int64)[order],
        mean_interval_ms=interval,
    )


def _cells(table: tabular.CsvFile, label: str) -> tuple[list[int], list[list[str]], dict[str, int]]:
    lines: list[int] = []
    cells: list[list[str]] = []
    left_out: Counter[str] = Counter()
    for line, row in table.rows():
        if isinstance(row, tabular.RowError):
            left_out[str(row)] += 1
        elif not row[label].strip():
            left_out["no label"] += 1
        else:
            lines.append(line)
            cells.append([row[name].strip() for name in table.columns])
    return lines, cells, dict(left_out)


def _labels(path: Path, name: str, texts: list[str], threshold: float | None) -> tuple[BoolArray, str]:
    numbers = _numbers(texts)
    if threshold is not None:
        if numbers is None:
            raise UserError(f"{path}: column {name!r} is not numeric, so --threshold has no meaning for it")
        return numbers >= threshold, f"{name} >= {threshold:g}"
    if numbers is None:
        low = [text.lower() for text in texts]
        if set(low) <= TRUE | FALSE:
            return np.array([text in TRUE for text in low]), name
        raise UserError(
            f"{path}: column {name!r} is no label: it has values like {texts[0]!r}; a label is 0 or 1, true or false"
        )
    values = np.unique(numbers)
    if values.size > 2:
        raise UserError(
            f"{path}: column {name!r} has {values.size} different values; a label has two, or say above what a row "
            "counts as a success: --threshold D"
        )
    if values.size == 2:
        return numbers == values[1], f"{name} = {values[1]:g}"
    return np.full(numbers.size, bool(values[0] > 0)), f"{name} = 1"


def _numbers(texts: list[str]) -> FloatArray | None:
    """A column as numbers, nan where a cell is empty or not finite; None where some cell is no number."""
    try:
        values = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return None
    values[~np.isfinite(values)] = np.nan
    return None if np.isnan(values).all() else values


def _times(columns: dict[str, list[str]]) -> IntArray | None:
    for name in columns:
        if name.lower() in TIME_COLUMNS:
            parser = tabular.TimeParser()
            try:
                return np.array([parser.parse(text) for text in columns[name]], np.int64)
            except tabular.RowError:
                return None
    return None
