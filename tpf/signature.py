"""Stage 1 of the filter, run properly: does the power of the first rounds predict whether a hash will succeed?

The paper's rule (a ridge regression on the signature of rounds 1 to 5) and a logistic regression, both fitted on the
first half of the hashes and scored on the second, against permuted outcomes, with and without noise. Beside them stand
controls in which the answer is known: the same rule on all rounds up to the one before the outcome is settled, where it
must find nothing, and up to the end, where a leak of register contents must be found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from tpf.energy import DOUBLE_HASH_ROUNDS, energy_per_share
from tpf.exactness import find_exact_point
from tpf.header_source import HeaderSource
from tpf.power import I16, PowerModel, switching
from tpf.sha256_rounds import ROUNDS, double_hash_rounds

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

EARLY_ROUNDS = 5
"""Of the paper's filter."""
RIDGE_ALPHA = 0.1
"""Of its regression."""
ZERO_BITS = 8
FEWEST = 200
"""Successes per half below which nothing is said."""
ALPHA = 0.05
CHUNK = 1 << 14

Compression = Literal["second", "last"]
COMPRESSIONS: tuple[Compression, ...] = ("second", "last")
Role = Literal["stage 1", "negative control", "positive control"]


@dataclass(frozen=True)
class Arm:
    """One question.

    Attributes:
        name: of it.
        role: ``stage 1`` is the paper's question; the controls have known answers.
        compression: ``second`` (first hash, the block with the nonce) or ``last``.
        rounds: how many of it are seen, from the first.
        model: what of them is seen.
    """

    name: str
    role: Role
    compression: Compression
    rounds: int
    model: PowerModel

    @property
    def rounds_of_double_hash(self) -> int:
        """Rounds that are done when the last of these is seen."""
        return self.rounds + (ROUNDS if self.compression == "last" else 0)


@dataclass(frozen=True)
class Filter:
    """A threshold on a score, counted on hashes that it was not chosen on.

    Attributes:
        keep_rate: part of all hashes that it keeps.
        recall: part of the successes that it keeps.
        abort_round: rounds of a double hash after which it aborts the others.
        energy_per_share: relative to no filter (:mod:`tpf.energy`); None if it keeps no success.
    """

    keep_rate: float
    recall: float
    abort_round: int
    energy_per_share: float | None


@dataclass(frozen=True)
class Score:
    """How well one classifier did on hashes that it had not seen.

    Attributes:
        classifier: ``ridge`` or ``logistic``.
        auc: area under its ROC curve.
        ci: 95 % interval (DeLong).
        p_value: one-sided, against permuted outcomes.
        p_corrected: the same for all scores of its role together (Holm).
        filter: what a filter made of it would do, at the threshold that saved most on the hashes it learnt from.
    """

    classifier: str
    auc: float
    ci: tuple[float, float]
    p_value: float
    p_corrected: float
    filter: Filter


@dataclass(frozen=True)
class ArmResult:
    """Scores of one arm."""

    arm: Arm
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class SignatureResult:
    """Stage 1 and its controls.

    Attributes:
        arms: in the order in which they were asked.
        hashes: half to train on, half to score.
        zero_bits: of a success.
        successes: of the scored half.
        detectable_auc: smallest AUC that one test of this size finds nine times out of ten, corrected like the others.
        permutations: of the null.
        source: of the headers.
        seed: of noise and permutations.
    """

    arms: tuple[ArmResult, ...]
    hashes: int
    zero_bits: int
    successes: int
    detectable_auc: float
    permutations: int
    source: dict[str, Any]
    seed: int

    def _least_p(self, role: Role) -> float:
        return min((s.p_corrected for a in self.arms if a.arm.role == role for s in a.scores), default=1.0)

    @property
    def verdict(self) -> dict[str, str]:
        """``evidence``, ``no_evidence`` or, if a control fails, ``cannot_tell``."""
        if self._least_p("positive control") > ALPHA:
            return {
                "code": "cannot_tell",
                "text": "The positive control was not found, so that a missing effect means nothing: take more "
                "--hashes or less --noise.",
            }
        if self._least_p("negative control") <= ALPHA:
            return {
                "code": "cannot_tell",
                "text": "A control without information came out significant, as one run of twenty does: take another "
                "--seed and more --hashes.",
            }
        p = self._least_p("stage 1")
        found = [s.auc for a in self.arms if a.arm.role == "stage 1" for s in a.scores]
        if p <= ALPHA:
            return {
                "code": "evidence",
                "text": f"The signature of the first rounds predicts success: AUC {max(found):.4f}, p = {p:.2g}.",
            }
        return {
            "code": "no_evidence",
            "text": f"The signature of the first rounds predicts nothing, with noise or without: AUC {min(found):.4f} "
            f"to {max(found):.4f}, p = {p:.2g}; an AUC of {self.detectable_auc:.4f} would have been found nine times "
            "out of ten.",
        }

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self) | {"verdict": self.verdict}


