"""TPF: after how many rounds does SHA-256 give away whether a hash will succeed?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import LINE, AnyChart, Chart, Mark, Series
from experiments.experiment import (
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
from experiments.power import errors_needed
from experiments.subjects import Subject

HASHES = {"fast": 120_000, "quick": 1_000_000, "full": 10_000_000}
PUBLISHED_SAVING = 59 / 64
PUBLISHED_ROUND = 5
ROUNDS_TESTED = 65


def sample(size: str) -> Sample:
    """Hashes of the twin; half of them are scored."""
    return Sample(1, None, f"{_detectable(HASHES[size] / 2)} ({HASHES[size]:,} hashes)")


def _detectable(scored: float) -> str:
    # Mann-Whitney: the error of an AUC of 1/2 is sqrt(1 / 12 successes) where failures are many
    reach = errors_needed(0.05 / ROUNDS_TESTED) * (12 * scored / 256) ** -0.5
    return f"an AUC of {0.5 + reach:.3f} in one round"


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """The frontier of random headers; no miner has a part in it."""
    from tpf.frontier import measure as measure_frontier
    from tpf.header_source import RandomHeaders

    hashes = HASHES[cell.size]
    found = measure_frontier(RandomHeaders(cell.seed), hashes, seed=cell.seed, workers=1)
    early = found.rounds[: found.exact_from_round]
    best = max(early, key=lambda r: r.auc)
    return {
        "verdict": found.verdict["code"],
        "text": found.verdict["text"],
        "hashes": hashes,
        "auc": best.auc,
        "auc_ci": list(best.ci),
        "round": best.k,
        "by_round": {
            "k": [r.k for r in found.rounds],
            "auc": [r.auc for r in found.rounds],
            "low": [r.ci[0] for r in found.rounds],
            "high": [r.ci[1] for r in found.rounds],
        },
        "null_auc": list(found.null_auc),
        "exact_from_round": found.exact_from_round,
        "kept": found.exact_share_fraction,
        "saving": found.saving,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a round before the exact point has an AUC above one half, all rounds together at 5 %."""
    values = rows[0].values
    return Finding(
        EVIDENCE if values["verdict"] == "evidence" else NO_EVIDENCE,
        values["text"],
        f"largest AUC before round {values['exact_from_round']}, in round {values['round']}",
        values["auc"],
        tuple(values["auc_ci"]),
        detectable=_detectable(values["hashes"] / 2),
        numbers={"C7": _saving(values)},
    )


def _saving(values: Any) -> Number:
    text = (
        f"Part of a double hash that is saved without a false abort, by stopping after round "
        f"{values['exact_from_round']} of the last compression; {values['kept']:.0%} of the successes are kept. "
        "92.19 % published. Reproduced where no success is lost and 92.19 % or more are saved"
    )
    fits = values["kept"] == 1 and values["saving"] >= PUBLISHED_SAVING
    return Number(values["saving"], None, REPRODUCED if fits else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """How well the outcome is told after each round."""
    series, marks, band = [], [Mark(PUBLISHED_ROUND, "published", "published", vertical=True)], None
    for row in rows:
        told = row.values.get("by_round")
        if not told:
            continue
        series.append(Series("AUC, 95 %", told["k"], told["auc"], told["low"], told["high"], form=LINE))
        marks.append(Mark(row.values["exact_from_round"], "settled from here on", vertical=True))
        low, high = row.values["null_auc"]
        band = (float(low), float(high))
    return [
        Chart(
            "After which round can the outcome be told?",
            "Area under the curve of the best score after each round of the last compression: 0.5 is a coin, 1 is "
            "certainty. Grey: where a coin stays in 95 % of cases, each round by itself.",
            "rounds done, of 64", "AUC", series, marks, band=band,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="tpf-frontier",
    title="After how many rounds does a hash give itself away?",
    claims=("C7",),
    source="Speaking to Silicon, 12 and table 8",
    hypothesis="After 5 rounds of SHA-256 the failures are known: 92.19 % are saved without a false abort.",
    null="The state tells nothing before the round from which on the outcome is settled.",
    decision=(
        "Evidence where the AUC of a round before that one is above 1/2 at 5 %, shared by Bonferroni over the rounds, "
        "on hashes that neither taught nor chose the scorer."
    ),
    kinds=("emulator",),
    acts="it asks about SHA-256, not about a miner",
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    placebo=False,
    page="tpf-frontier",
    charts=charts,
)
