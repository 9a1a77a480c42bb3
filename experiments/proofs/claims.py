"""Which claim of the papers rests on which theorem, what uses it, and what nobody has proved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it.

    Attributes:
        title: of the claim.
        claimed: what the papers say, and where.
        proved: what the theorems say of it, in words.
        theorems: names without the namespace Silicon; a name that does not exist is an error of the page.
        used: which results of the lab rest on them.
    """

    title: str
    claimed: str
    proved: str
    theorems: tuple[str, ...]
    used: str


CLAIMS = (
    Claim(
        "Independence means zero leakage",
        "*Speaking to Silicon* §5-8: if timing and outcome are independent, timing leaks nothing.",
        "Zero total variation, zero chi-square and independence are the same thing. The gain of the best "
        "predictor can "
        "be zero without independence, so it alone cannot show that nothing leaks.",
        (
            "FinDist.tvLeak_eq_zero_iff_independent",
            "FinDist.chiSquareLeak_eq_zero_iff_independent",
            "FinDist.independent_vulnerabilityGain_eq_zero",
            "FinDist.gain_zero_without_independence",
            "FinDist.vulnerabilityGain_le_tvLeak",
        ),
        "`asiclab tpf evaluate`: the leakage measures, and why *no evidence* names the smallest effect it "
        "would have seen.",
    ),
    Claim(
        "Nothing done to the timing can add information",
        "Windows, digits, features and networks are said to find what the raw timing hides.",
        "No function of the observation and no randomised map of it leaks more than the observation itself. Two "
        "observations leak at least as much as one, and constant timing leaks nothing.",
        (
            "FinDist.tvLeak_through_le",
            "FinDist.chiSquareLeak_through_le",
            "FinDist.vulnerabilityGain_through_le",
            "FinDist.two_observations_leak_at_least_as_much",
            "FinDist.constant_observation_leaks_nothing",
        ),
        "`asiclab tpf evaluate`: one bound for all its classifiers.",
    ),
    Claim(
        "A predictor that beats the baseline shows dependence",
        "*Speaking to Silicon* §5-8, and the accuracy reported for the 16-8-4 network.",
        "Accuracy above the best constant guess implies dependence, by no more than the gain; above one half implies "
        "nothing where outcomes are unequal.",
        (
            "FinDist.accuracy_sub_baseline_le_gain",
            "FinDist.above_baseline_not_independent",
            "FinDist.maximumPosterior_attains_gain",
            "FinDist.above_half_may_be_below_baseline",
        ),
        "`asiclab tpf evaluate`: the baseline of every accuracy.",
    ),
    Claim(
        "A filter saves up to 92 % of the energy",
        "*Speaking to Silicon* §12: 1 - k/n with k = 5 of n = 64 rounds, 12.8 times the hash rate.",
        "Per returned share a filter saves exactly where its recall exceeds q + (1 - q) k/n + c. 1 - k/n is "
        "an upper bound "
        "that only the filter attains which aborts everything and returns no share. Without leakage no "
        "filter saves, and "
        "what a filter saves is bounded by the leakage.",
        (
            "saves_iff",
            "no_information_no_saving",
            "saving_le_publishedSaving",
            "FinDist.published_attained_only_without_shares",
            "FinDist.zero_leakage_no_saving",
            "FinDist.saving_le_leakage",
            "FinDist.independent_iff_no_filter_saves",
        ),
        "`asiclab tpf energy` and the frontier of real SHA-256 rounds: break-even recall and the verdict on saving.",
    ),
    Claim(
        "A virtual block manager adds 25 %, and both together 94 %",
        "*Speaking to Silicon* §15 and §17: η = t_hash / (t_hash + t_net + t_stratum), 1 - (1 - TPF)(1 - VBM).",
        "η lies in (0, 1] and grows as waiting shrinks; a miner whose queue covers the wait gains nothing. "
        "Two savings "
        "combine by that formula, within its bounds; without static power a block manager saves no energy per share.",
        (
            "eta_bounds",
            "throughputGain_zero_when_queued",
            "combinedSaving_eq",
            "combinedSaving_bounds",
            "blockManager_saves_no_energy_without_static_power",
        ),
        "`asiclab vbm model|eta|ab` and `asiclab tpf energy`.",
    ),
    Claim(
        "A count above the baseline is no accident",
        "*Speaking to Silicon* §14, table 9: accuracies without a statement of how sure they are.",
        "If no trial succeeds with more than the baseline's chance, whatever happened before, a count of at "
        "least m in n "
        "has at most the probability of the binomial tail, and at most Chernoff's bound in fractions. So an "
        "independent "
        "timing makes such a count improbable, for every predictor that may learn on the way.",
        (
            "reach_le_tail",
            "tail_le_chernoff",
            "certificate_exact",
            "certificate_chernoff",
            "certificate_exact_independent",
            "certificate_chernoff_independent",
            "lower_bound_covers",
        ),
        "`asiclab proofs certify`: the counts of `asiclab tpf evaluate`, as a theorem of their own.",
    ),
    Claim(
        "A device has a fingerprint",
        "*Speaking to Silicon* §20, *Toward Thermodynamic Reservoir Computing* VIII.B: a witness of "
        "distinguishability.",
        "Two response distributions differ exactly where some event tells them apart. The best event attains "
        "the total "
        "variation, no test errs less often than 1 minus it, and t challenges give at most t times as much.",
        (
            "Dist.exists_event_iff",
            "Dist.witness_attains_tv",
            "Dist.error_rates_ge",
            "Dist.identical_no_event",
            "Dist.tvSeq_le_mul",
            "Dist.le_tvSeq_succ",
        ),
        "`asiclab puf evaluate|verify`: error rates against what any test could reach.",
    ),
    Claim(
        "A single-word handshake measures the response time",
        "*Speaking to Silicon* §9, and its open question on how time stamps are taken.",
        "With one job outstanding the matched interval is the response time; intervals are disjoint and add "
        "up to at most "
        "the span. With several, a share that is matched to the newest job instead of its own gets a strictly smaller "
        "interval whenever its job is older.",
        (
            "interval_is_response_time",
            "intervals_disjoint",
            "totalInterval_le_span",
            "newestInterval_lt",
            "newestInterval_eq_iff",
        ),
        "Every `response_ns` of the trace, and why shares are matched by their job.",
    ),
    Claim(
        "Early rounds of SHA-256 decide",
        "*Speaking to Silicon* §12: rounds 1 to 5 of 64 tell which hash fails.",
        "Each round is a bijection for a fixed word, so nothing is decided by loss. The deciding word of a "
        "hash is fixed "
        "after 61 rounds of the last compression, or after 57 and four halves; no register after 60 decides "
        "it. A double "
        "hash is 128 rounds, so an abort without error comes after 125 of them.",
        (
            "round_injective",
            "digest7_after_61",
            "no_register_decides",
            "no_function_of_round_60",
            "digest7_after_57_and_four_halves",
            "five_halves_not_enough",
            "double_hash_decided_after_125",
        ),
        "`asiclab tpf frontier`: the round that the measured frontier finds.",
    ),
    Claim(
        "Structural encoding costs O(log n)",
        "*Speaking to Silicon* §3, *Toward Thermodynamic Reservoir Computing* VII.",
        "Encoding and decoding are inverse. An addition costs digit operations in proportion to the number of digits, "
        "which grows as the logarithm of the value; so does that of plain binary. It is not less than that.",
        ("decode_encode", "length_encode_eq", "add_encode", "addCost_logarithmic", "addCost_not_sublinear"),
        "`tpf.hns`: operation counts beside those of plain binary.",
    ),
    Claim(
        "A readout that uses the timing scores better",
        "*Speaking to Silicon* §11: NRMSE 0.8661 from a ridge readout of timing.",
        "The normal equations give the minimiser of ridge's cost. A readout that ignores the states scores "
        "what the input "
        "alone scores, and on its own training rows more columns never score worse: a gain there is no evidence.",
        (
            "Readout.minimises_iff_normalEquations",
            "Readout.ignoring_state_scores_as_baseline",
            "Readout.more_columns_never_worse_on_training_rows",
            "Readout.training_gain_is_no_evidence",
        ),
        "`asiclab narma`: why the gain is counted on the test block and against a permutation null.",
    ),
)
"""In the order of the page."""

NOT_PROVED = (
    (
        "That a model fits a device",
        "Distributions, rates and costs are hypotheses. Whether a miner's timing follows them is measured, "
        "never proved.",
    ),
    (
        "That a baseline estimated from data is the true one",
        "A certificate takes the baseline as given. Where it was counted from the same rows, its own error "
        "is not in the bound.",
    ),
    (
        "That trials of a real run are what the theorem assumes",
        "The bound holds whatever the predictor did before, but only if the null hypothesis speaks of the "
        "very next trial.",
    ),
    (
        "That SHA-256 hides its outcome before the deciding round",
        "Proved is where each digest word is fixed and that each round loses nothing. That no cheaper "
        "computation predicts "
        "a later round is the usual assumption about the hash function, and no theorem.",
    ),
    (
        "The core library's own theorems, where the WebAssembly build is used",
        "It carries their statements without their proofs; the audit allows exactly the names of the core "
        "library. A native "
        "Lean carries the proofs, and the workflow of the repository builds with one.",
    ),
)
