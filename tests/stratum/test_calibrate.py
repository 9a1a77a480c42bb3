"""The measurement of this host's floor: it can be cut short at any moment, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from firmware_bridge.clock import SystemClock
from firmware_bridge.stratum.calibrate import calibrate


async def test_a_measurement_has_its_readings() -> None:
    found = await calibrate(SystemClock())
    assert found["ack_rtt_n"] > 100
    assert 0 < found["ack_rtt_us_p50"] <= found["ack_rtt_us_p99"] <= found["ack_rtt_us_max"]
    assert found["timer_jitter_n"] > 10


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20])
async def test_a_measurement_that_is_cut_short_ends_without_a_word(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    before = set(threading.enumerate())
    task = asyncio.ensure_future(calibrate(SystemClock()))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 10.0)
        assert not thread.is_alive() or not thread.daemon or "asyncio" in thread.name
    assert said == []
