"""Random input symbols for the jobs of an attached miner, as an emulated one in virtual time has them by itself."""

from __future__ import annotations

import numpy as np

from firmware_bridge.stratum.dispatch import CallbackSource, JobSymbol


def random_symbols(seed: int) -> CallbackSource:
    """Uniform in [0, 1), in the first four bytes of the prevhash of each job."""
    rng = np.random.default_rng([seed, 3])

    def draw(context: object) -> JobSymbol:
        word = int(rng.integers(1 << 32))
        return JobSymbol(word / 2.0**32, prevhash=f"{word:08x}")

    return CallbackSource(draw)
