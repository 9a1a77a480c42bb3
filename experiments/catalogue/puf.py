"""CHIMERA: is a miner's timing a fingerprint of the device?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.charts import (
    ARMS,
    LINE,
    NULL,
    AnyChart,
    Chart,
    Ladder,
    Mark,
    Rung,
    Series,
    arms,
    histogram,
    shares_of,
)
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
from experiments.power import errors_needed
from experiments.several import AttachedDevices, RecordedDevices, name_of, place_of
from experiments.subjects import Emulated, Subject
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from tpf.puf_population import Evaluation

DEVICES = {"fast": 6, "quick": 8, "full": 12}
RESPONSES = {"fast": 3, "quick": 4, "full": 6}
SHARES = {"fast": 600, "quick": 1200, "full": 2588}
PERMUTATIONS = {"fast": 499, "quick": 999, "full": 999}
CONTROL_MS = 0.5
"""Planted spread of the chips' delays in the population that has to be found."""
REST_MS = 1.5
"""Standard deviation of what the scan leaves of one response."""
ON_TIME = 0.8
"""Part of the shares whose job was loaded on time."""


def sample(size: str) -> Sample:
    """Devices and their responses."""
    detectable = _detectable(DEVICES[size], RESPONSES[size], SHARES[size])
    return Sample(RESPONSES[size], SHARES[size], f"{detectable:.2f} ms (sd) between the chips of a device")


def _detectable(devices: int, responses: int, shares: int) -> float:
    # responses of one device agree in one half of the bits, with the error of so many coins
    from firmware_bridge.emulator.geometry import S9_CHIPS
    from tpf.puf import correlation_for

    pairs = devices * responses * (responses - 1) / 2
    wanted = errors_needed(ALPHA) * 0.5 / (pairs * S9_CHIPS) ** 0.5
    rho = correlation_for(0.5 + float(wanted))
    error_ms = REST_MS / (ON_TIME * shares / S9_CHIPS) ** 0.5
    return float(error_ms * (rho / (1 - rho)) ** 0.5)


def points(size: str, subject: Subject) -> Sequence[Point]:
    """Devices as they are, and emulated devices whose chips were made to differ."""
    if isinstance(subject, AttachedDevices):
        _check_responses(len(subject.members), RESPONSES[size])
    emulated: tuple[Point, ...] = tuple({"device": float(device)} for device in range(DEVICES[size]))
    own = subject.points() if isinstance(subject, AttachedDevices | RecordedDevices) else emulated
    # a stored response is there once; those of an emulated device are repetitions
    again = [{"response": float(n)} for n in range(RESPONSES[size])] if subject.kind == "trace" else [{}]
    control = [{**point, **one} for point in emulated for one in again]
    return tuple(
        {"planted_ms": planted_ms, **point}
        for planted_ms, arm in ((0.0, own), (CONTROL_MS, control))
        for point in arm
    )


def _check_responses(devices: int, responses: int) -> None:
    from tpf.puf_population import deals

    if deals(devices, responses) * ALPHA < 1:
        raise UserError(
            f"{devices} devices with {responses} responses each can be dealt out in {deals(devices, responses)} ways "
            "only, so that no test of 5 % could tell them apart: take a larger --size, or more devices"
        )


def measure(cell: Cell, subject: Subject) -> dict[str, Any]:
    """One response of one device: what the scan leaves of the time of each chip."""
    from tpf.enrolment import fingerprints

    planted_ms, place = float(cell.point["planted_ms"]), place_of(cell.point)
    if planted_ms > 0.0:
        control = subject if isinstance(subject, Emulated) else subject.placebo()
        place.pop("response", None)
        data = control.data(cell.seed, shares=SHARES[cell.size], variation_ms=planted_ms, **place)
    else:
        data = subject.data(cell.seed, shares=SHARES[cell.size], **place)
    (found,) = fingerprints(data)
    return {
        "planted_ms": planted_ms,
        "device": place["device"],
        "name": name_of(control if planted_ms > 0.0 else subject, place["device"]),
        "layout": found.layout,
        "part": found.part,
        "delay_ms": found.delay_ms.round(6).tolist(),
        "shares": found.shares.tolist(),
        "noise_ms": found.noise_ms,
    }


def _lasts(size: str, point: Point, subject: Attached) -> float:
    if float(point["planted_ms"]) > 0.0:
        return 0.0  # emulated
    return SHARES[size] / subject.shares_per_s({}) + subject.between_s({})


