"""Commands that keep running: stop cleanly on Ctrl-C and SIGTERM, and say so."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked this process to stop, from before the first heavy import on.

    Attributes:
        reason: name of the signal, or None while nobody asked.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._callbacks: list[Callable[[], Any]] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.reason = signal.Signals(number).name
        for callback in self._callbacks:
            callback()

    async def finish(self, work: Awaitable[T]) -> T | None:
        """Await ``work``, or cancel it and give None as soon as a signal comes."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        callback = lambda: loop.call_soon_threadsafe(asked.set)  # noqa: E731 - kept to be taken out again
        self._callbacks.append(callback)
        if self.reason is not None:
            asked.set()
        task = asyncio.ensure_future(work)
        waiter = asyncio.ensure_future(asked.wait())
        try:
            await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return None
        finally:
            waiter.cancel()
            self._callbacks.remove(callback)


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Take Ctrl-C and SIGTERM as a wish to stop instead of an end at once; the old handlers come back after."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
