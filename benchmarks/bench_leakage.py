"""A leakage report on a million shares against its budget of a minute, and its parts against SciPy and scikit-learn.

The whole command is timed, from the database to the JSON, as wall time and as CPU time of all of its threads: on a busy
machine only the second says anything of the code. The peers get the very same rows, features and labels, and their
rates are per vector of labels, so that the number of permutations does not matter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import ASICLAB, PROJECT, SECONDS, Benchmark, Row, against_budget, paired
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from tpf.dataset import Dataset
from tpf.run_dataset import READINGS, read_dataset
from tpf.statistics import classifiers, contingency, information, tvla
from tpf.statistics.battery import FEWER, INFORMATION_ROWS
from tpf.statistics.outcome import spread_blocks
from tpf.statistics.shifts import BlockShifts

SHARES = 1_000_000
BUDGET_S = 60.0
CORES = 2
PEER_VECTORS = 3
"""Vectors of labels that a peer is given; it takes as long for each."""
READ = {
    "shares": (
        *("miner", "job", "difficulty", "valid", "reason", "kernel_ns", "monotonic_ns", "wall_ns"),
        *("response_ns", "since_notify_ns", "extranonce2", "nonce", "version_bits"),
    ),
    "jobs": ("job", "miner", "symbol", "difficulty"),
    "telemetry": ("miner", "wall_ns", "temperature_c", "source", *READINGS),
}
"""Columns that a dataset is made of."""


@dataclass(frozen=True)
class Cost:
    """What one run of the command took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def evaluate(url: str) -> tuple[Cost, dict[str, object]]:
    """Run the command in a process of its own; what it took, and what it printed."""
    start = time.perf_counter()
    command = [*ASICLAB, "tpf", "evaluate", "latest", "--db", url, "--json"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError(f"tpf evaluate ended with {process.returncode}")
    per_mb = 1e6 if sys.platform == "darwin" else 1e6 / 1024
    cost = Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / per_mb)
    return cost, json.loads(told)


def cpu_seconds(action: Callable[[], object]) -> float:
    """CPU seconds of all threads."""
    start = time.process_time()
    action()
    return time.process_time() - start


def whole(url: str, rounds: int) -> Iterator[Row]:
    """The command against its budget."""
    costs: list[Cost] = []
    detail: dict[str, object] = {"shares": SHARES}

    def once() -> float:
        cost, report = evaluate(url)
        verdict = report["verdict"]
        assert isinstance(verdict, dict)
        if verdict["code"] != "no_evidence":
            raise RuntimeError(f"nothing was planted, and the report says {verdict}")
        costs.append(cost)
        detail.update(
            rows=report["n"],
            cpu_s=min(c.cpu_s for c in costs),
            peak_mb=max(c.peak_mb for c in costs),
            load_average=os.getloadavg()[0],
        )
        return cost.wall_s

    yield against_budget(
        "leakage report of 1e6 shares, wall time",
        once,
        BUDGET_S,
        unit=SECONDS,
        aim=1.0,
        rounds=rounds,
        detail=detail,
    )
    cpu_s = min(c.cpu_s for c in costs)
    yield Row(
        "leakage report of 1e6 shares, CPU time of two cores",
        cpu_s,
        CORES * BUDGET_S,
        SECONDS,
        CORES * BUDGET_S / cpu_s,
        1.0,
        {"rounds": rounds},
    )


