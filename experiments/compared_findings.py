"""Runs of experiments side by side: findings, and by how much the statistic differs where it can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from experiments.differences import Difference, Interval, difference_ci
from experiments.repeat import subject_words
from experiments.results import Results, StoredRun
from firmware_bridge.trace.provenance import DISTRIBUTION


@dataclass(frozen=True)
class Found:
    """A run of an experiment, as far as it can be compared.

    Attributes:
        run: its id.
        experiment: name.
        size: ``fast``, ``quick`` or ``full``.
        seed: of the plan.
        subject: in words.
        lab: version and commit that made it.
        digest: of the plan.
        code: of the finding; None where it is not finished.
        statistic: name of what was decided on.
        value: of it.
        ci: its 95 % interval.
        p_value: against the null.
        detectable: smallest effect that it would have found.
        placebo: code of the placebo arm.
        numbers: by claim: value, interval, status.
    """

    run: str
    experiment: str
    size: str
    seed: int
    subject: str
    lab: str
    digest: str
    code: str | None
    statistic: str | None
    value: float | None
    ci: Interval | None
    p_value: float | None
    detectable: str
    placebo: str | None
    numbers: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Findings:
    """Runs of experiments, side by side.

    Attributes:
        runs: in the order asked for.
        differences: of each but the first.
        differs: what is not the same in all of them, name to one value per run.
    """

    runs: tuple[Found, ...]
    differences: tuple[Difference, ...]
    differs: Mapping[str, Sequence[str]]
    kind = "experiments"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"kind": self.kind, **asdict(self)}


def compare_findings(db: str, ids: Sequence[str]) -> Findings:
    """Hold each run against the first of its experiment.

    Args:
        db: where they are.
        ids: of the runs.
    """
    with Results(db, create=False) as results:
        stored = [results.find(run) for run in ids]
    runs = tuple(_found(one) for one in stored)
    bases = [_base(runs, number) for number in range(1, len(runs))]
    differences = tuple(
        _difference(stored[base], stored[number], runs[base], runs[number])
        for number, base in enumerate(bases, 1)
    )
    facts = {
        "experiment": [run.experiment for run in runs],
        "subject": [run.subject for run in runs],
        "size": [run.size for run in runs],
        "seed": [str(run.seed) for run in runs],
        "cells": [f"{one.done} of {one.plan['cells']}" for one in stored],
        "lab": [run.lab for run in runs],
        "plan": [run.digest[:12] for run in runs],
    }
    if len(set(facts["experiment"])) == 1:
        facts["rule"] = [str(one.plan.get("words", {}).get("decision", "not stored")) for one in stored]
    return Findings(runs, differences, {name: told for name, told in facts.items() if len(set(told)) > 1})


def _base(runs: Sequence[Found], number: int) -> int:
    """Which run another is held against: the first of its experiment, where one stands before it; else the first."""
    return next((i for i in range(number) if runs[i].experiment == runs[number].experiment), 0)


def _found(stored: StoredRun) -> Found:
    said: Mapping[str, Any] = {} if stored.finding is None else stored.finding["finding"]
    placebo = None if stored.finding is None else stored.finding["placebo"]
    sha = stored.git.get("sha")
    ci = said.get("ci")
    return Found(
        stored.run_id,
        stored.experiment,
        stored.size,
        stored.seed,
        subject_words(stored.plan["subject"]),
        f"{stored.versions.get(DISTRIBUTION, '?')}{f' ({sha[:12]})' if sha else ''}"
        + (", changed" if stored.git.get("dirty") else ""),
        stored.digest,
        said.get("code"),
        said.get("statistic"),
        said.get("value"),
        None if ci is None else (ci[0], ci[1]),
        said.get("p_value"),
        said.get("detectable", ""),
        None if placebo is None else placebo["code"],
        {
            name: {"value": number["value"], "ci": number["ci"], "status": number["status"]}
            for name, number in said.get("numbers", {}).items()
        },
    )


def _difference(first: StoredRun, other: StoredRun, a: Found, b: Found) -> Difference:
    def told(note: str, difference: float | None = None, ci: Interval | None = None) -> Difference:
        return Difference(b.run, a.run, a.statistic or "", difference, ci, note)

    if a.experiment != b.experiment:
        return told(f"not to be compared: {b.experiment} is another experiment than {a.experiment}")
    if a.code is None or b.code is None:
        return told("not to be compared: " + ("the first" if a.code is None else "it") + " is not finished")
    if a.size != b.size:
        return told(f"not to be compared: size {b.size} measures another amount than {a.size}")
    if a.statistic != b.statistic:
        return told(f"not to be compared: it was decided on another statistic, {b.statistic}")
    if a.value is None or b.value is None:
        return told("not to be compared: a run has no value of it")
    if a.value == a.p_value and b.value == b.p_value:
        return told("not to be compared: p-values say how surprising each run is, not how they differ")
    off = b.value - a.value
    if a.digest == b.digest and first.plan["subject"]["kind"] != "device":
        same = "as it must be" if off == 0 else "which should not be: one of them was made otherwise"
        return told(f"the same plan twice: a difference of {off:.4g}, {same}", off)
    shared = _shared(first, other)
    if shared:
        return told(f"no interval: {shared}, so that both are not independent", off)
    if a.ci is None or b.ci is None:
        return told("no interval: the statistic has none of its own", off)
    return told(
        "interval from both, which are independent (MOVER)", off, difference_ci(a.value, a.ci, b.value, b.ci)
    )


def recordings(told: Mapping[str, Any]) -> set[str]:
    """Stored runs that a plan reads."""
    if "runs" in told:
        return set(told["runs"])
    if "devices" not in told:
        return {told["run"]}
    return {response["run"] for device in told["devices"] for response in device["responses"]}


def _shared(first: StoredRun, other: StoredRun) -> str:
    """What chance both have in common, in words."""
    one, two = first.plan["subject"], other.plan["subject"]
    if one["kind"] == two["kind"] == "trace":
        return "both read the same recording" if recordings(one) & recordings(two) else ""
    if one["kind"] == two["kind"] == "emulator" and first.seed == other.seed:
        return f"both drew the same chance (seed {first.seed})"
    return ""
