"""Does a run have a heartbeat: a rhythm in its arrivals that chance and short memory do not give?

Arrivals are counted in fixed bins and their Welch spectrum is held against that of surrogates. A stream with a dead
time has no flat spectrum although it has no rhythm, so the surrogates are made of the *intervals*, in random order
(independent intervals of the same distribution) or in the order of red noise (with the memory of one step), and
arrivals are built from them anew. The statistic is the largest ratio of a spectrum to the mean spectrum over data and
surrogates alike, which makes the rank p-value exact and pays for looking at every frequency.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firmware_bridge.timing.run_data import FloatArray
from firmware_bridge.timing.surrogates import Surrogate, red_noise, shuffle

BINS_PER_INTERVAL = 4
LONGEST_SEGMENT = 1024
SHORTEST_SEGMENT = 64


@dataclass(frozen=True)
class Heartbeat:
    """The strongest rhythm of a stream and how often surrogates have one as strong.

    Attributes:
        frequency_hz: where it lies.
        ratio: power there over the mean of data and shuffled surrogates.
        p_shuffled: share of independent-interval surrogates with as large a ratio anywhere, data counted.
        p_red_noise: likewise for red-noise surrogates.
        bin_ms: width of the counting bins, a quarter of the mean interval.
        segment_s: length of a Welch segment; its inverse is the resolution.
        surrogates: number of each kind.
    """

    frequency_hz: float
    ratio: float
    p_shuffled: float
    p_red_noise: float
    bin_ms: float
    segment_s: float
    surrogates: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def welch(values: FloatArray, segment: int) -> FloatArray:
    """Welch spectrum without its zero frequency: Hann windows, half overlap, each segment's mean taken out.

    Per unit bin width, as ``scipy.signal.welch(values, nperseg=segment)[1][1:]``; shape (segment // 2,).
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(segment) / segment)
    pieces = np.lib.stride_tricks.sliding_window_view(values, segment)[:: segment // 2]
    pieces = (pieces - pieces.mean(axis=1, keepdims=True)) * window
    power: FloatArray = (np.abs(np.fft.rfft(pieces, axis=1)) ** 2).mean(axis=0) / (window @ window)
    power[1 : -1 if segment % 2 == 0 else None] *= 2
    return power[1:]


def heartbeat(x: FloatArray, rng: np.random.Generator, surrogates: int = 99) -> Heartbeat | None:
    """Look for a rhythm in the arrivals that intervals x (ms) make; None below 64 of them.

    Args:
        x: intervals in ms, shape (n,), none negative.
        rng: source of the surrogates.
        surrogates: how many of each kind.
    """
    total = float(x.sum())
    if x.size < SHORTEST_SEGMENT or total <= 0 or x.min() < 0 or surrogates <= 0:
        return None
    bin_ms = total / x.size / BINS_PER_INTERVAL
    bins = int(total / bin_ms)
    segment = min(LONGEST_SEGMENT, 1 << int(np.log2(bins / 4)))

    def spectrum(intervals: FloatArray) -> FloatArray:
        at = (np.cumsum(intervals) / bin_ms).astype(np.int64)
        return welch(np.bincount(at[at < bins], minlength=bins).astype(np.float64), segment)

    own = spectrum(x)

    def compare(surrogate: Surrogate) -> tuple[FloatArray, float]:
        spectra = np.array([own] + [spectrum(surrogate(x, rng)) for _ in range(surrogates)])
        ratios = spectra / np.maximum(spectra.mean(axis=0), 1e-300)
        peaks = ratios.max(axis=1)
        return ratios[0], float((peaks >= peaks[0]).sum()) / (1 + surrogates)

    ratio, p_shuffled = compare(shuffle)
    _, p_red_noise = compare(red_noise)
    peak = int(ratio.argmax())
    segment_s = segment * bin_ms / 1e3
    return Heartbeat(
        frequency_hz=(peak + 1) / segment_s,
        ratio=float(ratio[peak]),
        p_shuffled=p_shuffled,
        p_red_noise=p_red_noise,
        bin_ms=bin_ms,
        segment_s=segment_s,
        surrogates=surrogates,
    )
