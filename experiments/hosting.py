"""One run of the bridge for one miner that is brought in, watched, and left as it was found.

Driving a miner with an input and recording a cell of an experiment differ in what they send and in when they give up;
how a miner is joined and let go is here, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from firmware_bridge.errors import DeviceError, LabError

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

LOOK_S = 0.25
"""Between two looks at the progress."""


class NotLeftError(DeviceError):
    """Somebody asked to stop, and not all came to its end: the miner may not be as it was found."""


class Miner(Protocol):
    """What mines for the bridge."""

    name: str
    model: str | None
    """Where it is one that can be emulated in virtual time."""

    async def join(self, bridge: Bridge, host: str, port: int) -> None:
        """Have it mine for the bridge.

        Raises:
            LabError: if it cannot.
        """

    async def failed(self) -> str:
        """Wait until it cannot go on: why. Most never return from here."""

    async def end(self) -> None:
        """Leave it as it was found, whatever happened before."""


async def serve_miner(
    server: Bridge, miner: Miner, watching: Coroutine[Any, Any, object], *, shares: int | None = None
) -> list[Exception]:
    """Serve a started bridge until its limit, a request to stop, or the watch gives up; then let the miner go.

    Args:
        server: started.
        miner: who is let go at the end, whatever ended it, cancellation among it.
        watching: brings the miner in and looks after it; ends only with an error.
        shares: limit, in valid shares.

    Returns:
        What went wrong, in the order of server, watch, and letting go; none where nothing did.

    Raises:
        NotLeftError: where it is cancelled, and something went wrong as well.
    """
    failures: list[Exception] = []
    try:
        await _serve_miner(server, miner, watching, shares, failures)
    except asyncio.CancelledError:
        if failures:  # nobody gets the list then
            raise NotLeftError(str(as_one(failures))) from None
        raise
    return failures


async def _serve_miner(
    server: Bridge,
    miner: Miner,
    watching: Coroutine[Any, Any, object],
    shares: int | None,
    failures: list[Exception],
) -> None:
    serving = asyncio.ensure_future(server.serve(shares=shares))
    guarding = asyncio.ensure_future(watching)
    try:
        await asyncio.wait({serving, guarding}, return_when=asyncio.FIRST_COMPLETED)
        if guarding.done() and (found := guarding.exception()) is not None:
            server.request_stop(str(found), "fail")
    finally:
        guarding.cancel()
        server.request_stop("cancelled", "abort")
        try:
            found_out = await asyncio.gather(serving, guarding, return_exceptions=True)
            failures.extend(e for e in found_out if isinstance(e, Exception))
        finally:  # whoever is in a hurry: the miner is left as it was found
            try:
                await miner.end()
            except LabError as error:
                failures.append(error)


def as_one(failures: Sequence[Exception]) -> Exception:
    """One error that says all that went wrong, of the kind of the first, since the others may follow from it.

    A mistake in the program comes before errors of the lab, which are noted on it.
    """
    first = next((one for one in failures if not isinstance(one, LabError)), failures[0])
    others = [text for text in dict.fromkeys(map(str, failures)) if text != str(first)]
    if not others:
        return first
    if not isinstance(first, LabError):
        for text in others:
            first.add_note(text)
        return first
    error = type(first)("; ".join([str(first), *others]))
    error.__cause__ = first
    return error


async def attend(
    server: Bridge, miner: Miner, host: str, port: int, look: Callable[[bool], None]
) -> NoReturn:
    """Have a miner join, which may take a restart, and look after it until it breaks down.

    Args:
        server: started.
        miner: to bring in.
        host: where the bridge listens.
        port: where the bridge listens.
        look: called some times a second with whether it has joined; raises where the miner stays away too long.

    Raises:
        LabError: if it cannot be brought in, breaks down, or ``look`` says so.
    """
    joined = False

    async def bring() -> str:
        nonlocal joined
        await miner.join(server, host, port)
        joined = True
        return await miner.failed()

    bringing = asyncio.ensure_future(bring())
    try:
        while True:
            look(joined)
            await asyncio.wait({bringing}, timeout=LOOK_S)
            if bringing.done():
                raise DeviceError(f"{miner.name} ended early: {bringing.result()}")
    finally:
        bringing.cancel()
        await asyncio.gather(bringing, return_exceptions=True)


class Patience:
    """Gives up where no share comes for too long.

    Args:
        server: started.
        miner: of whom shares are expected.
        host: where the bridge listens.
        port: where the bridge listens.
        patience_s: how long the miner may stay away.
        kept: how to go on with what was measured.

    Attributes:
        since_s: loop time of the last share that was seen, or of the beginning.
    """

    def __init__(
        self,
        server: Bridge,
        miner: Miner,
        host: str,
        port: int,
        patience_s: float,
        kept: str = "--resume goes on",
    ) -> None:
        self._server, self._name, self._place = server, miner.name, f"{host}:{port}"
        self._patience_s, self._kept = patience_s, kept
        self._loop = asyncio.get_running_loop()
        self._seen = server.stats.accepted
        self.since_s = self._loop.time()

    @property
    def silent(self) -> bool:
        """Whether it has been waited for long enough."""
        return self._loop.time() - self.since_s > self._patience_s

    def restart(self) -> None:
        """Wait from now on."""
        self._seen, self.since_s = self._server.stats.accepted, self._loop.time()

    def look(self) -> None:
        """Take note of shares that came.

        Raises:
            DeviceError: if none came for too long.
        """
        if self._server.stats.accepted != self._seen:
            self.restart()
        elif self.silent:
            raise DeviceError(
                f"{self._name}: no share at {self._place} for {self._patience_s:g} s; can it reach this address? What "
                f"was measured is kept: {self._kept}"
            )
