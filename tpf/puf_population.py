"""Is the timing of several devices of one model a fingerprint? The figures of a population, and a verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import FloatArray
from firmware_bridge.verdict import Verdict
from tpf.enrolment import BITS, Challenge, Fingerprint
from tpf.puf import (
    ONE_DEVICE,
    Bits,
    Population,
    correlation_for,
    population,
    reliability,
    steadiness,
    steadiness_of_coins,
    uniformity,
)

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class OneDevice:
    """What a single device tells of itself.

    Attributes:
        device: its name.
        repeats: responses.
        uniformity: part of ones.
        reliability: of later responses to the first; None where it responded once.
        steadiness: over its responses; None likewise.
        steadiness_of_coins: what chance gives.
        signal_ms: mean standard deviation between its parts beyond their errors.
        error_ms: mean standard error of a part.
    """

    device: str
    repeats: int
    uniformity: float
    reliability: float | None
    steadiness: float | None
    steadiness_of_coins: float
    signal_ms: float
    error_ms: float


@dataclass(frozen=True)
class Evaluation:
    """Figures of a population, or why there are none.

    Attributes:
        verdict: ``evidence``, ``no_evidence`` or ``cannot_tell``.
        layout: of the nonces.
        part: of the silicon.
        parts: how many.
        bits: of the challenge.
        challenge_seed: of the challenge.
        each: one entry per device.
        population: None for one device, or devices that responded once.
        detectable_ms: standard deviation between the parts of devices that would have been found with power 0.8.
        left_out: responses that were left out so that all devices have equally many.
        seed: of bootstrap and permutations.
    """

    verdict: Verdict
    layout: str
    part: str
    parts: int
    bits: int
    challenge_seed: int
    each: tuple[OneDevice, ...]
    population: Population | None
    detectable_ms: float | None
    left_out: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain data; the figures that only a population has are None where there is none."""
        from dataclasses import asdict

        figures = dict.fromkeys(("uniqueness", "bit_aliasing", "eer", "far_at_eer", "frr_at_eer"))
        return {
            "verdict": self.verdict.to_json(),
            "layout": self.layout,
            "part": self.part,
            "parts": self.parts,
            "challenge": {"seed": self.challenge_seed, "bits": self.bits},
            "devices": len(self.each),
            "each": [asdict(one) for one in self.each],
            **(figures if self.population is None else self.population.to_json()),
            "detectable_ms": self.detectable_ms,
            "left_out": self.left_out,
            "seed": self.seed,
        }


def evaluate(
    prints: Mapping[str, Sequence[Fingerprint]],
    *,
    challenge_seed: int = 0,
    bits: int = BITS,
    seed: int = 0,
    resamples: int = 1000,
    permutations: int = 999,
    alpha: float = ALPHA,
) -> Evaluation:
    """Figures and verdict of the devices whose runs are given.

    It is evidence when the responses of a device lie nearer to each other than to those of others, more than in all but
    ``alpha`` of the ways to deal the same responses out to devices: an exact test, as long as the runs of different
    devices were recorded alike.

    Args:
        prints: per device its responses, in the order of time.
        challenge_seed: of the challenge.
        bits: of the challenge.
        seed: of bootstrap and permutations.
        resamples: of the bootstrap over devices.
        permutations: of the test.
        alpha: level of the verdict.

    Raises:
        UserError: if there are no responses, or the devices are of different models.
    """
    first = _same_model(prints)
    challenge = Challenge(challenge_seed, first.delay_ms.size, bits)
    repeats = min(len(found) for found in prints.values())
    left_out = sum(len(found) - repeats for found in prints.values())
    delays = np.array([[p.delay_ms for p in found[:repeats]] for found in prints.values()])
    responses = challenge.respond(delays)
    each = tuple(
        _one(name, found[:repeats], own) for (name, found), own in zip(prints.items(), responses, strict=True)
    )
    figures, detectable = None, None
    if len(each) < 2:
        verdict = Verdict("cannot_tell", f"Refused: {ONE_DEVICE}.")
    elif repeats < 2:
        verdict = Verdict(
            "cannot_tell",
            "Refused: a device that responded once has no reliability, so no error rate; give each device at least two "
            "runs, or split its run (--split).",
        )
    else:
        rng = np.random.default_rng(seed)
        figures = population(responses, rng, resamples=resamples, permutations=permutations)
        detectable = detectable_variation(figures, error_of(delays))
        ways = deals(len(each), repeats)
        verdict = (
            Verdict(
                "cannot_tell",
                f"Refused: {len(each)} devices with {repeats} responses each can be dealt out in {ways} ways only, so "
                f"no p-value below {1 / ways:.2g} is possible; give more responses of each.",
            )
            if ways * alpha < 1
            else _judge(figures, detectable, first.part, alpha)
        )
    return Evaluation(
        verdict, first.layout, first.part, first.delay_ms.size, bits, challenge_seed, each, figures, detectable,
        left_out, seed,
    )  # fmt: skip


