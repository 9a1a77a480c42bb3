"""TPF: does anything that is known of a share without its hash tell what the hash will be?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import ARMS, AnyChart, Ladder, Mark, Rung, arms
from experiments.experiment import (
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    Cell,
    Experiment,
    Finding,
    Number,
    Row,
    Sample,
)
from experiments.subjects import Subject

SHARES = {"fast": 1500, "quick": 2588, "full": 10_000}
ROTATIONS = {"fast": 199, "quick": 999, "full": 999}
SUCCESSES = 0.25
"""Part of the shares that reach four times the smallest difficulty."""
HALF_ALPHA = 0.01
"""Level at which a test has to hold again in each half of the rows."""


def sample(size: str) -> Sample:
    """Shares of the run."""
    return Sample(1, SHARES[size], _detectable(SHARES[size]))


def _detectable(shares: int) -> str:
    # both halves have to show it, each with a power of the root of 0.8
    from scipy.stats import norm

    half = shares / 2
    error = (1 / (half * SUCCESSES) + 1 / (half * (1 - SUCCESSES))) ** 0.5
    d = (norm.isf(HALF_ALPHA / 2) + norm.ppf(0.8**0.5)) * error
    return f"successes that differ by {d:.2f} standard deviations in one feature"


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The leakage report of one run, as counts and words."""
    from tpf.report import evaluate
    from tpf.run_dataset import run_dataset

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    report = evaluate(run_dataset(data), seed=cell.seed, permutations=ROTATIONS[cell.size])
    return {
        "verdict": report.verdict.code,
        "text": report.verdict.text,
        "n": report.n,
        "base_rate": report.base_rate,
        "p_value": min((test.p_corrected for test in report.tests), default=None),
        "certificate": None if report.certificate is None else report.certificate.to_json(),
        "detectable": dict(report.detectable),
        "tests": [
            {"name": t.name, "question": t.question, "p": t.p_corrected, "effect": t.effect}
            for t in report.tests
        ],
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """The verdict of the report; the accuracy is held against the best constant one on the same rows."""
    values = rows[0].values
    told = values["detectable"]
    detectable = f"an AUC of {0.5 + told['auc']:.3f}" if told.get("auc") is not None else ""
    numbers, gain, ci = {}, None, None
    if values["certificate"] is not None:
        numbers["C10"] = number = accuracy_above_constant(values["certificate"])
        gain, ci = number.value, number.ci
    return Finding(
        values["verdict"] if values["verdict"] in (EVIDENCE, NO_EVIDENCE) else CANNOT_TELL,
        values["text"],
        "accuracy above the best constant prediction, on rows not learnt from",
        gain,
        ci,
        values["p_value"],
        detectable,
        numbers,
    )


def accuracy_above_constant(certificate: dict[str, Any]) -> Number:
    """Our value for an accuracy of 100 %: what held-out predictions are worth beyond always saying the same."""
    from scipy.stats import binomtest

    trials, right = certificate["trials"], certificate["correct"]
    constant = certificate["baseline"][0] / certificate["baseline"][1]
    known = binomtest(right, trials).proportion_ci(method="exact")
    text = (
        f"{right} of {trials} held-out shares are called right by {certificate['classifier']}, {constant:.1%} by "
        "always saying the same. The published 100 % were 150 windows whose label was one of the features; asiclab "
        "tpf audit shows it where that file is. Reproduced where every held-out share is called right"
    )
    return Number(
        right / trials - constant,
        (float(known.low) - constant, float(known.high) - constant),
        REPRODUCED if right == trials else NOT_REPRODUCED,
        text,
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Each of the eight tests, and the accuracy beside the best constant one."""
    tests, accuracy = [], []
    for arm, own in arms(rows):
        v = own[0].values
        tests += [Rung(f"{test['name']}, {ARMS[arm]}", test["p"], role=arm) for test in v.get("tests", ())]
        if v["certificate"] is not None:
            number = accuracy_above_constant(v["certificate"])
            accuracy.append(Rung(ARMS[arm], number.value, number.ci, role=arm))
    return [
        Ladder(
            "Which test shows something?",
            "p by rotation of the labels, corrected for eight tests (Holm). Left of the line it has to hold again in "
            "each half of the run.",
            "p, corrected", sorted(tests, key=lambda rung: rung.label), [Mark(0.05, "0.05")], log=True,
        ),
        Ladder(
            "What is a prediction worth?",
            "Accuracy on rows not learnt from, above that of always saying the same; with its exact 95 % interval.",
            "accuracy above the best constant one", accuracy, [Mark(0.0, "nothing")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="tpf-leakage",
    title="Does timing tell which hash will succeed?",
    claims=("C10",),
    source="Speaking to Silicon, table 9 and 12; repository of the filter",
    hypothesis="A classifier of timing calls 100 % of the windows right before the hash is known.",
    null="Timing and hash are independent: labels rotated within blocks of 64 shares do as well.",
    decision=(
        "Evidence where one of eight tests holds at 5 % after Holm's correction, and again at 1 % in each half of the "
        "rows, in the same feature and with the same sign."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("quality_delay_ms", 2.0),
    page="tpf-leakage",
    charts=charts,
)