def arms(noise: float, settled: int) -> tuple[Arm, ...]:
    """The questions: stage 1 at noise 0 and at ``noise``, and the controls.

    Args:
        noise: standard deviation per round, in bits that change.
        settled: rounds of the last compression after which the outcome is settled.
    """
    noises = sorted({0.0, noise})
    first: list[Arm] = []
    for size in noises:
        for compression in COMPRESSIONS:
            for seen, weight in (("changes", 0.0), ("changes and ones", 1.0)):
                name = f"{compression}, rounds 1-{EARLY_ROUNDS}, {seen}, noise {size:g}"
                model = PowerModel(1.0, weight, size)
                first.append(Arm(name, "stage 1", compression, EARLY_ROUNDS, model))
    before = Arm(
        f"last, rounds 1-{settled - 1}, changes and ones, noise 0",
        "negative control",
        "last",
        settled - 1,
        PowerModel(1.0, 1.0),
    )
    after = [
        Arm(f"last, rounds 1-{ROUNDS}, {seen}, noise {size:g}", "positive control", "last", ROUNDS, model)
        for size in noises
        for seen, model in (
            ("ones", PowerModel(0.0, 1.0, size)),
            ("changes and ones", PowerModel(1.0, 1.0, size)),
        )
    ]
    return (*first, before, *after)


