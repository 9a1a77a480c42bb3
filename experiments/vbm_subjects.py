"""What an A/B comparison of pools is made on: an emulated miner, or a real one whose pool is set and set back."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import numpy as np

from firmware_bridge.errors import DeviceError, LabError, UserError

if TYPE_CHECKING:
    from firmware_bridge.devices.device import Device, PoolSettings
    from firmware_bridge.devices.journal import OwnPool, PoolJournal

LONG_S = 1e6
"""Longer than any block: miners are ended by it, not by themselves."""
RESTORE_TRIES = 6
RESTORE_PAUSE_S = 20.0
"""Between attempts to set a miner's own pool again: a restart takes an LV06 away for 40 to 60 s."""


@dataclass(frozen=True)
class Side:
    """What a miner knows of one block itself; a real one knows none of it.

    Attributes:
        eta: fraction of its time that it hashed.
        hashing_s: each stretch of hashing.
        waiting_s: each wait after a share.
        load_s: time for taking up jobs.
        late: part of the time by which this host's timers rang late for an emulated miner.
    """

    eta: float | None
    hashing_s: list[float] = field(default_factory=list)
    waiting_s: list[float] = field(default_factory=list)
    load_s: float = 0.0
    late: float = 0.0


class Subject(Protocol):
    """A miner that can be pointed at an address for a while."""

    name: str

    async def block(self, host: str, port: int, seconds: float, started: Callable[[], None]) -> Side:
        """Mine there for so long; ``started`` is called when the time begins to count.

        Raises:
            LabError: if it cannot.
        """

    async def end(self) -> None:
        """Leave the miner as it was found."""


