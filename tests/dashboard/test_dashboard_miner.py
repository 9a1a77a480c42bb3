"""Moments kept share by share are those of all shares, and their interval covers what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.dashboard.miner import EDGES_MS, LiveMiner, histogram


def fed(x_ms: np.ndarray, parts: int = 1) -> LiveMiner:
    miner = LiveMiner(1, "lab", "s9")
    times_ns = np.cumsum(x_ms * 1e6).astype(np.int64)
    for some in np.array_split(np.arange(x_ms.size), parts):
        miner.add(times_ns[some], (x_ms[some] * 1e6).astype(np.int64))
    return miner


def test_pieces_give_what_the_whole_gives() -> None:
    x_ms = np.random.default_rng(1).gamma(2.0, 50.0, 3000)
    whole, pieces = fed(x_ms), fed(x_ms, 17)
    assert pieces.spread() == pytest.approx(whole.spread(), rel=1e-9)
    assert whole.spread()["cv"] == pytest.approx(stats.variation(x_ms), rel=1e-6)
    assert whole.spread()["mean_ms"] == pytest.approx(x_ms.mean(), rel=1e-6)
    assert pieces.shares == 3000
    assert list(pieces.recent_ns) == list(whole.recent_ns)


def test_the_interval_of_the_cv_covers_it() -> None:
    rng, inside = np.random.default_rng(2), 0
    for _ in range(200):
        spread = fed(rng.exponential(100.0, 500)).spread()
        inside += bool(spread["low"] < 1.0 < spread["high"])  # type: ignore[operator]
    assert 174 <= inside <= 200  # 0.95, less what 500 intervals leave of it


def test_few_or_equal_intervals_have_no_spread() -> None:
    assert fed(np.full(5, 3.0)).spread()["cv"] is None
    assert fed(np.full(100, 3.0)).spread()["cv"] == pytest.approx(0.0, abs=1e-6)


def test_the_null_of_the_histogram_is_that_of_a_fair_hash() -> None:
    drawn = histogram([fed(np.random.default_rng(3).exponential(100.0, 50_000))])
    count, null = np.array(drawn["count"]), np.array(drawn["null"])
    assert null.sum() == pytest.approx(50_000, rel=2e-3)
    many = null > 100
    chi2 = float(((count - null)[many] ** 2 / null[many]).sum())
    assert stats.chi2.sf(chi2, many.sum() - 2) > 1e-3
    assert histogram([]) == {"ms": [], "count": [], "null": []}
    assert EDGES_MS[0] <= drawn["ms"][0]
