"""Tables without leaks: one row per share, features that were known without its hash, a label that needs it.

Every feature says where it comes from (:class:`Feature`), so that :mod:`tpf.audit` can judge it by its origin and not
only by its numbers. A run's features come from :mod:`tpf.run_dataset`, those of a CSV from :mod:`tpf.csv_dataset`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

KINDS = {
    "timing": "when this share came",
    "telemetry": "the device's last reading before this share",
    "scan": "where in its scan the chip found this share",
    "past": "earlier shares",
    "job": "the job, known before it is sent",
    "column": "a column of a file; nobody says how it was made",
    "category": "a column of words in a file, numbered in alphabetical order",
    "hash": "the hash of this share",
}
"""Where a feature can come from."""

SUCCESS_OVER_FLOOR = 4.0
"""Default threshold of the label over the smallest difficulty of the run: 1024 on an S9."""

WINDOW = 10
"""Rows of the past that windowed features look at; splits keep a gap as long."""


@dataclass(frozen=True)
class Feature:
    """Where one column comes from.

    Attributes:
        name: of the column; ``_ms`` and such say the unit.
        kind: key of :data:`KINDS`.
        first: first row that goes in, relative to the row itself (-10: ten rows before).
        last: last row that goes in; above 0 it is from the future.
        text: how it is computed.
    """

    name: str
    kind: str
    first: int = 0
    last: int = 0
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a feature comes from {', '.join(KINDS)}, not from {self.kind!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": [self.first, self.last],
            "text": self.text,
        }


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in the order of time.

    Attributes:
        name: of the run or file.
        X: float64, shape (n, d); nan where a feature is not known.
        y: bool, shape (n,); True is success.
        features: of the d columns.
        label: what y says, in words.
        row: number of each row in its source (share of the run, line of the file), shape (n,).
        gap: rows that a split keeps between training and test.
        threshold: difficulty that a success reaches, or None where the label is a column.
        left_out: rows of the source that are not here, by reason.
        mean_interval_ms: between rows, or None where no time is known.
        clock_tick_ms: resolution of the times, or None where unknown.
        plants: planted effects of an emulated run.
    """

    name: str
    X: FloatArray
    y: BoolArray
    features: tuple[Feature, ...]
    label: str
    row: IntArray
    gap: int
    threshold: float | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    mean_interval_ms: float | None = None
    clock_tick_ms: float | None = None
    plants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, d = self.X.shape
        if self.y.shape != (n,) or self.row.shape != (n,) or len(self.features) != d:
            raise ValueError(
                f"X is {self.X.shape}, y {self.y.shape}, {len(self.features)} features are named"
            )

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.y.size)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [feature.name for feature in self.features]

    @property
    def positives(self) -> int:
        """Rows with success."""
        return int(self.y.sum())

    @property
    def single_class(self) -> bool:
        """Whether every row has the same label (or there is none), so that nothing can be learned."""
        return self.positives in (0, self.n)

    @property
    def base_rate(self) -> float:
        """Accuracy of the best constant predictor; nan of no rows."""
        return max(self.positives, self.n - self.positives) / self.n if self.n else float("nan")

    def rows(self, part: slice | IntArray) -> Dataset:
        """Some of the rows."""
        return replace(self, X=self.X[part], y=self.y[part], row=self.row[part])

    def only(self, names: Sequence[str]) -> Dataset:
        """Some of the columns, in the order of ``names``."""
        at = [self.names.index(name) for name in names]
        return replace(self, X=self.X[:, at], features=tuple(self.features[i] for i in at))

    def varying(self) -> Dataset:
        """Without columns that say nothing: constant where they are known, or known nowhere."""
        keep = [
            name
            for i, name in enumerate(self.names)
            if np.unique(self.X[~np.isnan(self.X[:, i]), i][:100_000]).size > 1
        ]
        return self if len(keep) == len(self.features) else self.only(keep)

    def sha256(self) -> str:
        """Hash of the numbers, names and label: which data a model was trained on."""
        digest = hashlib.sha256()
        digest.update("\n".join([*self.names, self.label]).encode())
        digest.update(np.ascontiguousarray(self.X, dtype="<f8").tobytes())
        digest.update(np.packbits(self.y).tobytes())
        return digest.hexdigest()


def previous_rows(values: FloatArray, lag: int = 1) -> FloatArray:
    """What stood ``lag`` rows before, shape as given; nan at the start."""
    moved = np.full(values.shape, np.nan)
    moved[lag:] = values[: values.shape[0] - lag]
    return moved


def past_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of the known values among the ``window`` rows before each row, shape (n,); nan where there is none."""
    known = ~np.isnan(values)
    centre = _first(values)
    total = _before(np.where(known, values - centre, 0.0), window)
    count = _before(known.astype(np.float64), window)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(count > 0, total / count + centre, np.nan))


def past_sd(values: FloatArray, window: int) -> FloatArray:
    """Standard deviation (ddof=0) of the same rows; nan where fewer than two are known."""
    known = ~np.isnan(values)
    centred = values - _first(values)
    mean = past_mean(centred, window)
    square = past_mean(centred**2, window)
    count = _before(known.astype(np.float64), window)
    return np.asarray(np.where(count >= 2, np.sqrt(np.maximum(square - mean**2, 0.0)), np.nan))


def _first(values: FloatArray) -> float:
    """First known value: taken off for the sake of precision, and no later row can move it."""
    known = values[~np.isnan(values)]
    return float(known[0]) if known.size else 0.0


def _before(values: FloatArray, window: int) -> FloatArray:
    """Sum of the ``window`` rows before each row."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(values.size)
    return np.asarray(total[at] - total[np.maximum(at - window, 0)])