class EmulatedSubject:
    """Emulated miners (``emulator.work_miner``), new in every block; what they do not know of each other adds up.

    Args:
        t_hash_s: mean time of a share.
        waits: the part of its shares after which their firmware waits a round trip: 1 after each, 0 after none.
        seed: chance.
        load_s: what taking up a job costs.
        constant: whether each share takes exactly the mean.
        miners: how many, each with its own connection; more give a narrower interval in the same time.
    """

    def __init__(
        self,
        t_hash_s: float,
        *,
        waits: float,
        seed: int,
        load_s: float = 0.0,
        constant: bool = False,
        miners: int = 1,
    ) -> None:
        if not 0 < t_hash_s < math.inf:
            raise UserError(f"the mean time of a share is above 0 s, not {t_hash_s!r}")
        if miners < 1:
            raise UserError(f"there is at least one miner, not {miners}")
        count = "" if miners == 1 else f", {miners} miners"
        self.name = (
            f"emulated, {'queues' if not waits else 'waits' if waits >= 1 else f'waits for {waits:g}'}{count}"
        )
        self.t_hash_s, self.waits, self.load_s, self._constant = t_hash_s, waits, load_s, constant
        self._miners = miners
        self._rng = np.random.default_rng(seed)

    async def block(self, host: str, port: int, seconds: float, started: Callable[[], None]) -> Side:
        """Mine for a while, counted from when the last of them has work."""
        from firmware_bridge.emulator.work_miner import WorkMiner, joined

        miners = [
            WorkMiner(
                host,
                port,
                t_hash_s=self.t_hash_s,
                waits=self.waits,
                load_s=self.load_s,
                constant=self._constant,
                rng=rng,
            )
            for rng in self._rng.spawn(self._miners)
        ]
        waiting, ready = len(miners), asyncio.Event()

        def one_more() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                ready.set()

        work = [asyncio.ensure_future(m.run(LONG_S, on_first_job=one_more)) for m in miners]
        first = asyncio.ensure_future(ready.wait())
        try:
            done, _ = await asyncio.wait({*work, first}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a miner that ends before its time has failed
            started()
            done, _ = await asyncio.wait(work, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*work, first):
                task.cancel()
            await asyncio.gather(*work, first, return_exceptions=True)
        ledger = joined([miner.ledger for miner in miners])
        return Side(
            ledger.eta,
            [ns / 1e9 for ns in ledger.hashes_ns],
            [ns / 1e9 for ns in ledger.waits_ns],
            ledger.loading_ns / 1e9,
            ledger.late,
        )

    async def end(self) -> None:
        """Nothing was changed."""


async def own_pool(device: Device, journal: PoolJournal, password: str = "x") -> PoolSettings:
    """Pool of a device that could be set again: the present one, or that from before where a killed run left its own.

    Args:
        device: open.
        journal: of pools that were not set back, as after ``kill -9``.
        password: of its worker there, which no firmware tells.

    Raises:
        UserError: where it does not tell, or where setting one pool would delete others.
    """
    from firmware_bridge.devices.device import PoolSettings

    pools = (await device.read_telemetry()).pools
    if len(pools) > 1 and device.name == "lb-box":
        raise UserError(
            f"{device.address}: it has {len(pools)} pools, and setting one deletes the others with their passwords; "
            "leave it one pool first. Nothing was changed"
        )
    pool = next((p for p in pools if p.active), pools[0] if pools else None)
    url = "" if pool is None else pool.url
    try:
        place = urlsplit(url if "://" in url else f"//{url}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if pool is None or not host or not port or not pool.user:
        raise UserError(
            f"{device.address}: it does not tell its pool, so that could not be set again; nothing was changed"
        )
    present = PoolSettings(host, port, pool.user, password)
    left = journal.get(device.address)
    if left is None or left.wish or left.lab != present.url:
        return present
    return PoolSettings(left.host, left.port, left.user, password)


class DeviceSubject:
    """A real miner: its pool is set for each block, and its own one is set again at the end.

    Args:
        device: open; the user has agreed that its pool is changed.
        user: worker name in each block; None for that of its own pool.
        password: of that worker and of its own pool, which no firmware tells.
        settle_s: time after a change until it counts, for its connection and first shares.
        on_notice: told what its own pool is, before anything is changed, and when that is set again.
        journal: where its own pool is remembered, should this process be killed.
    """

    def __init__(
        self,
        device: Device,
        *,
        user: str | None = None,
        password: str = "x",
        settle_s: float = 90.0,
        on_notice: Callable[[str], None] = lambda text: None,
        journal: PoolJournal | None = None,
    ) -> None:
        from firmware_bridge.devices.journal import PoolJournal

        self.name = device.address
        self._journal = PoolJournal() if journal is None else journal
        self._device = device
        self._user = user
        self._password = password
        self._settle_s = settle_s
        self._on_notice = on_notice
        self._own: PoolSettings | None = None
        self._wish: OwnPool | None = None

    async def block(self, host: str, port: int, seconds: float, started: Callable[[], None]) -> Side:
        """Point it there, wait until it has settled, and let the time pass.

        Raises:
            UserError: if its own pool cannot be read; nothing was changed then.
            DeviceError: if it does not answer, or does not take the pool.
        """
        await self.point(host, port)
        await self._device.sleep(self._settle_s)
        started()
        await self._device.sleep(seconds)
        return Side(None)

    async def point(self, host: str, port: int) -> None:
        """Point it there; :meth:`end` sets its own pool again.

        Raises:
            UserError: if its own pool cannot be read, or no pool be set; nothing was changed then.
            DeviceError: if it does not answer, or does not take the pool.
        """
        from firmware_bridge.devices.device import PoolSettings
        from firmware_bridge.devices.journal import OwnPool

        untouched = self._own is None
        own = self._own or await own_pool(self._device, self._journal, self._password)
        user = own.user if self._user is None else self._user
        pool = PoolSettings(host, port, user, self._password)
        left = self._journal.get(self._device.address)
        if untouched:
            self._wish = left if left is not None and left.wish and left.lab == own.url else None
        # after kill -9 what asiclab devices restore brings back is the pool from before any change
        first = self._wish or own
        self._journal.keep(self._device.address, OwnPool(first.host, first.port, first.user, pool.url))
        if untouched:
            self._on_notice(
                f"{self.name}: its own pool is {own.url}, worker {own.user}; that is set again at the end"
            )
            self._own = own  # from here on it may be changed
        try:
            await self._device.set_pool(pool)
        except UserError:
            if untouched:  # it has no such setting, so nothing was changed and nothing is to be set again
                self._own = None
                self._remember(left)
            raise

    async def end(self) -> None:
        """Set its own pool again, whatever ended the comparison; not even cancellation interrupts it.

        Raises:
            DeviceError: if it does not answer for two minutes: with what to set by hand.
        """
        if self._own is None:
            return
        task = asyncio.ensure_future(self._restore(self._own))
        cancelled = False
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                cancelled = True
                if task.cancelled():
                    raise
        task.result()
        self._remember(self._wish)
        self._own = None
        if cancelled:
            raise asyncio.CancelledError

    def _remember(self, pool: OwnPool | None) -> None:
        """What the journal knows of the device from now on."""
        if pool is None:
            self._journal.forget(self._device.address)
        else:
            self._journal.keep(self._device.address, pool)

    async def _restore(self, own: PoolSettings) -> None:
        """Try again and again: what was interrupted may have left the device in the middle of a restart."""
        self._on_notice(
            f"{self.name}: setting its own pool again; where that takes a restart it takes minutes"
        )
        for left in reversed(range(RESTORE_TRIES)):
            try:
                await self._device.set_pool(own)
                return
            except (
                LabError
            ) as error:  # a page that is just not there may read like a firmware without the setting
                if not left:
                    raise DeviceError(
                        f"{error}. Its own pool is NOT set again: give it {own.url}, worker {own.user}, by hand, or "
                        f"with asiclab devices restore {self.name}"
                    ) from error
            await self._device.sleep(RESTORE_PAUSE_S)
