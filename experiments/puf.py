"""Timing fingerprints of stored runs and of populations of emulated devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from firmware_bridge.timing.run_data import RunData
    from firmware_bridge.trace.reader import TraceReader
    from tpf.enrolment import Fingerprint

SHARES = 2588


@dataclass(frozen=True)
class EmulatedPopulation:
    """Devices of one model, alike but for what is planted.

    Attributes:
        model: ``s9`` or ``lv06``.
        devices: how many.
        repeats: runs of each.
        variation_ms: standard deviation of their parts' delays; 0 plants nothing.
        shares: of each run.
        seed: of devices and runs.
    """

    model: str = "s9"
    devices: int = 8
    repeats: int = 4
    variation_ms: float = 0.0
    shares: int = SHARES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.devices < 1 or self.repeats < 1 or self.shares < 1:
            raise UserError("a population has at least one device, one response each, one share in a run")

    def configs(self) -> dict[str, list[VirtualConfig]]:
        """Per device its runs; device and seed of each come from the seed of the population."""
        from firmware_bridge.emulator.virtual_config import VirtualConfig

        rng = np.random.default_rng([self.seed, 0x50])
        found = {}
        for _ in range(self.devices):
            device = int(rng.integers(2**31))
            one = VirtualConfig(
                model=self.model, shares=self.shares, variation_ms=self.variation_ms, device=device
            )
            seeds = rng.integers(2**31, size=self.repeats).tolist()
            found[f"{self.model}-{device}"] = [replace(one, seed=seed) for seed in seeds]
        return found

    def prints(self, progress: Callable[[int, int], None] | None = None) -> dict[str, list[Fingerprint]]:
        """Emulate all of it."""
        from firmware_bridge.emulator.virtual import simulate
        from tpf.enrolment import fingerprints

        found: dict[str, list[Fingerprint]] = {}
        done = 0
        for device, configs in self.configs().items():
            found[device] = []
            for config in configs:
                found[device] += fingerprints(simulate(config).to_run_data())
                done += 1
                if progress is not None:
                    progress(done, self.devices * self.repeats)
        return found


def read_run(reader: TraceReader, name: str, miner: str | None = None) -> tuple[dict[str, Any], RunData]:
    """Record and shares of a stored run.

    Raises:
        UserError: if there is no such run or miner.
    """
    from firmware_bridge.timing.intervals import load_run

    number = reader.resolve(name)
    only: int | str | None = int(miner) if miner is not None and miner.isdigit() else miner
    return reader.run(number), load_run(reader, number, only)


def device_of(record: dict[str, Any], data: RunData) -> str:
    """Name of the device of a run: its number where it was emulated, else the worker's name on the wire."""
    config = record["config"]
    if record["kind"] == "virtual" and "device" in config:
        return f"{config['model']}-{config['device']}"
    return data.miners[int(data.miner[0])].name or "miner"


def stored_prints(
    reader: TraceReader, names: Iterable[str], *, split: int = 1, miner: str | None = None
) -> dict[str, list[Fingerprint]]:
    """Fingerprints per device of stored runs, each written as ``RUN`` or ``DEVICE=RUN``.

    Raises:
        UserError: if a run cannot be read, or is named twice.
    """
    from tpf.enrolment import fingerprints

    found: dict[str, list[Fingerprint]] = {}
    seen: set[str] = set()
    for name in names:
        label, sign, run = name.partition("=")
        record, data = read_run(reader, run if sign else name, miner)
        if record["run_id"] in seen:
            raise UserError(f"run {record['run_id']} is named twice: a response is no repetition of itself")
        seen.add(record["run_id"])
        prints = fingerprints(data, split)
        found.setdefault(label if sign else device_of(record, data), []).extend(prints)
    return found


def provenance(plants: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a file says of where it comes from."""
    from datetime import UTC, datetime

    from firmware_bridge.trace.provenance import git_state, versions

    made = datetime.now(UTC).isoformat(timespec="seconds")
    return {"made": made, "versions": versions(), "git": git_state(), "plants": plants or {}}
