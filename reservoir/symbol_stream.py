"""Symbols of an input for a live bridge, one per job, mixed with what the miner answered so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy.typing as npt

from firmware_bridge.errors import UserError
from reservoir.encoding import Encoding, mix


class Context(Protocol):
    """What a stream has to know of the job that it is asked for; the bridge's dispatch context has it."""

    @property
    def miner(self) -> int:
        """Number of the miner in the run."""

    @property
    def wall_ns(self) -> int:
        """Now, ns since the epoch."""


Symbol = TypeVar("Symbol")


class SymbolStream(Generic[Symbol]):
    """Symbols of an input, one per job, for one miner of a live bridge; after the last step jobs carry none.

    Satisfies the bridge's ``SymbolSource``. It runs no thread and takes no lock: call it from one.

    Args:
        encoding: how.
        u: the input, shape (T,).
        make: makes the job symbol of the fields that :meth:`Encoding.encode` returns, given by name.

    Attributes:
        symbols: what was sent, one number per job.
        heard_ns: the response that each of them knew of; 0 before the first.
    """

    def __init__(self, encoding: Encoding, u: npt.ArrayLike, make: Callable[..., Symbol]) -> None:
        self.encoding = encoding
        self.symbols: list[float] = []
        self.heard_ns: list[int] = []
        self._base = encoding.base(u).ravel().tolist()
        self._make = make
        self._last_ns = 0
        self._miner: int | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every symbol went out."""
        return len(self.symbols) >= len(self._base)

    def responded(self, response_ns: int) -> None:
        """Take the response of the share that calls for the next job; tell it before that job is asked for."""
        self._last_ns = response_ns

    def next(self, context: Context) -> Symbol | None:
        """The next job's symbol.

        Raises:
            UserError: if a second miner asks: the symbols of one input have to go to one.
        """
        if self.exhausted:
            return None
        if self._miner not in (None, context.miner):
            raise UserError(
                f"miner {context.miner} asks for symbols that go to miner {self._miner}: connect one miner, or give "
                "each a stream of its own"
            )
        self._miner = context.miner
        encoding, number = self.encoding, len(self.symbols)
        slot = number % encoding.slots
        if encoding.field == "duty" and slot > 0:
            symbol, heard_ns = self.symbols[-1], self.heard_ns[-1]
        else:
            symbol, heard_ns = self._base[number], self._last_ns
            if encoding.mode == "dialogue":
                symbol = mix(symbol, heard_ns, encoding.feedback)
        made = self._make(**encoding.encode(symbol, wall_ns=context.wall_ns, slot=slot))
        self.symbols.append(symbol)
        self.heard_ns.append(heard_ns)
        return made
