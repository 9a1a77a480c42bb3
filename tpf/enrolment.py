"""Enrol a device by its timing, challenge it, take its response, and verify who answers.

The feature is the mean time that the scan leaves over, of each part of the silicon (chip of an S9, core of a single
BM1366). A challenge names pairs of parts by a seed; a response bit says whether the first of a pair is the later one,
as in a ring-oscillator PUF (Suh & Devadas 2007). What all parts share (host, network, temperature) drops out of every
bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.timing.run_data import FloatArray, IntArray, RunData
from firmware_bridge.verdict import Verdict
from tpf.nonce import layout_of_run
from tpf.puf import Bits, agreement_of
from tpf.scan import Residuals, residuals

FORMAT = "asiclab-puf-1"
BITS = 256
FAR = 0.01
IMPOSTORS = 9999
S9_CHIPS = 63
BM1366_CORES = 112
SMALL_CORES = 894


@dataclass(frozen=True)
class Fingerprint:
    """What one run (or a part of it) shows of a device.

    Attributes:
        run: id of the run.
        layout: of its nonces.
        part: ``chip`` or ``core``.
        delay_ms: mean of the rest of each part less the mean over all shares, 0 for a part without shares;
            shape (parts,).
        shares: of each part, shape (parts,).
        noise_ms: standard deviation of the rest within parts.
    """

    run: str
    layout: str
    part: str
    delay_ms: FloatArray
    shares: IntArray
    noise_ms: float

    @property
    def error_ms(self) -> float:
        """Root mean square standard error of the parts' means."""
        known = self.shares[self.shares > 0]
        return self.noise_ms * sqrt(float((1.0 / known).mean())) if known.size else float("inf")

    @property
    def signal_ms(self) -> float:
        """Standard deviation between parts beyond their errors; 0 where there is none."""
        known = self.delay_ms[self.shares > 0]
        return sqrt(max(0.0, float(known.var(ddof=1)) - self.error_ms**2)) if known.size > 1 else 0.0


def parts_of(data: RunData) -> tuple[str, int]:
    """What the silicon of a run's miner is divided into, and into how many.

    Raises:
        UserError: if the nonces are of no known layout.
    """
    layout = layout_of_run(data)
    if layout.hashes_per_count is None:
        return "chip", S9_CHIPS
    chips = layout.hashes_per_count // SMALL_CORES
    return ("chip", chips) if chips > 1 else ("core", BM1366_CORES)


def fingerprints(data: RunData, split: int = 1) -> list[Fingerprint]:
    """Features of a run, or of each of ``split`` equal stretches of it.

    Args:
        data: of one miner.
        split: stretches; they share one session of the device, so they show less than as many runs would.

    Raises:
        UserError: if the run cannot be held against the scan, or a stretch has fewer shares than parts.
    """
    part, parts = parts_of(data)
    left = residuals(data)
    rows = np.array_split(np.arange(left.rows.size), split)
    return [_features(data.run_id, left, at, part, parts) for at in rows]


def _features(run: str, left: Residuals, rows: IntArray, part: str, parts: int) -> Fingerprint:
    codes, values = left.codes(part)[rows], left.residual_ms[rows]
    codes, values = codes[codes < parts], values[codes < parts]
    shares = np.bincount(codes, minlength=parts)
    if values.size < parts:
        raise UserError(
            f"run {run}: {values.size} shares loaded on time for {parts} {part}s; a response needs more than one each"
        )
    values = values - values.mean()
    delay = np.bincount(codes, values, parts) / np.maximum(shares, 1)
    freedom = max(1, values.size - int((shares > 0).sum()))
    noise = sqrt(float(((values - delay[codes]) ** 2).sum()) / freedom)
    return Fingerprint(run, left.layout, part, delay, shares.astype(np.int64), noise)


@dataclass(frozen=True)
class Challenge:
    """Pairs of parts to compare.

    Attributes:
        seed: that draws them; the same seed asks every device the same.
        parts: of the silicon.
        bits: pairs.
    """

    seed: int = 0
    parts: int = S9_CHIPS
    bits: int = BITS

    def __post_init__(self) -> None:
        most = self.parts * (self.parts - 1) // 2
        if not 8 <= self.bits <= most:
            raise UserError(f"{self.parts} parts make 8 to {most} pairs, so no challenge of {self.bits} bits")

    def pairs(self) -> IntArray:
        """Distinct pairs, each in a random order, shape (bits, 2)."""
        rng = np.random.default_rng([self.seed, self.parts])
        first, second = np.triu_indices(self.parts, 1)
        chosen = rng.choice(first.size, self.bits, replace=False)
        pairs = np.column_stack([first[chosen], second[chosen]])
        turned = rng.random(self.bits) < 0.5
        pairs[turned] = pairs[turned][:, ::-1]
        return pairs

    def respond(self, delay_ms: npt.ArrayLike) -> Bits:
        """Response of a device: bit i is 1 where the first part of pair i is the later one.

        Args:
            delay_ms: of each part, shape (..., parts).

        Returns:
            Shape (..., bits).
        """
        delays = np.asarray(delay_ms, np.float64)
        pairs = self.pairs()
        return (delays[..., pairs[:, 0]] > delays[..., pairs[:, 1]]).astype(np.uint8)


