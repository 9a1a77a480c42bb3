"""What makes a physical unclonable function: figures of response bits, and error rates with their uncertainty.

Responses are 0/1 matrices. Names and definitions follow Maiti, Gunreddy & Schaumont 2013 (uniqueness, reliability,
uniformity, bit-aliasing) and Hori et al. 2010 (steadiness). A population needs several devices: from one there is no
uniqueness, no aliasing, no false acceptance and no equal error rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from math import acos, cos, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.timing.run_data import FloatArray, IntArray

Bits = npt.NDArray[np.uint8]

ONE_DEVICE = (
    "one device has no uniqueness, no bit-aliasing, no false acceptance rate and no equal error rate: these compare "
    "devices, so record at least two"
)


def fractional_hamming(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Part of the bits in which two responses differ, shapes (bits,)."""
    return float(np.mean(np.asarray(a) != np.asarray(b)))


def distances(responses: Bits) -> FloatArray:
    """Fractional Hamming distance of each pair of rows: shape (n, n) of (n, bits)."""
    x = responses.astype(np.float64)
    same = x @ x.T + (1.0 - x) @ (1.0 - x).T
    found: FloatArray = 1.0 - same / responses.shape[1]
    return found


def uniqueness(responses: Bits) -> float:
    """Mean fractional Hamming distance over all pairs of devices; ideal 0.5.

    Args:
        responses: one row per device, shape (devices, bits).

    Raises:
        ValueError: if there are fewer than two devices.
    """
    if responses.shape[0] < 2:
        raise ValueError(ONE_DEVICE)
    pairs = np.triu_indices(responses.shape[0], 1)
    return float(distances(responses)[pairs].mean())


def reliability(reference: npt.ArrayLike, repeats: npt.ArrayLike) -> float:
    """1 - mean fractional Hamming distance of later responses to the reference; ideal 1, of coin flips 0.5.

    Args:
        reference: shape (bits,).
        repeats: shape (repeats, bits).
    """
    return 1.0 - float(np.mean(np.asarray(repeats) != np.asarray(reference)))


def uniformity(response: npt.ArrayLike) -> float:
    """Part of ones in a response (or in all rows of several); ideal 0.5."""
    return float(np.mean(np.asarray(response, np.float64)))


def bit_aliasing(responses: Bits) -> FloatArray:
    """Part of the devices in which each bit is 1, shape (bits,); 0.5 is ideal, 0 or 1 is a bit of the model.

    Args:
        responses: one row per device, shape (devices, bits).

    Raises:
        ValueError: if there are fewer than two devices.
    """
    if responses.shape[0] < 2:
        raise ValueError(ONE_DEVICE)
    return np.asarray(responses.mean(axis=0), np.float64)


def steadiness(repeats: Bits) -> float:
    """1 + mean log2 max(p, 1 - p), p the part of ones of a bit over repeats; 1 is a steady device (Hori et al. 2010).

    A coin gives 0 only for many repeats; from R of them 1 - (mean loss), see :func:`steadiness_of_coins`.

    Args:
        repeats: shape (repeats, bits).
    """
    p = repeats.mean(axis=0)
    return 1.0 + float(np.log2(np.maximum(p, 1.0 - p)).mean())


def steadiness_of_coins(repeats: int) -> float:
    """What fair coins give on average: the value to hold a steadiness of so many repeats against."""
    from scipy.stats import binom

    k = np.arange(repeats + 1)
    return 1.0 + float(binom.pmf(k, repeats, 0.5) @ np.log2(np.maximum(k, repeats - k) / repeats))


def agreement_of(correlation: float) -> float:
    """Probability that the sign of a normal value is the same twice: 1 - arccos(rho) / pi (Sheppard 1899)."""
    return 1.0 - acos(min(1.0, max(-1.0, correlation))) / pi


def correlation_for(agreement: float) -> float:
    """The inverse of :func:`agreement_of`."""
    return cos(pi * (1.0 - agreement))


@dataclass(frozen=True)
class ErrorRates:
    """False acceptance and rejection at each threshold: a response is accepted when its distance is at most that.

    Attributes:
        threshold: fractional distances, ascending; the first one accepts nothing. Shape (k,).
        far: part of impostors accepted, shape (k,).
        frr: part of genuine ones rejected, shape (k,).
        eer: rate at which both are equal, interpolated linearly between thresholds.
        eer_threshold: where that is.
    """

    threshold: FloatArray
    far: FloatArray
    frr: FloatArray
    eer: float
    eer_threshold: float


