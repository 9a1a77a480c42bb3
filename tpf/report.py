"""The leakage report: does anything that can be known of a share tell what its hash will be?

*Evidence* takes a test of the fixed list that holds after Holm's correction for all of them, and holds again in each of
two halves of the rows at 1 % each. With nothing to find, a family at 5 % then says so in far fewer than 5 of 100
recordings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tpf.audit import Audit, audit, without_leaks
from tpf.dataset import Dataset
from tpf.statistics.classifiers import Scored
from tpf.statistics.outcome import LeakageTest

ALPHA = 0.05
FEWEST_ROWS = 500
"""Fewer rows than this can show evidence, but their silence means nothing."""
FEWEST_OF_A_CLASS = 50
LEAST_ROWS, LEAST_OF_A_CLASS = 60, 10
"""Fewer than these and no test is run."""
LONGEST_RUN = 8
"""Rows of equal labels in a run, on average, up to which every row is looked at: an eighth of a block of the null."""
MAX_TICK_FRACTION = 1 / 6
"""Clock tick over the mean interval beyond which times say nothing."""

CODES = ("evidence", "no_evidence", "cannot_tell")


@dataclass(frozen=True)
class LeakageVerdict:
    """One of :data:`CODES`, and what it rests on in words."""

    code: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Plain dict."""
        return {"code": self.code, "text": self.text}


@dataclass(frozen=True)
class Certificate:
    """Counts that a theorem on tails can judge: held-out predictions against the best constant one.

    Attributes:
        classifier: chosen on the training rows alone.
        correct: later rows that it called right.
        trials: later rows.
        baseline: accuracy of the best constant predictor of the very same rows, as a fraction in integers.
        alpha: level asked for.
    """

    classifier: str
    correct: int
    trials: int
    baseline: tuple[int, int]
    alpha: float

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return {
            "classifier": self.classifier,
            "correct": self.correct,
            "trials": self.trials,
            "baseline": list(self.baseline),
            "alpha": self.alpha,
        }


