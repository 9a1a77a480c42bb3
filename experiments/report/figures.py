"""Which plots a miner gets, and what is said under them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.report import plots
from firmware_bridge.timing.run_data import FloatArray, RunData

NULL_DRAWS = 20_000


@dataclass(frozen=True)
class Plot:
    """A figure: heading, SVG element, caption."""

    title: str
    svg: str
    caption: str


def draw(data: RunData, number: int, seed: int) -> list[Plot]:
    """All plots of one miner's shares."""
    drawn = [
        _distribution(data, number, seed),
        _raster(data, number),
        _scan(data, number),
        _difficulties(data, number),
    ]
    return [plot for plot in drawn if plot is not None]


def _distribution(data: RunData, number: int, seed: int) -> Plot | None:
    values = data.interval_ms[~np.isnan(data.interval_ms)]
    values = values[values >= 0]
    if values.size < 10 or float(values.max()) == 0.0:
        return None
    model = mechanistic_curve(data, values, np.random.default_rng(seed))
    nulls = [plots.exponential_curve(values), *([model] if model else [])]
    caption = (
        "Above: how many intervals have which length. Below: what part of them is longer than a given time, on a "
        "logarithmic scale, where a Poisson process is a straight line. The dashed line is the obvious null: shares "
        "that come by chance alone in wall time."
    )
    if model is not None:
        caption += (
            f" The solid line is that of “{model.label}”, with every parameter taken from this run: where it "
            "runs through the data, the known mechanics are the whole story."
        )
    return Plot(
        "How long between two shares?",
        plots.interval_distribution(values, nulls, f"d{number}"),
        caption,
    )


def mechanistic_curve(
    data: RunData, intervals_ms: FloatArray, rng: np.random.Generator
) -> plots.NullCurve | None:
    """The null with the miner's mechanics: from the scan where the nonces tell it, else a delayed Poisson process."""
    from firmware_bridge.timing.nulls import MechanisticNull, delay_ladder, late_loads
    from firmware_bridge.timing.scan import align

    alignment = align(data)
    shares_per_job = data.n / max(1, np.unique(data.job).size)
    if alignment is not None and shares_per_job < 2 and bool(data.first_of_job.any()):
        null = MechanisticNull.fit(data, alignment, late_loads(data, alignment))
        sample = null.simulate(NULL_DRAWS, rng)
        return plots.sample_curve("fair hash behind the miner's mechanics", sample)
    fits = delay_ladder(intervals_ms, rng, draws=50) if bool((intervals_ms > 0).any()) else []
    if not fits or fits[-1].model == "exponential":
        return None
    parameters = fits[-1].parameters_ms
    sample = parameters["dead_ms"] + rng.standard_exponential(NULL_DRAWS) * parameters["mean_ms"]
    sample += rng.normal(0.0, 1.0, NULL_DRAWS) * parameters.get("delay_sd_ms", 0.0)
    return plots.sample_curve(fits[-1].model, sample)


def _raster(data: RunData, number: int) -> Plot | None:
    if data.n < 2:
        return None
    times_s = np.sort(data.time_ns - data.time_ns.min()) / 1e9
    if times_s[-1] <= 0:
        return None
    return Plot(
        "When did the shares come?",
        plots.arrival_raster(times_s, f"r{number}"),
        "One tick per share; read it like a text, line after line. Chance alone already makes clusters and gaps: the "
        "eye is a poor judge here, which is why the tests below do not use it.",
    )


def _scan(data: RunData, number: int) -> Plot | None:
    from firmware_bridge.timing.scan import align, layout_of

    title = "Where in its scan did the chip find them?"
    alignment = align(data)
    if alignment is not None:
        response = alignment.dead_ms + alignment.work_ms + alignment.residual_ms
        on_time = alignment.on_time
        drawing = plots.scan_order(alignment.work_ms, response, on_time, alignment.dead_ms, f"s{number}")
        caption = (
            "A chip tries nonces in a fixed order, so the nonce of a share tells how much work came before it. The "
            f"time since the job is that work plus {alignment.dead_ms:.1f} ms, with a spread of "
            f"{alignment.spread_ms:.2g} ms (R² {alignment.r2:.5f}): no physics is needed for it."
        )
        if not on_time.all():
            caption += " Points above the line are jobs that the miner loaded late."
        return Plot(title, drawing, caption)
    response = data.response_ms if data.kind != "recorded" else data.since_notify_ms
    known = ~np.isnan(response) & ~data.duplicate
    if not data.extranonce2_known or known.sum() < 10 or float(np.ptp(response[known])) == 0.0:
        return None
    layout = layout_of(data)
    if layout is None:
        position, label = data.nonce[known].astype(float), "nonce, as the number on the wire"
    else:
        found = layout.decode(data.nonce[known], data.extranonce2[known], data.version_bits[known])
        position = (found.coarse[:, -1] + found.counter / layout.counter_span).astype(float)
        label = f"position in the scan ({layout.coarse[-1]} + counter)"
    return Plot(
        title,
        plots.scan_counter(position, response[known], label, f"s{number}"),
        "The order in which this miner works does not show as one line here, so nothing was taken out by it.",
    )


def _difficulties(data: RunData, number: int) -> Plot | None:
    known = data.difficulty[~np.isnan(data.difficulty) & ~data.duplicate]
    if known.size < 10 or data.unverified:
        return None
    floor = floor_of(data)
    return Plot(
        "Are the hashes fair?",
        plots.difficulties(known / min(floor, float(known.min())), f"q{number}"),
        "A share twice as good as the floor must come half as often. Every difficulty was recomputed from the header, "
        "none was taken from the miner.",
    )


def floor_of(data: RunData) -> float:
    """Smallest difficulty that the miner submits: as known of the model, else the smallest one seen."""
    floors: list[Any] = [info.floor for info in data.miners.values() if info.floor]
    return float(min(floors)) if floors else float(np.nanmin(data.difficulty))
