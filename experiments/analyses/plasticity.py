"""The published learning rules of CHIMERA, which read colours out of hashes and change a weight by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tpf.hns import Rgba

F64 = npt.NDArray[np.float64]

MEMORY_THRESHOLD, MEMORY_RATE = 0.3, 0.5
"""Of the memory experiment (C): (mean A - 0.3) mean B / 2."""
LAYER_THRESHOLD, LAYER_RATE = 0.5, 0.1
"""Of the layer (V03): (mean A - 0.5) mean B / 10."""


def updates(rgba: Rgba, batch: int, threshold: float, rate: float) -> F64:
    """Change of a weight by each batch of hashes: (mean A - threshold) mean B rate, shape (n // batch,)."""
    whole = rgba[: rgba.shape[0] - rgba.shape[0] % batch].reshape(-1, batch, 4).mean(axis=1)
    return np.asarray((whole[:, 3] - threshold) * whole[:, 2] * rate)


def energies(rgba: Rgba, batch: int) -> F64:
    """Energy of each batch of hashes, the sum of R: shape (n // batch,)."""
    whole = rgba[: rgba.shape[0] - rgba.shape[0] % batch].reshape(-1, batch, 4)
    return np.asarray(whole[:, :, 0].sum(axis=1))


def expected_update(threshold: float, rate: float) -> float:
    """Mean of :func:`updates` of uniform hashes: (1/2 - threshold) rate / 2."""
    return (0.5 - threshold) * rate / 2
