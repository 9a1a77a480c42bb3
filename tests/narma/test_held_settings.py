"""A clock that carries symbols on a device: applied while each job is hashed, within limits, and back at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.carriers import check_settings, swing_of
from experiments.held_settings import HeldSettings
from firmware_bridge.clock import SystemClock
from firmware_bridge.devices.device import Device
from firmware_bridge.devices.lucky_lv06 import LuckyLv06
from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import LabError, UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol
from firmware_bridge.stratum.server import Bridge
from firmware_bridge.trace import manage
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter
from reservoir.encoding import Encoding
from reservoir.symbol_stream import SymbolStream
from tests.devices.conftest import emulated, quick

HELLO = (
    b'{"id":1,"method":"mining.subscribe","params":["t/1"]}\n'
    b'{"id":2,"method":"mining.authorize","params":["w","x"]}\n'
)
INPUT = np.random.default_rng(3).uniform(0.0, 0.5, 5)


def encoding(field: str = "frequency", **more: Any) -> Encoding:
    swing = swing_of("lv06", field)
    return Encoding(field, "monologue", high=0.5, **{**swing.of_encoding(), **more})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def lv06(firmware: str = "2.15.0") -> AsyncIterator[LuckyLv06]:
    async with emulated("lv06", firmware=firmware, clock=SystemClock()) as (_, ready):
        port = ready["ports"]["http"]
        yield LuckyLv06(f"lv06://127.0.0.1:{port}", "127.0.0.1", port, sleep=quick)


async def driven(
    path: Path, device: Device, how: Encoding, period_s: float, **more: Any
) -> tuple[TraceReader, str]:
    """A run of a bridge whose only miner listens, until its symbols are out or something stops it."""
    stream: SymbolStream[JobSymbol] = SymbolStream(how, INPUT, JobSymbol)
    held = HeldSettings(device, how, stream, beyond_factory=True, period_s=0.2, **more)
    db = f"sqlite:///{path / 'lab.db'}"
    config = BridgeConfig(port=0, mode="stream", job_period_s=period_s)
    bridge = Bridge(config, partial(TraceWriter, db), np.random.default_rng(1), source=held)
    host, port = await bridge.start()
    serving = asyncio.ensure_future(bridge.serve(60.0))
    await bridge.attach(held)
    _, writer = await asyncio.open_connection(host, port)
    writer.write(HELLO)
    try:
        while held.applied < INPUT.size and not serving.done():  # noqa: ASYNC110 - a counter of another task
            await asyncio.sleep(0.02)
    finally:
        bridge.request_stop("done")
        await asyncio.gather(serving, return_exceptions=True)
        writer.close()
    return TraceReader(db), bridge.run.run_id


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("field", ["frequency", "voltage"])
async def test_each_symbol_is_set_and_the_settings_from_before_come_back(field: str, tmp_path: Path) -> None:
    how = encoding(field)
    async with lv06() as device:
        before = await device.read_point()
        reader, _ = await driven(tmp_path, device, how, 0.6)
        check_settings(reader, 1, how)
        changes = [c for c in reader.dicts(1, "settings") if c["reason"].startswith("symbol of job")]
        assert [c["reason"] for c in changes] == [f"symbol of job {n}" for n in range(1, 6)]
        name, _ = next(iter(how.setting(0.5).items()))
        sent = [how.setting(float(s))[name] for s in how.base(INPUT)[:, 0]]
        assert [float(c["requested"]) for c in changes] == sent
        port = int(device.address.rsplit(":", 1)[1])
        again = LuckyLv06(device.address, "127.0.0.1", port)
        assert await again.read_point() == before
        await again.aclose()
    restored = [c for c in reader.dicts(1, "settings") if c["reason"] == "end of the run"]
    original = {"frequency": before.frequency_mhz, "voltage": before.core_voltage_mv}[field]
    assert [float(c["requested"]) for c in restored] == [original]


async def test_a_device_that_is_slower_than_the_period_ends_the_run_and_is_restored(tmp_path: Path) -> None:
    async with lv06() as device:
        apply = device.apply

        async def slow(point: OperatingPoint, **more: Any) -> Any:
            await asyncio.sleep(0.5)
            return await apply(point, **more)

        device.apply = slow  # type: ignore[method-assign]
        reader, _ = await driven(tmp_path, device, encoding(), 0.2)
    events = [e for e in reader.dicts(1, "events") if e["kind"] == "setting-failed"]
    assert "--job-period" in str(events[0]["detail"])
    assert manage.list_runs(f"sqlite:///{tmp_path / 'lab.db'}")[0]["status"] == "fail"
    assert [c["reason"] for c in reader.dicts(1, "settings")][-1] == "end of the run"


async def test_what_cannot_carry_symbols_is_refused_before_anything_is_set(tmp_path: Path) -> None:
    async with lv06("1.1.0") as device:
        with pytest.raises(UserError, match=r"restarts for each change|cannot set"):
            await driven(tmp_path, device, encoding(), 1.0)
        assert (await device.read_point()).frequency_mhz == 485.0
        stream: SymbolStream[JobSymbol] = SymbolStream(encoding(), INPUT, JobSymbol)
        with pytest.raises(LabError, match="hard limits"):
            HeldSettings(device, encoding(setting_high=800.0), stream, beyond_factory=True)
        with pytest.raises(LabError, match="only with --yes"):
            HeldSettings(device, encoding(setting_low=401.0), stream)
        with pytest.raises(UserError, match="sets nothing"):
            HeldSettings(device, Encoding(), stream)
