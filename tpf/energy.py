"""What a filter on hashes saves: the accounting of energy per share, in the terms of the theorems about it.

Unit of energy: one double hash from beginning to end. A filter looks at a candidate after ``k`` of ``n`` rounds, keeps
the part ``q`` of all candidates and the part ``r`` of those that would have won, and costs ``c`` per candidate. The
part ``s`` of the board's power flows whatever the hashing does. Then, relative to the same miner without a filter,

    work = q + (1 - q) k / n + c                        per candidate
    energy_per_share = ((1 - s) work + s) / r           per share: a lost share has cost energy too

and the filter saves energy when that is below 1. Without information about the outcome ``r = q``, and it never is.

Everything takes fractions (integers count as such) and is exact then; one float or numpy array makes the result one.
A Bitcoin hash has n = 128 rounds per nonce. The model is that of an unrolled pipeline: what is aborted leaves its slot
empty, so that shares come at the rate ``r``, not faster.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.efficiency import eta as eta

Real = Any
"""An int, float, fraction or array of floats; a union of these knows no arithmetic."""
Result = Any
"""Fraction, float or array, as the arguments are."""

DOUBLE_HASH_ROUNDS = 128
"""Of one nonce; the first 64 bytes of the header are hashed once for all nonces."""
PUBLISHED_ROUND, PUBLISHED_ROUNDS = 5, 64
"""*Speaking to Silicon*, §12."""


def _numbers(*values: Real) -> tuple[Any, ...]:
    """All as fractions, or all as floats and arrays of them.

    Raises:
        ValueError: if one is no finite number.
    """
    if all(isinstance(v, (int, Fraction)) for v in values):
        return tuple(Fraction(v) for v in values)
    found = tuple(v.astype(np.float64) if isinstance(v, np.ndarray) else float(v) for v in values)
    if not all(np.all(np.isfinite(v)) for v in found):
        raise ValueError("energy is computed of finite numbers")
    return found


def _part(name: str, value: Any, *, above_zero: bool = False) -> None:
    if not np.all((value > 0 if above_zero else value >= 0) & (value <= 1)):
        raise ValueError(
            f"{name} lies {'above 0' if above_zero else 'at 0 or above'} and at most at 1, not at {value}"
        )


def _rounds(k: Any, n: Any) -> None:
    if not (np.all(n > 0) and np.all(k >= 0) and np.all(k <= n)):
        raise ValueError(f"a filter stops after 0 to n rounds of n > 0, not after {k} of {n}")


def _cost(c: Any) -> None:
    if not np.all(c >= 0):
        raise ValueError(f"the cost of a filter is 0 or more, not {c}")


def work(q: Real, k: Real, n: Real, c: Real = 0) -> Result:
    """Energy per candidate, relative to a whole double hash: ``q + (1 - q) k / n + c``.

    Args:
        q: keep rate, 0 to 1.
        k: rounds after which a candidate is aborted.
        n: rounds of a double hash.
        c: cost of the filter per candidate, 0 or more.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    q, k, n, c = _numbers(q, k, n, c)
    _part("a keep rate", q)
    _rounds(k, n)
    _cost(c)
    return q + (1 - q) * (k / n) + c


def energy_per_share(q: Real, r: Real, k: Real, n: Real, s: Real = 0, c: Real = 0) -> Result:
    """Energy per share relative to no filter: ``((1 - s) work + s) / r``.

    Args:
        q: keep rate, 0 to 1.
        r: recall, the part of the winners that is kept, above 0.
        k: rounds after which a candidate is aborted.
        n: rounds of a double hash.
        s: static part of the power, 0 to 1.
        c: cost of the filter per candidate.

    Raises:
        ValueError: if an argument lies outside its range; without recall there is no share to spend energy on.
    """
    q, r, k, n, s, c = _numbers(q, r, k, n, s, c)
    _part("recall", r, above_zero=True)
    return break_even_recall(q, k, n, s, c) / r