def parts(table: Dataset, rounds: int) -> Iterator[Row]:
    """Each null against the peer that computes the same statistic for one vector of labels after the other."""
    from scipy.stats import chi2_contingency, ttest_ind
    from sklearn.feature_selection import mutual_info_classif
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    X, y = table.X[~np.isnan(table.X).any(axis=1)], table.y[~np.isnan(table.X).any(axis=1)]
    shifts = BlockShifts(y.size, FEWER, rng)
    some = [labels.astype(bool) for labels in BlockShifts(y.size, PEER_VECTORS - 1, rng).labels(y).T]

    def both_orders(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = X[labels], X[~labels]
        second = ttest_ind((a - a.mean(axis=0)) ** 2, (b - b.mean(axis=0)) ** 2, equal_var=False)
        return ttest_ind(a, b, equal_var=False).statistic, second.statistic

    ours, theirs = tvla.welch(X, y, BlockShifts(y.size, 0, rng)), both_orders(y)
    np.testing.assert_allclose(ours.first[0], theirs[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(ours.second[0], theirs[1], rtol=1e-6, atol=1e-6)
    unit = "labellings/s of CPU"
    each = len(some)
    detail = {"rows": int(y.size), "features": X.shape[1], "rotations": FEWER + 1, "of_peer": each}
    yield paired(
        "Welch's t of both orders, against SciPy",
        lambda: (FEWER + 1) / cpu_seconds(lambda: tvla.welch(X, y, shifts)),
        lambda: each / cpu_seconds(lambda: [both_orders(labels) for labels in some]),
        unit=unit,
        aim=10.0,
        rounds=rounds,
        detail=detail,
    )
    codes = np.column_stack([contingency.bins(x, 0.25) for x in X.T])

    def of_scipy(labels: np.ndarray) -> list[float]:
        tables = [np.bincount(2 * c + labels, minlength=2 * c.max() + 2).reshape(-1, 2) for c in codes.T]
        return [float(chi2_contingency(t, correction=False).statistic) for t in tables]

    found = contingency.chi_square(X, y, BlockShifts(y.size, 0, rng)).statistic[0]
    np.testing.assert_allclose(found, of_scipy(y), rtol=1e-9)
    yield paired(
        "chi-square of binned features, against NumPy and SciPy",
        lambda: (FEWER + 1) / cpu_seconds(lambda: contingency.chi_square(X, y, shifts)),
        lambda: each / cpu_seconds(lambda: [of_scipy(labels) for labels in some]),
        unit=unit,
        aim=5.0,
        rounds=rounds,
        detail=detail,
    )
    few = spread_blocks(y.size, INFORMATION_ROWS)
    labels = BlockShifts(few.size, FEWER, rng).labels(y[few])
    yield paired(
        "mutual information, against scikit-learn",
        lambda: (
            labels.shape[1]
            / cpu_seconds(
                lambda: information.mutual_information_bits(X[few], labels, np.random.default_rng(0))
            )
        ),
        lambda: each / cpu_seconds(lambda: [mutual_info_classif(X[few], v[few]) for v in some]),
        unit=unit,
        aim=10.0,
        rounds=rounds,
        detail={**detail, "rows": int(few.size)},
    )
    middle = slice(y.size // 2, y.size // 2 + 200_000)
    model = classifiers.fit(classifiers.logistic(), X[: middle.start : 10], y[: middle.start : 10])
    score = classifiers.probability(model, X[middle])
    late = BlockShifts(score.size, FEWER, rng)
    area = classifiers.auc_under_shifts(score, y[middle], BlockShifts(score.size, 0, rng))[0]
    np.testing.assert_allclose(area, roc_auc_score(y[middle], score))
    yield paired(
        "AUC of a logistic regression, against scikit-learn",
        lambda: (FEWER + 1) / cpu_seconds(lambda: classifiers.auc_under_shifts(score, y[middle], late)),
        lambda: each / cpu_seconds(lambda: [roc_auc_score(v[middle], score) for v in some]),
        unit=unit,
        aim=10.0,
        rounds=rounds,
        detail={**detail, "rows": int(score.size)},
    )


def run(heavy: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'leakage.db'}"
        with TraceWriter(url) as writer:
            run_virtual(VirtualConfig(model="s9", shares=SHARES, seed=1), writer)
        yield from whole(url, 3 if heavy else 1)
        reader = TraceReader(url)
        number = reader.resolve("latest")
        made: list[Dataset] = []

        def read() -> None:
            for name, columns in READ.items():
                reader.columns(number, name, columns)

        yield paired(
            "1e6 shares to a table of features, against the read of its columns",
            lambda: cpu_seconds(lambda: made.append(read_dataset(reader, number))),
            lambda: cpu_seconds(read),
            unit=SECONDS,
            aim=0.25,
            rounds=3,
        )
    yield from parts(made[-1], 3 if heavy else 1)


BENCHMARKS = [Benchmark("leakage", run)]
