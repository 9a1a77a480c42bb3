"""Every quantitative claim of the two papers and of the texts beside them: what it says, where, and what can be done.

A claim is tested by an experiment of the catalogue, or it is arithmetic on published numbers that anybody can redo, or
it cannot be tested without something that is named. ``P1`` is *Speaking to Silicon* (arXiv 2601.12032), ``P2`` *Toward
Thermodynamic Reservoir Computing* (arXiv 2601.01916); the others are the documents of their public repositories.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isclose, log2

P1, P2 = "Speaking to Silicon", "Toward Thermodynamic Reservoir Computing"
TPF, CHIMERA = "repository of the filter", "repository of CHIMERA"

IDENTITY, FAILS = "arithmetic identity", "not reproduced"


@dataclass(frozen=True)
class Arithmetic:
    """What redoing the arithmetic of a claim gives.

    Attributes:
        status: ``arithmetic identity`` where the number follows from its inputs whatever silicon does; ``not
            reproduced`` where it does not follow from the numbers that are given for it.
        value: ours.
        text: the calculation.
    """

    status: str
    value: float
    text: str


@dataclass(frozen=True)
class Claim:
    """One row of the ledger.

    Attributes:
        id: ``C1`` …
        text: what is claimed, with its number.
        source: paper and place.
        experiment: name in the catalogue, if one tests it.
        arithmetic: the calculation, if it is one.
        needs: what is missing, if it cannot be tested.
    """

    id: str
    text: str
    source: str
    experiment: str | None = None
    arithmetic: Callable[[], Arithmetic] | None = None
    needs: str | None = None


def _improvement() -> Arithmetic:
    against_constant = 1 - 0.8661
    return Arithmetic(
        FAILS,
        against_constant,
        f"1 - 0.8661 = {against_constant:.3f}, 1 - 0.955 = {1 - 0.955:.3f}, "
        f"1 - 0.8661/0.955 = {1 - 0.8661 / 0.955:.3f}; none of them is 0.121",
    )


def _samples_of_a_cell() -> Arithmetic:
    shares = 14e12 * 300 / (1024 * 2**32)
    return Arithmetic(
        FAILS,
        shares,
        f"14 TH/s find {shares:.0f} shares of difficulty 1024 in 300 s, not 10,000; the grid of 8 x 17 x 7 cells "
        f"takes {8 * 17 * 7 * 300 / 3600:.0f} hours",
    )


def _theoretical_saving() -> Arithmetic:
    saving = 1 - Fraction(5, 64)
    assert isclose(float(1 / (1 - saving)), 12.8)
    return Arithmetic(
        IDENTITY,
        float(saving),
        "1 - 5/64 = 59/64 = 0.9219 and 1/(1 - 59/64) = 12.8: what is saved by a filter that aborts every hash",
    )


def _hardware_informed() -> Arithmetic:
    value = Fraction(96, 100) * Fraction(59, 64)
    return Arithmetic(IDENTITY, float(value), "96/100 x 59/64 = 0.8850: 96 of 100 windows aborted")


def _gap() -> Arithmetic:
    value = Fraction(4, 100) * Fraction(59, 64)
    return Arithmetic(
        IDENTITY,
        float(value),
        "4/100 x 59/64 = 0.0369: the 4 of 100 windows not aborted, no loss of radio",
    )


def _parameters() -> Arithmetic:
    layers = (3, 16, 8, 4, 1)
    built = sum(n * m + m for n, m in itertools.pairwise(layers))
    return Arithmetic(
        FAILS, built, f"layers of {', '.join(map(str, layers))} units have {built} parameters, not 297"
    )


def _combined() -> Arithmetic:
    value = 1 - (1 - 0.9219) * (1 - 0.25)
    return Arithmetic(
        IDENTITY,
        value,
        f"1 - (1 - 0.9219)(1 - 0.25) = {value:.3f}; a throughput of +25 % is taken for a saving of 25 %",
    )


def _early_abort() -> Arithmetic:
    # a Bitcoin hash is two compressions: the same five rounds are 5 of 128
    value = float(1 - Fraction(5, 128))
    return Arithmetic(
        FAILS,
        value,
        "of the 128 rounds of a double hash 5 are 1 - 5/128 = 0.961: no range of 0.88 to 0.92 follows",
    )


def _efficiency_table() -> Arithmetic:
    at_15 = 300 * (2**15 / log2(15)) / (2**10 / log2(10))
    return Arithmetic(
        FAILS,
        at_15,
        f"the table gives 300 at n = 10 and grows as 2^n / log n: {at_15:.0f} at n = 15, the text reaches 10^4 at "
        "n = 10^4",
    )


def _chip_efficiency() -> Arithmetic:
    value = 500 / 13
    return Arithmetic(FAILS, value, f"500 GH/s at 13 W are {value:.1f} GH/W, not 2.93 MH/W")


def _board_efficiency() -> Arithmetic:
    value = 1300 / 14_000
    return Arithmetic(FAILS, value, f"1300 W at 14 TH/s are {value:.4f} J/GH, not 0.098")


def _assembly() -> Arithmetic:
    value = 960 / 971
    return Arithmetic(
        IDENTITY,
        value,
        f"960/971 = {value:.6f} and 32000/32016 = {32000 / 32016:.6f}: the header that zlib adds to what it cannot "
        "compress, in both arms",
    )


def _extrapolated() -> Arithmetic:
    return Arithmetic(IDENTITY, 180.0, "the energies of a small miner multiplied by 180; no S9 was measured")


def _sentinel_ratio() -> Arithmetic:
    return Arithmetic(
        FAILS,
        90 / 65 - 1,
        f"90 against 65 is {90 / 65 - 1:+.0%}, against 20 {90 / 20 - 1:+.0%}; +169 % follows from neither",
    )


def _entropy_rate() -> Arithmetic:
    bits = 0.15 * 32
    return Arithmetic(FAILS, bits, f"0.15 shares/s of 32 bits each are {bits:.1f} bit/s, not 40 Mbit/s")


CLAIMS = (
    Claim("C1", "NARMA-10 in a dialogue: NRMSE 0.8661", f"{P1}, abstract, table 7", "narma"),
    Claim("C2", "NARMA-10 in a monologue: NRMSE 0.955", f"{P1}, table 7", "narma"),
    Claim("C2-constant", "NARMA-10 with a constant input: NRMSE 1.0000", f"{P1}, table 7", "narma"),
    Claim("C3", "The dialogue improves by 12.1 %", f"{P1}, 11", arithmetic=_improvement),
    Claim(
        "C4",
        "LV06: NRMSE 0.15 to 0.22 and memory capacity 0.27 to 0.35",
        "memoria, table 12",
        "memory-capacity",
    ),
    Claim(
        "C5",
        "Entropy and CV by voltage, clock and difficulty: CV 0.586, 0.71, 0.98, 0.092",
        f"{P1}, table 6",
        "regime-map",
    ),
    Claim(
        "C5-errors",
        "No hardware error at any point of the table",
        f"{P1}, table 6",
        "hardware-errors",
    ),
    Claim("C5-samples", "10,000 samples in 300 s at every point", f"{P1}, 10", arithmetic=_samples_of_a_cell),
    Claim(
        "C6",
        "Aborting after 5 rounds saves 92.19 %, as 12.8 times the hash rate",
        f"{P1}, 12",
        arithmetic=_theoretical_saving,
    ),
    Claim("C7", "Digital twin: 92.19 % saved, no false abort", f"{P1}, table 8", "tpf-frontier"),
    Claim("C8", "LV06: 88.50 % saved, no false abort", f"{P1}, table 8", arithmetic=_hardware_informed),
    Claim("C9", "3.69 % are lost to radio, drift and margins", f"{P1}, 13.2", arithmetic=_gap),
    Claim("C10", "The classifier is right in 100 % of the windows", f"{P1}, table 9", "tpf-leakage"),
    Claim("C11", "The network has 297 parameters", f"{P1}, 14", arithmetic=_parameters),
    Claim(
        "C12",
        "150 windows with 28 share arrivals",
        TPF,
        needs="the published recordings beside the lab (asiclab import)",
    ),
    Claim(
        "C13",
        "5,844 shares of the S9",
        "filter paper, memoria",
        needs="the published recordings beside the lab (asiclab import)",
    ),
    Claim("C14", "Early abort saves 88 to 92 %", f"{P1}, table 10", arithmetic=_early_abort),
    Claim("C15", "A virtual block manager gains 25 %", f"{P1}, 15", "vbm"),
    Claim("C16", "Filter and block manager together save 94 %", f"{P1}, 17", arithmetic=_combined),
    Claim(
        "C17",
        "The network of all miners could save 88 % of 150 TWh a year",
        P1,
        "tpf-filter",
    ),
    Claim("C18", "BM1366: 2.93 MH/W", f"{P1}, table 3", arithmetic=_chip_efficiency),
    Claim(
        "C18-s9",
        "An S9 needs 0.098 J/GH, at 14 TH/s and 1300 W",
        f"{P1}, table 3",
        arithmetic=_board_efficiency,
    ),
    Claim(
        "C19",
        "A BM1366 has 138 hash cores",
        f"{P2}, table I",
        needs="a BM1366 on a serial port: its firmware's source says 112 cores of 894 parts",
    ),
    Claim("C20", "An LV06 loses 15 % of its packets", f"{P1}, 11", needs="an LV06 on its radio network"),
    Claim(
        "C21",
        "More than 100 hours and millions of timings",
        f"{P1}, 27",
        needs="the recordings, which are not published",
    ),
    Claim(
        "C21-controllers",
        "Four kinds of controllers that learn steer the difficulty: 4 of 4",
        f"{P1}, table 13; memoria, 11",
        "controllers",
    ),
    Claim(
        "C22",
        "3,104 Lean jobs without a gap",
        f"{P1}, 8",
        needs="the authors' Lean project; ours is checked by asiclab proofs",
    ),
    Claim("C23", "Medical computing at 4 % of the cost", f"{P1}, 21", needs="a system to compare with"),
    Claim("C24", "Intervals leave the Poisson law at some voltages", f"{P2}, VI", "voltage-sweep"),
    Claim(
        "C25",
        "10^3 to 10^4 times the efficiency, growing as 2^n over log n",
        f"{P2}, VII",
        arithmetic=_efficiency_table,
    ),
    Claim("C26", "A silicon heartbeat at 2.4 Hz", f"{P2}, VI.B", "heartbeat"),
    Claim(
        "C27",
        "CV falls from 1.12 to 1.01 (noise) and 0.84 to 0.40 (structure) between 990 and 850 mV",
        f"{CHIMERA}, voltage report",
        "voltage-sweep",
    ),
    Claim(
        "C28",
        "CV of noise and structure differ by clock, 300 to 500 MHz",
        f"{CHIMERA}, frequency report",
        "frequency-sweep",
    ),
    Claim(
        "C29", "A resonance at 460 MHz: CV nearest to 1.15", f"{CHIMERA}, resonance report", "frequency-sweep"
    ),
    Claim(
        "C30",
        "Structure persists for 0 s after its cause (thermal ghost)",
        f"{CHIMERA}, thermal report",
        "thermal-ghost",
    ),
    Claim(
        "C31",
        "CV 1.47 idle, 0.56 under chaos, 0.74 under structure",
        f"{CHIMERA}, idling report",
        "input-structure",
    ),
    Claim("C32", "CV 0.48 and 1.13 from ten intervals are not Poisson", f"{CHIMERA}, V03", "short-cv"),
    Claim(
        "C33", "Assembly index 0.988671 and 0.999500", f"{CHIMERA}, verification report", arithmetic=_assembly
    ),
    Claim(
        "C34", "Hamming diffusion of 0.5008 between hashes", f"{CHIMERA}, experiment D", "hamming-diffusion"
    ),
    Claim("C35", "A repeated thought gains a weight of 1.54", f"{CHIMERA}, experiment C", "plasticity"),
    Claim("C36", "Weights drift to 0.9769 under an anomaly", f"{CHIMERA}, phase 1", "plasticity"),
    Claim(
        "C37",
        "A phase transition at a gain of 4.74",
        f"{CHIMERA}, experiment B",
        needs="the topology of its network, which is not in the published code",
    ),
    Claim("C38", "Subset sums of 15 numbers to within 1", f"{CHIMERA}, experiment 1", "subset-sum"),
    Claim("C39", "Random search solves all, the reservoir none of 10", f"{CHIMERA}, audit", "subset-sum"),
    Claim(
        "C40",
        "Energy of an LV06 varies 4 to 5 times less than that of a simulation",
        f"{CHIMERA}, replication",
        "plasticity",
    ),
    Claim("C41", "Energies of 452 to 1045 on an S9", f"{CHIMERA}, legacy report", arithmetic=_extrapolated),
    Claim(
        "C42",
        "A bridge answers in 5.75 ms on average",
        f"{CHIMERA}, performance report",
        needs="their bridge: ours is measured by make bench",
    ),
    Claim("C43", "0.022 to 0.15 shares a second at difficulty 1", f"{CHIMERA}, benchmark", "share-rate"),
    Claim(
        "C44",
        "Decoded hashes are uniform: mean 0.50, standard deviation 0.289",
        f"{CHIMERA}, V02",
        "hamming-diffusion",
    ),
    Claim(
        "C45", "An LV06 does 9.3 to 11.7 GH/W", f"{CHIMERA}, LV06 notes", needs="an LV06 and a power meter"
    ),
    Claim("C46", "A sentinel gains 169 %", "CHIMERA paper", arithmetic=_sentinel_ratio),
    Claim(
        "C47",
        "An emergence of consciousness at epoch 6,024",
        "CHIMERA paper",
        needs="data or code of it, which are not published",
    ),
    Claim("C48", "40 Mbit of entropy a second from an LV06", f"{CHIMERA}, V03", arithmetic=_entropy_rate),
)
"""In the order of the papers."""
