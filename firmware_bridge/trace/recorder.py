"""The flight recorder: the bytes of each link, with time and direction, in the run; secrets replaced at capture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from firmware_bridge.clock import Clock
from firmware_bridge.trace.redaction import TURNS, Filter, filters_for

RECEIVED, SENT = "received", "sent"


class RecordedBytes(NamedTuple):
    """One piece, in the order of the table's columns after ``run``; empty data mean that the direction ended."""

    miner: int | None
    link: str
    direction: str
    kernel_ns: int | None
    monotonic_ns: int | None
    wall_ns: int | None
    data: bytes


class LinkTap:
    """Tap of one link.

    Args:
        link: its name, a URL.
        keep: takes each piece.
        clock: for pieces that bring no stamps.
        keep_secrets: whether they stay.
    """

    def __init__(
        self, link: str, keep: Callable[[RecordedBytes], None], clock: Clock, *, keep_secrets: bool = False
    ) -> None:
        self.link = link
        self.miner: int | None = None
        self._keep = keep
        self._clock = clock
        pair = filters_for(link, keep_secrets=keep_secrets)
        self._filters: dict[str, Filter] = dict(zip((RECEIVED, SENT), pair, strict=True))
        self._turns = link.partition("://")[0] in TURNS
        self._last: dict[str, tuple[int | None, int | None, int | None]] = {}

    def sent(self, data: bytes) -> None:
        """Bytes that were handed to the link."""
        self._take(SENT, data, (None, self._clock.monotonic_ns(), self._clock.wall_ns()))

    def received(
        self,
        data: bytes,
        *,
        kernel_ns: int | None = None,
        monotonic_ns: int | None = None,
        wall_ns: int | None = None,
    ) -> None:
        """Bytes that arrived, with their stamps."""
        if monotonic_ns is None:
            monotonic_ns = self._clock.monotonic_ns()
        if wall_ns is None:
            wall_ns = self._clock.wall_ns()
        self._take(RECEIVED, data, (kernel_ns, monotonic_ns, wall_ns))

    def close(self) -> None:
        """Neither direction brings anything more."""
        for direction in (RECEIVED, SENT):
            self._end(direction)

    def _take(self, direction: str, data: bytes, stamps: tuple[int | None, int | None, int | None]) -> None:
        if self._turns:
            self._rest(SENT if direction == RECEIVED else RECEIVED)
        self._last[direction] = stamps
        if not data:
            self._end(direction)
            return
        kept = self._filters[direction].feed(data)
        if kept:
            self._keep(RecordedBytes(self.miner, self.link, direction, *stamps, kept))

    def _end(self, direction: str) -> None:
        stamps = self._rest(direction)
        self._keep(RecordedBytes(self.miner, self.link, direction, *stamps, b""))

    def _rest(self, direction: str) -> tuple[int | None, int | None, int | None]:
        """Keep what was held back, with the stamps of the last piece of that direction."""
        stamps = self._last.get(direction) or (None, self._clock.monotonic_ns(), self._clock.wall_ns())
        if rest := self._filters[direction].end():
            self._keep(RecordedBytes(self.miner, self.link, direction, *stamps, rest))
        return stamps


class Recorder:
    """Makes the taps of a run.

    Args:
        keep: takes each piece: ``RunWriter.recorded``, or ``list.append``.
        clock: for pieces that bring no stamps.
        keep_secrets: whether secrets stay.
    """

    def __init__(
        self, keep: Callable[[RecordedBytes], Any], clock: Clock, *, keep_secrets: bool = False
    ) -> None:
        self._keep = keep
        self._clock = clock
        self._keep_secrets = keep_secrets

    def __call__(self, link: str) -> LinkTap:
        """Tap of the link with this name."""
        return LinkTap(link, self._keep, self._clock, keep_secrets=self._keep_secrets)
