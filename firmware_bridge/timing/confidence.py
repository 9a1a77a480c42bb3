"""How sure a statistic is: bootstrap intervals, Monte-Carlo p-values, surrogates, and what is slow for a long run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from firmware_bridge.timing import complexity, goodness, statistics
from firmware_bridge.timing.bootstrap import Bootstrap
from firmware_bridge.timing.run_data import FloatArray, Stream
from firmware_bridge.timing.stream_record import (
    FANO_WINDOWS_S,
    FEW_SURROGATES,
    ORDERS,
    QUADRATIC_BLOCK,
    SLOW_BLOCK,
    Effort,
    StreamStatistics,
)
from firmware_bridge.timing.surrogates import against


class Confidence:
    """Adds to a stream's statistics everything that draws random numbers, on one block of a long stream."""

    def __init__(
        self, result: StreamStatistics, stream: Stream, seed: list[int], effort: Effort, tick_ms: float | None
    ) -> None:
        self.result, self.effort, self.tick_ms = result, effort, tick_ms
        self.rng = np.random.default_rng(seed)
        total = stream.values_ms.size
        self.whole = total <= SLOW_BLOCK
        self.segments = list(stream.segments)
        if not self.whole:
            sizes = [max(2, round(SLOW_BLOCK * s.size / total)) for s in stream.segments]
            starts = [
                int(self.rng.integers(0, max(1, s.size - size + 1)))
                for s, size in zip(stream.segments, sizes, strict=True)
            ]
            self.segments = [
                s[at : at + size] for s, at, size in zip(stream.segments, starts, sizes, strict=True)
            ]
            result.values["blocks"] = [
                {"miner": miner, "first": at, "n": s.size}
                for miner, at, s in zip(stream.miners, starts, self.segments, strict=True)
            ]
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
        """Compute all of it."""
        self._resample_means()
        self._resample_patterns()
        self._resample_counts()
        self._exponentiality()
        self._beside_surrogates()
        self._sample_entropy()
        self._on_smaller_block()

    def _interval(self, name: str, replicates: FloatArray, highest: float = np.inf) -> None:
        found = self.bootstrap.interval(self._value(name), replicates)
        if found is not None:
            self.result.intervals[name] = found[0], min(found[1], highest)

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
        dense = statistics.histogram_codes(self.joined)
        parts = np.split(dense, np.cumsum([s.size for s in self.segments])[:-1])
        replicates = self.bootstrap.replicate_counts(
            parts, int(dense.max()) + 1, lambda counts: statistics.entropy_of_counts(counts).nats
        )
        self._interval("entropy_10ms", replicates)
        self._interval("oadev_16", self.bootstrap.replicate(self.longest, statistics.allan_deviation))

    def _resample_counts(self) -> None:
        """Allan factor from blocks of counts that last at least as long as 25 intervals: both see the same memory."""
        counts = [statistics.window_counts(t, FANO_WINDOWS_S["1"]) for t in self.times_ns]
        steps = [np.stack([np.diff(c) ** 2, c[1:]]) for c in counts if c.size >= 2]
        mean_ms = self._value("mean_ms")
        if not steps or not mean_ms > 0 or sum(s.shape[1] for s in steps) < 20:
            return
        block = max(4, int(np.ceil(self.bootstrap.block * mean_ms / 1e3)))
        m = Bootstrap(self.rng, resamples=self.effort.resamples, block=block).means(steps)
        with np.errstate(divide="ignore", invalid="ignore"):
            replicates = m[:, 0] / (2.0 * m[:, 1])
        found = self._unshrunk().interval(self._value("allan_factor_1s"), replicates)
        if found is not None:
            self.result.intervals["allan_factor_1s"] = found

    def _unshrunk(self) -> Bootstrap:
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
        unshrunk = self.bootstrap if self.whole else self._unshrunk()
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
        if not self.effort.models:
            return
        floor_ms = max(self.tick_ms / 2 if self.tick_ms else 0.0, 1e-6)
        fits = fit_models(self._block(self.joined, QUADRATIC_BLOCK), self.rng, floor_ms=floor_ms)
        values["models"] = [fit.to_json() for fit in fits]
