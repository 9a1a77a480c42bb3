"""CHIMERA: do share hashes scramble more than unrelated ones, and are the numbers decoded from them uniform?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.analyses.share_hashes import share_hashes
from experiments.charts import (
    ARMS,
    LINE,
    PUBLISHED,
    AnyChart,
    Chart,
    Ladder,
    Mark,
    Rung,
    Series,
    arms,
    histogram,
    normal_spread,
    shares_of,
)
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

SHARES = {"fast": 1000, "quick": 2588, "full": 10_000}
TESTS = 2
PUBLISHED_DIFFUSION = 0.5008
PUBLISHED_ERROR = 0.014
"""Of the mean of five pairs, by chance: half a bit's spread over 5 x 256 bits."""
PUBLISHED_MEAN, PUBLISHED_SD = 0.50, 0.289
FEWEST = 30
Z = 1.96


def sample(size: str) -> Sample:
    """Shares of the run."""
    return Sample(1, SHARES[size], _detectable(SHARES[size]))


def _detectable(n: int) -> str:
    # a pair of hashes differs in half of 256 bits, with an error of 0.5 / 16; two tests share the level

    return f"a diffusion that is off by {errors_needed(ALPHA / TESTS / 2) * 0.5 / (256 * n) ** 0.5:.5f}"


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Diffusion of consecutive hashes beside its closed null, and the spread of what is decoded from them."""
    import numpy as np
    from scipy.stats import kstest

    from tpf.hns import rgba_full_range
    from tpf.signals.hashes import diffusion_null, hamming_diffusion

    found = share_hashes(subject, cell.seed, SHARES[cell.size])
    if found is None or found.hashes.shape[0] < FEWEST:
        return {"n": 0 if found is None else int(found.hashes.shape[0])}
    mean, sd = diffusion_null(found.targets)
    # the last of the four words holds the zeros that make a share: selection, not decoding
    decoded = rgba_full_range(found.hashes)[:, :3].ravel()
    return {
        "n": int(found.hashes.shape[0]),
        "diffusion": hamming_diffusion(found.hashes),
        "null_mean": mean,
        "null_sd": sd,
        "decoded": int(decoded.size),
        "decoded_mean": float(decoded.mean()),
        "decoded_sd": float(np.std(decoded, ddof=1)),
        "decoded_parts": histogram(decoded, 0.0, 1.0, 20),
        "ks_p": float(kstest(decoded, "uniform").pvalue),
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where hashes differ in more or fewer bits than unrelated ones, or decode to what is not uniform."""
    from scipy.stats import norm

    values = rows[0].values
    name = "Hamming diffusion less that of unrelated hashes below the target"
    if values["n"] < FEWEST:
        text = f"{values['n']} hashes can be built from this run; {FEWEST} are needed."
        return Finding(CANNOT_TELL, text, name, None)
    off, sd = values["diffusion"] - values["null_mean"], values["null_sd"]
    p_diffusion = 2 * float(norm.sf(abs(off) / sd))
    p_value = min(1.0, TESTS * min(p_diffusion, values["ks_p"]))
    found = p_value <= ALPHA
    about = (
        f"Consecutive hashes differ in {values['diffusion']:.4f} of their bits, unrelated ones below the same target "
        f"in {values['null_mean']:.4f} (p = {p_diffusion:.3g}). Decoded: mean {values['decoded_mean']:.4f}, standard "
        f"deviation {values['decoded_sd']:.4f}, uniform with p = {values['ks_p']:.3g}."
    )
    return Finding(
        EVIDENCE if found else NO_EVIDENCE,
        f"These hashes are not unrelated ones. {about}" if found else f"These are any hashes. {about}",
        name,
        off,
        (off - Z * sd, off + Z * sd),
        p_value,
        _detectable(values["n"]),
        {"C34": _diffusion(values), "C44": _decoded(values)},
    )


def _diffusion(values: Any) -> Number:
    ours, reach = values["diffusion"], Z * (values["null_sd"] ** 2 + PUBLISHED_ERROR**2) ** 0.5
    text = (
        f"Part of 256 bits in which consecutive hashes differ, {PUBLISHED_DIFFUSION} published for five pairs; "
        f"{values['null_mean']:.4f} is what unrelated hashes below the target give. Reproduced where the published "
        "value is within the error of both, which says that it is a property of any hash"
    )
    fits = abs(ours - PUBLISHED_DIFFUSION) <= reach
    sd = values["null_sd"]
    return Number(ours, (ours - Z * sd, ours + Z * sd), REPRODUCED if fits else NOT_REPRODUCED, text)


def _decoded(values: Any) -> Number:
    n, mean, sd = values["decoded"], values["decoded_mean"], values["decoded_sd"]
    error = PUBLISHED_SD / n**0.5
    sd_error = PUBLISHED_SD * (0.8 / 4 / n) ** 0.5  # of a uniform sample: kurtosis 1.8
    text = (
        f"Mean of {n} numbers decoded from hashes, their standard deviation is {sd:.4f}; 0.50 and 0.289 published. "
        "Reproduced where both are within our error and their rounding, as of any good hash"
    )
    fits = abs(mean - PUBLISHED_MEAN) <= Z * error + 0.005 and abs(sd - PUBLISHED_SD) <= Z * sd_error + 0.0005
    return Number(mean, (mean - Z * error, mean + Z * error), REPRODUCED if fits else NOT_REPRODUCED, text)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Diffusion beside its closed null, and the spread of what was decoded."""
    known = [row for row in rows if row.values.get("decoded_parts")]
    rungs, series = [], []
    for arm, own in arms(known):
        v = own[0].values
        null = normal_spread(v["null_mean"], v["null_sd"])
        rungs.append(Rung(ARMS[arm], v["diffusion"], null=null, role=arm))
        series.append(Series(ARMS[arm], *shares_of(v["decoded_parts"]), role=arm, form=LINE))
    reach = Z * PUBLISHED_ERROR
    about = (PUBLISHED_DIFFUSION - reach, PUBLISHED_DIFFUSION + reach)
    rungs.append(Rung("published, of five pairs", PUBLISHED_DIFFUSION, about, role=PUBLISHED))
    return [
        Ladder(
            "In how many bits do consecutive hashes differ?",
            "Beside the null in closed form: hashes drawn evenly below the target, which fixes some bits of all.",
            "part of 256 bits", rungs,
        ),
        Chart(
            "Are the numbers decoded from hashes uniform?",
            "Part of them in each of 20 equal bins.",
            "decoded number", "part", series, [Mark(1 / 20, "uniform")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="hamming-diffusion",
    title="Do the hashes of a miner differ from unrelated ones?",
    claims=("C34", "C44"),
    source="repository of CHIMERA, experiment D and V02",
    hypothesis="Consecutive hashes scramble each other (OTOC 0.5008), and decode to uniform numbers.",
    null="Hashes drawn evenly below the target: half of the bits that the target leaves free differ.",
    decision=(
        "Evidence where the diffusion differs from that null, or the decoded numbers from uniform ones "
        "(Kolmogorov-Smirnov), at 5 % shared by Bonferroni between the two."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    sample=sample,
    measure=measure,
    conclude=conclude,
    effect=("choosy", 0.4),
    page="hamming-diffusion",
    charts=charts,
)
