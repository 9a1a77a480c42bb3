"""How many symbols a logistic readout reads right, where a task's target takes a few values: parity, XOR, a channel.

A regression that misses the values by a little may still read every symbol, so the NRMSE says little there. The same
columns are given to the same readout, as the present input alone, as a delay line, and with the states.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from reservoir.baselines import delay_line, pair_products

if TYPE_CHECKING:
    from reservoir.rule import Split
    from reservoir.tasks import Task

F64 = npt.NDArray[np.float64]

TAPS = 10


@dataclass(frozen=True)
class SymbolScores:
    """Shares of the test block that are read right.

    Attributes:
        accuracy: from the present input and the states.
        accuracy_ci: 95 % interval of that, Wilson's; symbols of one block are nearly independent.
        most_frequent: of always saying the most frequent symbol of the training rows.
        input_only: from the present input.
        delay_line_10: from ten inputs.
        delay_line_10_quadratic: from those and their products.
        better_than_input: p value of McNemar's exact test against the present input alone, one-sided.
        n: symbols of the test block.
    """

    accuracy: float
    accuracy_ci: tuple[float, float]
    most_frequent: float
    input_only: float
    delay_line_10: float
    delay_line_10_quadratic: float
    better_than_input: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "accuracy_ci": list(self.accuracy_ci)}


def symbol_scores(task: Task, states: F64, split: Split) -> SymbolScores | None:
    """Read the symbols of a task from states (T, N) and from what stands beside them.

    Args:
        task: of T steps or more.
        states: row k has seen the input up to its own row.
        split: washout, training and test steps.

    Returns:
        None where the target takes no few values, or only one of them while training.
    """
    if not task.symbols:
        return None
    n = states.shape[0]
    y = split.columns("the target", task.y[:n])[:, 0]
    known = np.array(task.symbols)
    label = np.abs(y[:, None] - known).argmin(axis=1)
    train, test = label[: split.train], label[split.train :]
    if np.unique(train).size < 2:
        return None
    line = split.columns("the input", delay_line(task.u[:n], TAPS))
    x = split.columns("the state matrix", states)
    right = {
        name: _right(columns, train, test)
        for name, columns in {
            "states": np.hstack([line[:, :1], x]),
            "input": line[:, :1],
            "line": line,
            "quadratic": np.hstack([line, pair_products(line)]),
        }.items()
    }
    return SymbolScores(
        accuracy=float(right["states"].mean()),
        accuracy_ci=_wilson(int(right["states"].sum()), test.size),
        most_frequent=float(np.mean(test == np.bincount(train).argmax())),
        input_only=float(right["input"].mean()),
        delay_line_10=float(right["line"].mean()),
        delay_line_10_quadratic=float(right["quadratic"].mean()),
        better_than_input=_mcnemar(right["states"], right["input"]),
        n=int(test.size),
    )


def _right(columns: F64, train: npt.NDArray[np.int64], test: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    from reservoir.readouts import logistic_readout

    readout = logistic_readout().fit(columns[: train.size], train)
    return np.asarray(readout.predict(columns[train.size :]) == test)


def _wilson(right: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    found = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def _mcnemar(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Chance that of the symbols which only one of two reads right, so many are read by the first."""
    from scipy.stats import binomtest

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    return (
        1.0 if not first + second else float(binomtest(first, first + second, alternative="greater").pvalue)
    )
