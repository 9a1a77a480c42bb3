"""SIGTERM ends what runs as Ctrl-C does, also where SIGINT is ignored."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from experiments.stopping import ended_gently


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["usual", "in the background"])
def sigint(request: pytest.FixtureRequest) -> Iterator[Any]:
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


def test_it_is_a_keyboard_interrupt_and_leaves_handlers_as_they_were(sigint: Any) -> None:
    term = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as told, ended_gently():
        signal.raise_signal(signal.SIGTERM)
    assert told.value.args == (signal.SIGTERM,)
    with pytest.raises(KeyboardInterrupt) as told, ended_gently():
        signal.raise_signal(signal.SIGINT)
    assert told.value.args == ()
    assert signal.getsignal(signal.SIGINT) is sigint
    assert signal.getsignal(signal.SIGTERM) is term


def test_an_event_loop_is_cancelled_in_order(sigint: Any) -> None:
    told: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # setting a miner back takes a while, and is not torn
            told.append("set back")
            raise

    with pytest.raises(KeyboardInterrupt), ended_gently():
        asyncio.run(work())
    assert told == ["set back"]
