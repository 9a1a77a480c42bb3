"""Where in its scan a chip found a share, and what that says about when the share could come.

A mining chip tries nonces in a fixed order, so the nonce, the extranonce2 and the version bits of a share tell how far
the work had got. Time since the job was sent is then nearly a linear function of that position (statistics.md §1.3):
on a recorded Antminer S9 with R² > 0.999. What a lab wants to look at is what this leaves over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.timing.run_data import BoolArray, FloatArray, IntArray, RunData, previous_of_same_miner

MIN_SCAN_SHARES = 30
"""Fewer clean shares than this give no scan model."""

MIN_ON_TIME = 0.5
"""An alignment holds if so many of the clean shares follow it; a busy host delays the others."""

MIN_R2 = 0.9
"""Below this a layout is not the one of the miner (a wrong one gives about 0), and nothing is taken out by it."""

CLEAN_PREVIOUS_MS = 100.0
"""A first share is clean when the row before came this long after its job: no late load can follow (measured)."""


@dataclass(frozen=True)
class ScanPosition:
    """Decoded positions, arrays of shape (n,).

    Attributes:
        chip: number of the chip on its chain.
        core: number of the core on its chip.
        counter: scan counter within one pass.
        coarse: columns that count whole passes since the job arrived, shape (n, k).
    """

    chip: IntArray
    core: IntArray
    counter: IntArray
    coarse: FloatArray


@dataclass(frozen=True)
class ScanLayout:
    """How a model lays out its nonces.

    Attributes:
        model: name of the model in traces.
        counter_span: values that the counter field can take.
        clean_extranonce2: smallest extranonce2 of a clean first share (the first works of a job are loaded unevenly).
        coarse: names of the coarse columns; the last one counts the pass that ``counter`` belongs to.
        hashes_per_count: nonces tried at once, None where that is chips times cores as observed.
        decode: nonce, extranonce2, version bits to a position.
    """

    model: str
    counter_span: int
    clean_extranonce2: int
    coarse: tuple[str, ...]
    hashes_per_count: int | None
    decode: Callable[[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32]], ScanPosition]


def _decode_s9(
    nonce: NDArray[np.uint32], extranonce2: NDArray[np.uint64], version_bits: NDArray[np.uint32]
) -> ScanPosition:
    """BM1387 x 63 behind the S9's FPGA: byte-swapped nonce = 6 bits chip, 19 bits counter, 7 bits core (measured)."""
    swapped = nonce.byteswap().astype(np.int64)
    return ScanPosition(
        chip=swapped >> 26,
        core=swapped & 0x7F,
        counter=(swapped >> 7) & 0x7FFFF,
        coarse=extranonce2.astype(np.float64)[:, None],
    )


def _decode_lv06(
    nonce: NDArray[np.uint32], extranonce2: NDArray[np.uint64], version_bits: NDArray[np.uint32]
) -> ScanPosition:
    """One BM1366: big-endian nonce bytes = 7 bits core, 25 bits counter; 8 versions at a time (hardware.md §1.4, 1.9).

    On the wire of Stratum the nonce is the big-endian number of the header's little-endian field, so the chip's view is
    its byte swap.
    """
    swapped = nonce.byteswap().astype(np.int64)
    batch = (version_bits.astype(np.int64) >> 13) >> 3
    return ScanPosition(
        chip=np.zeros(nonce.size, np.int64),
        core=swapped >> 25,
        counter=swapped & 0x1FFFFFF,
        coarse=np.column_stack([extranonce2.astype(np.float64), batch.astype(np.float64)]),
    )


