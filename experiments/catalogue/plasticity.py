"""CHIMERA, experiments C and 2, V03: do hashes of a miner teach a weight more than random numbers do?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.share_hashes import share_hashes
from experiments.charts import ARMS, NULL, PUBLISHED, AnyChart, Ladder, Mark, Rung, arms
from experiments.experiment import (
    ALPHA,
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
from experiments.power import errors_needed
from experiments.subjects import Subject

SHARES = {"fast": 1500, "quick": 2588, "full": 10_000}
BATCH = 5
"""Hashes of one answer of the published bridge (V03)."""
REPETITIONS = 10
"""Of the thought in experiment C."""
TESTS = 2
UPDATE_SD = 0.0357
"""Standard deviation of one update of five uniform hashes by the rule of the memory experiment: simulated."""
PUBLISHED_WEIGHT, PUBLISHED_DRIFT = 1.54, 0.9769
STABLE = 4.0
"""How many times less the energy of a miner is said to vary."""
FEWEST_BATCHES = 30


def sample(size: str) -> Sample:
    """Shares of the run, five of them an update."""
    error = UPDATE_SD * (2 / (SHARES[size] / BATCH)) ** 0.5
    found = errors_needed(ALPHA / TESTS / 2) * error
    return Sample(1, SHARES[size], f"an update that is off by {found:.4f}, where random numbers give 0.05")


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Updates and energies of the run's hashes, and of as many random ones below the same targets."""
    import numpy as np
    from scipy.stats import levene, ttest_ind

    from experiments.analyses import plasticity as rule
    from tpf.hns import rgba_full_range
    from tpf.signals.hashes import hashes_below

    found = share_hashes(subject, cell.seed, SHARES[cell.size])
    n = 0 if found is None else int(found.hashes.shape[0])
    if found is None or n < BATCH * FEWEST_BATCHES:
        return {"batches": n // BATCH}
    rng = np.random.default_rng(cell.seed)
    own = rgba_full_range(found.hashes)
    drawn = rgba_full_range(hashes_below(found.targets, rng))
    memory = [rule.updates(some, BATCH, rule.MEMORY_THRESHOLD, rule.MEMORY_RATE) for some in (own, drawn)]
    layer = rule.updates(own, BATCH, rule.LAYER_THRESHOLD, rule.LAYER_RATE)
    energy = [rule.energies(some, BATCH) for some in (own, drawn)]
    return {
        "batches": int(memory[0].size),
        "update": float(memory[0].mean()),
        "update_sd": float(memory[0].std(ddof=1)),
        "random_update": float(memory[1].mean()),
        "random_update_sd": float(memory[1].std(ddof=1)),
        "expected_update": rule.expected_update(rule.MEMORY_THRESHOLD, rule.MEMORY_RATE),
        "layer_update": float(layer.mean()),
        "layer_update_sd": float(layer.std(ddof=1)),
        "energy_sd": float(energy[0].std(ddof=1)),
        "random_energy_sd": float(energy[1].std(ddof=1)),
        "p_update": float(ttest_ind(memory[0], memory[1], equal_var=False).pvalue),
        "p_energy": float(levene(energy[0], energy[1]).pvalue),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where updates, or the spread of energies, differ from those of random hashes."""
    values = rows[0].values
    name = "update of a weight, less that by random hashes"
    if values["batches"] < FEWEST_BATCHES:
        text = f"{values['batches']} batches of {BATCH} hashes; {FEWEST_BATCHES} are needed."
        return Finding(CANNOT_TELL, text, name, None)
    n = values["batches"]
    off = values["update"] - values["random_update"]
    error = ((values["update_sd"] ** 2 + values["random_update_sd"] ** 2) / n) ** 0.5
    p_value = min(1.0, TESTS * min(values["p_update"], values["p_energy"]))
    about = (
        f"{BATCH} hashes change the weight by {values['update']:+.4f} on average, random ones by "
        f"{values['random_update']:+.4f} (p = {values['p_update']:.3g}); uniform numbers are expected to give "
        f"{values['expected_update']:+.4f}. Energies vary by {values['energy_sd']:.3f} and "
        f"{values['random_energy_sd']:.3f} (p = {values['p_energy']:.3g})."
    )
    found = p_value <= ALPHA
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"Hashes of the miner teach another lesson than chance. {about}"
        if found
        else f"The rule learns from random numbers as well. {about}",
        name,
        off,
        (off - 1.96 * error, off + 1.96 * error),
        p_value,
        f"an update that is off by {3.08 * error:.4f}",
        {"C35": _memory(values, n), "C36": _drift(values, n), "C40": _stability(values, n)},
    )


def _memory(values: Any, n: int) -> Number:
    weight = 1 + REPETITIONS * values["update"]
    reach = 1.96 * REPETITIONS**0.5 * values["update_sd"]
    text = (
        f"Weight after {REPETITIONS} repetitions of {BATCH} hashes each, with the interval of one such weight; random "
        f"hashes give {1 + REPETITIONS * values['random_update']:.3f}, {PUBLISHED_WEIGHT} was published. Reproduced "
        "where that lies in the interval, which says that the rule grows by itself"
    )
    fits = abs(weight - PUBLISHED_WEIGHT) <= reach
    return Number(weight, (weight - reach, weight + reach), REPRODUCED if fits else NOT_REPRODUCED, text)


def _drift(values: Any, n: int) -> Number:
    weight = 1 + REPETITIONS * values["layer_update"]
    reach = 1.96 * REPETITIONS**0.5 * values["layer_update_sd"]
    text = (
        f"Weight after {REPETITIONS} updates of {BATCH} hashes each by the rule of the layer, with the interval of one "
        f"such weight; {PUBLISHED_DRIFT} was published as a response to an anomaly. Reproduced where that lies in the "
        "interval, without any anomaly"
    )
    fits = abs(weight - PUBLISHED_DRIFT) <= reach
    return Number(weight, (weight - reach, weight + reach), REPRODUCED if fits else NOT_REPRODUCED, text)


def _stability(values: Any, n: int) -> Number:
    from math import exp

    ratio = values["random_energy_sd"] / values["energy_sd"]
    reach = exp(1.96 / (n - 1) ** 0.5)  # ln of a standard deviation has the error 1 / sqrt(2 (n - 1)), twice
    text = (
        f"How many times less the energy of {BATCH} hashes varies than that of {BATCH} random ones, 4 to 5 published "
        "of unequal numbers of hashes. Reproduced where the interval lies above 1 and reaches 4"
    )
    low, high = ratio / reach, ratio * reach
    return Number(ratio, (low, high), REPRODUCED if low > 1 and high >= STABLE else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """The lesson of the hashes beside that of random ones, and the weights that were published."""
    lessons, weights = [], []
    for arm, own in arms(row for row in rows if "update" in row.values):
        v = own[0].values
        for name, words, role in (("update", ARMS[arm], arm), ("random_update", "random hashes", NULL)):
            reach = 1.96 * v[f"{name}_sd"] / v["batches"] ** 0.5
            lessons.append(Rung(words, v[name], (v[name] - reach, v[name] + reach), role=role))
        for name, rule in (("update", "memory"), ("layer_update", "layer")):
            weight, reach = 1 + REPETITIONS * v[name], 1.96 * REPETITIONS**0.5 * v[f"{name}_sd"]
            weights.append(Rung(f"{rule}, {ARMS[arm]}", weight, (weight - reach, weight + reach), role=arm))
    weights += [
        Rung("memory, published", PUBLISHED_WEIGHT, role=PUBLISHED),
        Rung("layer, published", PUBLISHED_DRIFT, role=PUBLISHED),
    ]
    expected = next((row.values["expected_update"] for row in rows if "update" in row.values), 0.0)
    return [
        Ladder(
            "What do five hashes do to a weight?",
            "Mean change of the weight with its 95 % interval, by hashes of the run and by random ones below the same "
            "targets.",
            "change of the weight", lessons, [Mark(expected, "expected of uniform numbers")],
        ),
        Ladder(
            "What weight is there after ten times?",
            "With the 95 % interval of one such weight. It grows by itself, whatever the hashes are.",
            "weight, from 1", sorted(weights, key=lambda rung: rung.label), [Mark(1.0, "at the start")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="plasticity",
    title="Do the hashes of a miner teach a weight more than random numbers do?",
    claims=("C35", "C36", "C40"),
    source="repository of CHIMERA, experiments C and 2, replication report of V03",
    hypothesis="A repeated thought gains weight (1.54), an anomaly moves it (0.9769), and a miner is more stable.",
    null="Random hashes below the same target: the rule adds (1/2 - 0.3)/4 = 0.05 for them as well.",
    decision=(
        "Evidence where the mean update (Welch) or the spread of energies (Levene) differs from that of random hashes, "
        "at 5 % shared by Bonferroni between the two."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("choosy", 0.65),
    page="plasticity",
    charts=charts,
)