def break_even_recall(q: Real, k: Real, n: Real, s: Real = 0, c: Real = 0) -> Result:
    """Recall at which the energy per share is what it is without a filter; above 1 no recall saves anything.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    q, k, n, s, c = _numbers(q, k, n, s, c)
    _part("a static share", s)
    return (1 - s) * work(q, k, n, c) + s


def break_even_keep_rate(r: Real, k: Real, n: Real, s: Real = 0, c: Real = 0) -> Result:
    """Keep rate at which a filter of recall r breaks even; it saves below it, and never if this is below 0.

    Raises:
        ValueError: if an argument lies outside its range, or nothing depends on the keep rate (k = n, or s = 1).
    """
    r, k, n, s, c = _numbers(r, k, n, s, c)
    _part("recall", r)
    _part("a static share", s)
    _rounds(k, n)
    _cost(c)
    if np.any(k == n) or np.any(s == 1):
        raise ValueError("what is aborted saves nothing here, so that no keep rate breaks even")
    return ((r - s) / (1 - s) - c - k / n) / (1 - k / n)


def equivalent_hashrate(q: Real, r: Real, k: Real, n: Real, s: Real = 0, c: Real = 0) -> Result:
    """Hash rate of a miner without a filter that finds as many shares from the same energy: 1 / energy per share."""
    return _per(energy_per_share(q, r, k, n, s, c))


def _per(energy: Result) -> Result:
    """Shares from a unit of energy; without bound where a share costs none."""
    if isinstance(energy, Fraction):
        return 1 / energy if energy else math.inf
    with np.errstate(divide="ignore"):
        found = 1 / np.asarray(energy, np.float64)
    return found if found.ndim else float(found)


def share_rate(r: Real, eta_before: Real = 1, eta_after: Real = 1) -> Result:
    """Shares per time relative to no filter: ``r``, times what a block manager wins.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    r, before, after = _numbers(r, eta_before, eta_after)
    _part("recall", r)
    _part("eta", before, above_zero=True)
    _part("eta", after, above_zero=True)
    return r * after / before


def published_saving(k: Real = PUBLISHED_ROUND, n: Real = PUBLISHED_ROUNDS) -> Result:
    """The paper's saving, ``1 - k / n``: what a filter saves per candidate that keeps nothing, and finds nothing."""
    return 1 - work(0, k, n)


def combined_saving(a: Real, b: Real) -> Result:
    """The paper's combination of two savings, ``1 - (1 - a)(1 - b)``: right where both are savings of energy."""
    a, b = _numbers(a, b)
    if not (np.all(a <= 1) and np.all(b <= 1)):
        raise ValueError(f"a saving is at most 1, not {a} and {b}")
    return 1 - (1 - a) * (1 - b)


