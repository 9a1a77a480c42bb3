"""Does the silicon sign the nonces: is there a pattern of chips or cores in what the scan leaves of a response?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from experiments.charts import ARMS, LINE, NULL, AnyChart, Chart, Ladder, Mark, Series, arms, rungs
from experiments.experiment import (
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Row,
    Sample,
)
from experiments.subjects import Subject

SHARES = {"fast": 1500, "quick": 2588, "full": 10_000}
PERMUTATIONS = {"fast": 199, "quick": 999, "full": 999}
REST_MS = 1.5
"""Standard deviation of what the scan leaves, of an S9 with one job per share."""
ON_TIME = 0.8
"""Part of the shares whose job was loaded on time."""


def sample(size: str) -> Sample:
    """Shares of the run."""
    from firmware_bridge.emulator.geometry import S9_CHIPS
    from tpf.groups import detectable_sd

    n = SHARES[size] * ON_TIME
    freedom = (S9_CHIPS - 1, int(n) - S9_CHIPS)
    found = detectable_sd(REST_MS, freedom, n / S9_CHIPS, 0.025, 0.8)
    return Sample(1, SHARES[size], f"{found:.2f} ms (sd) between the chips")


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The nonce report of one run."""
    from tpf.scan import nonce_report

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    report = nonce_report(data, seed=cell.seed, permutations=PERMUTATIONS[cell.size])
    best = min(report.tests, key=lambda t: t.kruskal_p, default=None)
    return {
        "verdict": report.verdict.code,
        "text": report.verdict.text,
        "r2": report.r2,
        "on_time": report.on_time,
        "tests": len(report.tests),
        "best": None if best is None else best.to_json(),
        "halves": [] if best is None else _halves(data, best.part),
    }


def _halves(data: Any, part: str) -> list[list[float]]:
    """Mean of what the scan leaves, of each chip or core with shares in both halves of the run, half by half."""
    import numpy as np

    from tpf.scan import residuals

    left = residuals(data)
    codes, late = left.codes(part), np.arange(left.rows.size) >= left.rows.size // 2
    both = [c for c in np.unique(codes) if (codes[late] == c).any() and (codes[~late] == c).any()]
    return [[float(left.residual_ms[half & (codes == c)].mean()) for c in both] for half in (~late, late)]


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where chips or cores differ in the whole run and alike in both of its halves."""
    values = rows[0].values
    best = values["best"]
    name = "standard deviation between chips or cores, ms"
    if best is None:
        return Finding(CANNOT_TELL, values["text"], name, None)
    return Finding(
        values["verdict"] if values["verdict"] in (EVIDENCE, NO_EVIDENCE) else CANNOT_TELL,
        values["text"],
        name,
        best["sd_ms"],
        tuple(best["sd_ci"]),
        min(1.0, best["kruskal_p"] * values["tests"]),
        f"{best['detectable_ms']:.2g} ms between {best['part']}s",
    )


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Whether chips that are late in one half are late in the other, and how far apart they lie."""
    known = [row for row in rows if row.values.get("halves")]
    series = [
        Series(ARMS[arm], own[0].values["halves"][0], own[0].values["halves"][1], role=arm)
        for arm, own in arms(known)
    ]
    ends = (
        [f([x for row in known for half in row.values["halves"] for x in half]) for f in (min, max)]
        if known
        else []
    )
    flat = [
        replace(row, values={"sd": row.values["best"]["sd_ms"], "ci": row.values["best"]["sd_ci"]})
        for row in known
    ]
    marks = [Mark(known[0].values["best"]["detectable_ms"], "would have been found", NULL)] if known else []
    return [
        Chart(
            "Is a chip that is late in one half of the run late in the other?",
            "One mark for each chip (or core): what the scan leaves of its responses, on average. A fingerprint lies "
            "along the dashed line, chance is a cloud without a slope.",
            "first half, ms", "second half, ms", [*series, Series("the same", ends, ends, role=NULL, form=LINE)],
        ),
        Ladder(
            "How far apart do they lie?", "Standard deviation between them, with its 95 % interval.", "ms",
            rungs(flat, "sd", ci="ci"), marks,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="nonce-fingerprint",
    title="Is there a pattern of chips in the time of a share?",
    claims=(),
    source="Speaking to Silicon, 19 (proof of processing); CHIMERA, fingerprints",
    hypothesis="The time of a share carries the chip that found it, beyond its place in the scan.",
    null="With the scan taken out, chips and cores can be exchanged within blocks of 100 shares.",
    decision=(
        "Evidence where Kruskal-Wallis tells chips or cores apart at 5 %, shared by Bonferroni, and the means of both "
        "halves of the run agree."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("variation", 0.35),
    page="nonce-fingerprint",
    charts=charts,
)
