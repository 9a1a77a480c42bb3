"""What timing states score on a task, always beside what everything else scores by the same rule.

The score is ``nrmse_std`` (1 is what predicting the mean of the test block scores) of a readout that sees the present
input and the states, trained by :class:`reservoir.rule.Rule`. The verdict is on
:func:`reservoir.gain.gain_over_input_only`, and on nothing else; its three codes were fixed before any data were seen:

- ``cannot_tell``: fewer than 100 test steps, fewer than 10 training steps per weight, or states that do not vary.
- ``gain``: the lower end of the interval of the gain is above 0.
- ``no_gain``: it is not.

A gain says that the states know something about the target that the present input does not. A delay line does so as
well, at no cost: the text says how the states stand to one with as many weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import UserError
from firmware_bridge.timing.bootstrap import Bootstrap
from firmware_bridge.timing.surrogates import phase_randomised
from firmware_bridge.verdict import Verdict
from reservoir.baselines import delay_line, pair_products
from reservoir.gain import GAP, PERMUTATIONS, Gain, Permute, gain_over_input_only, target_of
from reservoir.networks import EchoStateNetwork
from reservoir.rule import Fit, Rule, Split

F64 = npt.NDArray[np.float64]
Interval = tuple[float, float] | None

FEWEST_TEST_STEPS = 100
FEWEST_STEPS_PER_WEIGHT = 10
PHASES = 20
"""Phase-randomised copies of the states whose scores are averaged."""
NETWORK_INPUT_SCALINGS = (0.05, 0.5, 5.0)
"""Of the network of 100 nodes, for an input of the mean and spread of U[0, 0.5]; the training rows choose. NARMA-10
wants the first (``reservoir.md`` §1.5, as are radius and bias), parity the last."""
NARMA_INPUT_MEAN, NARMA_INPUT_SD = 0.25, 0.5 / np.sqrt(12.0)
MATCHED = "delay_line_matched"


@dataclass(frozen=True)
class Difference:
    """How much worse a baseline is: its NRMSE less that of the states, with the 95 % interval of that."""

    difference: float
    ci: Interval


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The score of timing states on one task, and what it has to be read beside.

    Attributes:
        task: name of the task.
        nrmse: ``nrmse_std`` of the input and the states together.
        nrmse_ci: its 95 % interval over the steps of the test block (blocks of 25), None where it is undefined.
        nrmse_states_only: of the states without the input.
        baselines: name to NRMSE.
        differences: name to the baseline's NRMSE less ``nrmse``.
        gain: over the input alone, with its null.
        verdict: code and text.
        split: steps of washout, training and test.
        alpha: λ of the readout in force, for standardised columns.
        alpha_is_chosen: whether the end of the training rows chose it.
        matched_taps: taps of the delay line with as many weights as the readout.
        columns: names of the state columns.
        target: of the test block, shape (test,).
        prediction: of the test block, shape (test,).
    """

    task: str
    nrmse: float
    nrmse_ci: Interval
    nrmse_states_only: float
    baselines: dict[str, float]
    differences: dict[str, Difference]
    gain: Gain
    verdict: Verdict
    split: Split
    alpha: float
    alpha_is_chosen: bool
    matched_taps: int
    columns: tuple[str, ...]
    target: F64
    prediction: F64

    def to_json(self) -> dict[str, Any]:
        """Plain dict of all numbers; the series and the null scores stay out."""
        return {
            "task": self.task,
            "metric": "nrmse_std",
            "nrmse": self.nrmse,
            "nrmse_ci": _listed(self.nrmse_ci),
            "nrmse_states_only": self.nrmse_states_only,
            "baselines": dict(self.baselines),
            "differences": {
                name: {"difference": d.difference, "ci": _listed(d.ci)}
                for name, d in self.differences.items()
            },
            **{name: value for name, value in self.gain.to_json().items() if name != "nrmse"},
            "verdict": {"code": self.verdict.code, "text": self.verdict.text},
            "n_train": self.split.train,
            "n_test": self.split.test,
            "washout": self.split.washout,
            "lambda": self.alpha,
            "lambda_rule": "validation" if self.alpha_is_chosen else "fixed",
            "matched_taps": self.matched_taps,
            "columns": list(self.columns),
        }


def _listed(interval: Interval) -> list[float] | None:
    return None if interval is None else list(interval)