@cache
def bm1366_layout(chips: int) -> ScanLayout:
    """A chain of BM1366 behind its own serial port (hardware.md §1.4, §1.9).

    Big-endian nonce bytes = 7 bits core, then the counter, which each chip of a chain starts at its address and sweeps
    as far as the hash counting number lets it: 2^25 over the next power of two of the chain's length.

    Args:
        chips: length of the chain, 1 to 128.
    """
    interval = (256 // chips) << 17
    span = (1 << 25) >> (chips - 1).bit_length()

    def decode(
        nonce: NDArray[np.uint32], extranonce2: NDArray[np.uint64], version_bits: NDArray[np.uint32]
    ) -> ScanPosition:
        swapped = nonce.byteswap().astype(np.int64)
        within = swapped & 0x1FFFFFF
        chip = np.minimum(within // interval, chips - 1)
        batch = (version_bits.astype(np.int64) >> 13) >> 3
        return ScanPosition(
            chip=chip,
            core=swapped >> 25,
            counter=within - chip * interval,
            coarse=np.column_stack([extranonce2.astype(np.float64), batch.astype(np.float64)]),
        )

    return ScanLayout("bm1366", span, 0, ("extranonce2", "version batch"), 894 * chips, decode)


LAYOUTS = {
    "s9": ScanLayout("s9", 1 << 19, 16, ("extranonce2",), None, _decode_s9),
    "lv06": ScanLayout("lv06", 1 << 25, 0, ("extranonce2", "version batch"), 894, _decode_lv06),
}


@dataclass(frozen=True)
class ScanSummary:
    """Nonce decoding and the regression of clean first shares (statistics.md §2, "Quantities of a run of an S9").

    ``slope_ms`` is ms per extranonce2, ``counter_ms`` ms per full counter span, ``spearman_residual`` the rank
    correlation of the counter with what the regression on the coarse columns alone leaves. ``capacity_ths`` is the hash
    rate while hashing, ``naive_ths`` that of the shares over the whole span, ``duty`` their ratio.
    """

    layout: str
    clean: int
    chips: int
    cores: int
    counter_max: int
    slope_ms: float | None
    intercept_ms: float | None
    counter_ms: float | None
    r2: float | None
    spearman_residual: float | None
    capacity_ths: float | None
    naive_ths: float | None
    duty: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def layout_of(data: RunData) -> ScanLayout | None:
    """Layout of the run's miner: by its model, else the one that its nonces fit.

    A run of several miners has none; look at each miner apart.
    """
    if not data.extranonce2_known or data.unverified or data.n == 0 or len(np.unique(data.miner)) != 1:
        return None
    miner = data.miners[int(data.miner[0])]
    model = miner.model
    if model == "bm1366":
        length = re.search(r"\b(\d{1,3}) chips", miner.user_agent or "")
        chips = int(length[1]) if length else 1
        return bm1366_layout(chips) if 1 <= chips <= 128 else None
    if model in LAYOUTS:
        return LAYOUTS[model]
    if model is not None:
        return None
    for layout in LAYOUTS.values():
        fit = _fit_clean(data, layout)
        if fit is not None and fit.r2 >= MIN_R2:
            return layout
    return None


@dataclass(frozen=True)
class _CleanFit:
    rows: IntArray
    coefficients: FloatArray
    r2: float
    design: FloatArray
    response: FloatArray


def _response(data: RunData) -> FloatArray:
    """Time since the own job was sent, with the recorded time since the newest job where a recording has only that."""
    if data.kind == "recorded":
        return np.where(data.first_of_job, data.since_notify_ms, data.response_ms)
    return data.response_ms


def _design(position: ScanPosition, layout: ScanLayout) -> FloatArray:
    counter = position.counter / layout.counter_span
    return np.column_stack([np.ones(position.counter.size), position.coarse, counter])


def clean_first_shares(data: RunData, layout: ScanLayout) -> BoolArray:
    """First shares that no late load and no unevenly loaded first work touches, shape (n,)."""
    previous = previous_of_same_miner(data.miner)
    before = np.where(previous >= 0, data.since_notify_ms[previous], np.nan)
    clean: BoolArray = (
        data.first_of_job
        & (before > CLEAN_PREVIOUS_MS)
        & (data.extranonce2 >= layout.clean_extranonce2)
        & ~np.isnan(_response(data))
    )
    return clean


def _fit_clean(data: RunData, layout: ScanLayout) -> _CleanFit | None:
    rows = np.flatnonzero(clean_first_shares(data, layout))
    if rows.size < MIN_SCAN_SHARES:  # few long jobs: later shares of a job are as clean as its first
        usable = ~data.duplicate & (data.extranonce2 >= layout.clean_extranonce2)
        rows = np.flatnonzero(usable & ~np.isnan(_response(data)))
    if rows.size < MIN_SCAN_SHARES:
        return None
    position = layout.decode(data.nonce[rows], data.extranonce2[rows], data.version_bits[rows])
    design, response = _design(position, layout), _response(data)[rows]
    coefficients, r2 = _least_squares(design, response)
    return _CleanFit(rows, coefficients, r2, design, response)


def _least_squares(design: FloatArray, response: FloatArray) -> tuple[FloatArray, float]:
    coefficients: FloatArray = np.asarray(np.linalg.lstsq(design, response, rcond=None)[0], np.float64)
    spread = float(np.var(response))
    r2 = 1.0 - float(np.var(response - design @ coefficients)) / spread if spread > 0 else 0.0
    return coefficients, r2


def scan_summary(data: RunData) -> ScanSummary | None:
    """Decode the nonces of a one-miner run and regress its clean first shares; None where no layout fits.

    Ordinary least squares of the response on [1, extranonce2, counter / span] (statistics.md §2).
    """
    layout = layout_of(data)
    if layout is None:
        return None
    from scipy.stats import spearmanr

    position = layout.decode(data.nonce, data.extranonce2, data.version_bits)
    chips, cores = int(np.unique(position.chip).size), int(np.unique(position.core).size)
    counter_max = int(position.counter.max())
    span_s = float(data.time_ns[-1] - data.time_ns[0]) / 1e9
    floor = data.miners[int(data.miner[0])].floor
    naive = None
    if floor and span_s > 0:
        naive = float((~data.duplicate).sum()) * floor * 2.0**32 / span_s / 1e12
    fit = _fit_clean(data, layout)
    if fit is None:
        return ScanSummary(
            layout.model, 0, chips, cores, counter_max, None, None, None, None, None, None, naive, None
        )
    coarse_only = fit.design[:, :-1]
    left = fit.response - coarse_only @ np.linalg.lstsq(coarse_only, fit.response, rcond=None)[0]
    rank = float(spearmanr(fit.design[:, -1], left).statistic)
    at_once = layout.hashes_per_count or chips * cores
    pass_ms = float(fit.coefficients[-2])
    capacity = at_once * (counter_max + 1) / (pass_ms / 1e3) / 1e12 if pass_ms > 0 else None
    return ScanSummary(
        layout=layout.model,
        clean=int(fit.rows.size),
        chips=chips,
        cores=cores,
        counter_max=counter_max,
        slope_ms=float(fit.coefficients[1]),
        intercept_ms=float(fit.coefficients[0]),
        counter_ms=float(fit.coefficients[-1]),
        r2=fit.r2,
        spearman_residual=None if np.isnan(rank) else rank,
        capacity_ths=capacity,
        naive_ths=naive,
        duty=naive / capacity if naive and capacity else None,
    )


@dataclass(frozen=True)
class ScanAlignment:
    """Every share of a one-miner run against the scan.

    Attributes:
        rows: indices into the run of the shares looked at (no duplicates, response and position known).
        work_ms: work done on its job when the share was found, shape (m,).
        residual_ms: response minus dead time minus work, shape (m,); near 0 where the job was loaded on time.
        on_time: whether the job was loaded on time, shape (m,).
        dead_ms: response at no work: job dead time and delays.
        spread_ms: robust standard deviation of the on-time residual.
        coefficients: of [1, coarse..., counter / span].
        r2: of the on-time shares.
    """

    rows: IntArray
    work_ms: FloatArray
    residual_ms: FloatArray
    on_time: BoolArray
    dead_ms: float
    spread_ms: float
    coefficients: FloatArray
    r2: float


def robust_sd(values: FloatArray) -> float:
    """1.4826 times the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def align(data: RunData, *, resolution_ms: float = 1e-6) -> ScanAlignment | None:
    """Take the position in the scan out of the response of every share of a one-miner run.

    Starts from the clean first shares, then alternates least squares with the choice of those shares that lie within
    six robust standard deviations: jobs loaded on time. Nothing but the shares themselves goes in.

    Args:
        data: a run of one miner; None comes back where its shares do not follow a scan.
        resolution_ms: the finest step of the clock; the band of on-time shares is never narrower than ten of it.
    """
    layout = layout_of(data)
    fit = _fit_clean(data, layout) if layout is not None else None
    if layout is None or fit is None:
        return None
    response = _response(data)
    rows = np.flatnonzero(~data.duplicate & ~np.isnan(response))
    position = layout.decode(data.nonce[rows], data.extranonce2[rows], data.version_bits[rows])
    design, response = _design(position, layout), response[rows]
    usable = data.extranonce2[rows] >= layout.clean_extranonce2
    coefficients = fit.coefficients
    on_time = np.zeros(rows.size, bool)
    for _ in range(8):
        residual = response - design @ coefficients
        start = usable & on_time if on_time.any() else np.isin(rows, fit.rows)
        centre, spread = float(np.median(residual[start])), robust_sd(residual[start])
        chosen = np.abs(residual - centre) <= max(6.0 * spread, 10.0 * resolution_ms)
        if np.array_equal(chosen, on_time):
            break
        on_time = chosen
        coefficients, _ = _least_squares(design[on_time & usable], response[on_time & usable])
    residual = response - design @ coefficients
    dead = float(coefficients[0])
    _, r2 = _least_squares(design[on_time], response[on_time])
    if r2 < MIN_R2 or on_time[np.isin(rows, fit.rows)].mean() < MIN_ON_TIME:
        return None
    return ScanAlignment(
        rows=rows,
        work_ms=(design @ coefficients) - dead,
        residual_ms=residual,
        on_time=on_time,
        dead_ms=dead,
        spread_ms=robust_sd(residual[on_time]),
        coefficients=coefficients,
        r2=r2,
    )