def combined_energy_per_share(
    q: Real,
    r: Real,
    k: Real,
    n: Real,
    s: Real = 0,
    c: Real = 0,
    *,
    eta_before: Real,
    eta_after: Real,
) -> Result:
    """Energy per share with a filter and a block manager, relative to neither.

    A block manager turns waiting into hashing. A chip that waits draws its static power alone, so that per share
    ``(1 - s) work + s / eta`` is spent over the recall: without static power a block manager saves no energy at all,
    however many more shares it brings.

    Args:
        q: keep rate.
        r: recall.
        k: rounds after which a candidate is aborted.
        n: rounds of a double hash.
        s: static part of the power while hashing.
        c: cost of the filter.
        eta_before: part of the time that is spent hashing without the block manager, above 0.
        eta_after: the same with it.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    q, r, k, n, s, c, before, after = _numbers(q, r, k, n, s, c, eta_before, eta_after)
    _part("recall", r, above_zero=True)
    _part("a static share", s)
    _part("eta", before, above_zero=True)
    _part("eta", after, above_zero=True)
    return ((1 - s) * work(q, k, n, c) + s / after) / r / ((1 - s) + s / before)


def divergence_bits(r: npt.ArrayLike, q: npt.ArrayLike) -> Any:
    """D(r || q) of two yes-no distributions in bits: what a filter must learn of each winner to keep r of them when it
    keeps q of all. Infinite where q = 0 < r, or q = 1 > r.

    Raises:
        ValueError: if one lies outside 0 to 1.
    """
    r, q = np.asarray(r, np.float64), np.asarray(q, np.float64)
    _part("recall", r)
    _part("a keep rate", q)
    with np.errstate(divide="ignore", invalid="ignore"):
        yes = np.where(r > 0, r * np.log2(r / q), 0.0)
        no = np.where(r < 1, (1 - r) * np.log2((1 - r) / (1 - q)), 0.0)
    found = yes + no
    return found if found.ndim else float(found)


def information_bound(p_win: npt.ArrayLike, r: npt.ArrayLike, q: npt.ArrayLike) -> Any:
    """Least mutual information of features and outcome, in bits per candidate, with which a filter (q, r) can be:
    ``p_win D(r || q)``.

    Raises:
        ValueError: if an argument lies outside 0 to 1.
    """
    p = np.asarray(p_win, np.float64)
    _part("a probability", p)
    with np.errstate(invalid="ignore"):
        found = np.where(p > 0, p * divergence_bits(r, q), 0.0)
    return found if found.ndim else float(found)


@dataclass(frozen=True)
class EnergyAccount:
    """Everything about one filter.

    Attributes:
        keep_rate: q.
        recall: r.
        abort_round: k.
        rounds: n.
        static: s.
        cost: c.
        work: energy per candidate.
        energy_per_share: relative to no filter.
        break_even_recall: recall above which this filter saves.
        equivalent_hashrate: 1 / ``energy_per_share``.
        share_rate: shares per time relative to no filter.
        bits_needed: D(r || q), bits that the filter must learn of each winner.
    """

    keep_rate: Fraction | float
    recall: Fraction | float
    abort_round: Fraction | float
    rounds: Fraction | float
    static: Fraction | float
    cost: Fraction | float
    work: Fraction | float
    energy_per_share: Fraction | float
    break_even_recall: Fraction | float
    equivalent_hashrate: Fraction | float
    share_rate: Fraction | float
    bits_needed: float

    @property
    def saving(self) -> Fraction | float:
        """Of energy per share; below 0 a loss."""
        return 1 - self.energy_per_share

    @property
    def verdict(self) -> dict[str, str]:
        """``saves``, ``does_not_save`` or ``breaks_even``, in words."""
        energy, need = float(self.energy_per_share), float(self.break_even_recall)
        if self.keep_rate == 0:
            text = (
                "There is no such filter: one that keeps nothing finds nothing, so that no recall above 0 goes with a "
                "keep rate of 0. By the formula: "
            )
        elif self.keep_rate == 1 and self.recall < 1:
            text = (
                "There is no such filter: one that keeps everything loses nothing, so that no recall below 1 goes with "
                "a keep rate of 1. By the formula: "
            )
        elif self.recall == self.keep_rate:
            text = "Keeping as many winners as candidates takes no information. "
        else:
            text = ""
        if need > 1:
            reach = "No recall would."
        else:
            reach = f"It takes a recall above {need:.4f}, or at most {1 - need:.2%} of the winners aborted."
        if self.energy_per_share == 1:
            return {
                "code": "breaks_even",
                "text": f"{text}Energy per share is what it is without the filter. {reach}",
            }
        if self.energy_per_share < 1:
            return {
                "code": "saves",
                "text": f"{text}Energy per share falls to {energy:.4f} of what it was, with "
                f"{float(self.share_rate):.4f} of the shares. {reach}",
            }
        return {
            "code": "does_not_save",
            "text": f"{text}Energy per share rises to {energy:.4f} of what it was. {reach}",
        }

    def to_json(self) -> dict[str, Any]:
        """Plain dict of floats, with the exact fractions under ``exact`` where there are such."""
        plain = asdict(self)
        exact = {name: str(value) for name, value in plain.items() if isinstance(value, Fraction)}
        numbers = {name: float(value) for name, value in plain.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return finite | {"saving": float(self.saving), "exact": exact, "verdict": self.verdict}


def account(q: Real, r: Real, k: Real, n: Real, s: Real = 0, c: Real = 0) -> EnergyAccount:
    """Everything about one filter; single numbers, no arrays.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    q, r, k, n, s, c = _numbers(q, r, k, n, s, c)
    energy = energy_per_share(q, r, k, n, s, c)
    need = break_even_recall(q, k, n, s, c)
    bits = divergence_bits(float(r), float(q))
    return EnergyAccount(q, r, k, n, s, c, work(q, k, n, c), energy, need, _per(energy), share_rate(r), bits)
