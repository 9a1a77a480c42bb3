"""When a miner gets its next job, and which input symbol that job carries.

A :class:`SymbolSource` says what goes into the next job, a :class:`JobPolicy` when it goes out; both are satisfied
structurally, so that encoders and filters elsewhere need not import this module. In Stratum V1 the miner chooses
extranonce2: it is not among the fields that can carry a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from firmware_bridge.errors import UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.trace.schema import ShareRow

_VALID, _MONOTONIC = ShareRow._fields.index("valid"), ShareRow._fields.index("monotonic_ns")
COINBASE_SYMBOL_LIMIT = 64
"""Bytes of a symbol in the coinbase: with the height and the extranonces the script stays within its 100 bytes."""


@dataclass(frozen=True, slots=True)
class JobSymbol:
    """One input symbol, and the job fields that carry it; None leaves a field as the bridge would fill it.

    Attributes:
        value: the symbol as a number, for the trace.
        prevhash: hex, up to 32 bytes with which the job's prevhash begins; the rest stays random.
        extranonce1: hex, 1 to 16 bytes; sent with ``mining.set_extranonce`` to a client that subscribed to it.
        coinbase: up to 64 bytes put into the coinbase script.
        version_bits: bits set in the job's version, outside the mask that the miner rolls.
        ntime: time field of the job, seconds since the epoch.
        difficulty: nominal share difficulty of this job.
        heard_ns: response that the symbol took in, for the trace only; None where it takes in none.
    """

    value: float | None = None
    prevhash: str | None = None
    extranonce1: str | None = None
    coinbase: bytes | None = None
    version_bits: int | None = None
    ntime: int | None = None
    difficulty: float | None = None
    heard_ns: int | None = None

    def __post_init__(self) -> None:
        for name, longest in (("prevhash", 32), ("extranonce1", 16)):
            digits = getattr(self, name)
            if digits is None:
                continue
            try:
                size = len(bytes.fromhex(digits))
            except ValueError:
                size = 0
            if not 1 <= size <= longest or len(digits) != 2 * size:
                raise UserError(f"a symbol's {name} is the hex of 1 to {longest} bytes, not {digits!r}")
        if self.coinbase is not None and not 0 < len(self.coinbase) <= COINBASE_SYMBOL_LIMIT:
            raise UserError(
                f"a symbol puts 1 to {COINBASE_SYMBOL_LIMIT} bytes into the coinbase, not {len(self.coinbase)}"
            )
        for name in ("version_bits", "ntime"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 0xFFFFFFFF:
                raise UserError(f"a symbol's {name} is a 32-bit number, not {value!r}")
        if self.difficulty is not None and not 0.0 < self.difficulty < float("inf"):
            raise UserError(f"a symbol's difficulty is a positive finite number, not {self.difficulty!r}")

    def fields(self) -> dict[str, str | float]:
        """The job fields that carry the symbol, as they are sent: hex for everything but the difficulty.

        With them goes ``heard_ns``, which is not sent: a trace from which the feedback can be undone needs it.
        """
        sent: dict[str, str | float] = {}
        if self.prevhash is not None:
            sent["prevhash"] = self.prevhash
        if self.extranonce1 is not None:
            sent["extranonce1"] = self.extranonce1
        if self.coinbase is not None:
            sent["coinbase"] = self.coinbase.hex()
        if self.version_bits is not None:
            sent["version_bits"] = f"{self.version_bits:08x}"
        if self.ntime is not None:
            sent["ntime"] = f"{self.ntime:08x}"
        if self.difficulty is not None:
            sent["difficulty"] = self.difficulty
        if self.heard_ns is not None:
            sent["heard_ns"] = self.heard_ns
        return sent


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """What is known when the next job of a miner is made.

    Attributes:
        miner: number of the miner in the run.
        miner_name: its worker name.
        index: how many jobs this connection got before.
        wall_ns: now, ns since the epoch.
        monotonic_ns: now, monotonic ns.
        answered: whether a valid share came for the job before (None for the first job).
        version_mask: bits that this miner rolls.
        extranonce_subscribed: whether a symbol may use extranonce1.
        response_ns: of the share that calls for this job, job sent to share arrived; None where none calls for it.
    """

    miner: int
    miner_name: str
    index: int
    wall_ns: int
    monotonic_ns: int
    answered: bool | None
    version_mask: int
    extranonce_subscribed: bool
    response_ns: int | None = None


class SymbolSource(Protocol):
    """Which symbol the next job carries."""

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """Symbol of the next job; None for a job that carries none."""


class JobPolicy(Protocol):
    """Keep the current job of one miner, or replace it."""

    def deadline_s(self) -> float:
        """Seconds after which a job is replaced whatever came."""

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """Whether a share (of the current job or not, valid or not) calls for the next job at once."""


@runtime_checkable
class HearsShares(Protocol):
    """A policy that is told of each valid share, with the stamp that the trace has."""

    def hear(self, miner: int, arrived_ns: Sequence[int]) -> None:
        """Valid shares of a miner arrived together, of whichever jobs; ``replace_on_share`` is asked after this.

        Args:
            miner: number of the miner in the run.
            arrived_ns: monotonic ns of each, in stored order.
        """


def tell_shares(policy: JobPolicy, rows: Iterable[tuple[Any, ...]]) -> None:
    """Tell a policy that wants to know of the valid ones among judged rows (in the order of ``ShareRow``)."""
    if not isinstance(policy, HearsShares):
        return
    arrived: dict[int, list[int]] = {}
    for row in rows:
        if row[_VALID]:
            arrived.setdefault(row[0], []).append(row[_MONOTONIC])
    for miner, stamps in arrived.items():
        policy.hear(miner, stamps)


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """New work on a period, whatever comes back."""

    period_s: float

    def deadline_s(self) -> float:
        """The period."""
        return self.period_s

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class HandshakePolicy:
    """Single-word handshake: one unique job out, the next one at its first valid share or at the time-out."""

    timeout_s: float

    def deadline_s(self) -> float:
        """The time-out."""
        return self.timeout_s

    def replace_on_share(self, *, current: bool, valid: bool) -> bool:
        """At the first valid share of the current job."""
        return current and valid


def policy_for(config: BridgeConfig) -> JobPolicy:
    """Policy of a mode."""
    return (
        StreamPolicy(config.job_period_s)
        if config.mode == "stream"
        else HandshakePolicy(config.swh_timeout_s)
    )


class SequenceSource:
    """Symbols in the order given, one per job; after the last one jobs carry none, or it starts over.

    One sequence serves one miner; with several miners each job takes the next symbol, whoever gets it.
    """

    def __init__(self, symbols: Iterable[JobSymbol], *, repeat: bool = False) -> None:
        self._symbols = list(symbols)
        self._repeat = repeat
        self.sent = 0

    @property
    def exhausted(self) -> bool:
        """Whether every symbol went out."""
        return not self._repeat and self.sent >= len(self._symbols)

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """The next symbol."""
        if not self._symbols or self.exhausted:
            return None
        symbol = self._symbols[self.sent % len(self._symbols)]
        self.sent += 1
        return symbol


class CallbackSource:
    """Symbols from a function of the context."""

    def __init__(self, function: Callable[[DispatchContext], JobSymbol | None]) -> None:
        self._function = function

    def next(self, context: DispatchContext) -> JobSymbol | None:
        """What the function returns."""
        return self._function(context)
