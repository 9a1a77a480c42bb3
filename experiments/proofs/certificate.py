"""From the counts of one evaluated run to a statement that Lean has checked, with its hypotheses in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from experiments.proofs import check as checking
from experiments.proofs import runner, sources
from experiments.proofs.findings import CheckResult
from experiments.proofs.sources import Module
from firmware_bridge.errors import UserError
from tpf.certificate import Bound, Counts, bound

MODULE = "Silicon.Run"
THEOREMS = ("Silicon.Run.count_improbable", "Silicon.Run.independence_improbable")
DEFAULT_ALPHA = Fraction(1, 20)


@dataclass(frozen=True)
class Certified:
    """A certificate and what Lean said of it.

    Attributes:
        bound: of the probability under the null hypothesis.
        lean: text of the Lean file.
        words: statement and hypotheses for people.
        check: Lean's answer; None where the count is not improbable enough to ask.
    """

    bound: Bound
    lean: str
    words: str
    check: CheckResult | None

    @property
    def ok(self) -> bool:
        """Improbable enough, and checked."""
        return self.bound.holds and self.check is not None and self.check.ok

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        epsilon, x = self.bound.epsilon, self.bound.x
        return {
            "counts": self.bound.counts.to_json(),
            "method": self.bound.method,
            "epsilon": [epsilon.numerator, epsilon.denominator],
            "x": None if x is None else [x.numerator, x.denominator],
            "holds": self.bound.holds,
            "statement": self.words,
            "lean": self.lean,
            "check": None if self.check is None else self.check.to_json(),
            "ok": self.ok,
        }


def counts_of(
    run: Path | str | None,
    *,
    db: str = "",
    seed: int = 0,
    correct: int | None = None,
    trials: int | None = None,
    baseline: str | None = None,
    alpha: str | None = None,
) -> Counts:
    """Counts of a report, or those of the options.

    Args:
        run: a stored run, which is evaluated as ``asiclab tpf evaluate`` does; JSON of an evaluation (``.json``), or
            ``-`` for it on stdin; None where the options say it all.
        db: database of the run.
        seed: of its evaluation.
        correct: right predictions.
        trials: predictions.
        baseline: success probability under the null hypothesis.
        alpha: error probability; of the report or 1/20 where None.

    Raises:
        UserError: if counts are missing, given twice, or are none.
    """
    given: tuple[object, ...] = (correct, trials, baseline)
    if run is None:
        if correct is None or trials is None or baseline is None:
            raise UserError(
                "give a run, the JSON of asiclab tpf evaluate --json, or --correct, --trials and --baseline"
            )
        found: dict[str, Any] = {
            "correct": correct,
            "trials": trials,
            "baseline": _fraction(baseline, "--baseline"),
        }
    else:
        if any(value is not None for value in given):
            raise UserError(f"the counts come from {run} or from the options, not from both")
        found = _of_report(run, _report(run, db, seed))
    if alpha is not None:
        found["alpha"] = _fraction(alpha, "--alpha")
    try:
        return Counts(**{"alpha": DEFAULT_ALPHA, **found})
    except ValueError as error:
        raise UserError(str(error)) from error


def certified(
    counts: Counts,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    *,
    timeout_s: float = runner.TIMEOUT_S,
) -> Certified:
    """Bound the probability of the counts and let Lean check the bound.

    Raises:
        ToolchainError: if there is no Lean.
        LeanError: if Lean did not come to its end.
    """
    found = bound(counts)
    text = lean_file(found)
    if not found.holds:
        return Certified(found, text, words(found), None)
    project = sources.read(checking.project_folder())
    extended = sources.extended(project, Module(MODULE, "Silicon/Run.lean", text))
    result = checking.check_extended(extended, progress, timeout_s=timeout_s)
    return Certified(found, text, words(found), result)


def lean_file(found: Bound) -> str:
    """The Lean file that states and proves the bound for these counts."""
    counts, p, epsilon = found.counts, rational(found.counts.baseline), rational(found.epsilon)
    at = "" if found.x is None else f" (x := {rational(found.x)})"
    arguments = f"{counts.trials} {counts.correct}"
    return f"""import Silicon.Certificate

