"""Commands that keep running: stop cleanly on Ctrl-C and SIGTERM, and say so."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

from experiments.cli.command import SIGNALLED

SIGNALS = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")


class Stop:
    """Whether somebody asked this process to stop, from before the first heavy import on.

    Attributes:
        reason: name of the signal, or None while nobody asked.
        exit_code: of what was interrupted by it before its end; what serves until it is stopped ends with 0.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.exit_code = 0
        self._callbacks: list[Callable[[], Any]] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        self.reason = signal.Signals(number).name
        self.exit_code = SIGNALLED + number
        for callback in self._callbacks:
            callback()

    def call(self, callback: Callable[[], Any]) -> None:
        """Call this when somebody asks, or now if somebody has asked already."""
        self._callbacks.append(callback)
        if self.reason is not None:
            callback()


def run_until_asked(work: Coroutine[Any, Any, T], stop: Stop) -> T | None:
    """Run it; whoever asks to stop cancels it, and None comes back once it has brought back what it changed."""
    import asyncio

    async def main() -> T | None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        stop.call(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            return await task
        except asyncio.CancelledError:
            if stop.reason is None:
                raise
            return None

    return asyncio.run(main())


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
