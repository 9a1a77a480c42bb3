"""Software reservoirs, readouts and capacities against reservoirpy, rcbench and the limit of matrix-vector products.

One BLAS thread; rates are per second of CPU time, so that a busy machine counts against neither side.
"""

from __future__ import annotations

import importlib.util
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import blas

from benchmarks.harness import Benchmark, Row, SkippedError, paired
from reservoir.capacities import Combination, information_processing_capacity
from reservoir.moments import CHUNK_ROWS, Moments
from reservoir.networks import EchoStateNetwork
from reservoir.readouts import RidgeReadout, RlsReadout

AIMS = {100: 5.0, 500: 1.4, 1000: 1.2, 2000: 1.15}
BATCH_AIMS = {100: 10.0, 500: 2.8, 1000: 2.4}  # twice those of one sequence
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


def batches(steps: int) -> Iterator[Row]:
    """32 inputs through one network, against 32 runs of the peer, and against 32 of our own."""
    from reservoirpy.nodes import Reservoir
    from scipy import sparse

    for nodes, aim in BATCH_AIMS.items():
        many = np.random.default_rng(0).uniform(0.0, 0.5, (32, max(100, steps * 5 // nodes), 1))
        net = EchoStateNetwork(nodes).fit(many[0])
        theirs = Reservoir(W=sparse.csr_matrix(net.w_), Win=net.w_in_, bias=net.bias_)
        theirs.run(many[0])  # it has no state to go back from before
        count = 32 * many.shape[1]

        def peer(theirs: Any = theirs, many: np.ndarray = many) -> list[np.ndarray]:
            found = []
            for one in many:
                theirs.reset()  # it goes on from its last state otherwise
                found.append(theirs.run(one))
            return found

        assert np.abs(net.transform_many(many) - np.stack(peer())).max() < 1e-10
        yield paired(
            f"32 sequences at once, N = {nodes}, 10 % of W",
            lambda: cpu_rate(lambda: net.transform_many(many), count),  # noqa: B023
            lambda: cpu_rate(peer, count),  # noqa: B023
            unit="steps/s",
            aim=aim,
            rounds=5,
        )
        yield paired(
            f"32 sequences at once against one by one, N = {nodes}",
            lambda: cpu_rate(lambda: net.transform_many(many), count),  # noqa: B023
            lambda: cpu_rate(lambda: [net.transform(one) for one in many], count),  # noqa: B023
            unit="steps/s",
            aim=2.0,
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

    def peer() -> Any:
        return Ridge(1e-6).fit(x, y)

    assert np.abs(np.ravel(peer().Wout) - np.ravel(chunked().coef_)).max() < 1e-8
    yield paired(
        f"ridge of {rows:,} rows of 200 states, in chunks",
        lambda: cpu_rate(chunked, rows),
        lambda: cpu_rate(peer, rows),
        unit="rows/s",
        aim=5.0,
        rounds=3,
    )
    gram = np.zeros((200, 200), order="F")

    def products() -> None:
        for start in range(0, rows, CHUNK_ROWS):
            blas.dsyrk(1.0, x[start : start + CHUNK_ROWS].T, beta=1.0, c=gram, overwrite_c=1)

    yield paired(
        f"ridge of {rows:,} rows against its symmetric products alone",
        lambda: cpu_rate(chunked, rows),
        lambda: cpu_rate(products, rows),
        unit="rows/s",
        aim=0.8,
        rounds=3,
    )
    mine, theirs = extra_memory_mb(chunked), extra_memory_mb(peer)
    # less is better here: the ratio says how many times less
    yield Row(f"memory beyond the data, ridge of {rows:,} rows", mine, theirs, "MB", theirs / mine, 50.0)


def extra_memory_mb(action: Callable[[], object]) -> float:
    """Most megabytes that numpy holds during a call beyond what it held before."""
    tracemalloc.start()
    action()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def capacities(rows: int) -> Iterator[Row]:
    """165 products of one or two delays of 1 .. 10, up to degree 3 in all, of a network of 100 nodes."""
    if importlib.util.find_spec("rcbench") is None:
        yield Row(
            "capacity of 165 targets",
            skipped="rcbench is not installed: pip install 'asic-reservoir-lab[all]'",
        )
        return
    from rcbench.tasks.ipc import IPCEvaluator

    u = np.random.default_rng(0).uniform(-1.0, 1.0, rows + 200)
    x = EchoStateNetwork(100, input_scaling=0.5).fit(u[:, None]).transform(u[:, None])[200:]
    u = u[200:]

    def theirs() -> IPCEvaluator:
        logging.disable(logging.CRITICAL)  # it prints each step
        try:
            evaluator = IPCEvaluator(u, x, max_delay=10, max_degree=3)
            evaluator.calculate_total_capacity("kbest", "all", regression_alpha=1e-6)
        finally:
            logging.disable(logging.NOTSET)
        return evaluator

    found = theirs().evaluation_results
    targets: list[Combination] = [tuple(key) for key in found["all_results"]]
    ours = information_processing_capacity(x, u, targets)
    assert len(targets) == 165
    # theirs is a squared correlation on held-out rows, ours on all rows: alike within the error of the former
    assert abs(ours.raw - found["total_capacity"]) < 0.1 * ours.raw + 165 * ours.null_mean
    yield paired(
        f"capacity of 165 targets, {rows:,} rows, N = 100",
        lambda: cpu_rate(lambda: information_processing_capacity(x, u, targets), 165),
        lambda: cpu_rate(theirs, 165),
        unit="targets/s",
        aim=20.0,
        rounds=3,
        detail={"total": ours.total, "raw": ours.raw, "rcbench": float(found["total_capacity"])},
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
        yield from batches(10_000 if not heavy else 40_000)
        yield from capacities(10_000)
        yield from online(500 if not heavy else 2_000)
        yield from ridge(100_000 if not heavy else 1_000_000)


BENCHMARKS = [Benchmark("reservoir", run)]
