"""What each statistic is, in a sentence, and what a Poisson process would give: the words beside the numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """One row of a report's table.

    Attributes:
        key: as in ``asiclab stats --json``; ``fano.1`` is an entry of a dictionary.
        name: for people.
        poisson: the value of a Poisson process, or None where it depends on n or the rate.
        text: what it says.
    """

    key: str
    name: str
    poisson: str | None
    text: str


STREAM = (
    Meaning("n", "n", None, "Number of intervals. Below 1000 no verdict should rest on them."),
    Meaning("mean_ms", "mean, ms", None, "Average time between two events."),
    Meaning("median_ms", "median, ms", None, "Half of the times are shorter; chance gives 0.69 of the mean."),
    Meaning("cv", "CV", "1", "Spread over mean. Below 1: more regular than chance; above 1: bursts."),
    Meaning(
        "cv2",
        "CV2",
        "1",
        "Like CV, from neighbouring intervals only, so a slow drift of the rate does not move it.",
    ),
    Meaning(
        "lv",
        "LV",
        "1",
        "Local variation; 0 for a metronome, above 1 for bursts. Sensitive to a coarse clock.",
    ),
    Meaning(
        "burstiness",
        "burstiness",
        "0",
        "CV on a scale from −1 (metronome) over 0 (chance) to 1 (extreme bursts).",
    ),
    Meaning("memory", "memory", "0", "Correlation of an interval with the one after it."),
    Meaning("fano.0.25", "Fano, 0.25 s", "1", "Variance over mean of the counts in windows of 0.25 s."),
    Meaning("fano.1", "Fano, 1 s", "1", "The same in windows of 1 s."),
    Meaning("fano.5", "Fano, 5 s", "1", "The same in windows of 5 s; few windows, so a wide interval."),
    Meaning(
        "allan_factor_1s",
        "Allan factor, 1 s",
        "1",
        "Like Fano, from neighbouring windows, so a drift does not move it.",
    ),
    Meaning(
        "oadev_16",
        "Allan deviation, m=16",
        None,
        "Overlapping Allan deviation of the intervals; chance gives CV/4.",
    ),
    Meaning(
        "pe3",
        "permutation entropy, 3",
        "≈ 1",
        "How evenly the orders of 3 neighbours occur. Read it beside its shuffles.",
    ),
    Meaning("pe4", "permutation entropy, 4", "≈ 1", "The same with 4 neighbours."),
    Meaning(
        "pe5", "permutation entropy, 5", "≈ 1", "The same with 5 neighbours; biased low when n is small."
    ),
    Meaning(
        "sampen",
        "sample entropy",
        None,
        "How badly the recent past predicts the next interval. Meaningless without its shuffles.",
    ),
    Meaning("ljung_box_20", "Ljung-Box Q(20)", "≈ 20", "Sum of autocorrelation over 20 lags."),
    Meaning("ljung_box_20_p", "its p-value", None, "Chance of such a Q without any memory."),
    Meaning(
        "ks_exp",
        "KS distance",
        None,
        "Largest gap between the intervals and an exponential law of the same mean.",
    ),
    Meaning(
        "ks_exp_p",
        "its p-value",
        None,
        "Chance of such a gap if shares came as a Poisson process in wall time.",
    ),
    Meaning("ad_exp", "Anderson-Darling A²", None, "The same question, with more weight on the tails."),
    Meaning("ad_exp_p", "its p-value", None, "Chance of such an A² under a Poisson process in wall time."),
    Meaning(
        "entropy_10ms",
        "entropy, 10 ms bins",
        None,
        "Of the histogram in fixed bins, in nats, bias corrected (Miller-Madow).",
    ),
)

RUN = (
    Meaning("shares", "shares", None, "Shares whose hash was recomputed here and holds."),
    Meaning("unique", "different headers", None, "Shares less those that repeat an earlier header."),
    Meaning(
        "duplicates",
        "repeated headers",
        None,
        "A miner that loads its previous job again finds the same nonces again.",
    ),
    Meaning("jobs", "jobs", None, "Different jobs that the shares answer."),
    Meaning("span_s", "span, s", None, "From the first arrival to the last."),
    Meaning("min_difficulty", "smallest difficulty", None, "The miner's own floor."),
    Meaning(
        "n_over_512",
        "over 512",
        None,
        "Shares with a difficulty above 512; a fair hash at floor 256 gives half.",
    ),
    Meaning("n_over_1024", "over 1024", None, "Likewise above 1024; a quarter."),
    Meaning(
        "pareto_alpha", "Pareto exponent", None, "How fast better shares become rarer; 1 for a fair hash."
    ),
    Meaning(
        "pareto_ks",
        "Pareto KS distance",
        None,
        "Largest gap between the difficulties and the law of a fair hash.",
    ),
    Meaning(
        "clock_tick_ns",
        "clock tick, ns",
        None,
        "Finest step of the clock. Coarse clocks destroy these statistics.",
    ),
)

SCAN = (
    Meaning("chips", "chips seen", None, "Different chips that the nonces name."),
    Meaning("cores", "core codes seen", None, "Different cores per chip that the nonces name."),
    Meaning(
        "counter_max",
        "largest counter",
        None,
        "How far the scan of one work gets before the next one is loaded.",
    ),
    Meaning("slope_ms", "ms per work", None, "Time that one work (one extranonce2) takes."),
    Meaning("intercept_ms", "intercept, ms", None, "Dead time: what a new job costs before its work starts."),
    Meaning("counter_ms", "ms per counter span", None, "Time that one full span of the scan counter takes."),
    Meaning(
        "r2", "R²", None, "Part of the spread of the arrival times that the position in the scan explains."
    ),
    Meaning(
        "spearman_residual",
        "rank correlation",
        None,
        "Of the counter with what the works alone leave: the order of the scan.",
    ),
)

HASHRATE = (
    Meaning("capacity_ths", "while hashing, TH/s", None, "From the scan: nonces tried per second of work."),
    Meaning(
        "naive_ths",
        "from shares, TH/s",
        None,
        "From the number of shares over the whole span, dead time included.",
    ),
    Meaning(
        "duty", "duty", None, "The second over the first: part of the time that the chips hash new work."
    ),
)
