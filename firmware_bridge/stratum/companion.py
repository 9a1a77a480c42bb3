"""What takes part in a bridge's run besides Stratum connections: chains behind a serial port, pollers of telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge


class Companion(Protocol):
    """Something else that takes part in the run: a poller of telemetry, or a source of shares."""

    async def start(self, bridge: Bridge) -> None:
        """Take part from now on."""

    async def stop(self) -> None:
        """Bring nothing more."""


class ShareSource(Companion, Protocol):
    """A miner of the run that is no Stratum connection, such as a chain behind a serial port."""

    def acknowledge(self, answers: bytes, count: int) -> None:
        """Shares of this source are durable."""


@runtime_checkable
class Follower(Companion, Protocol):
    """A companion that reads what the run stores, and so has work left when all the others are done."""

    async def ended(self) -> None:
        """The run's end is stored; the bridge waits for this to return."""
