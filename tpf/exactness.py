"""From where on is the outcome of a hash settled? Found by trying: whatever comes later is replaced by chance.

The last digest word H7 is settled after k rounds of the last compression if no message that could still follow changes
it. A second question is how little of the rounds is needed: the half of a round that computes ``a`` matters only if
that ``a`` is read again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tpf import sha256
from tpf.sha256_rounds import HEADER_WORDS, ROUNDS, double_hash_rounds

U64 = npt.NDArray[np.uint64]

COMPRESSIONS = 2
"""Per nonce; the first 64 bytes of the header are the same for all nonces of a work."""
E_HALF = Fraction(1, 2)
"""What a round costs in which only ``e`` is computed: one of the two words that a round makes."""
SAMPLE = 64
"""Messages; a word that is not settled agrees by chance in all of them once in 2^2048 tries."""


@dataclass(frozen=True)
class ExactPoint:
    """Where H7 is settled, and what stopping there saves. Rounds count from the start of the last compression.

    Attributes:
        full_rounds: whole rounds after which no later word can change H7, if every round is computed whole.
        whole_rounds: whole rounds of the cheapest way.
        e_rounds: rounds after them of which only the half is computed that gives ``e``.
        never_with: most whole rounds with which H7 cannot be had from ``e`` halves, however many.
        free_rounds: rounds of the header's second compression that are the same for all nonces.
        rounds: of a double hash without any of this.
        rounds_needed: of it, in rounds, up to the exact point by the cheapest way.
    """

    full_rounds: int
    whole_rounds: int
    e_rounds: int
    never_with: int
    free_rounds: int
    rounds: int
    rounds_needed: Fraction

    def saving(self, *, hoisted: bool = False, early_exit: bool = False) -> Fraction:
        """Part of a double hash that stopping at the exact point saves for a hash that fails, without a false abort.

        Args:
            hoisted: against a miner that computes the ``free_rounds`` once for all nonces.
            early_exit: against one that stops after ``full_rounds`` already.
        """
        free = self.free_rounds if hoisted else 0
        before = self.rounds - free - (ROUNDS - self.full_rounds if early_exit else 0)
        return 1 - (self.rounds_needed - free) / before

    def to_json(self) -> dict[str, Any]:
        """Plain dict with the savings against each kind of miner."""
        plain = asdict(self) | {"rounds_needed": float(self.rounds_needed)}
        plain["savings"] = {
            "plain": float(self.saving()),
            "hoisted": float(self.saving(hoisted=True)),
            "hoisted_early_exit": float(self.saving(hoisted=True, early_exit=True)),
        }
        return plain


def _e_half_by_chance(chance: Callable[[], U64], s: sha256.State) -> sha256.State:
    return sha256.e_half(s, chance(), chance())


def find_exact_point(rng: np.random.Generator) -> ExactPoint:
    """Find it on random headers.

    Args:
        rng: draws the headers, and what replaces the later words.
    """
    words = rng.integers(0, 1 << 32, (SAMPLE, HEADER_WORDS), dtype=np.uint32)
    words[SAMPLE // 2 :, :19] = words[0, :19]  # half of them differ in the nonce alone
    hashes = double_hash_rounds(words)
    kw = sha256.keyed([w.astype(np.uint64) for w in hashes.last.schedule])
    truth = hashes.last.after(ROUNDS)[7].astype(np.uint64)

    def chance() -> U64:
        return rng.integers(0, 1 << 32, SAMPLE, dtype=np.uint64)

    def after(k: int) -> sha256.State:
        return sha256.State(*hashes.last.after(k).astype(np.uint64))

    def settled(s: sha256.State, k: int, step: Callable[[sha256.State], sha256.State]) -> bool:
        """Whether ``h`` after 64 rounds is the true one when rounds k .. 63 are done by ``step``."""
        for _ in range(k, ROUNDS):
            s = step(s)
        return bool((s.h == truth).all())

    def by_chance(s: sha256.State) -> sha256.State:
        return sha256.round(s, chance())

    full = ROUNDS
    while full and settled(after(full - 1), full - 1, by_chance):
        full -= 1

    def e_rounds(whole: int) -> int | None:
        """``e`` halves needed after so many whole rounds; None if all that are left do not do."""
        s, at = after(whole), []
        for k in range(whole, ROUNDS):
            at.append(s)
            s = sha256.e_half(s, kw[k], chance())
        if not settled(s, ROUNDS, by_chance):
            return None  # not even with all of them
        at.append(s)
        by_half = partial(_e_half_by_chance, chance)
        return next(g for g, s in enumerate(at) if settled(s, whole + g, by_half))

    halves = {whole: e_rounds(whole) for whole in range(ROUNDS + 1)}
    ways = {whole: g for whole, g in halves.items() if g is not None}
    whole = min(ways, key=lambda w: w + E_HALF * ways[w])
    same = hashes.second
    free = 0
    while (same.after(free + 1)[:, SAMPLE // 2 :] == same.after(free + 1)[:, [-1]]).all():
        free += 1
    needed = (COMPRESSIONS - 1) * ROUNDS + whole + E_HALF * ways[whole]
    never = max(w for w, g in halves.items() if g is None)
    return ExactPoint(full, whole, ways[whole], never, free, COMPRESSIONS * ROUNDS, needed)