def evaluate(
    task: str,
    u: npt.ArrayLike,
    y: npt.ArrayLike,
    states: npt.ArrayLike,
    *,
    split: Split | None = None,
    columns: Sequence[str] = (),
    others: Mapping[str, npt.ArrayLike] | None = None,
    permutations: int = PERMUTATIONS,
    permute: Permute = "shift",
    gap: int = GAP,
    alpha: float | None = None,
    threads: int = 1,
    rng: np.random.Generator,
) -> Evaluation:
    """Score timing states on a task beside every baseline.

    Args:
        task: its name.
        u: input, shape (T,) or (T, d).
        y: target, shape (T,): row k is to be predicted from what is known at row k.
        states: shape (T, N), no NaN.
        split: washout, training and test steps; 200, 2000 and 1000 if left out. Later steps are not used.
        columns: names of the N state columns.
        others: further state matrices of T rows by name (another run, an emulator), each scored with the input.
        permutations: of the null of the gain, at least 20.
        permute: ``shift`` or ``rows``, see :mod:`reservoir.gain`.
        gap: steps that a shift stays away from 0.
        alpha: one λ for all readouts, for standardised columns; None has each choose its own.
        threads: of the linear algebra; more than one seldom helps.
        rng: chance; equal generators give equal results.

    Raises:
        UserError: if arrays do not fit together or the split, hold NaN, or a name is taken.
    """
    from threadpoolctl import threadpool_limits

    split = split or Split()
    inputs, x = split.columns("the input", u), split.columns("the state matrix", states)
    rule = Rule(target_of(split, y), split, alpha)
    lengths = {name: np.shape(values)[0] for name, values in (("u", u), ("y", y), ("states", states))}
    if len(set(lengths.values())) > 1:
        raise UserError(f"input, target and states are to have the same steps, not {lengths}")
    names = tuple(columns) or tuple(f"x{i}" for i in range(x.shape[1]))
    if len(names) != x.shape[1]:
        raise UserError(f"{len(names)} names are given for {x.shape[1]} state columns; give one each")
    gain_rng, phase_rng, bootstrap_rng = rng.spawn(3)
    with threadpool_limits(threads):
        gain = gain_over_input_only(
            u, y, states, split=split, permutations=permutations, permute=permute, gap=gap, alpha=alpha,
            threads=threads, rng=gain_rng,
        )  # fmt: skip
        observed = rule.fit(np.hstack([inputs, x]))
        taps = 1 + -(-x.shape[1] // inputs.shape[1])
        fits = {name: [fit] for name, fit in _delay_lines(u, rule, taps).items()}
        fits["phase_randomised"] = [
            rule.fit(np.hstack([inputs, _with_other_phases(x, phase_rng)])) for _ in range(PHASES)
        ]
        fits["esn_100"] = [_network(inputs, u, rule)]
        for name, other in (others or {}).items():
            if name in fits or name == "shuffled":
                raise UserError(f"{name!r} is a baseline already; give the other states another name")
            if np.shape(other)[:1] != np.shape(states)[:1]:
                raise UserError(
                    f"{name!r} has the shape {np.shape(other)}; as many rows as the states are needed: "
                    f"{np.shape(states)[0]}"
                )
            fits[name] = [rule.fit(np.hstack([inputs, split.columns(f"{name!r}", other)]))]
        own, differences = paired_intervals(rule.target, observed, fits, bootstrap_rng)
        alone = rule.fit(x).nrmse
    baselines = {name: float(np.mean([fit.nrmse for fit in group])) for name, group in fits.items()}
    baselines["shuffled"] = float(gain.null.mean())
    differences["shuffled"] = Difference(gain.gain, gain.ci)
    return Evaluation(
        task=task,
        nrmse=observed.nrmse,
        nrmse_ci=own,
        nrmse_states_only=alone,
        baselines=baselines,
        differences=differences,
        gain=gain,
        verdict=_verdict(gain, differences[MATCHED], baselines[MATCHED], taps, split, inputs, x),
        split=split,
        alpha=observed.alpha,
        alpha_is_chosen=alpha is None,
        matched_taps=taps,
        columns=names,
        target=rule.target,
        prediction=observed.prediction,
    )


# ---- baselines -------------------------------------------------------------------------------------------------------


def _delay_lines(u: npt.ArrayLike, rule: Rule, matched: int) -> dict[str, Fit]:
    """What the mean and linear and quadratic memories of the input score."""
    series = np.asarray(u, dtype=np.float64).reshape(np.shape(u)[0], -1)

    def line(taps: int) -> F64:
        # from the whole input, so that the first training rows see what came before them
        return rule.split.columns("the input", np.hstack([delay_line(column, taps) for column in series.T]))

    twenty = line(20)
    features = {
        "mean": np.zeros((twenty.shape[0], 1)),
        "input_only": line(1),
        "delay_line_10": line(10),
        "delay_line_20": twenty,
        MATCHED: line(matched),
        "delay_line_quadratic": np.hstack([twenty, pair_products(twenty)]),
    }
    return {name: rule.fit(columns) for name, columns in features.items()}


def _with_other_phases(x: F64, rng: np.random.Generator) -> F64:
    """The states with the same random phases added to every column: spectra and cross-spectra stay as they are."""
    seed = int(rng.integers(2**63))
    return np.column_stack([phase_randomised(column, np.random.default_rng(seed)) for column in x.T])


def _network(inputs: F64, u: npt.ArrayLike, rule: Rule) -> Fit:
    """An echo state network of 100 nodes; the rows that choose λ choose its input scaling as well."""
    train = inputs[: rule.split.train]
    deviation = train.std(axis=0)
    deviation[deviation == 0.0] = 1.0
    series = np.asarray(u, dtype=np.float64).reshape(np.shape(u)[0], -1)[: rule.split.steps]
    drive = NARMA_INPUT_MEAN + NARMA_INPUT_SD * (series - train.mean(axis=0)) / deviation
    fits = []
    for scaling in NETWORK_INPUT_SCALINGS:
        network = EchoStateNetwork(100, spectral_radius=0.9, input_scaling=scaling, bias_scaling=0.25)
        states = network.fit_transform(drive)[rule.split.washout :]
        fits.append(rule.fit(np.hstack([inputs, states])))
    return min(fits, key=lambda fit: fit.validation_error)


def paired_intervals(
    target: F64, observed: Fit, fits: Mapping[str, Sequence[Fit]], rng: np.random.Generator
) -> tuple[Interval, dict[str, Difference]]:
    """Intervals of the score and of each paired difference, all from the same resampled test steps."""
    every = [observed, *(fit for group in fits.values() for fit in group)]
    centred = target - target.mean()
    terms = np.stack([centred, centred**2, *((target - fit.prediction) ** 2 for fit in every)])
    bootstrap = Bootstrap(rng)
    means = bootstrap.means([terms])
    with np.errstate(divide="ignore", invalid="ignore"):
        # running sums leave rounding below 0 where an error is 0
        scores = np.sqrt(np.maximum(means[:, 2:], 0.0) / (means[:, 1] - means[:, 0] ** 2)[:, None])
    own = bootstrap.interval(observed.nrmse, scores[:, 0])
    differences, at = {}, 1
    for name, group in fits.items():
        difference = float(np.mean([fit.nrmse for fit in group])) - observed.nrmse
        replicates = scores[:, at : at + len(group)].mean(axis=1) - scores[:, 0]
        differences[name] = Difference(difference, bootstrap.interval(difference, replicates))
        at += len(group)
    return own, differences


# ---- verdict ---------------------------------------------------------------------------------------------------------


def _verdict(
    gain: Gain, line: Difference, line_nrmse: float, taps: int, split: Split, inputs: F64, x: F64
) -> Verdict:
    weights = inputs.shape[1] + x.shape[1]
    scale = "NRMSE is the RMSE over the standard deviation of the target"
    if not bool((np.ptp(x[: split.train], axis=0) > 0).any()):
        return Verdict("cannot_tell", "The states do not vary over the training steps, so they say nothing.")
    if split.test < FEWEST_TEST_STEPS or split.train < FEWEST_STEPS_PER_WEIGHT * weights:
        return Verdict(
            "cannot_tell",
            f"Too few steps to tell: {split.train} train {weights} weights and {split.test} test them, and at least "
            f"{FEWEST_STEPS_PER_WEIGHT * weights} and {FEWEST_TEST_STEPS} are needed.",
        )
    stand = f"a delay line of {taps} taps ({line_nrmse:.3f} against {gain.nrmse:.3f}; {scale})"
    if line.ci is not None and line.ci[0] > 0:
        beside = f"The states beat {stand}."
    elif line.ci is not None and line.ci[1] < 0:
        beside = f"They lose to {stand}: as a reservoir they are of no use on this task."
    else:
        beside = f"They are not told apart from {stand}: that they are of use as a reservoir is not shown."
    low, high = gain.ci
    if gain.alarm:
        found = (
            f"The states tell the readout what the present input does not: they lower its NRMSE by {gain.gain:.4f} "
            f"({low:.4f} to {high:.4f})."
        )
        return Verdict("gain", f"{found} {beside}")
    found = (
        f"No gain found over the input alone: {gain.gain:.4f} ({low:.4f} to {high:.4f}); a gain of "
        f"{gain.detectable:.4f} would have been found."
    )
    return Verdict("no_gain", f"{found} {beside}")
