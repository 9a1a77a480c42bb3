"""Do several devices of one model give the same timing?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.charts import AnyChart, Chart, swept
from experiments.experiment import (
    ALPHA,
    CANNOT_TELL,
    EVIDENCE,
    NO_EVIDENCE,
    Cell,
    Experiment,
    Finding,
    Point,
    Row,
    Sample,
)
from experiments.several import AttachedDevices, RecordedDevices, name_of, place_of
from experiments.subjects import Subject

DEVICES = {"fast": 4, "quick": 5, "full": 8}
REPETITIONS = {"fast": 4, "quick": 5, "full": 8}
SHARES = {"fast": 1000, "quick": 2000, "full": 5000}
NAME = "share of the variance between devices"
MEASURES = ("mean_ms", "cv", "response_ms")
WORDS = {"mean_ms": "mean interval", "cv": "CV", "response_ms": "median response"}


def detectable_ratio(devices: int, runs: float) -> float:
    """Standard deviation between devices over that between the runs of one that is found with power 0.8.

    Args:
        devices: at least 2.
        runs: of each.
    """
    from scipy.optimize import brentq
    from scipy.stats import f

    # with s the ratio of the standard deviations between and within, F is (1 + n s^2) times a central F
    freedom = (devices - 1, devices * (runs - 1))
    critical = f.isf(ALPHA / len(MEASURES), *freedom)
    return float(brentq(lambda s: f.sf(critical / (1 + runs * s * s), *freedom) - 0.8, 1e-3, 1e3))


def _detectable(devices: int, runs: float) -> str:
    ratio = detectable_ratio(devices, runs)
    return f"devices that differ by {ratio:.1f} times the spread of the runs of one ({devices} devices)"


def sample(size: str) -> Sample:
    """Runs of each device."""
    return Sample(REPETITIONS[size], SHARES[size], _detectable(DEVICES[size], REPETITIONS[size]))


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Devices, and of stored ones their responses."""
    if isinstance(subject, AttachedDevices | RecordedDevices):
        return subject.points()
    return tuple({"device": float(device)} for device in range(DEVICES[size]))


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """Pace, spread and response of one run of one device."""
    import numpy as np

    from firmware_bridge.timing.statistics import coefficient_of_variation

    place = place_of(cell.point)
    data = subject.data(cell.seed, shares=SHARES[cell.size], **place)
    x = data.interval_ms[np.isfinite(data.interval_ms)]
    response_ms = data.response_ms[np.isfinite(data.response_ms)]  # of a recording elsewhere it is not known
    return {
        "device": place["device"],
        "name": name_of(subject, place["device"]),
        "n": int(x.size),
        "mean_ms": float(x.mean()),
        "cv": coefficient_of_variation(x),
        "response_ms": float(np.median(response_ms)) if response_ms.size else None,
    }


def conclude(rows: Sequence[Row]) -> Finding:
    """Evidence where devices differ more than the runs of one device do."""
    import numpy as np
    from scipy.stats import f_oneway

    devices = sorted({row.values["device"] for row in rows})
    sizes = np.array([sum(row.values["device"] == d for row in rows) for d in devices])
    if len(devices) < 2 or sizes.max() < 2:
        return Finding(
            CANNOT_TELL,
            "Two devices or more are compared, and a run of each says nothing of its own spread.",
            NAME,
            None,
        )
    measures = [name for name in MEASURES if all(row.values[name] is not None for row in rows)]
    # runs of each, as far as the variance between devices goes (Searle, variance components)
    n = float(sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(devices) - 1)
    p_values, shares, words = {}, {}, []
    for name in measures:
        groups = [np.array([r.values[name] for r in rows if r.values["device"] == d]) for d in devices]
        found = f_oneway(*groups)
        p_values[name] = float(found.pvalue)
        # intraclass correlation: the share of the variance that lies between devices
        shares[name] = max(0.0, float((found.statistic - 1.0) / (found.statistic + n - 1.0)))
        every = np.concatenate(groups)
        words.append(
            f"{WORDS[name]} {every.mean():.3f} ± {every.std(ddof=1):.3f}, {shares[name]:.0%} between devices"
        )
    best = min(p_values, key=lambda name: p_values[name])
    p_value = min(1.0, p_values[best] * len(p_values))
    differ = p_value <= ALPHA
    names = {row.values["device"]: row.values["name"] for row in rows}
    called = ", ".join(f"{d} is {names[d]}" for d in devices if names[d] != str(d))
    return Finding(
        EVIDENCE if differ else NO_EVIDENCE,
        f"{len(devices)} devices {'differ' if differ else 'agree'} (p = {p_value:.3g}): {'; '.join(words)}."
        f"{f' Device {called}.' if called else ''}",
        f"{NAME}, {WORDS[best]}", shares[best],
        p_value=p_value, detectable=_detectable(len(devices), n),
    )  # fmt: skip


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Every run of every device."""
    units = {"mean_ms": "ms", "cv": "CV", "response_ms": "ms"}
    return [
        Chart(
            f"{WORDS[name][0].upper()}{WORDS[name][1:]} of each device",
            "One mark for each run. Devices differ where the marks of one lie apart from those of the others.",
            "device", units[name], swept(rows, "device", name),
        )
        for name in MEASURES
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="reproducibility",
    title="Do several devices of one model give the same timing?",
    claims=(),
    source="Toward Thermodynamic Reservoir Computing, table VII (multi-chip, multi-site reproducibility)",
    hypothesis="What is found on one device is found on others; or else each has timing of its own.",
    null="Devices differ as much as the runs of one device do.",
    decision=(
        "Evidence where mean interval, CV or median response vary more between devices than within, by analysis of "
        "variance at 5 %, shared by Bonferroni over the three."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9", "lv06"),
    compares=True,
    together=RecordedDevices.find,
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    effect=("devices", 0.05),
    page="reproducibility",
    charts=charts,
)