def population(rows: Sequence[Row], planted_ms: float) -> Evaluation | None:
    """Figures of the devices of one arm with so much planted; None where there are no responses of them."""
    import numpy as np

    from tpf.enrolment import Fingerprint
    from tpf.puf_population import evaluate

    prints: dict[str, list[Fingerprint]] = {}
    for row in rows:
        v = row.values
        if v["planted_ms"] == planted_ms:
            run = f"cell {row.cell.number}"
            delay_ms, shares = np.array(v["delay_ms"]), np.array(v["shares"], np.int64)
            one = Fingerprint(run, v["layout"], v["part"], delay_ms, shares, v["noise_ms"])
            prints.setdefault(v["name"], []).append(one)
    if not prints:
        return None
    first = rows[0].cell
    return evaluate(prints, seed=first.seed, resamples=200, permutations=PERMUTATIONS[first.size])


def conclude(rows: Sequence[Row]) -> Finding:
    """The verdict on the devices as they are, if those that were made to differ are told apart."""
    own, control = (population(rows, planted_ms) for planted_ms in (0.0, CONTROL_MS))
    name = "equal error rate"
    if own is None or control is None:
        return Finding(
            CANNOT_TELL, "No responses yet of the devices, or of those that were made to differ.", name, None
        )
    if own.population is None:
        return Finding(CANNOT_TELL, own.verdict.text, name, None)
    eer = own.population.eer
    ci, p_value = (eer.low, eer.high), own.population.p_value
    if own.verdict.code == CANNOT_TELL:  # too few responses for any p-value to be small
        return Finding(CANNOT_TELL, own.verdict.text, name, eer.value, ci, p_value)
    detectable = f"{own.detectable_ms:.2g} ms (sd) between the {own.part}s of a device"
    if control.verdict.code != EVIDENCE or control.population is None:
        text = f"Devices that differ by {CONTROL_MS:g} ms were not told apart. {control.verdict.text}"
        return Finding(CANNOT_TELL, text, name, eer.value, ci, p_value, detectable)
    text = (
        f"{own.verdict.text} Devices whose {control.part}s were made to differ by {CONTROL_MS:g} ms have an equal "
        f"error rate of {control.population.eer.value:.3f}."
    )
    code = EVIDENCE if own.verdict.code == EVIDENCE else NO_EVIDENCE
    return Finding(code, text, name, eer.value, ci, p_value, detectable)


def charts(rows: Sequence[Row]) -> Sequence[AnyChart]:
    """Distances within a device and between devices, and the error that a threshold between them makes."""
    found: list[AnyChart] = []
    steps: list[Rung] = []
    for arm, own in arms(rows):
        for planted_ms, where in ((0.0, "as they are"), (CONTROL_MS, f"made to differ by {CONTROL_MS:g} ms")):
            evaluation = population(own, planted_ms)
            if evaluation is None or evaluation.population is None:
                continue
            figures = evaluation.population
            steps.append(
                Rung(
                    f"{where}, {ARMS[arm]}", figures.eer.value, (figures.eer.low, figures.eer.high), role=arm
                )
            )
            if arm != arms(rows)[0][0]:
                continue
            pairs = [
                Series("one device", *shares_of(histogram(figures.genuine, 0.0, 1.0, 40)), form=LINE),
                Series(
                    "different devices",
                    *shares_of(histogram(figures.impostor, 0.0, 1.0, 40)),
                    role=NULL,
                    form=LINE,
                ),
            ]
            found.append(
                Chart(
                    f"Devices {where}: are responses of one nearer to each other?",
                    "Part of the bits in which two responses differ. Devices are known again where both humps lie "
                    "apart.", "part of the bits that differ", "part of the pairs", pairs,
                )
            )  # fmt: skip
    return [
        *found,
        Ladder(
            "How often is a device taken for another?",
            "Equal error rate with its 95 % interval; 0.5 is a coin. Devices that were made to differ are the control: "
            "where they are not told apart, nothing is said of the others.",
            "equal error rate", steps, [Mark(0.5, "a coin")],
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="puf",
    title="Is a miner's timing a fingerprint of the device?",
    claims=(),
    source="Speaking to Silicon, 19; CHIMERA paper (physical unclonable function)",
    hypothesis="A device can be enrolled and known again by its timing, and told from others of its model.",
    null="Responses of one device are no nearer to each other than to those of other devices.",
    decision=(
        "Evidence where they are nearer than in all but 5 % of the ways to deal the same responses out to devices, and "
        "devices that were made to differ are told apart; cannot tell where these are not."
    ),
    kinds=("emulator", "trace", "device"),
    models=("s9",),
    compares=True,
    together=RecordedDevices.find,
    sample=sample,
    points=points,
    measure=measure,
    conclude=conclude,
    lasts=_lasts,
    effect=("variation", 0.2),
    page="puf",
    charts=charts,
)
