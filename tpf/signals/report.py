"""Every signal of a run beside its null, and whether any of them is more than noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.timing.family import resolution_ms
from firmware_bridge.timing.nulls import MechanisticNull, late_loads
from firmware_bridge.timing.run_data import FloatArray, RunData
from firmware_bridge.timing.scan import align
from firmware_bridge.timing.statistics import histogram_entropy
from firmware_bridge.timing.surrogates import poisson_matched
from firmware_bridge.verdict import Verdict
from tpf.signals.chronos import chronos_coupling, coherence_factor, poisson_mean_cosine
from tpf.signals.hashes import (
    assembly_index,
    avalanche,
    corrected_assembly,
    diffusion_null,
    hamming_diffusion,
    hashes_below,
    normalised_lempel_ziv,
    zlib_overhead,
)
from tpf.signals.heartbeat import CLAIMED_HZ, HeartbeatReport, heartbeat_report
from tpf.signals.run_hashes import RunHashes
from tpf.signals.short_windows import LIMIT, WINDOW, alarm_rate, usual_alarm_rate
from tpf.signals.signal import NullValue, Signal, against_draws, drawn

ALPHA = 0.05
DRAWS = 199
MIN_INTERVALS = 100
LEMPEL_ZIV_HASHES = 16
"""Hashes whose bits are parsed: the time of the parsing grows with their square."""

POISSON = "Poisson process of the same rate"
MECHANICS = "a fair hash behind this miner's own dead time and late loads"
SHIFTED = "exponential intervals behind the shortest one"


@dataclass(frozen=True)
class SignalReport:
    """Signals of one miner of a run.

    Attributes:
        run: id of the run.
        intervals: how many.
        hashes: shares that were hashed again; 0 where the run has no headers.
        signals: each beside its null.
        heartbeat: with its curves.
        replicated: names of the signals that stand out in the whole run and in both halves.
        verdict: over all signals.
        seed: of every draw.
    """

    run: str
    intervals: int
    hashes: int
    signals: tuple[Signal, ...]
    heartbeat: HeartbeatReport
    replicated: tuple[str, ...]
    verdict: Verdict
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain data without the curves."""
        return {
            "run": self.run,
            "intervals": self.intervals,
            "hashes": self.hashes,
            "signals": {
                s.name: {**s.to_json(), "detectable": s.detectable(ALPHA / len(self.signals))}
                for s in self.signals
            },
            "heartbeat": self.heartbeat.to_json(),
            "replicated": list(self.replicated),
            "verdict": self.verdict.to_json(),
            "seed": self.seed,
        }


def signal_report(
    data: RunData,
    hashes: RunHashes | None,
    *,
    frequency_hz: float = CLAIMED_HZ,
    seed: int = 0,
    draws: int = DRAWS,
    alpha: float = ALPHA,
) -> SignalReport:
    """Compute every signal of a one-miner run.

    A signal is evidence when its p-value under the null that decides, times the number of signals, is below ``alpha``,
    and it stands out (p < ``alpha``) in both halves of the run as well.

    Args:
        data: of one miner.
        hashes: of its shares; None leaves the signals of hashes out.
        frequency_hz: the named rhythm.
        seed: of every draw.
        draws: of noise; a rhythm gets five times as many surrogates, whose tail no formula gives.
        alpha: level of the verdict.

    Raises:
        UserError: if the run has several miners or too few intervals, or the frequency is not above 0.
    """
    if np.unique(data.miner).size > 1:
        names = ", ".join(data.miners[m].name for m in data.miner_numbers())
        raise UserError(f"run {data.run_id} has several miners: choose one with --miner ({names})")
    if not 0 < frequency_hz < float("inf"):
        raise UserError(f"a frequency is above 0 Hz, not {frequency_hz!r}")
    x = _intervals(data)
    if x.size < MIN_INTERVALS:
        raise UserError(
            f"run {data.run_id} has {x.size} intervals; {MIN_INTERVALS} are needed, 1000 for values that mean anything"
        )
    signals, beat = _signals(data, hashes, frequency_hz, np.random.default_rng(seed), draws)
    standing = [s.name for s in signals if s.p_value * len(signals) < alpha]
    replicated = _replicated(data, hashes, standing, frequency_hz, seed, draws, alpha)
    count = 0 if hashes is None else len(hashes.headers)
    verdict = _judge(signals, standing, replicated, x.size)
    return SignalReport(data.run_id, int(x.size), count, signals, beat, replicated, verdict, seed)


def _intervals(data: RunData) -> FloatArray:
    return data.interval_ms[~np.isnan(data.interval_ms)]