@dataclass(frozen=True)
class Enrolment:
    """What is kept of a device to know it again.

    Attributes:
        device: its name.
        layout: of its nonces.
        part: ``chip`` or ``core``.
        delay_ms: enrolled mean of each part, shape (parts,).
        signal_ms: standard deviation between parts beyond their errors.
        error_ms: standard error of a part's mean.
        runs: that it was enrolled from.
        shares: in them.
        challenge_seed: of the challenge.
        bits: of the challenge.
        response: to it.
        far: false acceptance rate that a verification may have.
        provenance: versions, state of the code, time, what was planted.
    """

    device: str
    layout: str
    part: str
    delay_ms: FloatArray
    signal_ms: float
    error_ms: float
    runs: tuple[str, ...]
    shares: int
    challenge_seed: int
    bits: int
    response: Bits
    far: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def challenge(self) -> Challenge:
        """The challenge of the enrolment."""
        return Challenge(self.challenge_seed, self.delay_ms.size, self.bits)

    @property
    def expected_reliability(self) -> float:
        """Part of the bits that a later run as long as the enrolled ones would repeat, from signal and error."""
        total = self.signal_ms**2 + self.error_ms**2
        return agreement_of(self.signal_ms**2 / total) if total > 0 else 0.5

    def to_json(self) -> dict[str, Any]:
        """As in the file."""
        plain = asdict(self)
        return plain | {
            "format": FORMAT,
            "delay_ms": [round(float(x), 6) for x in self.delay_ms],
            "response": np.packbits(self.response).tobytes().hex(),
            "expected_reliability": self.expected_reliability,
            "runs": list(self.runs),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Enrolment:
        """From the contents of a file.

        Raises:
            ValueError, KeyError, TypeError: if they are no enrolment.
        """
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']!r}")
        bits = int(told["bits"])
        found = cls(
            device=str(told["device"]),
            layout=str(told["layout"]),
            part=str(told["part"]),
            delay_ms=np.array(told["delay_ms"], np.float64),
            signal_ms=float(told["signal_ms"]),
            error_ms=float(told["error_ms"]),
            runs=tuple(map(str, told["runs"])),
            shares=int(told["shares"]),
            challenge_seed=int(told["challenge_seed"]),
            bits=bits,
            response=np.unpackbits(np.frombuffer(bytes.fromhex(told["response"]), np.uint8))[:bits],
            far=float(told["far"]),
            provenance=dict(told["provenance"]),
        )
        if not np.array_equal(found.challenge.respond(found.delay_ms), found.response):
            raise ValueError("its response is not that of its own delays")
        return found

    def save(self, file: str | Path) -> Path:
        """Write the file."""
        path = Path(file)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        return path


def load_enrolment(file: str | Path) -> Enrolment:
    """Read an enrolment.

    Raises:
        UserError: if there is no such file or it is no enrolment.
    """
    path = Path(file)
    try:
        return Enrolment.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); asiclab puf enroll writes one"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no enrolment of this lab ({error})") from error


def enrol(
    device: str,
    prints: Sequence[Fingerprint],
    *,
    challenge_seed: int = 0,
    bits: int = BITS,
    far: float = FAR,
    provenance: Mapping[str, Any] | None = None,
) -> Enrolment:
    """Enrol a device from one or several runs of it.

    Args:
        device: its name.
        prints: of its runs.
        challenge_seed: of the challenge.
        bits: of the challenge.
        far: false acceptance rate that a verification may have.
        provenance: to be kept.

    Raises:
        UserError: if there are no runs, they are of different models, or a number makes no sense.
    """
    if not prints:
        raise UserError("a device is enrolled from at least one run")
    if not 0 < far < 0.5:
        raise UserError(f"a false acceptance rate is above 0 and below 0.5, not {far!r}")
    one = prints[0]
    for other in prints:
        if (other.layout, other.part, other.delay_ms.size) != (one.layout, one.part, one.delay_ms.size):
            raise UserError(
                f"run {other.run} is of {other.layout}, run {one.run} of {one.layout}: no one device"
            )
    counts = np.array([p.shares for p in prints])
    total = counts.sum(axis=0)
    delay = (counts * np.array([p.delay_ms for p in prints])).sum(axis=0) / np.maximum(total, 1)
    delay = np.array(
        [round(float(x), 6) for x in delay]
    )  # as in the file, so that both give the same response
    noise = sqrt(float(np.average([p.noise_ms**2 for p in prints], weights=counts.sum(axis=1))))
    whole = Fingerprint(one.run, one.layout, one.part, delay, total, noise)
    response = Challenge(challenge_seed, delay.size, bits).respond(delay)
    runs = tuple(dict.fromkeys(p.run for p in prints))
    return Enrolment(
        device, one.layout, one.part, delay, whole.signal_ms, whole.error_ms, runs, int(total.sum()), challenge_seed,
        bits, response, far, dict(provenance or {}),
    )  # fmt: skip


