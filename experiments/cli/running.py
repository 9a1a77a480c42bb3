"""Commands that keep running: stop cleanly on Ctrl-C and SIGTERM, and say so."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

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

    def call(self, callback: Callable[[], Any]) -> None:
        """Call this when somebody asks, or now if somebody has asked already."""
        self._callbacks.append(callback)
        if self.reason is not None:
            callback()


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
