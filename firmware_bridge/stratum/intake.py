"""From the bytes of one connection to messages in order, with a bound on submits that wait for their answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.wire import (
    ClientMessage,
    LineSplitter,
    SubmitLine,
    WireError,
    decode_client,
    decode_submits,
)

Message = SubmitLine | ClientMessage | WireError


class Intake:
    """Cuts lines, decodes them, hands them on; submits that arrived together are handed on together.

    Beyond ``limit`` unanswered submits it holds what it has, with its stamps, and wants nothing more: nothing is lost
    and memory is bounded by one read.

    Args:
        limit: unanswered submits.
        submit: takes submits with the stamps of their arrival; returns how many answers they will get.
        other: takes any other message, or the error that a line is.
    """

    def __init__(
        self,
        limit: int,
        submit: Callable[[list[SubmitLine], Stamp], int],
        other: Callable[[ClientMessage | WireError], None],
    ) -> None:
        self._limit, self._submit, self._other = limit, submit, other
        self._lines = LineSplitter()
        self._backlog: deque[tuple[Iterator[Message], Stamp]] = deque()
        self._in_flight = 0
        self._closed = False

    @property
    def in_flight(self) -> int:
        """Submits whose answer has not gone out."""
        return self._in_flight

    @property
    def unfinished_bytes(self) -> int:
        """Bytes of a line whose end has not come yet."""
        return self._lines.pending

    @property
    def blocked(self) -> bool:
        """Whether input waits for answers to go out: nothing more is to be read."""
        return bool(self._backlog)

    def receive(self, data: bytes, stamp: Stamp) -> None:
        """Take bytes that arrived together.

        Raises:
            WireError: if a line is too long to go on.
        """
        block = self._lines.feed(data)
        if not block or self._closed:
            return
        submits = decode_submits(block)
        if submits is not None and not self._backlog and self._in_flight + len(submits) <= self._limit:
            self._in_flight += self._submit(submits, stamp)
            return
        self._backlog.append((iter(submits) if submits is not None else _messages(block), stamp))
        self._drain()

    def answered(self, count: int, *, go_on: bool = True) -> None:
        """Note that so many answers went out, and go on with what waited for them unless all is to end."""
        self._in_flight -= count
        if self._backlog and go_on:
            self._drain()

    def close(self) -> None:
        """Hand nothing more on."""
        self._closed = True

    def _drain(self) -> None:
        """Hand on what waits, in order, as far as the limit allows."""
        while self._backlog and not self._closed:
            messages, stamp = self._backlog[0]
            submits: list[SubmitLine] = []
            other: ClientMessage | WireError | None = None
            finished = False
            while self._in_flight + len(submits) < self._limit:
                message = next(messages, None)
                if isinstance(message, SubmitLine):
                    submits.append(message)
                    continue
                finished, other = message is None, message
                break
            if submits:
                self._in_flight += self._submit(submits, stamp)
            if finished:
                self._backlog.popleft()
            elif other is None:
                return
            elif not self._closed:
                self._other(other)
        if self._closed:
            self._backlog.clear()


def _messages(block: bytes) -> Iterator[Message]:
    """Messages of a block of whole lines, one by one as they are asked for."""
    for line in block.split(b"\n"):
        if not line or line.isspace():
            continue
        submits = decode_submits(line)
        if submits:
            yield submits[0]
            continue
        try:
            yield decode_client(line)
        except WireError as error:
            yield error