@dataclass(frozen=True)
class Verification:
    """Whether a run answers as an enrolled device.

    Attributes:
        device: that it claims to be.
        run: that answered.
        distance: fractional Hamming distance of the responses; None where the run is of another model.
        threshold: largest distance that is accepted.
        p_value: share of impostors that come as near.
        accepted: the decision.
        far: false acceptance rate against impostors whose parts share nothing with the enrolled ones.
        expected_distance: that the enrolled device itself should show in such a run.
        verdict: for people.
        seed: of the impostors.
    """

    device: str
    run: str
    distance: float | None
    threshold: float | None
    p_value: float | None
    accepted: bool
    far: float
    expected_distance: float
    verdict: Verdict
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def verify(
    enrolment: Enrolment, found: Fingerprint, *, seed: int = 0, impostors: int = IMPOSTORS
) -> Verification:
    """Hold a run against an enrolment.

    Impostors are the run itself with its parts in random order: a device with the same spread of delays, none of them
    where the enrolled one has them. The threshold is the largest distance that at most ``enrolment.far`` of them reach.

    Args:
        enrolment: of the device that the run claims to be.
        found: of the run.
        seed: of the impostors.
        impostors: how many.
    """
    total = sqrt(
        (enrolment.signal_ms**2 + enrolment.error_ms**2) * (enrolment.signal_ms**2 + found.error_ms**2)
    )
    expected = 1.0 - (agreement_of(enrolment.signal_ms**2 / total) if total > 0 else 0.5)
    if (found.layout, found.part, found.delay_ms.size) != (
        enrolment.layout,
        enrolment.part,
        enrolment.delay_ms.size,
    ):
        text = f"Rejected: run {found.run} is of {found.layout}, {enrolment.device} is a {enrolment.layout}."
        return Verification(
            enrolment.device, found.run, None, None, None, False, enrolment.far, expected,
            Verdict("no_evidence", text), seed,
        )  # fmt: skip
    if found.run in enrolment.runs:
        text = (
            f"Not accepted: {enrolment.device} was enrolled from run {found.run} itself, which repeats whatever it "
            "shows, noise as well; hold another run against it."
        )
        return Verification(
            enrolment.device, found.run, None, None, None, False, enrolment.far, expected,
            Verdict("cannot_tell", text), seed,
        )  # fmt: skip
    rng = np.random.default_rng([seed, enrolment.challenge_seed])
    challenge = enrolment.challenge
    apart = challenge.respond(found.delay_ms) != enrolment.response
    distance = float(apart.mean())
    others = rng.permuted(np.tile(found.delay_ms, (impostors, 1)), axis=1)
    null = np.sort((challenge.respond(others) != enrolment.response).mean(axis=1))
    p = (1.0 + float((null <= distance + 1e-12).sum())) / (1.0 + impostors)
    grid = np.arange(-1, enrolment.bits + 1) / enrolment.bits
    reached = (1.0 + np.searchsorted(null, grid + 1e-12, side="right")) / (1.0 + impostors)
    threshold = (
        float(grid[np.flatnonzero(reached <= enrolment.far)[-1]]) if reached[0] <= enrolment.far else None
    )
    accepted = p <= enrolment.far
    return Verification(
        enrolment.device, found.run, distance, threshold, p, accepted, enrolment.far, expected,
        _words(enrolment, found, distance, threshold, p, accepted, expected), seed,
    )  # fmt: skip


def _words(
    enrolment: Enrolment,
    found: Fingerprint,
    distance: float,
    threshold: float | None,
    p: float,
    accepted: bool,
    expected: float,
) -> Verdict:
    limit = "none" if threshold is None else f"{threshold:.3f}"
    about = (
        f"{distance:.1%} of {enrolment.bits} bits differ from {enrolment.device} (threshold {limit}, p = {p:.2g}; "
        f"the device itself should differ in about {expected:.0%})."
    )
    if accepted:
        return Verdict(
            "evidence",
            f"Accepted: {about} A pattern that all devices of the model share would be accepted as well; only a "
            "population tells (asiclab puf evaluate).",
        )
    if expected > 0.4:
        return Verdict(
            "cannot_tell",
            f"Not accepted: {about} The enrolment carries hardly anything of a device "
            f"({enrolment.signal_ms:.2g} ms between {enrolment.part}s, {found.error_ms:.2g} ms of error), so not even "
            "the device itself would be accepted.",
        )
    return Verdict("no_evidence", f"Rejected: {about}")