@dataclass(frozen=True)
class LeakageReport:
    """Everything that was asked of one table.

    Attributes:
        verdict: see the module.
        n: rows.
        positives: rows with success.
        base_rate: accuracy of the best constant predictor.
        tests: the fixed list; empty where no test could be run.
        replicated: whether a test that holds after correction holds in both halves too.
        audit: leaks that were found; leaking features were replaced by their values in the row before.
        certificate: see :class:`Certificate`; None where no classifier was trained.
        detectable: what would have been found: ``auc`` beyond one half, ``d`` in standard deviations, ``bits``, and
            ``delay_ms``, the delay of the successes that ``d`` amounts to in the most precise timing feature.
        feature_d: difference of the class means of each feature in standard deviations.
        alpha: level of the family.
        seed: of everything that chance decided.
        name: of the run or file.
        label: what was predicted.
        threshold: difficulty of a success, or None.
        left_out: rows of the source that were not looked at, by reason.
        plants: planted effects of an emulated run.
        scored: later rows as each classifier saw them, for the ROC curves; not in the JSON.
    """

    verdict: LeakageVerdict
    n: int
    positives: int
    base_rate: float
    tests: tuple[LeakageTest, ...]
    replicated: bool
    audit: Audit
    certificate: Certificate | None
    detectable: Mapping[str, float]
    feature_d: Mapping[str, float]
    alpha: float
    seed: int
    name: str
    label: str
    threshold: float | None
    left_out: Mapping[str, int]
    plants: Mapping[str, float]
    scored: tuple[Scored, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """Every number, as plain data."""
        return {
            "verdict": self.verdict.to_json(),
            "n": self.n,
            "positives": self.positives,
            "base_rate": self.base_rate,
            "tests": [test.to_json() for test in self.tests],
            "replicated": self.replicated,
            "leaks": [leak.to_json() for leak in self.audit.leaks],
            "certificate": None if self.certificate is None else self.certificate.to_json(),
            "detectable": dict(self.detectable),
            "features": [
                {**feature.to_json(), "d": self.feature_d.get(feature.name)}
                for feature in self.audit.provenance
            ],
            "alpha": self.alpha,
            "seed": self.seed,
            "name": self.name,
            "label": self.label,
            "threshold": self.threshold,
            "left_out": dict(self.left_out),
            "plants": dict(self.plants),
        }


def evaluate(
    dataset: Dataset, *, alpha: float = ALPHA, seed: int = 0, permutations: int | None = None
) -> LeakageReport:
    """Audit a table, test what is honest of it, and judge.

    Args:
        dataset: any table.
        alpha: level of the family of tests.
        seed: of the rotations, ties and classifiers.
        permutations: rotations of the labels; None: as many as the size allows.
    """
    from tpf.statistics.battery import PERMUTATIONS, Battery, run_battery

    found = audit(dataset, score=False)
    table = without_leaks(dataset, found) if found.leaks else dataset.varying()
    every = _every(table)
    if every > 1:
        left = table.n - len(range(0, table.n, every))
        left_out = {**table.left_out, "labels come in runs": left}
        table = replace(
            table.rows(slice(None, None, every)), left_out=left_out, gap=-(-table.gap // every)
        ).varying()
    few = min(table.positives, table.n - table.positives)
    battery = Battery((), (), {})
    if few >= LEAST_OF_A_CLASS and table.n >= LEAST_ROWS and table.features:
        battery = run_battery(table, alpha=alpha, seed=seed, permutations=permutations or PERMUTATIONS)
    detectable = _detectable(table, battery.tests, battery.d)
    holding = [test for test in battery.tests if test.replicated]
    return LeakageReport(
        verdict=_verdict(table, found, battery.tests, detectable, alpha, every),
        n=table.n,
        positives=table.positives,
        base_rate=table.base_rate,
        tests=battery.tests,
        replicated=bool(holding),
        audit=found,
        certificate=_certificate(battery.scored, alpha),
        detectable=detectable,
        feature_d=battery.d,
        alpha=alpha,
        seed=seed,
        name=dataset.name,
        label=dataset.label,
        threshold=dataset.threshold,
        left_out=table.left_out,
        plants=dataset.plants,
        scored=battery.scored,
    )


def _every(table: Dataset) -> int:
    """One row of how many is looked at: 1, unless labels come in runs that are long beside the blocks of the null.

    A rotation cuts such runs, and a feature that drifts, which tells one run from the next, would then say more of the
    labels as they are than of any rotation.
    """
    p = table.positives / max(table.n, 1)
    changes = int((table.y[1:] != table.y[:-1]).sum())
    if changes == 0 or changes > 0.5 * 2 * p * (1 - p) * (table.n - 1):
        return 1
    return max(1, math.ceil(table.n / (changes + 1) / LONGEST_RUN))


def _detectable(
    table: Dataset, tests: tuple[LeakageTest, ...], feature_d: Mapping[str, float]
) -> dict[str, float]:
    import numpy as np

    by_name = {test.name: test.detectable_effect for test in tests if test.detectable_effect is not None}
    areas = [value for name, value in by_name.items() if name.startswith("auc_") and value is not None]
    found = {
        "auc": min(areas) if areas else None,
        "d": by_name.get("tvla_first_order"),
        "bits": by_name.get("mutual_information"),
    }
    spreads = [
        float(np.nanstd(table.X[:, i]))
        for i, feature in enumerate(table.features)
        if feature.kind == "timing" and feature.name in feature_d
    ]
    if found["d"] is not None and spreads:
        found["delay_ms"] = found["d"] * min(spreads)
    return {name: float(value) for name, value in found.items() if value is not None}


def _verdict(
    table: Dataset,
    found: Audit,
    tests: tuple[LeakageTest, ...],
    detectable: Mapping[str, float],
    alpha: float,
    every: int,
) -> LeakageVerdict:
    why_not = _reasons(table, found, tests)
    apart = ""
    if found.leaks and not found.single_class:
        apart = (
            f" {len(found.leaking)} leaking feature{'s' if len(found.leaking) > 1 else ''} "
            f"({', '.join(found.leaking)}) went in as of the row before, because a score with them is false."
            if found.leaking
            else " Rows that stand on both sides of the split were taken out."
            if any(leak.kind == "duplicates" for leak in found.leaks)
            else ""
        )
    if every > 1:
        apart += (
            f" The label comes in long runs: one row of {every} was looked at, because the others repeat it."
        )
    holding = [test for test in tests if test.replicated]
    coarse = table.clock_tick_ms is not None and _too_coarse(table)
    if holding and not coarse and not any(leak.kind == "recorded_apart" for leak in found.leaks):
        best = min(holding, key=lambda test: (test.p_corrected, -abs(test.effect)))
        lead = "" if best.lead is None else f", most in {best.lead}"
        names = ", ".join(test.name for test in holding)
        return LeakageVerdict(
            "evidence",
            f"evidence: {len(holding)} of {len(tests)} tests ({names}) hold after correction and in both halves; "
            f"{best.name}: {best.statistic_name} = {best.statistic:.4g}{lead}, corrected p = {best.p_corrected:.2g}."
            f"{apart}",
        )
    if why_not:
        return LeakageVerdict("cannot_tell", f"cannot tell: {'; '.join(why_not)}.{apart}")
    passing = [test for test in tests if test.p_corrected <= alpha]
    single = (
        f" {', '.join(t.name for t in passing)} held over all rows and not in both halves: no evidence until it is "
        "seen again."
        if passing
        else f" No test of {len(tests)} holds after correction at {alpha:g} "
        f"(smallest corrected p = {min(t.p_corrected for t in tests):.2g})."
    )
    return LeakageVerdict("no_evidence", f"no evidence ({_would_have_been(detectable)}).{single}{apart}")


def _would_have_been(detectable: Mapping[str, float]) -> str:
    parts = []
    if "delay_ms" in detectable:
        parts.append(f"a mean delay of {detectable['delay_ms']:.2g} ms of the successes")
    if "d" in detectable:
        parts.append(f"{detectable['d']:.2g} standard deviations of one feature")
    if "auc" in detectable:
        parts.append(f"an AUC of {0.5 + detectable['auc']:.3f}")
    return "detectable effect = " + ", or ".join(parts) if parts else "no test could have found anything"


def _reasons(table: Dataset, found: Audit, tests: tuple[LeakageTest, ...]) -> list[str]:
    """Why nothing found would mean nothing."""
    if found.single_class:
        return [found.text]
    reasons = [leak.text for leak in found.leaks if leak.kind == "recorded_apart"]
    few = min(table.positives, table.n - table.positives)
    if not table.features:
        reasons.append("no feature varies" + (" once the leaks are out" if found.leaks else ""))
    if table.n < FEWEST_ROWS:
        reasons.append(
            f"{table.n} rows are fewer than the {FEWEST_ROWS} that silence needs to mean something"
        )
    if few < FEWEST_OF_A_CLASS:
        reasons.append(f"only {few} rows are of the rarer class; {FEWEST_OF_A_CLASS} are needed")
    if _too_coarse(table):
        reasons.append(
            f"the clock ticks every {table.clock_tick_ms:g} ms, more than a sixth of the mean interval of "
            f"{table.mean_interval_ms:.3g} ms"
        )
    if not tests and not reasons:
        reasons.append("no test could be run")
    return reasons


def _too_coarse(table: Dataset) -> bool:
    tick, mean = table.clock_tick_ms, table.mean_interval_ms
    return tick is not None and mean is not None and tick > MAX_TICK_FRACTION * mean


def _certificate(scored: tuple[Scored, ...], alpha: float) -> Certificate | None:
    """Counts of the classifier that did best on the last quarter of its training rows."""
    if not scored:
        return None
    best = max(scored, key=lambda s: -1.0 if s.validation_auc != s.validation_auc else s.validation_auc)
    return Certificate(
        best.name, best.correct, int(best.y.size), (best.constant_correct, int(best.y.size)), alpha
    )
