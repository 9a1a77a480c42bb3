"""S9-04: does timing compute NARMA-10, in a dialogue, on a clock, with a constant?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.attached import Attached
from experiments.charts import NULL, AnyChart, Chart, Ladder, Mark, Rung, arms, by_word
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    FAST,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    REPRODUCED,
    Cell,
    Experiment,
    Finding,
    Number,
    Point,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.subjects import Emulated, Recorded, Subject

MODES = ("dialogue", "monologue", "constant")
PUBLISHED = {"dialogue": ("C1", 0.8661), "monologue": ("C2", 0.955), "constant": ("C2-constant", 1.0)}
STEPS = {"fast": (1200, 600), "quick": (2000, 1000), "full": (2000, 1000)}
REPETITIONS = {"fast": 1, "quick": 1, "full": 5}
EFFECT = ("thermal", 200.0)


NULL_SD = 0.4
"""Standard deviation of the gain with nothing planted, times the root of the steps tested: measured on 24 runs."""


def _detectable(size: str, runs: int) -> str:
    z = errors_needed(ALPHA / 2 / len(MODES))
    return f"a gain of {z * NULL_SD / (STEPS[size][1] * runs) ** 0.5:.3f} in NRMSE"


def sample(size: str) -> Sample:
    """Runs of each mode."""
    train, test = STEPS[size]
    return Sample(
        REPETITIONS[size],
        None,
        f"{_detectable(size, REPETITIONS[size])} ({train} steps to train, {test} to test)",
    )


def points(size: str, subject: Subject) -> Sequence[Point]:
    """One per mode; a stored run has the mode that it was driven in."""
    if isinstance(subject, Recorded):
        return ({"mode": "as recorded"},)
    return tuple({"mode": mode} for mode in MODES)


def _lasts(size: str, point: Point, subject: Attached) -> float:
    from experiments.analyses.driven import driven_s
    from experiments.narma_plan import Plan

    train, test = STEPS[size]
    return driven_s(Plan(train=train, test=test).steps, point, subject)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """NRMSE beside its baselines, and the gain over the input alone."""
    from experiments.narma import gain_of_emulation, score, score_run
    from experiments.narma_plan import Plan
    from experiments.narma_runs import emulation, observed, steps_of_emulation

    train, test = STEPS[cell.size]
    mode = str(cell.point["mode"])
    if not isinstance(subject, Emulated):
        from firmware_bridge.trace.reader import TraceReader

        if isinstance(subject, Recorded):
            run, plan = subject.run, Plan(train=train, test=test, seed=cell.seed)
        else:
            assert isinstance(subject, Attached)
            plan = Plan(mode=mode, seed=cell.seed, train=train, test=test)
            run = subject.driven(plan, cell.seed)
        result = score_run(TraceReader(subject.db), run, plan)
        return {"mode": result.mode, **result.evaluation.to_json()}
    plan = Plan(mode=mode, seed=cell.seed, train=train, test=test)
    physics = subject.resolved_physics()
    if cell.size == FAST:  # the gain alone decides; the baselines beside it cost six times as much
        few = replace(plan, permutations=99)
        gain = gain_of_emulation(few, subject.model, subject.plants, physics)
        return {
            "mode": mode,
            "gain_over_input_only": gain.gain,
            "gain_ci": list(gain.ci),
            "gain_p": gain.p_value,
        }
    config = emulation(plan, subject.model, subject.plants, physics)
    states = observed(steps_of_emulation(config), plan)
    return {"mode": mode, **score(plan, plan.draw(), states).to_json()}


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where the gain of a mode with input is there, and that of the constant one is not."""
    from scipy.stats import combine_pvalues

    modes = list(dict.fromkeys(row.values["mode"] for row in rows))
    p_values, gains, numbers = {}, {}, {}
    for mode in modes:
        of_mode = [row.values for row in rows if row.values["mode"] == mode]
        known = [values["gain_p"] for values in of_mode if values["gain_p"] is not None]
        p_values[mode] = float(combine_pvalues(known, method="fisher").pvalue) if known else 1.0
        gains[mode] = [values["gain_over_input_only"] for values in of_mode]
        if mode in PUBLISHED and "nrmse" in of_mode[0]:
            name, published = PUBLISHED[mode]
            numbers[name] = _number(mode, published, of_mode)
    level = ALPHA / len(modes)
    found = {mode: p <= level and sum(gains[mode]) > 0 for mode, p in p_values.items()}
    best = min(
        (mode for mode in modes if mode != "constant"), key=lambda mode: p_values[mode], default=modes[0]
    )
    told = ", ".join(
        f"{mode} {sum(gains[mode]) / len(gains[mode]):+.4f} (p = {p_values[mode]:.3g})" for mode in modes
    )
    p_value = min(1.0, p_values[best] * len(modes))
    if found.get("constant"):
        code, text = (
            CANNOT_TELL,
            f"With a constant input something is scored too: drift or a leak. Gains: {told}.",
        )
    elif any(found.values()):
        code, text = (
            EVIDENCE,
            f"Timing tells the readout something that the present input does not. Gains: {told}.",
        )
    else:
        code, text = NO_EVIDENCE, f"Timing adds nothing to the present input. Gains: {told}."
    mean = sum(gains[best]) / len(gains[best])
    return Finding(
        code, text, f"gain over the input alone, {best}", mean, p_value=p_value, numbers=numbers,
        detectable=_detectable(rows[0].cell.size, len(gains[best])),
    )  # fmt: skip