def run(
    source: HeaderSource,
    hashes: int,
    *,
    noise: float = 4.0,
    seed: int = 0,
    zero_bits: int = ZERO_BITS,
    permutations: int = 999,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SignatureResult:
    """Run stage 1 and its controls.

    Args:
        source: of the headers.
        hashes: how many, half for training.
        noise: standard deviation per round, in bits that change; noise 0 is asked as well.
        seed: of noise and permutations.
        zero_bits: of a success, 1 to 8.
        permutations: of the outcomes, for the null.
        progress: called with arms done and in all.

    Raises:
        UserError: if the hashes are too few, or a number lies outside its range.
    """
    if not 1 <= zero_bits <= 8:
        raise UserError(f"a success has 1 to 8 leading zero bits here, not {zero_bits}")
    needed = 2 * FEWEST << zero_bits
    if hashes < needed:
        raise UserError(f"--hashes {hashes} are too few: take {needed} or more")
    PowerModel(noise=noise)
    asked = arms(noise, find_exact_point(np.random.default_rng([seed, 60])).full_rounds)
    tests = max(2 * sum(arm.role == role for arm in asked) for role in {arm.role for arm in asked})
    if tests > ALPHA * (1 + permutations):
        least = math.ceil(tests / ALPHA) - 1
        raise UserError(
            f"{permutations} permutations cannot show {tests} tests at once: take {least} or more"
        )
    success, seen = _switching(source, hashes, zero_bits)
    half = hashes // 2
    if min(success[:half].sum(), success[half:].sum()) < 2:
        raise UserError("too few hashes succeeded; take more --hashes")
    rng = np.random.default_rng([seed, 62])
    raw = []
    for number, arm in enumerate(asked):
        changed, ones = (part[:, : arm.rounds] for part in seen[arm.compression])
        power = arm.model.power(changed, ones, np.random.default_rng([seed, 63, number]))
        raw.append(
            [_score(name, arm, power, half, success, rng, permutations) for name in ("ridge", "logistic")]
        )
        progress(number + 1, len(asked))
    test = success[half:]
    return SignatureResult(
        arms=_corrected(asked, raw),
        hashes=hashes,
        zero_bits=zero_bits,
        successes=int(test.sum()),
        detectable_auc=_detectable(test, sum(2 for a in asked if a.role == "stage 1")),
        permutations=permutations,
        source=source.to_json(),
        seed=seed,
    )


def _switching(
    source: HeaderSource, hashes: int, zero_bits: int
) -> tuple[Bool, dict[Compression, tuple[I16, I16]]]:
    """Outcomes, shape (hashes,), and per compression the bits that change and that are 1, shape (hashes, rounds)."""
    success = np.empty(hashes, np.bool_)
    widths: dict[Compression, int] = {"second": EARLY_ROUNDS, "last": ROUNDS}
    seen = {c: (np.empty((hashes, w), np.int16), np.empty((hashes, w), np.int16)) for c, w in widths.items()}
    for number, start in enumerate(range(0, hashes, CHUNK)):
        here = slice(start, min(start + CHUNK, hashes))
        states = double_hash_rounds(source.words((3, number), here.stop - here.start))
        success[here] = (states.digest[7] & 0xFF) >> (8 - zero_bits) == 0
        for compression, parts in seen.items():
            of = states.second if compression == "second" else states.last
            for part, found in zip(parts, switching(of), strict=True):
                part[here] = found[:, : widths[compression]]
    return success, seen


@dataclass(frozen=True)
class _Raw:
    """A score before it is corrected for the others."""

    classifier: str
    auc: float
    ci: tuple[float, float]
    p_value: float
    filter: Filter


def _score(
    name: str, arm: Arm, power: F64, half: int, success: Bool, rng: np.random.Generator, permutations: int
) -> _Raw:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rule = Ridge(alpha=RIDGE_ALPHA) if name == "ridge" else LogisticRegression(max_iter=1000)
    model = make_pipeline(StandardScaler(), rule)
    model.fit(power[:half], success[:half].astype(int))
    score = np.asarray(
        model.predict(power) if name == "ridge" else model.decision_function(power), np.float64
    )
    found = auc_and_null(score[half:], success[half:], rng, permutations)
    return _Raw(name, *found, best_filter(score, half, success, arm.rounds_of_double_hash))


def best_filter(score: F64, half: int, success: Bool, abort_round: int) -> Filter:
    """The threshold that saves most on the first ``half`` of the hashes, and what it does on the others.

    Args:
        score: of every hash, higher for a likelier success, shape (n,).
        half: how many of them choose the threshold.
        success: outcomes, shape (n,).
        abort_round: rounds of a double hash after which the others are aborted.
    """
    order = np.argsort(-score[:half], kind="stable")
    won = np.cumsum(success[:half][order])
    last = np.append(np.diff(score[:half][order]) != 0, True)  # a threshold lies between two scores
    first = np.flatnonzero(last & (won > 0))
    energies = energy_per_share(
        (first + 1) / half, won[first] / won[-1], float(abort_round), float(DOUBLE_HASH_ROUNDS)
    )
    threshold = score[:half][order][first[int(np.argmin(energies))]]
    kept = score[half:] >= threshold
    q, r = float(kept.mean()), float(kept[success[half:]].mean())
    energy = float(energy_per_share(q, r, abort_round, DOUBLE_HASH_ROUNDS)) if r > 0 else None
    return Filter(q, r, abort_round, energy)


def auc_and_null(
    score: F64, success: Bool, rng: np.random.Generator, permutations: int
) -> tuple[float, tuple[float, float], float]:
    """AUC of a score, its 95 % interval, and its one-sided p-value when the outcomes are permuted.

    Args:
        score: shape (n,).
        success: outcomes, shape (n,).
        rng: permutes.
        permutations: how often.
    """
    from scipy.stats import rankdata

    from tpf.frontier_scores import area

    order, bins = np.unique(score, return_inverse=True)
    histogram = np.stack(
        [np.bincount(bins[success == outcome], minlength=order.size) for outcome in (False, True)]
    )
    found = area(histogram, order)
    ranks = rankdata(score)
    n1 = int(success.sum())
    n0 = success.size - n1
    sums = np.array([rng.choice(ranks, n1, replace=False, shuffle=False).sum() for _ in range(permutations)])
    null = (sums - n1 * (n1 + 1) / 2) / (n0 * n1)
    return found.auc, found.ci, float((1 + (null >= found.auc - 1e-12).sum()) / (1 + permutations))


def _corrected(asked: tuple[Arm, ...], raw: list[list[_Raw]]) -> tuple[ArmResult, ...]:
    """Holm's correction within each role."""
    corrected: dict[tuple[int, int], float] = {}
    for role in {arm.role for arm in asked}:
        keys = [(i, j) for i, arm in enumerate(asked) if arm.role == role for j in range(len(raw[i]))]
        keys.sort(key=lambda key: raw[key[0]][key[1]].p_value)
        worst = 0.0
        for rank, (i, j) in enumerate(keys):
            worst = max(worst, min(1.0, (len(keys) - rank) * raw[i][j].p_value))
            corrected[i, j] = worst
    return tuple(
        ArmResult(
            arm,
            tuple(
                Score(found.classifier, found.auc, found.ci, found.p_value, corrected[i, j], found.filter)
                for j, found in enumerate(raw[i])
            ),
        )
        for i, arm in enumerate(asked)
    )


def _detectable(test: Bool, tests: int) -> float:
    """AUC that is found with power 0.9 at ``ALPHA`` over ``tests`` tests (normal approximation of Wilcoxon's)."""
    from scipy.stats import norm

    n1 = int(test.sum())
    n0 = test.size - n1
    spread = np.sqrt((n0 + n1 + 1) / (12 * n0 * n1))
    return float(0.5 + (norm.ppf(1 - ALPHA / tests) + norm.ppf(0.9)) * spread)