def error_rates(genuine: FloatArray, impostor: FloatArray, bits: int) -> ErrorRates:
    """Error rates of distances that are multiples of 1 / bits.

    Args:
        genuine: weight of each distance 0, 1, .. bits (in bits) among genuine pairs, shape (bits + 1,).
        impostor: likewise among impostors.
        bits: length of a response.

    Raises:
        ValueError: if there are no genuine or no impostor pairs.
    """
    if genuine.sum() <= 0 or impostor.sum() <= 0:
        raise ValueError("error rates need pairs of the same device and pairs of different devices")
    far = np.concatenate([[0.0], np.cumsum(impostor) / impostor.sum()])
    frr = np.concatenate([[1.0], 1.0 - np.cumsum(genuine) / genuine.sum()])
    at = int(np.argmax(far >= frr))
    gap_before, gap_after = frr[at - 1] - far[at - 1], far[at] - frr[at]
    part = gap_before / (gap_before + gap_after) if gap_before + gap_after > 0 else 1.0
    eer = far[at - 1] + part * (far[at] - far[at - 1])
    threshold = np.arange(-1, bits + 1) / bits
    return ErrorRates(threshold, far, frr, float(eer), float(threshold[at - 1] + part / bits))


def counts_of(values: FloatArray, bits: int) -> FloatArray:
    """How often each distance 0 .. bits stands among fractional distances, shape (bits + 1,)."""
    found = np.bincount(np.rint(np.asarray(values) * bits).astype(np.int64), minlength=bits + 1)
    return found.astype(np.float64)


def equal_error_rate(genuine: npt.ArrayLike, impostor: npt.ArrayLike, bits: int) -> float:
    """Equal error rate of fractional distances of ``bits`` bits."""
    return error_rates(
        counts_of(np.asarray(genuine, np.float64), bits),
        counts_of(np.asarray(impostor, np.float64), bits),
        bits,
    ).eer


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval over resampled devices."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class Population:
    """Figures of a population, each with a 95 % interval over resampled devices.

    Attributes:
        devices: how many.
        repeats: responses of each.
        bits: of each.
        uniqueness: between first responses of devices.
        reliability: of later responses to a device's first.
        uniformity: of all responses.
        steadiness: mean over devices.
        steadiness_of_coins: what chance gives for so many repeats.
        aliasing: part of the devices whose first response has a 1 in each bit, shape (bits,).
        eer: equal error rate over all pairs of responses; without any error the interval is the exact one of so many
            devices, since resampling them shows none either.
        rates: error rates over thresholds.
        far_at_eer: part of impostors accepted at the threshold of the equal error rate (on the same pairs).
        frr_at_eer: part of genuine ones rejected there.
        genuine: distances of pairs of one device, shape (devices · repeats (repeats - 1) / 2,).
        impostor: distances of pairs of different devices.
        separation: mean impostor distance less mean genuine distance.
        p_value: share of ways to deal the responses out to devices that separate as well, data counted.
        null_95: 95 % quantile of the separation under them.
        null_sd: its standard deviation.
        resamples: of the bootstrap.
        permutations: of the test.
    """

    devices: int
    repeats: int
    bits: int
    uniqueness: Interval
    reliability: Interval
    uniformity: Interval
    steadiness: Interval
    steadiness_of_coins: float
    aliasing: FloatArray
    eer: Interval
    rates: ErrorRates
    far_at_eer: float
    frr_at_eer: float
    genuine: FloatArray
    impostor: FloatArray
    separation: float
    p_value: float
    null_95: float
    null_sd: float
    resamples: int
    permutations: int

    def to_json(self) -> dict[str, Any]:
        """Plain data; distances and rates as short summaries."""
        return {
            "devices": self.devices,
            "repeats": self.repeats,
            "bits": self.bits,
            "uniqueness": self.uniqueness.to_json(),
            "reliability": self.reliability.to_json(),
            "uniformity": self.uniformity.to_json(),
            "steadiness": self.steadiness.to_json(),
            "steadiness_of_coins": self.steadiness_of_coins,
            "bit_aliasing": {
                "mean": float(self.aliasing.mean()),
                "sd": float(self.aliasing.std()),
                "sd_of_coins": 0.5 / sqrt(self.devices),
                "stuck": int(((self.aliasing == 0) | (self.aliasing == 1)).sum()),
            },
            "eer": self.eer.to_json(),
            "eer_threshold": self.rates.eer_threshold,
            "far_at_eer": self.far_at_eer,
            "frr_at_eer": self.frr_at_eer,
            "frr_at_far": {str(far): frr_at_far(self.rates, far) for far in (0.1, 0.01, 0.001)},
            "separation": self.separation,
            "p_value": self.p_value,
            "permutations": self.permutations,
            "resamples": self.resamples,
        }


