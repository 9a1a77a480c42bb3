"""What is known of a job before any of its work is done: features of the past, computed in the same way live and later.

One :class:`JobHistory` follows one miner. A table for training comes from feeding it a stored run in the order of
time, so that a filter sees at work what its model was trained on. Each step costs the same, however long the run is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firmware_bridge.errors import UserError
from tpf.dataset import WINDOW, BoolArray, Dataset, Feature, FloatArray, IntArray

READINGS = ("temperature_c", "power_w", "frequency_mhz", "voltage_mv")
"""Telemetry that a filter may look at."""

FEATURES: tuple[Feature, ...] = (
    Feature("symbol", "job", text="input symbol that the job is to carry"),
    Feature("previous_symbol", "past", -1, -1, "that of the job before"),
    Feature(
        "previous_response_ms", "past", -1, -1, "from sending the job before to the first share after that"
    ),
    Feature("previous_rate", "past", -1, -1, "shares per second while the job before was the newest one"),
    Feature("past_rate", "past", -WINDOW, -1, f"the same of the {WINDOW} jobs before together"),
    Feature("last_interval_ms", "past", -WINDOW, -1, "between the last two shares"),
    Feature(
        "since_share_ms", "past", -WINDOW, -1, "from the last share to the moment at which the job is sent"
    ),
    *(Feature(name, "telemetry", text="last reading before the job is sent") for name in READINGS),
)
"""Features of a job, in the order of :meth:`JobHistory.send`."""

NAMES = tuple(feature.name for feature in FEATURES)
_NS_PER_MS = 1e6
_NAN = math.nan


class JobHistory:
    """The past of one miner, as far as :data:`FEATURES` look back."""

    def __init__(self) -> None:
        self._sent_ns: int | None = None
        self._symbol = self._response_ms = self._interval_ms = _NAN
        self._shares = 0
        self._last_share_ns: int | None = None
        self._jobs: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._readings = dict.fromkeys(READINGS, _NAN)

    def hear(self, now_ns: int) -> None:
        """A share came."""
        if self._last_share_ns is not None:
            self._interval_ms = (now_ns - self._last_share_ns) / _NS_PER_MS
        self._last_share_ns = now_ns
        if self._sent_ns is not None:
            if not self._shares:
                self._response_ms = (now_ns - self._sent_ns) / _NS_PER_MS
            self._shares += 1

    def read(self, readings: Mapping[str, float]) -> None:
        """The device told something; what is not in :data:`READINGS` is passed over."""
        for name in READINGS:
            if name in readings:
                self._readings[name] = float(readings[name])

    def send(self, now_ns: int, symbol: float | None = None) -> FloatArray:
        """A job goes out: its features, shape (len(FEATURES),), nan where nothing is known yet.

        Args:
            now_ns: monotonic time.
            symbol: that it carries; None for none.
        """
        rate = past = _NAN
        if self._sent_ns is not None:
            seconds = max(1, now_ns - self._sent_ns) / 1e9
            rate = self._shares / seconds
            self._jobs.append((self._shares, seconds))
            past = sum(n for n, _ in self._jobs) / sum(s for _, s in self._jobs)
        since = _NAN if self._last_share_ns is None else (now_ns - self._last_share_ns) / _NS_PER_MS
        new = _NAN if symbol is None else float(symbol)
        told = [new, self._symbol, self._response_ms, rate, past, self._interval_ms, since]
        self._sent_ns, self._symbol, self._shares, self._response_ms = now_ns, new, 0, _NAN
        return np.array([*told, *self._readings.values()])


@dataclass(frozen=True, eq=False)
class JobRun:
    """Jobs and shares of one miner in the order of time.

    Attributes:
        name: of the run.
        sent_ns: when each job was sent, int64, shape (jobs,).
        symbol: that it carried, nan for none, shape (jobs,).
        share_ns: when each valid share came, int64, ascending, shape (shares,).
        share_job: index of its own job, shape (shares,).
        end_ns: when the last job was over.
        reading_ns: when each reading was taken, ascending, shape (readings,).
        readings: name to values, shape (readings,).
    """

    name: str
    sent_ns: IntArray
    symbol: FloatArray
    share_ns: IntArray
    share_job: IntArray
    end_ns: int
    reading_ns: IntArray
    readings: Mapping[str, FloatArray]

    def before(self, job: int) -> tuple[slice, slice]:
        """Shares and readings from the job before (or the beginning) up to the moment at which a job is sent."""
        found = []
        for times in (self.share_ns, self.reading_ns):
            start = 0 if job == 0 else np.searchsorted(times, self.sent_ns[job - 1], side="right")
            found.append(slice(int(start), int(np.searchsorted(times, self.sent_ns[job], side="right"))))
        return found[0], found[1]

    def reading(self, part: slice) -> dict[str, float]:
        """Last reading of a part; empty where there is none."""
        if part.stop <= part.start:
            return {}
        return {name: float(values[part.stop - 1]) for name, values in self.readings.items()}


def job_dataset(run: JobRun) -> Dataset:
    """One row per job: what was known before it was sent, against whether it gave more shares than the median job.

    Raises:
        UserError: if the run has too few jobs.
    """
    if run.sent_ns.size < 10:
        raise UserError(f"{run.name}: {run.sent_ns.size} jobs are too few to learn from")
    history = JobHistory()
    rows = []
    for job in range(run.sent_ns.size):
        shares, readings = run.before(job)
        for now_ns in run.share_ns[shares]:
            history.hear(int(now_ns))
        history.read(run.reading(readings))
        symbol = float(run.symbol[job])
        rows.append(history.send(int(run.sent_ns[job]), None if math.isnan(symbol) else symbol))
    counts = np.bincount(run.share_job, minlength=run.sent_ns.size)[
        :-1
    ]  # the last one may have been cut short
    usual = float(np.median(counts))
    y: BoolArray = counts > usual
    return Dataset(
        name=run.name,
        X=np.array(rows[:-1]),
        y=y,
        features=FEATURES,
        label=f"the job gave more than {usual:g} shares",
        row=np.arange(1, counts.size + 1),
        gap=WINDOW,
    ).varying()


def unknown_before(names: Sequence[str]) -> list[str]:
    """Which of these features nobody knows before the job is sent."""
    return [name for name in names if name not in NAMES]
