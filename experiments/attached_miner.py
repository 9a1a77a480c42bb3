"""How an attached miner is opened: as what mines for a run of the bridge, or as one that is pointed at pools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments import vbm_subjects
    from experiments.attached import Attached
    from experiments.held_point import AtPoint
    from experiments.hosting import Miner
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.settings import OperatingPoint
    from firmware_bridge.telemetry.poll import OnReading


async def miner_of(
    subject: Attached,
    seed: int,
    *,
    carrier: str = "prevhash",
    hold: OperatingPoint | None = None,
    scale: float | None = None,
    period_s: float | None = None,
    on_reading: OnReading | None = None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Miner:
    """What mines, not yet joined.

    Args:
        subject: whose it is.
        seed: of an emulated one's chance.
        carrier: job field that its planted effects follow.
        hold: point that it is to be held at.
        scale: of its difficulty; None takes one that this host keeps up with.
        period_s: between two readings of its telemetry, which go into the run; None reads none.
        on_reading: told of each.
        on_notice: told what becomes of the pool of a device.

    Raises:
        LabError: if it cannot be opened.
    """
    from experiments import live_miners

    held = hold is not None and bool(hold.given())
    if subject.device == "any":
        return live_miners.AwaitedMiner()
    if subject.emulated:
        from firmware_bridge.emulator.model import get_model

        rate_ths = subject.own_physics()["hash_rate_ths"] or get_model(subject.model).capacity_ths
        emulated = live_miners.EmulatedMiner(
            subject.model,
            carrier=carrier,
            scale=live_miners.emulated_scale(rate_ths) if scale is None else scale,
            plants=[f"{kind}={strength!r}" for kind, strength in subject.plants.items()],
            physics=[f"{name}={value}" for name, value in subject.physics.items()],
            seed=seed,
            telemetry_period_s=period_s,
            on_reading=on_reading,
        )
        return _at(subject, emulated, emulated.device, hold, restores=False) if held and hold else emulated
    if not subject.in_network:
        clock_mhz = None if hold is None else hold.frequency_mhz
        return live_miners.ChainMiner(subject.device, clock_mhz, beyond_factory=subject.agreed)
    miner = live_miners.DeviceMiner(
        await opened(subject),
        password=_password(subject),
        telemetry_period_s=period_s,
        on_reading=on_reading,
        on_notice=on_notice,
    )
    return (
        _at(subject, miner, partial(_settable_device, subject), hold, restores=True)
        if held and hold
        else miner
    )


@asynccontextmanager
async def pointed(
    subject: Attached, seed: int, *, t_hash_s: float, miners: int
) -> AsyncIterator[vbm_subjects.Subject]:
    """The miner as one that is pointed at one pool after the other; its own pool is set again at the end.

    Args:
        subject: the miner.
        seed: of an emulated one.
        t_hash_s: mean time of its shares, of an emulated one.
        miners: how many emulated ones mine side by side.

    Raises:
        UserError: if it cannot be pointed anywhere.
        DeviceError: if it does not answer.
    """
    from experiments.vbm_subjects import DeviceSubject, EmulatedSubject

    if subject.emulated:
        other = sorted(set(subject.plants) - {"waits"})
        if other or subject.physics:
            raise UserError(
                f"{subject.device}: in wall time a miner at its pool takes --plant waits=PART alone, "
                f"not {', '.join([*other, *subject.physics])}"
            )
        yield EmulatedSubject(t_hash_s, waits=subject.plants.get("waits", 0.0), seed=seed, miners=miners)
        return
    if not subject.in_network or subject.device.startswith("lb-box:"):
        raise UserError(
            f"{subject.device}: this needs a miner that can be given another pool and hashes as Bitcoin does; "
            "asiclab vbm ab --pool takes an LB-Box and your own pool"
        )
    miner = await opened(subject)
    try:
        yield DeviceSubject(miner, password=_password(subject), on_notice=subject.notice)
    finally:
        await miner.aclose()


async def opened(subject: Attached) -> Device:
    """The device at its address.

    Raises:
        LabError: if it cannot be opened.
    """
    from firmware_bridge.devices.registry import open_device

    return await open_device(subject.device)


def _password(subject: Attached) -> str:
    from pathlib import Path

    from experiments.live_miners import worker_password

    return worker_password(None if subject.password_file is None else Path(subject.password_file))


def _at(subject: Attached, miner: Miner, opener: Any, hold: OperatingPoint, *, restores: bool) -> AtPoint:
    from experiments.held_point import AtPoint

    return AtPoint(
        miner,
        opener,
        hold,
        settle_s=subject.settle_s,
        beyond_factory=subject.agreed or subject.emulated,
        restores=restores,
    )


async def _settable_device(subject: Attached) -> Device:
    from firmware_bridge.devices.journal import RunSettings, SettingsJournal
    from firmware_bridge.devices.registry import open_device

    originals = RunSettings(SettingsJournal())
    device = await open_device(subject.device, originals=originals)
    originals.adopt(device.address)  # of a run that was killed
    return device
