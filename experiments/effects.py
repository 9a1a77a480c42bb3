"""Which planted effects there are, and how strong one must be for a run of the default length to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CALIBRATION_RUNS = 24
CALIBRATION_SEED = 1_000_000
"""First seed of the null runs that the strengths are read off; far from those of studies and users."""


@dataclass(frozen=True)
class ListedEffect:
    """A kind of planted effect.

    Attributes:
        kind: as in ``--plant KIND=STRENGTH``.
        unit: unit of the strength.
        depends_on: what the delay depends on.
        delays: what is delayed.
        detectable: strength found with power 0.9 at the default run length, or None where the runs carry no such cause.
        shares: the default run length; None where another experiment than the verdict finds it.
        found_by: the command whose result that is.
    """

    kind: str
    unit: str
    depends_on: str
    delays: str
    detectable: float | None
    shares: int | None
    found_by: str


def listed_effects(model: str = "s9") -> list[ListedEffect]:
    """Every kind with the strength that is found.

    Those that the verdict finds are read off null runs that are drawn and judged here; those of planted memory were
    measured, see :data:`experiments.narma.FOUND_AT`, and so was the delay of good shares, see
    :data:`experiments.tpf_leakage.FOUND_AT`. What is planted into the miner itself stands with the strength that the
    experiment on it names.
    """
    from experiments import tpf_leakage
    from experiments.catalogue import catalogue
    from experiments.narma import FOUND_AT
    from firmware_bridge.emulator.effects import BEHAVIOURS, KINDS
    from firmware_bridge.emulator.virtual_config import DEFAULT_SHARES

    strengths = detectable(model)
    listed = []
    for e in KINDS.values():
        if e.kind in FOUND_AT:  # memory of the input shows in what a readout can do, not in one share
            mode, strength = FOUND_AT[e.kind]
            listed.append(
                ListedEffect(
                    e.kind, e.unit, e.quantity, e.delays, strength, None, f"asiclab narma --mode {mode}"
                )
            )
        elif e.kind in tpf_leakage.FOUND_AT:
            strength, by = tpf_leakage.FOUND_AT[e.kind], "asiclab tpf evaluate"
            listed.append(ListedEffect(e.kind, e.unit, e.quantity, e.delays, strength, DEFAULT_SHARES, by))
        else:
            found = strengths.get(e.kind)
            listed.append(
                ListedEffect(e.kind, e.unit, e.quantity, e.delays, found, DEFAULT_SHARES, "asiclab stats")
            )
    for experiment in catalogue().values():
        if experiment.effect is not None and experiment.effect[0] in BEHAVIOURS:
            kind, strength = experiment.effect
            e, by = BEHAVIOURS[kind], f"asiclab run {experiment.name} --size fast"
            listed.append(ListedEffect(e.kind, e.unit, e.quantity, e.delays, strength, None, by))
    return listed


def detectable(model: str = "s9", **settings: Any) -> dict[str, float | None]:
    """Strength per kind that runs of a model show with power 0.9.

    Args:
        model: ``s9`` or ``lv06``.
        settings: further fields of :class:`firmware_bridge.emulator.virtual.VirtualConfig`.
    """
    from firmware_bridge.emulator.virtual import simulate
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.timing.effects_power import detectable_strengths

    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + CALIBRATION_RUNS)
    runs = [simulate(VirtualConfig(model=model, seed=seed, **settings)).to_run_data() for seed in seeds]
    return detectable_strengths(runs)
