"""Are there regimes in the grid of voltage, clock and difficulty?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import ARMS, AnyChart, Ladder, Map, Panel, Rung, arms, interval
from experiments.charts import PUBLISHED as AS_PUBLISHED
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    NOT_REPRODUCED,
    PLACEBO,
    REPRODUCED,
    SUBJECT,
    Cell,
    Experiment,
    Finding,
    Number,
    Point,
    Row,
    Sample,
)
from experiments.power import errors_needed
from experiments.recorded_points import swept
from experiments.recorded_runs import RecordedRuns, of_cell, runs_in
from experiments.subjects import Subject

PUBLISHED = {
    (7600.0, 200.0, 1024.0): 0.586,
    (8200.0, 575.0, 1024.0): 0.71,
    (7600.0, 300.0, 16384.0): 0.98,
    (7600.0, 325.0, 4096.0): 0.092,
}
"""CV by mV, MHz and difficulty, table 6."""
VOLTAGES_MV = {"quick": (7600.0, 8800.0), "full": (7000.0, 7400.0, 7800.0, 8200.0, 8600.0)}
CLOCKS_MHZ = {"quick": (300.0, 575.0), "full": (200.0, 300.0, 400.0, 500.0, 600.0)}
DIFFICULTIES = {"quick": (1024.0, 16384.0), "full": (1024.0, 4096.0, 16384.0, 65536.0)}
"""The ranges of S9-02 at full size; the paper goes through them in steps of 0.2 V, 25 MHz and a factor of 2."""
PAPER_VOLTAGES, PAPER_CLOCKS_MHZ = 8, tuple(200.0 + 25.0 * step for step in range(17))
PAPER_DIFFICULTIES = tuple(1024.0 * 2**step for step in range(7))
PAPER_SHARES = 10_000
OF_LV06 = {
    "fast": ((1200.0,), (425.0, 485.0), (256.0, 1024.0)),
    "quick": ((1100.0, 1200.0), (425.0, 485.0), (256.0, 1024.0)),
    "full": (
        (1100.0, 1150.0, 1200.0, 1250.0, 1300.0),
        (400.0, 450.0, 485.0, 525.0, 575.0),
        (256.0, 1024.0, 4096.0),
    ),
}
"""Voltages, clocks and difficulties of an LV06, all of its vendor's menu; the paper's cells are those of an S9."""
SHARES = {"fast": 1000, "quick": 1000, "full": 2000}
PAPER_S = 300.0
"""Time that the paper gives each cell for its 10,000 samples."""
NAMES = ("core_voltage_mv", "frequency_mhz", "difficulty")


def _grid(size: str, model: str = "s9") -> list[tuple[float, float, float]]:
    from itertools import product

    if model == "lv06":
        return list(product(*OF_LV06[size]))
    grid = list(PUBLISHED)
    if size != "fast":
        grid += list(product(VOLTAGES_MV[size], CLOCKS_MHZ[size], DIFFICULTIES[size]))
    return list(dict.fromkeys(grid))


def _detectable(cells: int, shares: int) -> str:
    z = errors_needed(ALPHA / 2 / cells)
    return f"a CV that is off by {z / shares**0.5:.3f} in one cell of {cells}"


def sample(size: str) -> Sample:
    """Shares of each cell."""
    return Sample(1, SHARES[size], _detectable(len(_grid(size)), SHARES[size]))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """The published cells, and a grid around them; without the voltage where the miner cannot set it."""
    from experiments.attached import Attached

    if isinstance(subject, RecordedRuns):
        return subject.points()
    names = list(NAMES)
    if isinstance(subject, Attached) and not subject.takes("core_voltage_mv"):
        names.remove("core_voltage_mv")
    every = (dict(zip(NAMES, cell, strict=True)) for cell in _grid(size, subject.model))
    kept = dict.fromkeys(tuple((name, cell[name]) for name in names) for cell in every)
    return tuple(dict(cell) for cell in kept)


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """CV of one cell, the verdict against the miner's own mechanics, and how long so many shares take."""
    from experiments.analyses.sweeps import at_point
    from experiments.share_rates import shares_per_s

    point = {name: float(value) for name, value in cell.point.items()}
    values = at_point(
        of_cell(subject, cell),
        cell.seed,
        shares=SHARES[cell.size],
        alpha=ALPHA / runs_in(subject, len(points(cell.size, subject))),
        frequency_mhz=point["frequency_mhz"],
        core_voltage_mv=point.get("core_voltage_mv"),
        difficulty=point["difficulty"],
    )
    rate = shares_per_s(subject.model, point["difficulty"], frequency_mhz=point["frequency_mhz"])
    return values | {
        "shares_per_s": rate,
        "seconds_for_1000": 1000.0 / rate,
        "shares_in_300_s": PAPER_S * rate,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where a cell deviates from a fair hash behind the miner's mechanics, by Holm's rule over all cells."""
    from experiments.analyses.sweeps import recorded, unmeasured

    values = [row.values for row in rows]
    tested = sorted((v for v in values if v["p_value"] is not None), key=lambda v: v["p_value"])
    if not tested:
        return Finding(CANNOT_TELL, "No cell gave enough shares for a verdict.", "verdict", None)
    # Holm: step down while p (m - i) stays below the level
    deviating, corrected = [], 0.0
    for i, v in enumerate(tested):
        corrected = max(corrected, v["p_value"] * (len(tested) - i))
        if corrected > ALPHA:
            break
        deviating.append(v)
    p_value = min(1.0, tested[0]["p_value"] * len(tested))

    def where(v: Any) -> str:
        volts = "" if v["core_voltage_mv"] is None else f"{v['core_voltage_mv'] / 1000:g} V, "
        return f"{volts}{v['frequency_mhz']:g} MHz, D {v['difficulty']:g}"

    spread = "; ".join(
        f"{where(v)}: "
        + ("no shares, it hangs" if v["cv"] is None else f"CV {v['cv']:.3f} ± {v['error']:.3f}")
        for v in values
        if (v["core_voltage_mv"], v["frequency_mhz"], v["difficulty"]) in PUBLISHED or v in deviating
    )
    hours = sum(v["seconds_for_1000"] for v in values) / 3600
    slowest = max(values, key=lambda v: v["seconds_for_1000"])
    arithmetic = (
        f"1000 shares of each cell take {hours:.1f} h, of the slowest ({where(slowest)}) "
        f"{slowest['seconds_for_1000'] / 60:.0f} min; the 300 s of the paper give it {slowest['shares_in_300_s']:.0f}"
        f"{_whole_design(values)}"
    )
    known = [v for v in values if v.get("entropy_nats") is not None]
    widest = max(known, key=lambda v: v["entropy_nats"], default=None)
    entropy = (
        ""
        if widest is None
        else f" The entropy of intervals over their mean is largest at {where(widest)}, {widest['entropy_nats']:.3f} "
        "nats; exponential intervals have 1, and no others of that mean have more."
    )
    head = (
        f"{len(deviating)} of {len(tested)} cells leave what an ordinary miner shows"
        if deviating
        else f"None of {len(tested)} cells leaves what an ordinary miner shows"
    )
    matches, seen = 0, []
    for (voltage, clock, difficulty), cv in PUBLISHED.items():
        for v in values:
            if (v["core_voltage_mv"], v["frequency_mhz"], v["difficulty"]) == (voltage, clock, difficulty):
                inside = v["cv"] is not None and abs(v["cv"] - cv) <= 1.96 * v["error"]
                matches += inside
                ours = "no shares" if v["cv"] is None else f"{v['cv']:.3f}"
                seen.append(f"{ours} ({cv:g} published)")
    number = Number(
        float(matches), None, REPRODUCED if matches == len(PUBLISHED) else NOT_REPRODUCED,
        f"published CVs that lie in our interval: {matches} of {len(PUBLISHED)}: {', '.join(seen)}. Reproduced where "
        "all do",
    )  # fmt: skip
    shares = (
        sorted(v["n"] for v in tested)[len(tested) // 2] if recorded(values) else SHARES[rows[0].cell.size]
    )
    return Finding(
        EVIDENCE if deviating else NO_EVIDENCE,
        f"{head} (smallest p = {p_value:.3g}). {f'{spread}. ' if spread else ''}{arithmetic}.{entropy}"
        f"{unmeasured(values)}",
        "smallest p-value of the cells, times their number", p_value, p_value=p_value,
        detectable=_detectable(len(rows), shares), numbers={"C5": number} if seen else {},
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """The map itself, and the published cells beside ours."""
    panels, published, order = [], [], (SUBJECT, AS_PUBLISHED, PLACEBO)
    where = sorted({row.values["difficulty"] for row in rows})
    unsaid = any(row.values["core_voltage_mv"] is None for row in rows)
    for arm, own in arms(rows):
        for difficulty in where:
            of = {
                (row.values["frequency_mhz"], (row.values["core_voltage_mv"] or 0.0) / 1000): row.values
                for row in own
                if row.values["difficulty"] == difficulty
            }
            notes = {place: "hung" for place, values in of.items() if values["cv"] is None}
            panels.append(Panel(f"{ARMS[arm]}, D {difficulty:g}", {p: v["cv"] for p, v in of.items()}, notes))
        for (voltage, clock, difficulty), cv in PUBLISHED.items():
            for row in own:
                at = tuple(
                    float(row.cell.point.get(n, 0.0))
                    for n in ("core_voltage_mv", "frequency_mhz", "difficulty")
                )
                if at == (voltage, clock, difficulty):
                    name = f"{voltage / 1000:g} V, {clock:g} MHz, D {difficulty:g}"
                    span = interval(row.values, "cv", "error")
                    published.append(Rung(f"{name}, {ARMS[arm]}", row.values["cv"], span, role=arm))
                    if arm == arms(rows)[0][0]:
                        published.append(Rung(f"{name}, published", cv, role=AS_PUBLISHED))
    return [
        Map(
            "Where is the spread of share times another one?",
            "CV of the intervals, coloured by how far it lies from 1, the CV of a Poisson process. Hung: the chip "
            "gives too few shares there." + (" At 0 V stands what does not say its voltage." if unsaid else ""),
            "clock, MHz", "core voltage, V", panels, len(where), 1.0,
        ),
        Ladder(
            "The published cells", "CV with its 95 % interval; a cell without a mark hung.", "CV",
            sorted(published, key=lambda rung: (rung.label.rpartition(", ")[0], order.index(rung.role))),
        ),
    ]  # fmt: skip


def _whole_design(values: Sequence[Any]) -> str:
    """How long S9-02 takes as it is designed, at the hash rate of the cells that were measured."""
    if values[0].get("model", "s9") != "s9":
        return ""
    from experiments.share_rates import shares_per_s

    seconds = [
        PAPER_SHARES / shares_per_s("s9", difficulty, frequency_mhz=clock)
        for clock in PAPER_CLOCKS_MHZ
        for difficulty in PAPER_DIFFICULTIES
    ]
    cells, enough = PAPER_VOLTAGES * len(seconds), PAPER_VOLTAGES * sum(s <= PAPER_S for s in seconds)
    days = PAPER_VOLTAGES * sum(seconds) / 86_400
    return (
        f". The whole of S9-02, {cells} cells of {PAPER_SHARES} samples, takes {days:.0f} days; in 300 s "
        f"{enough or 'none'} of them can be filled"
    )


EXPERIMENT = Experiment(
    name="regime-map",
    title="Are there regimes in the grid of voltage, clock and difficulty?",
    claims=("C5",),
    source="Speaking to Silicon, 10 and table 6; experiment S9-02",
    hypothesis="CV 0.586 marks an optimal regime, 0.092 a synchronous one, 0.98 a Poisson one, with an edge of chaos.",
    null="A fair hash behind the miner's own mechanics in every cell; where the chip hangs, nothing.",
    decision="Evidence where a cell deviates from its null at 5 %, by Holm's rule over all cells that gave shares.",
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    capabilities=("frequency",),
    together=swept(*NAMES, needed=("frequency_mhz", "difficulty")),
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("quality", 2.0),
    page="regime-map",
    charts=charts,
)
