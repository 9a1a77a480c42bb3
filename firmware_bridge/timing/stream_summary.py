"""All statistics of one interval stream, each with what it needs to be read: interval, surrogate, p-value or bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firmware_bridge.timing import complexity, goodness, statistics
from firmware_bridge.timing.bootstrap import Bootstrap
from firmware_bridge.timing.run_data import FloatArray, Stream
from firmware_bridge.timing.surrogates import SurrogateResult, against

FANO_WINDOWS_S = {"0.25": 250_000_000, "1": 1_000_000_000, "5": 5_000_000_000}
ORDERS = (3, 4, 5)
SLOW_BLOCK = 20_000
"""Sample entropy, bootstrap, Monte-Carlo and surrogates look at no more than this many consecutive intervals."""
QUADRATIC_BLOCK = 5_000
"""Lyapunov exponent, mutual information and fits look at no more than this many."""
FEW_SURROGATES = 39
SAFE_N = 1000


@dataclass(frozen=True)
class Effort:
    """How much to compute.

    Attributes:
        confidence: whether to compute intervals, surrogates, Monte-Carlo p-values, fits and what is slow.
        resamples: bootstrap resamples.
        monte_carlo: draws of a Monte-Carlo p-value.
        surrogates: surrogates per statistic.
    """

    confidence: bool = True
    resamples: int = 500
    monte_carlo: int = 999
    surrogates: int = 99


@dataclass
class StreamStatistics:
    """Statistics of one stream by the names of statistics.md §2; unknown is None.

    Attributes:
        name: ``intervals`` or ``first_share``.
        values: name to value.
        intervals: name to 95 % interval (low, high), where one is defined.
        surrogates: name to the comparison with shuffled surrogates, where one is defined.
        notes: what a reader has to know about these numbers.
    """

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, Any] = field(default_factory=dict)
    surrogates: dict[str, SurrogateResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """One flat dict: each value under its name, then ``NAME_ci`` and ``NAME_surrogate`` where defined."""
        flat: dict[str, Any] = {}
        for name, value in self.values.items():
            flat[name] = value
            if name in self.intervals:
                flat[f"{name}_ci"] = self.intervals[name]
            if name in self.surrogates:
                flat[f"{name}_surrogate"] = self.surrogates[name].to_json()
        flat["notes"] = list(self.notes)
        return flat


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
    tick_ms = None if clock_tick_ns is None else clock_tick_ns / 1e6
    mean = result.values["mean_ms"]
    result.values["clock_tick_ns"] = clock_tick_ns
    result.values["clock_coarse"] = None if tick_ms is None or not mean else tick_ms > mean / 6
    n = result.values["n"]
    if effort.confidence and n:
        _Confidence(result, stream, seed, effort, tick_ms).run()
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
    for order in ORDERS:
        codes = np.concatenate(
            [complexity.ordinal_codes(s, order) for s in stream.segments] or [np.empty(0, int)]
        )
        values[f"pe{order}"] = complexity.ordinal_entropy(np.bincount(codes), order)
        values[f"pe{order}_bias"] = complexity.permutation_entropy_bias(codes.size, order)
    box = statistics.ljung_box(longest)
    values |= {
        "sampen": None,
        "ljung_box_20": box.statistic,
        "ljung_box_20_p": box.p_value,
        "acf": list(statistics.autocorrelation(longest)),
        "oadev_16": statistics.allan_deviation(longest),
        "oadev_16_poisson": values["cv"] / 4.0,
        "dfa": complexity.dfa(longest),
    }
    if longest.size <= SLOW_BLOCK:
        values["sampen"] = complexity.sample_entropy(longest)


class _Confidence:
    """Everything that draws random numbers, on one block of a long stream."""

    def __init__(
        self, result: StreamStatistics, stream: Stream, seed: list[int], effort: Effort, tick_ms: float | None
    ) -> None:
        self.result, self.effort, self.tick_ms = result, effort, tick_ms
        self.rng = np.random.default_rng(seed)
        total = stream.values_ms.size
        self.whole = total <= SLOW_BLOCK
        self.segments = [self._block(s, max(2, round(SLOW_BLOCK * s.size / total))) for s in stream.segments]
        if self.whole:
            self.segments = list(stream.segments)
        self.longest = max(self.segments, key=len)
        self.joined = np.concatenate(self.segments)
        shrink = float(np.sqrt(self.joined.size / total))
        self.bootstrap = Bootstrap(self.rng, resamples=effort.resamples, shrink=shrink)
        self.times_ns = stream.times_ns

    def _block(self, x: FloatArray, size: int) -> FloatArray:
        if x.size <= size:
            return x
        start = int(self.rng.integers(0, x.size - size + 1))
        return x[start : start + size]

    def run(self) -> None:
        self._resample_means()
        self._resample_patterns()
        self._resample_counts()
        self._exponentiality()
        self._beside_surrogates()
        self._sample_entropy()
        self._on_smaller_block()

    def _interval(self, name: str, replicates: FloatArray) -> None:
        found = self.bootstrap.interval(self._value(name), replicates)
        if found is not None:
            self.result.intervals[name] = found

    def _value(self, name: str) -> float:
        value = self.result.values[name]
        return float("nan") if value is None else float(value)

    def _resample_means(self) -> None:
        centre = float(self.joined.mean())
        means = self.bootstrap.means([np.stack([s - centre, (s - centre) ** 2]) for s in self.segments])
        mean = centre + means[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            cv = np.sqrt(np.maximum(means[:, 1] - means[:, 0] ** 2, 0.0)) / mean
        self._interval("mean_ms", mean)
        self._interval("cv", cv)
        self._interval("burstiness", (cv - 1.0) / (cv + 1.0))
        pairs = [s for s in self.segments if s.size >= 2]
        if not pairs:
            return
        terms = [statistics.cv2_terms(s) for s in pairs]
        ratio = self.bootstrap.means(
            [np.stack([np.nan_to_num(t), np.nan_to_num(t * t), (~np.isnan(t)).astype(float)]) for t in terms]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            self._interval("cv2", ratio[:, 0] / ratio[:, 2])
            self._interval("lv", 0.75 * ratio[:, 1] / ratio[:, 2])
            products = [(s[:-1] - centre, s[1:] - centre) for s in pairs]
            m = self.bootstrap.means([np.stack([a, b, a * a, b * b, a * b]) for a, b in products])
            spread = (m[:, 2] - m[:, 0] ** 2) * (m[:, 3] - m[:, 1] ** 2)
            self._interval("memory", (m[:, 4] - m[:, 0] * m[:, 1]) / np.sqrt(spread))

    def _resample_patterns(self) -> None:
        for order in ORDERS:
            codes = [complexity.ordinal_codes(s, order) for s in self.segments]
            if sum(c.size for c in codes) < 2:
                continue
            _, dense = np.unique(np.concatenate(codes), return_inverse=True)
            parts = np.split(dense, np.cumsum([c.size for c in codes])[:-1])

            def entropy(counts: Any, order: int = order) -> float:
                return complexity.ordinal_entropy(counts, order)

            self._interval(
                f"pe{order}", self.bootstrap.replicate_counts(parts, int(dense.max()) + 1, entropy)
            )
        _, dense = np.unique(np.floor(self.joined / 10.0), return_inverse=True)
        parts = np.split(dense, np.cumsum([s.size for s in self.segments])[:-1])
        replicates = self.bootstrap.replicate_counts(
            parts, int(dense.max()) + 1, lambda counts: statistics.entropy_of_counts(counts).nats
        )
        self._interval("entropy_10ms", replicates)
        self._interval("oadev_16", self.bootstrap.replicate(self.longest, statistics.allan_deviation))

    def _resample_counts(self) -> None:
        """Allan factor from blocks of counts that last as long as 25 intervals, so that both see the same memory."""
        counts = [statistics.window_counts(t, FANO_WINDOWS_S["1"]) for t in self.times_ns]
        steps = [np.stack([np.diff(c) ** 2, c[1:]]) for c in counts if c.size >= 2]
        mean_ms = self._value("mean_ms")
        if not steps or not mean_ms > 0 or sum(s.shape[1] for s in steps) < 20:
            return
        block = max(1, int(np.ceil(self.bootstrap.block * mean_ms / 1e3)))
        m = Bootstrap(self.rng, resamples=self.effort.resamples, block=block).means(steps)
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = m[:, 0] / (2.0 * m[:, 1])
        found = self.bootstrap_unshrunk().interval(self._value("allan_factor_1s"), replicates)
        if found is not None:
            self.result.intervals["allan_factor_1s"] = found

    def bootstrap_unshrunk(self) -> Bootstrap:
        return Bootstrap(self.rng, resamples=self.effort.resamples)

    def _exponentiality(self) -> None:
        fit = goodness.exponentiality(self.joined, self.rng, self.effort.monte_carlo)
        self.result.values["ks_exp_p"] = fit.ks_p
        self.result.values["ad_exp_p"] = fit.ad_p
        self.result.values["ks_ad_draws"] = fit.draws

    def _compare(self, name: str, statistic: Callable[[FloatArray], float], x: FloatArray, n: int) -> None:
        found = against(x, statistic, self.rng, n=n)
        if found is not None:
            self.result.surrogates[name] = found

    def _beside_surrogates(self) -> None:
        n = self.effort.surrogates
        for order in ORDERS:

            def entropy(x: FloatArray, order: int = order) -> float:
                return complexity.permutation_entropy(x, order)

            self._compare(f"pe{order}", entropy, self.longest, n)
        self._compare("cv2", statistics.cv2, self.longest, n)
        self._compare("lv", statistics.lv, self.longest, n)
        self._compare("memory", statistics.memory, self.longest, n)
        self._compare("oadev_16", statistics.allan_deviation, self.longest, n)
        self._compare("dfa", complexity.dfa, self.longest, n)

    def _sample_entropy(self) -> None:
        """First-order (Hájek) block bootstrap: a resampled series would hold copies that match themselves.

        -ln(A/B) with A, B sums over pairs of templates changes to first order by twice the change of the mean number
        of matches per template; r moves with the standard deviation, by the slope of the entropy in ln r.
        """
        x = self.longest
        matches = complexity.template_matches(x)
        self.result.values["sampen"] = matches.entropy
        if not np.isfinite(matches.entropy):
            return
        n = (
            min(self.effort.surrogates, FEW_SURROGATES)
            if x.size > QUADRATIC_BLOCK
            else self.effort.surrogates
        )
        self._compare("sampen", complexity.sample_entropy, x, n)
        sd = float(x.std())
        wider = complexity.template_matches(x, r=0.22 * sd).entropy
        narrower = complexity.template_matches(x, r=0.18 * sd).entropy
        slope = (wider - narrower) / np.log(0.22 / 0.18)
        deviation = (x - x.mean())[: matches.shorter.size]
        m = self.bootstrap.means([np.stack([matches.shorter, matches.longer, deviation, deviation**2])])
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.log(m[:, 0] / matches.shorter.mean()) - np.log(m[:, 1] / matches.longer.mean())
            log_sd = 0.5 * np.log((m[:, 3] - m[:, 2] ** 2) / deviation.var())
        unshrunk = self.bootstrap if self.whole else self.bootstrap_unshrunk()
        found = unshrunk.interval(matches.entropy, matches.entropy + 2.0 * change + slope * log_sd)
        if found is not None:
            self.result.intervals["sampen"] = found

    def _on_smaller_block(self) -> None:
        from firmware_bridge.timing.fits import fit_models
        from firmware_bridge.timing.spectrum import heartbeat

        values, n = self.result.values, self.effort.surrogates
        x = self._block(self.longest, QUADRATIC_BLOCK)
        values["lyapunov"] = complexity.lyapunov(x)
        self._compare("lyapunov", complexity.lyapunov, x, min(n, FEW_SURROGATES))
        shared = complexity.mutual_information(x[:-1], x[1:], self.rng, permutations=n)
        values["mutual_information"] = {
            "nats": shared.nats,
            "p_value": shared.p_value,
            "null_mean": shared.null_mean,
            "permutations": shared.permutations,
        }
        beat = heartbeat(self.longest, self.rng, n)
        values["heartbeat"] = None if beat is None else beat.to_json()
        floor_ms = max(self.tick_ms / 2 if self.tick_ms else 0.0, 1e-6)
        fits = fit_models(self._block(self.joined, QUADRATIC_BLOCK), self.rng, floor_ms=floor_ms)
        values["models"] = [fit.to_json() for fit in fits]


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
    if n > SLOW_BLOCK and "ks_ad_draws" in values:
        notes.append(
            f"Sample entropy, bootstrap, surrogates and Monte-Carlo p-values come from a random block of "
            f"{SLOW_BLOCK} consecutive intervals; bootstrap intervals are narrowed to the full n."
        )
    if n > QUADRATIC_BLOCK and "models" in values:
        notes.append(
            f"Lyapunov exponent, mutual information and fits come from a random block of {QUADRATIC_BLOCK}."
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