def _number(mode: str, published: float, of_mode: Sequence[Any]) -> Number:
    import numpy as np

    ours = float(np.mean([values["nrmse"] for values in of_mode]))
    low, high = np.mean([values["nrmse_ci"] for values in of_mode], axis=0)
    input_only = float(np.mean([values["baselines"]["input_only"] for values in of_mode]))
    text = (
        f"NRMSE in the {mode} mode, {published:g} published; the present input alone scores {input_only:.4f}. "
        "Reproduced where the published number lies in our interval and the gain over the input alone is above 0"
    )
    gain = float(np.mean([values["gain_over_input_only"] for values in of_mode]))
    positive = all(values["gain_ci"][0] > 0 for values in of_mode) and gain > 0
    fits = bool(low <= published <= high) and (positive or mode == "constant")
    return Number(ours, (float(low), float(high)), REPRODUCED if fits else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Scores beside every baseline, and what timing adds to the input."""
    from experiments.report.reservoir_plots import BASELINES

    gains, modes = by_word(rows, "mode", "gain_over_input_only", ci="gain_ci")
    found: list[AnyChart] = [
        Chart(
            "What does timing add to the input?",
            "Gain in NRMSE over the same timing moved against the input; bars: 95 % of the ways to move it. With a "
            "constant input nothing can be gained, so that a gain there is a leak.",
            "", "gain in NRMSE", gains, [Mark(0.0, "nothing")], modes,
        )
    ]  # fmt: skip
    for mode in modes:
        own = [
            row.values for row in arms(rows)[0][1] if row.values["mode"] == mode and "baselines" in row.values
        ]
        if not own:
            continue

        def mean(name: str, own: Sequence[Any] = own) -> float:
            return float(sum(v["baselines"][name] for v in own) / len(own))

        rungs = [
            Rung(BASELINES.get(name, name).format(taps=own[0]["matched_taps"]), mean(name), role=NULL)
            for name in own[0]["baselines"]
        ]
        ends = [sum(v["nrmse_ci"][i] for v in own) / len(own) for i in (0, 1)]
        ours = sum(v["nrmse"] for v in own) / len(own)
        rungs.append(Rung("input and timing, this miner", ours, (ends[0], ends[1])))
        if mode in PUBLISHED:
            rungs.append(Rung("published", PUBLISHED[mode][1], role="published"))
        rungs.sort(key=lambda rung: rung.value or 0.0)
        found.append(
            Ladder(
                f"NARMA-10, {mode}: the score beside its baselines",
                "Error on steps not learnt from, as a part of the deviation of the target; left is better. All by the "
                "same rule. A delay line of as many taps has the memory that timing would have to have.",
                "NRMSE", rungs,
            )
        )  # fmt: skip
    return found


EXPERIMENT = Experiment(
    name="narma",
    title="Does timing compute NARMA-10?",
    claims=("C1", "C2", "C2-constant"),
    source="Speaking to Silicon, 11 and table 7; experiment S9-04",
    hypothesis="Driven with the input of NARMA-10, the miner's timing remembers it, most of all in a dialogue.",
    null="The readout scores what it scores with the timing shifted against the input: as much as the input alone.",
    decision=(
        "Evidence where the gain over the input alone is significant in the dialogue or the monologue at 5 %, shared "
        "by Bonferroni over the modes, and not in the constant mode."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    lasts=_lasts,
    effect=EFFECT,
    page="narma",
    charts=charts,
)
