"""Which rows were said and which were taken: the two ends of one run's rows of one table, without any input or output.

Channels may lose, repeat, delay and reorder; a row that a recorder takes follows the last one that it took, so what it
has is always a beginning of what the publisher has, and one request after another makes it the whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HELD = 4096
"""Rows that came before their turn and are kept; more are asked for again."""


@dataclass
class Cursor:
    """The publisher's end.

    Attributes:
        sent: id of the last row that was handed to the connection, None before the first.
        acked: id of the last row that the broker acknowledged, with all before it.
        seen: id of the last row that was looked at; beyond ``sent`` where rows cannot be sent.
        epoch: grows whenever ``sent`` goes back, so that an acknowledgement from before is told from one after.
    """

    sent: int | None = None
    acked: int | None = None
    seen: int | None = None
    epoch: int = 0

    @classmethod
    def at(cls, row_id: int | None) -> Cursor:
        """A cursor up to which everything was acknowledged."""
        return cls(row_id, row_id, row_id)

    def send(self, row_id: int) -> int | None:
        """A row goes out; the id of the one before it."""
        after, self.sent = self.sent, row_id
        self.look(row_id)
        return after

    def look(self, row_id: int) -> None:
        """Rows up to this one were read."""
        self.seen = max(row_id, self.seen or 0)

    def acknowledge(self, row_id: int, epoch: int) -> None:
        """The broker has this row and, since they go out in order, all before it."""
        if epoch == self.epoch:
            self.acked = row_id

    def lost(self) -> None:
        """The connection broke: what was not acknowledged goes out again."""
        self._back(self.acked)

    def rewind(self, after: int | None) -> bool:
        """Go back to the rows that follow ``after``; whether that is back."""
        if self.sent is None or (after is not None and after >= self.sent):
            return False
        self.acked = after
        self._back(after)
        return True

    def _back(self, row_id: int | None) -> None:
        if self.sent != row_id:
            self.epoch += 1
        self.sent = self.seen = row_id


@dataclass
class Acceptance:
    """The recorder's end.

    Attributes:
        last: id of the last row that was taken, None before the first.
        known: highest id that the publisher is known to have.
        conflict: whether a row came that says that there is none where one was taken: two traces, one run id.
    """

    last: int | None = None
    known: int = 0
    conflict: bool = False
    _held: dict[int | None, tuple[int, Any]] = field(default_factory=dict)
    _swept: int | None = None

    def offer(self, row_id: int, after: int | None, row: Any) -> list[Any]:
        """A row that came in; the rows whose turn it is now, in order: none where it is old or early."""
        self.known = max(self.known, row_id)
        if row_id <= (self.last or 0):
            return []
        if after != self.last:
            self._hold(row_id, after, row)
            return []
        taken = []
        following: tuple[int, Any] | None = (row_id, row)
        while following is not None:
            self.last = following[0]
            taken.append(following[1])
            following = self._held.pop(self.last, None)
        return taken

    def _hold(self, row_id: int, after: int | None, row: Any) -> None:
        if (after or 0) < (self.last or 0):
            self.conflict = True
            return
        if len(self._held) >= HELD and self._swept != self.last:  # what was overtaken is of no use any more
            self._swept = self.last
            self._held = {key: held for key, held in self._held.items() if (key or 0) > (self.last or 0)}
        if len(self._held) < HELD:
            self._held[after] = (row_id, row)

    def expect(self, row_id: int | None) -> None:
        """The publisher says that it has rows up to this id."""
        self.known = max(self.known, row_id or 0)

    @property
    def gap(self) -> bool:
        """Whether there are rows that are still missing."""
        return self.known > (self.last or 0)

    @property
    def held(self) -> int:
        """Rows that wait for others."""
        return len(self._held)
