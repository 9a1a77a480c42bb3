"""Miners that a live run drives: an emulated one in a process of its own, a device in the network, a chain, anyone."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from experiments.vbm_subjects import DeviceSubject
from firmware_bridge.errors import DeviceError
from firmware_bridge.password_file import read_password

if TYPE_CHECKING:
    from experiments.held_settings import HeldSettings
    from experiments.live import Feed
    from firmware_bridge.devices.device import Device
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.telemetry.poll import OnReading
    from reservoir.encoding import Encoding

log = logging.getLogger(__name__)

HASHES_PER_S = 0.43e6
"""What an emulated miner is scaled down to: real hashing that a busy core carries without falling behind."""
STOP_S = 10.0
READY_S, READY_PAUSE_S = 30.0, 0.1
"""How long an emulated miner may take to start."""


def emulated_scale(hash_rate_ths: float) -> float:
    """Power of two by which a rate becomes about ``HASHES_PER_S``."""
    return min(1.0, 2.0 ** round(math.log2(HASHES_PER_S / (hash_rate_ths * 1e12))))


async def _never() -> str:
    await asyncio.Event().wait()
    return ""


async def _poll(bridge: Bridge, address: str, period_s: float | None, on_reading: OnReading | None) -> None:
    """Store the telemetry of a device in the run; none without a period."""
    if period_s is None:
        return
    from firmware_bridge.devices.registry import open_device
    from firmware_bridge.telemetry.poll import DevicePoller

    reader = await open_device(address, taps=bridge.recorder, clock=bridge.clock)
    await bridge.attach(DevicePoller(reader, period_s=period_s, on_reading=on_reading))


class EmulatedMiner:
    """An emulated miner in a process of its own, so that its hashing does not disturb the clock of the bridge.

    Args:
        model: ``s9`` or ``lv06``.
        carrier: where its planted effects read the symbols.
        scale: of the difficulty.
        plants: ``KIND=STRENGTH`` items.
        physics: ``NAME=VALUE`` items.
        seed: of its chance.
        telemetry_period_s: between two readings that go into the run; None reads none.
        on_reading: told of each.
    """

    def __init__(
        self,
        model: str,
        *,
        carrier: str,
        scale: float,
        plants: Sequence[str] = (),
        physics: Sequence[str] = (),
        seed: int = 0,
        telemetry_period_s: float | None = None,
        on_reading: OnReading | None = None,
    ) -> None:
        self.name = f"emulated {model}"
        self._polling = (telemetry_period_s, on_reading)
        self.model: str | None = model
        given = [("--plant", item) for item in plants] + [("--physics", item) for item in physics]
        self._arguments = [
            "emulate", model, "--time", "wall", "--http-port", "0", "--api-port", "0", "--seed", str(seed),
            "--scale", repr(scale), "--symbols-in", carrier, "--json", *(word for pair in given for word in pair),
        ]  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._said: IO[bytes] | None = None

    async def device(self, **common: Any) -> Device:
        """Its own page or API, through which it is set like a real one.

        Raises:
            DeviceError: as :meth:`address`.
        """
        from firmware_bridge.devices.registry import open_device

        return await open_device(await self.address(), **common)

    async def address(self) -> str:
        """Where that is.

        Raises:
            DeviceError: if it does not say within half a minute, or ends before.
        """
        assert self._said is not None, "it has joined"
        assert self._process is not None
        for _ in range(round(READY_S / READY_PAUSE_S)):
            ended = self._process.returncode is not None
            self._said.seek(0)
            line, complete, _rest = self._said.read().partition(b"\n")
            if complete:
                return str(json.loads(line)["url"])
            if ended:
                raise DeviceError(f"{self.name} ended before it was ready")
            await asyncio.sleep(READY_PAUSE_S)
        raise DeviceError(f"{self.name} did not start within {READY_S:g} s")

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Start it."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "experiments.cli",
            *self._arguments,
            "--pool",
            f"{host}:{port}",
            "--config",
            os.devnull,  # nothing of a lab.toml is meant for it
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._log,
        )
        if self._polling[0] is not None:
            try:
                address = await self.address()
            except DeviceError:
                if self._process.returncode is None:
                    raise
                return  # its last words say why
            await _poll(bridge, address, *self._polling)

    async def failed(self) -> str:
        """Its last words."""
        assert self._process is not None
        assert self._log is not None
        code = await self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    def _pass_on(self) -> None:
        """What it warned of, such as that this CPU fell behind: its timing is not that of the model then."""
        assert self._log is not None
        self._log.seek(0)
        for line in self._log.read().decode("utf-8", "replace").splitlines():
            if line.startswith("asiclab: "):
                log.warning("%s: %s", self.name, line.removeprefix("asiclab: "))

    async def end(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
            self._pass_on()
        for file in (self._log, self._said):
            if file is not None:
                file.close()


class DeviceMiner:
    """A device in the network: its pool is set to the bridge, and its own one is set again at the end.

    Args:
        device: open; closed at the end. The user has agreed that its pool is changed.
        user: worker name, None for that of its own pool.
        password: of that worker and of its own pool.
        telemetry_period_s: between two readings that go into the run; None reads none.
        on_reading: told of each.
        on_notice: told what its own pool is, before anything is changed, and when that is set again.
    """

    def __init__(
        self,
        device: Device,
        *,
        user: str | None = None,
        password: str = "x",
        telemetry_period_s: float | None = None,
        on_reading: OnReading | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        from experiments.subjects import VIRTUAL_MODELS
        from firmware_bridge.devices.journal import without_secrets

        self.name = without_secrets(device.address)
        self.model = device.name if device.name in VIRTUAL_MODELS else None
        self._device = device
        self._subject = DeviceSubject(device, user=user, password=password, on_notice=on_notice)
        self._polling = (telemetry_period_s, on_reading)

    async def holding(self, encoding: Encoding, feed: Feed) -> HeldSettings:
        """Sets its clock or voltage to each symbol; what it is set to now comes back when the bridge stops."""
        from experiments.held_settings import HeldSettings
        from firmware_bridge.devices.journal import RunSettings, SettingsJournal
        from firmware_bridge.devices.registry import open_device

        originals = RunSettings(SettingsJournal())
        device = await open_device(self._device.address, clock=self._device.clock, originals=originals)
        try:
            return HeldSettings(device, encoding, feed, beyond_factory=True)
        except BaseException:
            await device.aclose()
            raise

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Set its pool."""
        await _poll(bridge, self._device.address, *self._polling)
        await self._subject.point(host, port)

    async def failed(self) -> str:
        """A device that is away for a while may come back."""
        return await _never()

    async def end(self) -> None:
        """Set its own pool again."""
        try:
            await self._subject.end()
        finally:
            await self._device.aclose()


