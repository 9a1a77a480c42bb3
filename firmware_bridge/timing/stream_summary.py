"""All statistics of one interval stream, each with what it needs to be read: interval, surrogate, p-value or bias."""

from __future__ import annotations

import numpy as np

from firmware_bridge.timing import complexity, goodness, statistics
from firmware_bridge.timing.confidence import Confidence
from firmware_bridge.timing.run_data import FloatArray, Stream
from firmware_bridge.timing.stream_record import (
    FANO_WINDOWS_S,
    ORDERS,
    QUADRATIC_BLOCK,
    SAFE_N,
    SLOW_BLOCK,
    Effort,
    StreamStatistics,
)


def summarise_stream(
    stream: Stream, seed: list[int], effort: Effort, clock_tick_ns: int | None
) -> StreamStatistics:
    """Compute everything that the stream is long enough for.

    Several miners: mean, CV, entropy and exponentiality are of all intervals together; CV2, LV, memory, permutation
    entropy, Fano and Allan factor pool pairs, patterns and windows that each lie within one miner; what needs one
    unbroken series is of the miner with the most intervals.

    Args:
        stream: the intervals.
        seed: of everything drawn here.
        effort: how much to compute.
        clock_tick_ns: resolution of the clock, or None.
    """
    result = StreamStatistics(stream.name)
    _moments(result, stream)
    _serial(result, stream)
    _ordered(result, stream, thorough=effort.confidence or stream.values_ms.size <= SLOW_BLOCK)
    tick_ms = None if clock_tick_ns is None else clock_tick_ns / 1e6
    mean = result.values["mean_ms"]
    result.values["clock_tick_ns"] = clock_tick_ns
    result.values["clock_coarse"] = None if tick_ms is None or not mean else tick_ms > mean / 6
    n = result.values["n"]
    if effort.confidence and n:
        Confidence(result, stream, seed, effort, tick_ms).run()
    _notes(result, stream, n)
    return result


def _moments(result: StreamStatistics, stream: Stream) -> None:
    x = stream.values_ms
    cv = statistics.coefficient_of_variation(x)
    terms = _pair_terms(stream)
    known = terms[~np.isnan(terms)]
    entropy = statistics.histogram_entropy(x)
    fit = goodness.exponential_distances(x)
    result.values |= {
        "n": int(x.size),
        "mean_ms": float(x.mean()) if x.size else None,
        "median_ms": float(np.median(x)) if x.size else None,
        "cv": cv,
        "cv2": statistics.cv2_of_terms(known),
        "lv": statistics.lv_of_terms(known),
        "burstiness": (cv - 1.0) / (cv + 1.0),
        "memory": statistics.pearson(*_pairs(stream)),
        "entropy_10ms": entropy.nats,
        "entropy_10ms_normalised": entropy.normalised,
        "entropy_10ms_bins": entropy.bins,
        "ks_exp": fit.ks,
        "ks_exp_p": None,
        "ad_exp": fit.ad,
        "ad_exp_p": None,
    }


def _serial(result: StreamStatistics, stream: Stream) -> None:
    values, longest = result.values, _longest(stream)
    fanos = {
        name: statistics.fano_factor([statistics.window_counts(t, ns) for t in stream.times_ns])
        for name, ns in FANO_WINDOWS_S.items()
    }
    values["fano"] = {name: fano.value for name, fano in fanos.items()}
    result.intervals["fano"] = {
        name: None if np.isnan(fano.value) else (fano.low, fano.high) for name, fano in fanos.items()
    }
    values["fano_windows"] = {name: fano.windows for name, fano in fanos.items()}
    counts = [statistics.window_counts(t, FANO_WINDOWS_S["1"]) for t in stream.times_ns]
    values["allan_factor_1s"] = statistics.pooled_allan_factor(counts)
    box = statistics.ljung_box(longest)
    values |= {
        "ljung_box_20": box.statistic,
        "ljung_box_20_p": box.p_value,
        "acf": list(statistics.autocorrelation(longest)),
        "oadev_16": statistics.allan_deviation(longest),
        "oadev_16_poisson": values["cv"] / 4.0,
    }


def _ordered(result: StreamStatistics, stream: Stream, *, thorough: bool) -> None:
    values, longest = result.values, _longest(stream)
    for order in ORDERS:
        codes = np.empty(0, np.int64)
        if thorough:
            parts = [complexity.ordinal_codes(s, order) for s in stream.segments]
            codes = np.concatenate([codes, *parts])
        values[f"pe{order}"] = complexity.ordinal_entropy(np.bincount(codes), order) if thorough else None
        values[f"pe{order}_bias"] = (
            complexity.permutation_entropy_bias(codes.size, order) if thorough else None
        )
    values["sampen"] = complexity.sample_entropy(longest) if longest.size <= SLOW_BLOCK else None
    values["dfa"] = complexity.dfa(longest) if thorough else None


def _longest(stream: Stream) -> FloatArray:
    return max(stream.segments, key=len, default=np.empty(0))


def _pair_terms(stream: Stream) -> FloatArray:
    return np.concatenate([statistics.cv2_terms(s) for s in stream.segments] or [np.empty(0)])


def _pairs(stream: Stream) -> tuple[FloatArray, FloatArray]:
    empty = [np.empty(0)]
    return (
        np.concatenate([s[:-1] for s in stream.segments] or empty),
        np.concatenate([s[1:] for s in stream.segments] or empty),
    )


def _notes(result: StreamStatistics, stream: Stream, n: int) -> None:
    notes, values = result.notes, result.values
    if n < SAFE_N:
        notes.append(f"n = {n}: no verdict should rest on fewer than {SAFE_N} intervals.")
    if values["clock_coarse"]:
        notes.append(
            "The clock tick exceeds a sixth of the mean interval: CV2, LV and all entropies are distorted."
        )
    if "blocks" in values:
        notes.append(
            f"Sample entropy, bootstrap, surrogates and Monte-Carlo p-values come from a random block of {SLOW_BLOCK} "
            "consecutive intervals (see blocks); bootstrap intervals are narrowed to the full n."
        )
    if n > QUADRATIC_BLOCK and "lyapunov" in values:
        notes.append(
            f"Lyapunov exponent, mutual information and fits come from a random block of {QUADRATIC_BLOCK} of them."
        )
    if len(stream.segments) > 1:
        longest = stream.miners[int(np.argmax([s.size for s in stream.segments]))]
        notes.append(
            f"Several miners: Ljung-Box, autocorrelation, Allan deviation, sample entropy, DFA, Lyapunov exponent, "
            f"heartbeat and surrogates are of miner {longest}, which has the most intervals."
        )
    if n and float(min(s.min() for s in stream.segments if s.size)) < 0:
        notes.append("Some intervals are negative: the clock of this run went back.")
    undefined = [
        name for name, value in values.items() if isinstance(value, float) and not np.isfinite(value)
    ]
    if undefined:
        notes.append(f"Too few intervals, or none that vary, for: {', '.join(undefined)}.")