def _replicated(
    data: RunData,
    hashes: RunHashes | None,
    standing: list[str],
    frequency_hz: float,
    seed: int,
    draws: int,
    alpha: float,
) -> tuple[str, ...]:
    middle = data.n // 2
    if not standing or middle < MIN_INTERVALS + 1:
        return ()
    halves = []
    for number, rows in enumerate((slice(0, middle), slice(middle, data.n))):
        own = None
        if hashes is not None:
            cut = len(hashes.headers) // 2
            own = hashes.part(slice(0, cut) if number == 0 else slice(cut, None))
        found, _ = _signals(
            data.select(rows), own, frequency_hz, np.random.default_rng([seed, number]), draws
        )
        halves.append({s.name: s.p_value for s in found})
    return tuple(name for name in standing if all(half.get(name, 1.0) < alpha for half in halves))


def _signals(
    data: RunData, hashes: RunHashes | None, frequency_hz: float, rng: np.random.Generator, draws: int
) -> tuple[tuple[Signal, ...], HeartbeatReport]:
    x = _intervals(data)
    beat = heartbeat_report(x, rng, named_hz=frequency_hz, surrogates=5 * draws + 4)
    assert beat is not None  # more than 64 intervals
    found = [*_of_intervals(data, x, frequency_hz, rng, draws), *_of_rhythm(beat, x.size)]
    if hashes is not None and len(hashes.headers) >= 2 * LEMPEL_ZIV_HASHES:
        found += _of_hashes(hashes, rng, draws)
    return tuple(found), beat


def _like_the_run(
    data: RunData, x: FloatArray, rng: np.random.Generator, draws: int
) -> tuple[str, list[FloatArray]]:
    """Intervals of noise behind the mechanics of this run, where its scan can be read; else behind a dead time."""
    aligned = align(data, resolution_ms=resolution_ms(data)) if data.extranonce2_known else None
    if aligned is not None and data.mode != "stream" and data.first_of_job.mean() > 0.5:
        null = MechanisticNull.fit(data, aligned, late_loads(data, aligned))
        return MECHANICS, [null.simulate(x.size, rng) for _ in range(draws)]
    start = float(x.min())
    return SHIFTED, [start + rng.exponential(float(x.mean()) - start, x.size) for _ in range(draws)]


