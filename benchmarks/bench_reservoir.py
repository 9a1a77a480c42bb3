"""Software reservoirs and readouts against reservoirpy and the limit of matrix-vector products; one BLAS thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.harness import Benchmark, Row, SkippedError, paired
from reservoir.moments import CHUNK_ROWS, Moments
from reservoir.networks import EchoStateNetwork
from reservoir.readouts import RidgeReadout, RlsReadout

AIMS = {100: 5.0, 500: 1.4, 1000: 1.2, 2000: 1.15}
RLS_AIMS = {100: 2.5, 500: 10.0, 1000: 15.0}


def cpu_rate(action: Callable[[], object], count: int) -> float:
    """Items per second of CPU time, so that a busy machine does not count against either side."""
    start = time.process_time()
    action()
    return count / (time.process_time() - start)


def states(steps: int) -> Iterator[Row]:
    from reservoirpy.nodes import Reservoir
    from scipy import sparse

    for nodes, aim in AIMS.items():
        u = np.random.default_rng(0).uniform(0.0, 0.5, (max(200, steps * 100 // nodes), 1))
        ours = EchoStateNetwork(nodes).fit(u)
        theirs = Reservoir(W=sparse.csr_matrix(ours.w_), Win=ours.w_in_, bias=ours.bias_)
        assert np.abs(ours.transform(u[:200]) - theirs.run(u[:200])).max() < 1e-10
        yield paired(
            f"echo state network, N = {nodes}, 10 % of W",
            lambda: cpu_rate(lambda: ours.transform(u), len(u)),  # noqa: B023 - measured before the next turn
            lambda: cpu_rate(lambda: theirs.run(u), len(u)),  # noqa: B023
            unit="steps/s",
            aim=aim,
            rounds=5,
        )
    many = np.random.default_rng(0).uniform(0.0, 0.5, (32, steps // 20, 1))
    net = EchoStateNetwork(500).fit(many[0])
    yield paired(
        "32 sequences at once against one by one, N = 500",
        lambda: cpu_rate(lambda: net.transform_many(many), 32 * many.shape[1]),
        lambda: cpu_rate(lambda: [net.transform(one) for one in many], 32 * many.shape[1]),
        unit="steps/s",
        aim=2.0,
        rounds=5,
    )
    for nodes in (500, 1000, 2000):
        dense = EchoStateNetwork(nodes, connectivity=1.0).fit(u)
        part = u[: max(100, steps // nodes)]
        w, x = np.ascontiguousarray(dense.w_), np.random.default_rng(1).standard_normal(nodes)
        out = np.empty(nodes)
        yield paired(
            f"dense W against its matrix-vector products alone, N = {nodes}",
            lambda: cpu_rate(lambda: dense.transform(part), len(part)),  # noqa: B023
            lambda: cpu_rate(lambda: [np.dot(w, x, out) for _ in part], len(part)),  # noqa: B023
            unit="steps/s",
            aim=0.8,
            rounds=5,
        )


def ridge(rows: int) -> Iterator[Row]:
    from reservoirpy.nodes import Ridge

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 200))
    y = x @ rng.standard_normal((200, 1)) + rng.standard_normal((rows, 1))

    def chunked() -> RidgeReadout:
        moments = Moments(200, 1)
        for start in range(0, rows, CHUNK_ROWS):
            moments.add(x[start : start + CHUNK_ROWS], y[start : start + CHUNK_ROWS])
        return RidgeReadout(1e-6).fit_moments(moments)

    theirs = Ridge(1e-6).fit(x, y)
    assert np.abs(np.ravel(theirs.Wout) - np.ravel(chunked().coef_)).max() < 1e-8
    yield paired(
        f"ridge of {rows:,} rows of 200 states, in chunks",
        lambda: cpu_rate(chunked, rows),
        lambda: cpu_rate(lambda: Ridge(1e-6).fit(x, y), rows),
        unit="rows/s",
        aim=5.0,
        rounds=3,
    )


def online(steps: int) -> Iterator[Row]:
    from reservoirpy.nodes import RLS

    for nodes, aim in RLS_AIMS.items():
        rows = max(30, steps * 20 // nodes)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((rows, nodes)), rng.standard_normal((rows, 1))
        yield paired(
            f"recursive least squares, N = {nodes}",
            lambda: cpu_rate(lambda: RlsReadout(1.0).fit(x, y[:, 0]), rows),  # noqa: B023
            lambda: cpu_rate(lambda: RLS(alpha=1.0).partial_fit(x, y), rows),  # noqa: B023
            unit="steps/s",
            aim=aim,
            rounds=5,
        )


def run(heavy: bool) -> Iterator[Row]:
    try:
        import reservoirpy  # noqa: F401
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise SkippedError(f"{error}; pip install 'asic-reservoir-lab[test]'") from None
    with threadpool_limits(1):
        yield from states(10_000 if not heavy else 40_000)
        yield from online(500 if not heavy else 2_000)
        yield from ridge(100_000 if not heavy else 1_000_000)


BENCHMARKS = [Benchmark("reservoir", run)]
