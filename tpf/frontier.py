"""The information frontier: what does the state after k rounds tell about the outcome of a hash?

For every k = 0 .. 64 of the last compression a fixed list of scorers tries to tell the hashes that will have at least 8
leading zero bits, as a number: that is H7, the last word of the digest, ends in a zero byte. What the scorers learn is
learnt on the first quarter of the hashes; which of them is best is decided on the second; that one alone is scored, on
the other half. A scorer that was picked for its luck has none there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from firmware_bridge.errors import UserError
from firmware_bridge.sha256_kernels import INITIAL_STATE, ROW_E
from tpf.exactness import ExactPoint, find_exact_point
from tpf.frontier_counts import I32, I64, Counts, count
from tpf.frontier_scores import (
    F64,
    LEVEL,
    Information,
    Learned,
    area,
    auc_of,
    entropy_bits,
    histograms,
    information,
    learn,
    scorers,
)
from tpf.header_source import HeaderSource
from tpf.sha256_rounds import ROUNDS, U32

ZERO_BITS = 8
FEWEST_SUCCESSES = 30
"""Expected in the smallest part; below this no AUC means anything."""
ALPHA = 0.05


@dataclass(frozen=True)
class FrontierRound:
    """The state after k rounds of the last compression.

    Attributes:
        k: rounds done.
        auc: of the scorer that was chosen, on hashes that it has not seen.
        ci: 95 % interval of it.
        mi_bits: mutual information of its score and success, bias removed; a lower bound of the state's.
        mi_null_bits: what chance alone gives before that.
        mi_p: permutation p-value of it.
        scorer: which was chosen.
    """

    k: int
    auc: float
    ci: tuple[float, float]
    mi_bits: float
    mi_null_bits: float
    mi_p: float
    scorer: str


@dataclass(frozen=True)
class Frontier:
    """What a run of the twin found.

    Attributes:
        rounds: k = 0 .. 64.
        hashes: in all; a quarter taught, a quarter chose, half scored.
        zero_bits: of a success.
        successes: of the half that scored.
        label_bits: entropy of success there: all that there is to know.
        null_auc: range of an AUC of ``successes`` without any information, 95 % of the time.
        informative_from: smallest k whose AUC is above 1/2 at 5 % for all rounds together; None if none is.
        exact_from_round: after so many whole rounds the outcome is settled (:mod:`tpf.exactness`).
        exact_share_fraction: part of the successes that H7 out of that round's ``e`` keeps: 1 without a false abort.
        exact_false_keeps: failures that it keeps.
        saving: part of a double hash saved there, by the cheapest way.
        exact: the exact point.
        source: of the headers.
        seed: of the permutations and the exact point.
    """

    rounds: tuple[FrontierRound, ...]
    hashes: int
    zero_bits: int
    successes: int
    label_bits: float
    null_auc: tuple[float, float]
    informative_from: int | None
    exact_from_round: int
    exact_share_fraction: float
    exact_false_keeps: int
    saving: float
    exact: ExactPoint
    source: dict[str, Any]
    seed: int

    @property
    def verdict(self) -> dict[str, str]:
        """Code and text: ``nothing_before_exact``, or ``evidence`` of information in an earlier round."""
        known = self.exact_from_round
        early = self.rounds[:known]
        low, high = min(r.auc for r in early), max(r.auc for r in early)
        first = self.informative_from
        exact = (
            f"From round {known} on the outcome is settled (AUC {self.rounds[known].auc:.4f}), which saves "
            f"{self.saving:.2%} of a double hash without a false abort."
        )
        if first is not None and first < known:
            return {
                "code": "evidence",
                "text": f"The state tells something of the outcome from round {first} on (AUC "
                f"{self.rounds[first].auc:.4f}). {exact}",
            }
        return {
            "code": "nothing_before_exact",
            "text": f"Up to round {known - 1} the state tells nothing: AUC {low:.4f} to {high:.4f}, where chance gives "
            f"{self.null_auc[0]:.4f} to {self.null_auc[1]:.4f} in one round. {exact}",
        }

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self) | {"exact": self.exact.to_json(), "verdict": self.verdict}


def fewest_hashes(zero_bits: int) -> int:
    """Below so many there are too few successes."""
    return 4 * FEWEST_SUCCESSES << zero_bits


def measure(
    source: HeaderSource,
    hashes: int,
    *,
    seed: int = 0,
    zero_bits: int = ZERO_BITS,
    workers: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Frontier:
    """Measure the frontier.

    Args:
        source: of the headers.
        hashes: how many; memory does not grow with them.
        seed: of the permutations and of the exact point.
        zero_bits: leading zero bits of a success, 1 to 8.
        workers: threads; the result does not depend on it.
        progress: called with hashes done and in all.

    Raises:
        UserError: if the hashes are too few, or ``zero_bits`` lies outside its range.
    """
    if not 1 <= zero_bits <= 8:
        raise UserError(f"a success has 1 to 8 leading zero bits here, not {zero_bits}")
    if hashes < fewest_hashes(zero_bits):
        raise UserError(f"--hashes {hashes} are too few: take {fewest_hashes(zero_bits)} or more")
    done = [0]

    def part(number: int, size: int, tables: I32 | None) -> Counts:
        def draw(chunk: int, some: int) -> U32:
            return source.words((number, chunk), some)

        def step(some: int) -> None:
            done[0] += some
            progress(done[0], hashes)

        return count(draw, size, zero_bits, tables, workers=workers, progress=step)

    fit = part(0, hashes // 4, None)
    learned = learn(fit)
    choice = part(1, hashes // 4, learned.tables)
    test = part(2, hashes - 2 * (hashes // 4), learned.tables)
    for counts in (fit, choice, test):
        if not counts.classes[1]:
            raise UserError("no hash succeeded in one part; take more --hashes")
    rng = np.random.default_rng([seed, 61])
    scoring = _Scoring(learned, choice, test, zero_bits, rng)
    rounds = tuple(scoring.round(k) for k in range(ROUNDS + 1))
    exact = find_exact_point(rng)
    kept, false_keeps = _kept(test, exact.full_rounds, zero_bits)
    failures, successes = test.classes
    reach = ndtri(0.5 + LEVEL / 2) * np.sqrt((failures + successes + 1) / (12 * failures * successes))
    return Frontier(
        rounds=rounds,
        hashes=hashes,
        zero_bits=zero_bits,
        successes=successes,
        label_bits=float(entropy_bits(successes / test.hashes)),
        null_auc=(float(0.5 - reach), float(0.5 + reach)),
        informative_from=_informative_from(rounds),
        exact_from_round=exact.full_rounds,
        exact_share_fraction=kept / successes,
        exact_false_keeps=false_keeps,
        saving=float(exact.saving()),
        exact=exact,
        source=source.to_json(),
        seed=seed,
    )


class _Scoring:
    """Choice and score of each round. A word stands in four states, so that what was computed of it is kept."""

    def __init__(
        self, learned: Learned, choice: Counts, test: Counts, zero_bits: int, rng: np.random.Generator
    ) -> None:
        self.ratio, self.choice, self.test = learned.ratio, choice, test
        self.zero_bits, self.rng = zero_bits, rng
        self._chosen: dict[tuple[bytes, bytes], float] = {}
        self._told: dict[bytes, Information] = {}

    def _choice_auc(self, histogram: I64, order: F64) -> float:
        key = (histogram.tobytes(), order.tobytes())
        if key not in self._chosen:
            self._chosen[key] = auc_of(histogram, order)
        return self._chosen[key]

    def round(self, k: int) -> FrontierRound:
        listed = scorers(self.ratio, k, self.zero_bits)
        bins = histograms(self.choice, k)
        chosen = np.array([self._choice_auc(b, s.order) for s, b in zip(listed, bins, strict=True)])
        best = int(np.argmax(np.abs(chosen - 0.5)))
        scorer, test = listed[best], histograms(self.test, k)[best]
        # a scorer that is wrong more often than right is as good as its opposite
        found = area(test, scorer.order if chosen[best] >= 0.5 else -scorer.order)
        key = test.tobytes()
        if key not in self._told:
            self._told[key] = information(test, self.rng)
        told = self._told[key]
        return FrontierRound(k, found.auc, found.ci, told.bits, told.null_bits, told.p_value, scorer.name)


def _informative_from(rounds: tuple[FrontierRound, ...]) -> int | None:
    """Smallest k whose AUC is above 1/2 at ``ALPHA`` for all rounds together (Bonferroni)."""
    wider = ndtri(1 - ALPHA / len(rounds)) / ndtri(0.5 + LEVEL / 2)
    return next((r.k for r in rounds if r.auc - wider * (r.auc - r.ci[0]) > 0.5), None)


def _kept(test: Counts, k: int, zero_bits: int) -> tuple[int, int]:
    """Successes and failures that are kept by H7 as ``e`` after k rounds gives it."""
    row = ROW_E + 3 + k
    last = (np.arange(256) + (INITIAL_STATE[7] & 0xFF)) & 0xFF
    passes = last >> (8 - zero_bits) == 0
    failures, successes = test.byte[:, row, 0][:, passes].sum(axis=1)
    return int(successes), int(failures)