def deals(devices: int, repeats: int) -> int:
    """In how many ways so many responses of each can be dealt out to devices, whatever the devices are called."""
    from math import factorial

    return int(factorial(devices * repeats) // (factorial(repeats) ** devices * factorial(devices)))


def _same_model(prints: Mapping[str, Sequence[Fingerprint]]) -> Fingerprint:
    every = [p for found in prints.values() for p in found]
    if not every or not all(prints.values()):
        raise UserError("a population is made of runs: name some, or emulate devices with --emulate")
    for other in every:
        if (other.layout, other.part, other.delay_ms.size) != (
            every[0].layout, every[0].part, every[0].delay_ms.size,
        ):  # fmt: skip
            raise UserError(
                f"run {other.run} is of {other.layout}, run {every[0].run} of {every[0].layout}: a population is of "
                "one model"
            )
    return every[0]


def _one(name: str, found: Sequence[Fingerprint], responses: Bits) -> OneDevice:
    several = len(found) > 1
    return OneDevice(
        name,
        len(found),
        uniformity(responses),
        reliability(responses[0], responses[1:]) if several else None,
        steadiness(responses) if several else None,
        steadiness_of_coins(len(found)),
        float(np.mean([p.signal_ms for p in found])),
        float(np.mean([p.error_ms for p in found])),
    )


def error_of(delays_ms: FloatArray) -> float:
    """Standard deviation of a part's delay from one response to the next of the same device.

    Args:
        delays_ms: shape (devices, repeats >= 2, parts).
    """
    return sqrt(float(delays_ms.var(axis=1, ddof=1).mean()))


def detectable_variation(figures: Population, error_ms: float, power: float = POWER) -> float:
    """Standard deviation between devices that the test finds with ``power``, in ms.

    The separation must exceed the null's 95 % point by what the power asks for. Responses of one device agree in a
    part 1 - arccos(rho) / pi of their bits, rho = s² / (s² + error²), those of different devices in one half.
    """
    from scipy.stats import norm

    wanted = figures.null_95 + float(norm.ppf(power)) * figures.null_sd
    rho = correlation_for(min(0.999, 0.5 + max(wanted, 0.0)))
    return error_ms * sqrt(rho / (1.0 - rho))


def _judge(figures: Population, detectable: float, part: str, alpha: float) -> Verdict:
    eer = figures.eer
    about = (
        f"{figures.devices} devices, {figures.repeats} responses each: responses differ in "
        f"{figures.impostor.mean():.3f} of the bits between devices and in {figures.genuine.mean():.3f} within one "
        f"(p = {figures.p_value:.2g}); equal error rate {eer.value:.3f} ({eer.low:.3f} to {eer.high:.3f})."
    )
    if figures.p_value < alpha:
        weak = (
            " Too little to identify a device by: the interval reaches one half." if eer.high >= 0.5 else ""
        )
        return Verdict("evidence", f"The timing tells these devices apart. {about}{weak}")
    return Verdict(
        "no_evidence",
        f"The timing does not tell these devices apart. {about} Detectable effect (power {POWER:g}): "
        f"{detectable:.2g} ms between the {part}s of a device.",
    )
