"""Nonces that the host found wrong, in the windows between two readings: how many, and whether they are independent.

A chip whose logic is too slow for its clock reports nonces whose hash is not what it took it for. The host counts them;
which nonce it was it keeps to itself. So a window between two readings is all that there is, on emulators, recordings
and devices alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.charts import spread

if TYPE_CHECKING:
    from firmware_bridge.emulator.virtual_trace import VirtualTrace
    from firmware_bridge.trace.reader import TraceReader

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BLOCK = 16
"""Windows within which symbols are exchanged: slow drift, as of the temperature, is the same on both sides."""
DRAWS = 999
FEWEST = 30
"""Errors below which nothing is said of their independence."""
FEWEST_WINDOWS = 2 * BLOCK
SYMBOL_BINS = 5
"""Parts of the range of the input in which errors are counted for a picture."""


@dataclass(frozen=True)
class Windows:
    """Windows between two readings, shape (n,).

    Attributes:
        seconds: how long each is.
        errors: nonces that were found wrong in it.
        symbol: mean over its time of the input symbol of the jobs; nan where one carried none.
    """

    seconds: F64
    errors: I64
    symbol: F64


@dataclass(frozen=True)
class Failures:
    """What a run tells of its errors.

    Attributes:
        windows: with the counter of the host; none where it has no such counter.
        found: right nonces, in units of the chip's smallest difficulty.
        submitted: shares, whatever became of them.
        rejected: reason to count of shares that were not valid.
    """

    windows: Windows
    found: float
    submitted: int
    rejected: Mapping[str, int]


def windows_between(reading_ns: I64, counter: F64, sent_ns: I64, symbol: F64) -> Windows:
    """Windows between readings of a counter.

    Args:
        reading_ns: when it was read, ascending, shape (r,).
        counter: what it said; nan where it said nothing. Where it falls, the device has started anew.
        sent_ns: when each job was sent, ascending, shape (j,).
        symbol: of each job; nan for none.
    """
    known = np.isfinite(counter)
    at, count = reading_ns[known], counter[known]
    if at.size < 2 or not sent_ns.size:
        return Windows(np.empty(0), np.empty(0, np.int64), np.empty(0))
    errors, lasted = np.diff(count), np.diff(at)
    whole = (errors >= 0) & (lasted > 0) & (at[:-1] >= sent_ns[0])
    # the integral of the symbol over time is linear between two jobs
    told = np.where(np.isfinite(symbol), symbol, 0.0)
    untold = np.where(np.isfinite(symbol), 0.0, 1.0)
    ends = np.append(sent_ns, max(int(at[-1]), int(sent_ns[-1])) + 1).astype(np.float64)

    def mean(values: F64) -> F64:
        integral = np.append(0.0, np.cumsum(values * np.diff(ends)))
        return np.asarray(np.diff(np.interp(at, ends, integral))[whole] / lasted[whole])

    missing = mean(untold) > 1e-9
    return Windows(lasted[whole] / 1e9, errors[whole].astype(np.int64), np.where(missing, np.nan, mean(told)))


def of_emulation(trace: VirtualTrace) -> Failures:
    """Of a virtual run with a programme."""
    period_ns = round(trace.config.resolved_physics().telemetry_period_s * 1e9)
    readings = np.arange(sum(course.sensed_c.size for course in trace.courses)) * period_ns
    counter = np.searchsorted(trace.failed_ns, readings).astype(np.float64)
    windows = windows_between(readings, counter, trace.job_sent_ns, trace.symbol)
    doubled = int(trace.duplicate.sum())
    found = float((trace.job_difficulty[trace.row_job[~trace.duplicate]] / trace.model.floor).sum())
    return Failures(windows, found, trace.n, {"duplicate": doubled} if doubled else {})


def of_run(reader: TraceReader, run: int, floor: float) -> Failures:
    """Of a stored run; where several devices were read, of the first that counts errors.

    Args:
        reader: of the trace.
        run: its number there.
        floor: smallest difficulty that its chips report.
    """
    readings = [
        row
        for row in reader.dicts(run, "telemetry")
        if row["hardware_errors"] is not None and row["monotonic_ns"] is not None and row["source"] is None
    ]
    miner = readings[0]["miner"] if readings else None
    readings = [row for row in readings if row["miner"] == miner]
    jobs = [
        row
        for row in reader.dicts(run, "jobs")
        if row["sent_monotonic_ns"] is not None and (miner is None or row["miner"] in (None, miner))
    ]
    shares = [row for row in reader.dicts(run, "shares") if miner is None or row["miner"] == miner]

    def column(rows: list[dict[str, Any]], name: str, dtype: type) -> Any:
        return np.array([math.nan if row[name] is None else row[name] for row in rows], dtype=dtype)

    windows = windows_between(
        column(readings, "monotonic_ns", np.int64),
        column(readings, "hardware_errors", np.float64),
        column(jobs, "sent_monotonic_ns", np.int64),
        column(jobs, "symbol", np.float64),
    )
    asked = {row["job"]: row["difficulty"] or floor for row in jobs}
    found = sum(max(asked.get(row["job"], floor), floor) / floor for row in shares if row["valid"])
    rejected = Counter(str(row["reason"]) for row in shares if row["valid"] is False)
    return Failures(windows, found, len(shares), dict(rejected))


@dataclass(frozen=True)
class Independence:
    """Whether errors are independent of the input and of each other.

    Attributes:
        correlation: of symbols and errors, both less their mean over a block.
        p_input: chance of a correlation as large, either way, with symbols exchanged within blocks.
        dispersion: mean square of the difference of neighbouring windows over what independent errors give.
        p_clusters: chance of one as large, with the errors of each pair of windows tossed between the two.
        null_correlation: quantiles ``charts.SPREAD`` of the correlation in its draws; empty where there are none.
        null_dispersion: the same of the dispersion.
    """

    correlation: float
    p_input: float
    dispersion: float
    p_clusters: float
    null_correlation: list[float]
    null_dispersion: list[float]

    def to_json(self) -> dict[str, float | list[float]]:
        """Plain data."""
        return dict(vars(self))


def independence(windows: Windows, rng: np.random.Generator) -> Independence | None:
    """Both tests, each against draws of its own null; None where there are too few errors or windows."""
    n = windows.errors.size
    if n < FEWEST_WINDOWS or int(windows.errors.sum()) < FEWEST:
        return None
    correlation, p_input, null_correlation = _input(windows, rng)
    dispersion, p_clusters, null_dispersion = _clusters(windows, rng)
    return Independence(correlation, p_input, dispersion, p_clusters, null_correlation, null_dispersion)


def over_symbols(windows: Windows) -> list[tuple[int, float]]:
    """Errors in windows whose symbol lies in each fifth of 0 to 1, and those that the rates of their blocks let expect.

    Only whole blocks count, as in the test; empty where a window has no symbol.
    """
    u, seconds, errors = _blocks(windows)
    if not u.size or not np.all(np.isfinite(u)):
        return []
    expected = seconds * (errors.sum(axis=1) / seconds.sum(axis=1))[:, None]
    fifth = np.clip((u * SYMBOL_BINS).astype(int), 0, SYMBOL_BINS - 1)
    return [(int(errors[fifth == i].sum()), float(expected[fifth == i].sum())) for i in range(SYMBOL_BINS)]


def _blocks(windows: Windows) -> tuple[F64, F64, I64]:
    """Symbols, seconds and errors of whole blocks, a row for each."""
    whole = windows.errors.size // BLOCK * BLOCK
    return (
        windows.symbol[:whole].reshape(-1, BLOCK),
        windows.seconds[:whole].reshape(-1, BLOCK),
        windows.errors[:whole].reshape(-1, BLOCK),
    )


def _input(windows: Windows, rng: np.random.Generator) -> tuple[float, float, list[float]]:
    u, seconds, errors = _blocks(windows)
    if not np.all(np.isfinite(u)) or float(u.std()) == 0.0:
        return 0.0, 1.0, []
    above = errors - seconds * (errors.sum(axis=1) / seconds.sum(axis=1))[:, None]
    u = u - u.mean(axis=1, keepdims=True)
    own = float((u * above).sum())
    drawn = np.array([(rng.permuted(u, axis=1) * above).sum() for _ in range(DRAWS)])
    norm = math.sqrt(float((u**2).sum()) * float((above**2).sum()))
    p = (1 + int((np.abs(drawn) >= abs(own) * (1 - 1e-12)).sum())) / (1 + DRAWS)
    return (own / norm, p, spread(drawn / norm)) if norm else (0.0, p, [])


def _clusters(windows: Windows, rng: np.random.Generator) -> tuple[float, float, list[float]]:
    pairs = windows.errors[: windows.errors.size // 2 * 2].reshape(-1, 2)
    seconds = windows.seconds[: windows.errors.size // 2 * 2].reshape(-1, 2)
    total = pairs.sum(axis=1)
    first, total = pairs[total > 0, 0], total[total > 0]
    part = (seconds[:, 0] / seconds.sum(axis=1))[pairs.sum(axis=1) > 0]
    scale = total * part * (1.0 - part)

    def unevenness(counts: Any) -> Any:
        return ((counts - total * part) ** 2 / scale).mean(axis=-1)

    own = float(unevenness(first))
    drawn = unevenness(rng.binomial(total, part, (DRAWS, total.size)))
    return own, (1 + int((drawn >= own * (1 - 1e-12)).sum())) / (1 + DRAWS), spread(drawn)
