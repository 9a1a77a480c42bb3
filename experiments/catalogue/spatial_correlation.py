"""Do neighbouring chips find shares together?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import ARMS, LINE, AnyChart, Chart, Ladder, Mark, Rung, Series, arms, normal_spread
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.subjects import Subject

SHARES = {"fast": 4000, "quick": 10_000, "full": 40_000}
REPETITIONS = {"fast": 1, "quick": 1, "full": 3}
WINDOWS = 60
PERMUTATIONS = 999
FEWEST_PER_PLACE = 10
DISTANCES = 12
"""Up to so many places apart are drawn."""
CHIPS = 63
"""Of an S9's board; its nonces do not tell the three boards apart."""


def _detectable(places: int, runs: int) -> str:
    # a correlation of independent counts over W windows has error 1/sqrt(W); there are places - 1 pairs
    z = errors_needed(ALPHA / 2)
    return f"neighbours that are correlated by {z / (WINDOWS * (places - 1) * runs) ** 0.5:.3f} more than other pairs"


def sample(size: str) -> Sample:
    """Runs, cut into 60 windows."""
    return Sample(REPETITIONS[size], SHARES[size], _detectable(CHIPS, REPETITIONS[size]))


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Correlation of neighbours' counts beside random orders of the places."""
    import numpy as np
    from scipy.stats import chisquare

    from experiments.analyses.neighbours import by_distance, neighbours, window_counts_by_place
    from reservoir.steps import positions

    data = subject.data(cell.seed, shares=SHARES[cell.size])
    decoded = positions(data)
    if decoded is None:
        return {"p_value": None, "why": "the nonces of this miner do not tell where they were found"}
    chip, core = decoded
    what, place = ("chips", chip) if np.unique(chip).size > 1 else ("cores", core)
    once = ~data.duplicate  # a repeated share was found once
    counts = window_counts_by_place(place[once], data.time_ns[once], WINDOWS)
    if counts.shape[0] < 4 or counts.sum(axis=1).mean() < FEWEST_PER_PLACE:
        return {"p_value": None, "why": f"{data.n} shares are too few for {counts.shape[0]} {what}"}
    found = neighbours(counts, PERMUTATIONS, np.random.default_rng([cell.seed, 1]))
    return {
        "p_value": found.p_value,
        "excess": found.excess,
        "error": found.error,
        "all_pairs": found.all_pairs,
        "places": found.places,
        "by_distance": by_distance(counts, DISTANCES),
        "what": what,
        "uniform_p": float(chisquare(counts.sum(axis=1)).pvalue),
        "shares": int(once.sum()),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where neighbours are tied more, or less, than places that lie apart."""
    from scipy.stats import combine_pvalues

    values = [row.values for row in rows if row.values["p_value"] is not None]
    if not values:
        why = str(rows[0].values["why"])
        return Finding(CANNOT_TELL, why[0].upper() + why[1:] + ".", "correlation of neighbours", None)
    p_value = float(combine_pvalues([v["p_value"] for v in values], method="fisher").pvalue)
    excess = sum(v["excess"] for v in values) / len(values)
    error = sum(v["error"] ** 2 for v in values) ** 0.5 / len(values)
    ci = (excess - 1.96 * error, excess + 1.96 * error)
    found = p_value <= ALPHA
    first = values[0]
    text = (
        f"Neighbouring {first['what']} are {'tied' if found else 'not tied'} otherwise than those that lie apart: "
        f"correlation of their counts {excess:+.4f} ({ci[0]:+.4f} to {ci[1]:+.4f}) above that of all pairs "
        f"({first['all_pairs']:+.4f}), over {first['places']} {first['what']}, p = {p_value:.3g}. Whether all of them "
        f"find equally many: p = {first['uniform_p']:.3g}."
    )
    return Finding(
        EVIDENCE if found else NO_EVIDENCE, text, "excess correlation of neighbours", excess, ci, p_value,
        _detectable(first["places"], len(values)),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Correlation over the distance, and that of neighbours beside random orders of the places."""
    known = [row for row in rows if row.values.get("by_distance")]
    series, rungs, marks = [], [], [Mark(0.0, "")]
    for arm, own in arms(known):
        far = own[0].values["by_distance"]
        mean = [sum(row.values["by_distance"][i] for row in own) / len(own) for i in range(len(far))]
        series.append(Series(ARMS[arm], [float(i + 1) for i in range(len(far))], mean, role=arm, form=LINE))
        for row in own:
            null = normal_spread(0.0, row.values["error"])
            rungs.append(Rung(ARMS[arm], row.values["excess"], null=null, role=arm))
        if arm == "subject":
            marks.append(Mark(own[0].values["all_pairs"], "all pairs of this miner"))
    return [
        Chart(
            "Are neighbours tied more than those that lie apart?",
            "Mean correlation of the counts of two places, over how many places apart they are. Heat or a common "
            "supply would let it fall with the distance.",
            "places apart", "correlation", series, marks,
        ),
        Ladder(
            "Neighbours less all pairs", "Beside the same of random orders of the places.", "excess correlation", rungs,
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="spatial-correlation",
    title="Do neighbouring chips find shares together?",
    claims=(),
    source="memoria, spatial correlation (r, mutual information, coherence)",
    hypothesis="Chips are coupled through supply and heat: neighbours on the chain find shares together.",
    null="The same chips in a random order: what all of them have in common stays, what neighbours have goes.",
    decision="Evidence where the mean correlation of neighbours' counts lies outside of 95 % of random orders.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("wave", 0.35),
    page="spatial-correlation",
    charts=charts,
)
