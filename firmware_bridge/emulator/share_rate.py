"""The hash rate that AxeOS shows before v2.11: not counted, but estimated from the shares that it found.

``hardware.md`` §4.4 b: the rate is the difficulty of the shares sent, each worth 2^32 hashes per unit, over the time.
Below the chip's own floor of 256 a pool's difficulty makes no more shares, so there the rate shows too little.
"""

from __future__ import annotations

import numpy as np

FLOOR = 256.0
"""Difficulty below which this chip reports nothing."""


class ShareRate:
    """Shares come by chance, at the pace of the hash rate, on the emulator's clock; between two of them nothing moves.

    Args:
        rng: chance.
        credits_floor: whether each nonce counts with the chip's own difficulty, as from v2.1.8 on, and not with the
            pool's.
        now_ns: monotonic time now.
        rate_ghs: shown until the next share, as after a long run; None for a device that has just started.
        uptime_s: of that run.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        credits_floor: bool,
        now_ns: int,
        rate_ghs: float | None = None,
        uptime_s: float = 0.0,
    ) -> None:
        self._rng = rng
        self._credits_floor = credits_floor
        self._then_ns = now_ns
        self._elapsed_s = uptime_s
        self._credited = 0.0 if rate_ghs is None else rate_ghs * 1e9 * uptime_s / 2**32
        self.shown_ghs = rate_ghs or 0.0

    def advance(self, now_ns: int, rate_ghs: float, pool_difficulty: float | None) -> float:
        """Find the shares of the time since the last call; the rate in GH/s that is shown now.

        Args:
            now_ns: monotonic time.
            rate_ghs: what the chip really does.
            pool_difficulty: of the present job; None while there is none yet, which counts as the floor.
        """
        passed_s = max(0, now_ns - self._then_ns) / 1e9
        self._then_ns = max(now_ns, self._then_ns)
        self._elapsed_s += passed_s
        pool = FLOOR if pool_difficulty is None else pool_difficulty
        needed = max(pool, FLOOR)
        found = int(self._rng.poisson(rate_ghs * 1e9 * passed_s / (needed * 2**32)))
        if found:
            self._credited += found * (needed if self._credits_floor else pool)
            self.shown_ghs = self._credited * 2**32 / self._elapsed_s / 1e9
        return self.shown_ghs