def no_error_bound(devices: int) -> float:
    """Upper end of the exact 95 % interval of a rate that so many devices did not show (Clopper & Pearson 1934)."""
    return 1.0 - float(0.025 ** (1.0 / devices))


def frr_at_far(rates: ErrorRates, far: float) -> float:
    """False rejection rate at the largest threshold whose false acceptance rate is at most ``far``."""
    return float(rates.frr[np.flatnonzero(rates.far <= far)[-1]])


def population(
    responses: Bits, rng: np.random.Generator, *, resamples: int = 1000, permutations: int = 999
) -> Population:
    """Figures of a population of devices that each responded several times to one challenge.

    Args:
        responses: shape (devices, repeats, bits).
        rng: of bootstrap and permutations.
        resamples: of whole devices; pairs of a device with its own copy are left out.
        permutations: of the responses over the devices.

    Raises:
        ValueError: if there are fewer than two devices or fewer than two repeats.
    """
    devices, repeats, bits = responses.shape
    if devices < 2:
        raise ValueError(ONE_DEVICE)
    if repeats < 2:
        raise ValueError("a device that responded once has no reliability: let each respond at least twice")
    owner = np.repeat(np.arange(devices), repeats)
    flat = responses.reshape(devices * repeats, bits)
    apart = distances(flat)
    upper = np.triu_indices(flat.shape[0], 1)
    same = owner[upper[0]] == owner[upper[1]]
    values = apart[upper]
    separation, p, null = _dealt_out(apart, owner, rng, permutations)

    own = np.array([counts_of(values[same & (owner[upper[0]] == d)], bits) for d in range(devices)])
    between = np.zeros((devices, devices, bits + 1))
    for i, j in combinations(range(devices), 2):
        block = apart[np.ix_(owner == i, owner == j)].ravel()
        between[i, j] = between[j, i] = counts_of(block, bits)
    first = apart[np.ix_(np.arange(0, flat.shape[0], repeats), np.arange(0, flat.shape[0], repeats))]
    reliable = np.array([reliability(r[0], r[1:]) for r in responses])
    ones = responses.mean(axis=(1, 2))
    steady = np.array([steadiness(r) for r in responses])
    rates = error_rates(own.sum(axis=0), between.sum(axis=(0, 1)) / 2, bits)

    drawn = []
    for _ in range(resamples):
        w = np.bincount(rng.integers(0, devices, devices), minlength=devices).astype(np.float64)
        pairs = np.outer(w, w)
        np.fill_diagonal(pairs, 0.0)
        if pairs.sum() == 0:
            continue  # one device drawn every time
        impostors = np.tensordot(pairs, between, 2)
        drawn.append(
            (
                float((pairs * first).sum() / pairs.sum()),
                *(float(w @ x) / devices for x in (reliable, ones, steady)),
                error_rates(w @ own, impostors, bits).eer,
            )
        )
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    found = (uniqueness(responses[:, 0]), reliable.mean(), ones.mean(), steady.mean(), rates.eer)
    figures = [Interval(float(v), float(a), float(b)) for v, a, b in zip(found, low, high, strict=True)]
    if (
        rates.eer == 0.0
    ):  # no resampling of devices without an error shows one: exact bound for so many devices
        figures[4] = Interval(0.0, 0.0, max(figures[4].high, no_error_bound(devices)))
    at = int(np.searchsorted(rates.threshold, rates.eer_threshold + 1e-12, side="right")) - 1
    return Population(
        devices, repeats, bits, figures[0], figures[1], figures[2], figures[3], steadiness_of_coins(repeats),
        bit_aliasing(responses[:, 0]), figures[4], rates, float(rates.far[at]),
        float(rates.frr[at]), values[same], values[~same], separation, p, float(np.percentile(null, 95)),
        float(null.std()), resamples, permutations,
    )  # fmt: skip


def _dealt_out(
    apart: FloatArray, owner: IntArray, rng: np.random.Generator, permutations: int
) -> tuple[float, float, FloatArray]:
    """Mean distance between devices less within, its p-value and null when responses are dealt out by chance."""
    n = owner.size
    upper = np.triu_indices(n, 1)
    values = apart[upper]

    def separation(labels: IntArray) -> float:
        same = labels[upper[0]] == labels[upper[1]]
        return float(values[~same].mean() - values[same].mean())

    observed = separation(owner)
    null = np.array([separation(rng.permutation(owner)) for _ in range(permutations)])
    return observed, (1.0 + float((null >= observed - 1e-12).sum())) / (1.0 + permutations), null