noncomputable section
namespace Silicon.Run

set_option maxRecDepth 100000

/-- {claim(found)} -/
theorem count_improbable {{s : List Bool → Rat}} (h : NeverAbove s {p}) :
    reach s {arguments} [] ≤ {epsilon} :=
  certificate_{found.method}{at} (by decide +kernel) h

/-- {consequence(found)} -/
theorem independence_improbable {{n m : Nat}} {{P : FinDist n m}} (hi : P.Independent)
    (hb : P.priorVulnerability ≤ {p}) (g : FinDist.Strategy n m) :
    P.chance g {arguments} ≤ {epsilon} :=
  certificate_{found.method}_independent{at} (by decide +kernel) hi hb g

end Silicon.Run
"""


def claim(found: Bound) -> str:
    """The first theorem in words: any trials, whatever they depend on."""
    counts = found.counts
    return (
        f"If each of {counts.trials} predictions, whatever came before it, is right with probability at most "
        f"{counts.baseline},\nthen at least {counts.correct} of them are right with probability at most "
        f"{found.epsilon} ({float(found.epsilon):.2g})."
    )


def consequence(found: Bound) -> str:
    """The second one: what a verdict of leakage rejects."""
    counts = found.counts
    return (
        "So if the trials are independent, the observation is independent of the outcome, and no constant "
        "answer is right\n"
        f"with probability above {counts.baseline}, no predictor, however it learns on the way, gets that many right "
        f"with more."
    )


def words(found: Bound) -> str:
    """Both statements with their hypotheses, and what they do not say."""
    how = "the exact binomial tail" if found.method == "exact" else f"the bound of Chernoff at x = {found.x}"
    asked = f"That is {'' if found.holds else 'not '}below the {found.counts.alpha} asked for; by {how}."
    rest = (
        "Neither says that the baseline is right: it has to come from the protocol, not from these predictions,\n"
        "and the predictor has to be fixed, or to learn from earlier rows alone, before each row that it is scored on."
    )
    return f"{claim(found)}\n{consequence(found)}\n{asked}\n{rest}"


def rational(value: Fraction) -> str:
    """A fraction as Lean reads it."""
    return (
        f"({value.numerator} / {value.denominator} : Rat)"
        if value.denominator != 1
        else f"({value.numerator} : Rat)"
    )


def _report(run: Path | str, db: str, seed: int) -> Any:
    """An evaluation as plain data: read, or made of a stored run."""
    if str(run) != "-" and Path(run).suffix != ".json":
        from experiments.tpf_leakage import dataset_of
        from tpf.report import evaluate

        return evaluate(dataset_of(str(run), db), seed=seed).to_json()
    try:
        return json.loads(sys.stdin.read() if str(run) == "-" else Path(run).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{run} is no JSON of an evaluation: {error}; write it with asiclab tpf evaluate --json"
        ) from error


def _of_report(run: Path | str, data: Any) -> dict[str, Any]:
    held = data.get("certificate") if isinstance(data, dict) else None
    if not isinstance(held, dict):
        raise UserError(f"{run} holds no certificate: no predictor was scored in it")
    try:
        numerator, denominator = held["baseline"]
        return {
            "correct": int(held["correct"]),
            "trials": int(held["trials"]),
            "baseline": Fraction(int(numerator), int(denominator)),
            "alpha": _alpha(held.get("alpha")),
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{run}: the certificate is not readable: {error!r}") from error


def _alpha(value: Any) -> Fraction:
    """A level as it is written: 0.05 is 1/20, not the float next to it."""
    if isinstance(value, list):
        return Fraction(*map(int, value))
    return DEFAULT_ALPHA if value is None else Fraction(str(value))


def _fraction(text: str, option: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"{option} is a fraction such as 1/2, not {text!r}") from error