class ChainMiner:
    """A chain of BM1366 on a serial port; its clock goes back to what it was when the bridge stops.

    Args:
        url: ``bm1366:///dev/ttyUSB0``, with ``?scale=S`` for an emulated one.
        frequency_mhz: clock of the chips; None leaves theirs.
        beyond_factory: whether the user has agreed to a clock that no factory offers.
    """

    def __init__(self, url: str, frequency_mhz: float | None = None, *, beyond_factory: bool = False) -> None:
        self.name = url
        self.model: str | None = None
        self._url = url
        self._frequency_mhz, self._beyond_factory = frequency_mhz, beyond_factory

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Bring it up."""
        from experiments.cli.attached import Attached, attach

        chain = Attached((self._url,), self._frequency_mhz, (), 0.0, beyond_factory=self._beyond_factory)
        await attach(bridge, chain, bridge.config)

    async def failed(self) -> str:
        """The bridge says where a chain is lost; what comes no more then shows."""
        return await _never()

    async def end(self) -> None:
        """The bridge has let go of it."""


class AwaitedMiner:
    """The first miner that connects, pointed here by hand."""

    name = "any"
    model: str | None = None

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Nothing to do but wait."""

    async def failed(self) -> str:
        """It may come back."""
        return await _never()

    async def end(self) -> None:
        """Nothing was changed."""


def worker_password(file: Path | None) -> str:
    """Password of a worker in a file, ``x`` without one.

    Raises:
        UserError: if it cannot be read.
    """
    return "x" if file is None else read_password(file)