def _of_intervals(
    data: RunData, x: FloatArray, frequency_hz: float, rng: np.random.Generator, draws: int
) -> list[Signal]:
    kind, like = _like_the_run(data, x, rng, draws)
    plain = [poisson_matched(x, rng) for _ in range(draws)]

    def nulls(value: float, statistic: Any) -> tuple[NullValue, ...]:
        return (
            against_draws(POISSON, value, [statistic(s) for s in plain]),
            against_draws(kind, value, [statistic(s) for s in like]),
        )

    def coupling(values_ms: FloatArray) -> float:
        return chronos_coupling(values_ms / 1e3, frequency_hz)

    def entropy(values_ms: FloatArray) -> float:
        return histogram_entropy(values_ms).nats

    cosine, _ = poisson_mean_cosine(float(x.mean()) / 1e3, frequency_hz)
    alarms, k, h = alarm_rate(x), coupling(x), entropy(x)
    return [
        Signal(
            "cv10_alarms", alarms, int(x.size // WINDOW), usual_alarm_rate(), nulls(alarms, alarm_rate),
            f"CV of {WINDOW} intervals above {LIMIT} is 'non-Poisson'",
            "part of the windows that raise the alarm",
        ),
        Signal(
            "time_entropy", h, int(x.size), None, nulls(h, entropy), "entropy of the intervals tells a regime",
            "Miller-Madow, nats, fixed bins of 10 ms",
        ),
        Signal(
            "chronos_coupling", k, int(x.size),
            coherence_factor(float(x.mean()) / 1e3, frequency_hz) * cosine, nulls(k, coupling),
            f"shares couple to a clock at {frequency_hz:g} Hz",
            "exp(-(2 pi f sigma)^2 / 2) times the mean of cos(2 pi f x): the published formula has no unit",
        ),
    ]  # fmt: skip


def _of_rhythm(beat: HeartbeatReport, n: int) -> list[Signal]:
    assert beat.anywhere is not None
    named = Signal(
        "heartbeat_named", beat.band_power, n, None,
        (
            NullValue("red noise", beat.band_null_mean, 0.0, beat.band_null_95, beat.p_red_noise, beat.surrogates),
            NullValue("shuffled", beat.band_null_mean, 0.0, beat.band_null_95, beat.p_shuffled, beat.surrogates),
        )[:: 1 if beat.p_shuffled >= beat.p_red_noise else -1],
        f"shares pulse at {beat.named_hz:g} Hz",
        "largest Rayleigh power within 5 % of it; 1 is the mean of one frequency of a Poisson process; one-sided",
    )  # fmt: skip
    found = beat.anywhere
    kinds = sorted(
        (("shuffled", found.p_shuffled), ("red noise", found.p_red_noise)), key=lambda item: item[1]
    )
    return [
        named,
        Signal(
            "heartbeat_anywhere", found.ratio, n, None,
            tuple(NullValue(kind, 1.0, 0.0, beat.anywhere_95, p, found.surrogates) for kind, p in kinds),
            "shares pulse at some frequency",
            f"strongest at {found.frequency_hz:.3g} Hz; pays for looking at every frequency; one-sided",
        ),
    ]  # fmt: skip


def _of_hashes(hashes: RunHashes, rng: np.random.Generator, draws: int) -> list[Signal]:
    n = len(hashes.headers)
    fair = [rng.integers(0, 256, (n, 32), dtype=np.uint8) for _ in range(draws)]
    below = [hashes_below(hashes.targets, rng) for _ in range(draws)]

    def nulls(value: float, statistic: Any) -> tuple[NullValue, ...]:
        return (
            against_draws("256 fair bits", value, [statistic(s) for s in fair]),
            against_draws("hashes below the target", value, [statistic(s) for s in below]),
        )

    def corrected(some: Any) -> float:
        return corrected_assembly(some.tobytes())

    def phrases(some: Any) -> float:
        return normalised_lempel_ziv(np.unpackbits(some[:LEMPEL_ZIV_HASHES]))

    diffusion, flipped = hamming_diffusion(hashes.hashes), avalanche(hashes.headers, rng)
    assembly, parsed = corrected(hashes.hashes), phrases(hashes.hashes)
    published = assembly_index(hashes.hashes.tobytes())
    return [
        Signal(
            "hamming_diffusion", diffusion, n - 1, diffusion_null(hashes.targets)[0],
            nulls(diffusion, hamming_diffusion), "OTOC: consecutive hashes scramble",
            "leading bits of a share are 0 by selection, so less than half of 256 bits differ",
        ),
        Signal(
            "avalanche", flipped, n, 0.5,
            (drawn("256 fair bits", flipped, lambda: float(rng.binomial(256 * n, 0.5)) / (256 * n), draws),),
            "one flipped bit spreads over the hash", "of SHA-256d, computed here: the same without any miner",
        ),
        Signal(
            "assembly", assembly, n, 1.0, nulls(assembly, corrected), "length over zlib's length is 'assembly'",
            f"with zlib's overhead given back; as published {published:.6f}, of as many random bytes "
            f"{32 * n / (32 * n + zlib_overhead(32 * n)):.6f}; above 1 for shares by their leading zeros",
        ),
        Signal(
            "lempel_ziv", parsed, LEMPEL_ZIV_HASHES * 256, None, nulls(parsed, phrases),
            "fewer phrases than chance are structure",
            f"phrases · log2(n) / n of the bits of the first {LEMPEL_ZIV_HASHES} hashes",
        ),
    ]  # fmt: skip


def _judge(signals: tuple[Signal, ...], standing: list[str], replicated: tuple[str, ...], n: int) -> Verdict:
    least = min(signals, key=lambda s: s.p_value)
    p = min(1.0, least.p_value * len(signals))
    short = "" if n >= 1000 else f" Only {n} intervals: 1000 are needed for values that mean anything."
    if replicated:
        return Verdict(
            "evidence",
            f"{', '.join(replicated)}: beyond noise in the whole run (p = {p:.2g} for {len(signals)} signals) and in "
            f"both halves.{short}",
        )
    why = f" {', '.join(standing)} stood out, but not in both halves." if standing else ""
    rest = "Every one" if not standing else f"{len(signals) - len(standing)}"
    return Verdict(
        "no_evidence",
        f"{rest} of {len(signals)} signals has the value of noise (smallest corrected p = {p:.2g}, {least.name})."
        f"{why} Detectable effect (power 0.9): {_power(signals)}.{short}",
    )


def _power(signals: tuple[Signal, ...]) -> str:
    parts = []
    for signal in signals:
        found = signal.detectable(ALPHA / len(signals))
        if found is not None:
            parts.append(f"{signal.name} ± {found:.2g}")
    return ", ".join(parts)
