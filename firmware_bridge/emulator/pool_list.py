"""The pools of an emulated cgminer: numbers that stay, priorities that move, and the commands that change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.devices.cgminer_api import Code, Reply, decode_pool

POOLS_LIMIT = 32
"""Pools that are taken; an emulator's memory stays bounded whatever it is told."""


@dataclass(slots=True)
class Pool:
    """One pool."""

    host: str
    port: int
    user: str
    enabled: bool = True

    @property
    def url(self) -> str:
        """As miners write it."""
        return f"stratum+tcp://{self.host}:{self.port}"

    @classmethod
    def of(cls, url: str, user: str) -> Pool | None:
        """The pool of a URL, or None where it is none."""
        host, _, port = url.removeprefix("stratum+tcp://").rstrip("/").rpartition(":")
        if not host or len(port) > 5 or not port.isdecimal() or not 0 < int(port) < 65536:
            return None
        return cls(host, int(port), user)


class PoolList:
    """Pools by number.

    Args:
        on_active: called with the pool that is mined for, each time it becomes another.
    """

    def __init__(self, on_active: Callable[[Pool], None]) -> None:
        self._on_active = on_active
        self._pools: list[Pool] = []
        self._order: list[int] = []  # numbers of pools, the first one is preferred

    def __len__(self) -> int:
        return len(self._pools)

    def __getitem__(self, number: int) -> Pool:
        return self._pools[number]

    def set(self, pools: list[Pool]) -> None:
        """Take these in the place of all others, without calling anybody."""
        self._pools = list(pools[:POOLS_LIMIT])
        self._order = list(range(len(self._pools)))

    @property
    def active(self) -> int:
        """Number of the pool that is mined for: the enabled one of the highest priority."""
        return next((n for n in self._order if self._pools[n].enabled), 0)

    def priority(self, number: int) -> int:
        """Priority of a pool, 0 is the highest."""
        return self._order.index(number)

    # ---- commands ----

    def add(self, parameter: str | None) -> Reply:
        """``addpool``: URL, user and password, with commas between them."""
        if not parameter:
            return Reply("E", Code.ADDPOOL_MISSING, "Missing addpool details")
        parts = decode_pool(parameter)
        pool = Pool.of(parts[0], parts[1]) if len(parts) == 3 else None
        if pool is None or len(self._pools) >= POOLS_LIMIT:
            return Reply("E", Code.ADDPOOL_BAD, f"Invalid addpool details '{parts[0]}'")
        self._pools.append(pool)
        self._order.append(len(self._pools) - 1)
        return Reply("S", Code.POOL_ADDED, f"Added pool {len(self._pools) - 1}: '{pool.url}'")

    def switch(self, parameter: str | None) -> Reply:
        """``switchpool``: it gets the highest priority, and is enabled."""
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number

        def change() -> None:
            self._order.remove(number)
            self._order.insert(0, number)
            self._pools[number].enabled = True

        self._changed(change)
        return Reply("S", Code.SWITCHED_POOL, f"Switching to pool {number}: '{self._pools[number].url}'")

    def enable(self, parameter: str | None) -> Reply:
        """``enablepool``."""
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        pool = self._pools[number]
        if pool.enabled:
            return Reply("I", Code.ALREADY_ENABLED, f"Pool {number}:'{pool.url}' already enabled")
        self._changed(lambda: setattr(pool, "enabled", True))
        return Reply("S", Code.POOL_ENABLED, f"Enabling pool {number}:'{pool.url}'")

    def disable(self, parameter: str | None) -> Reply:
        """``disablepool``; one always stays."""
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        pool = self._pools[number]
        if not pool.enabled:
            return Reply("I", Code.ALREADY_DISABLED, f"Pool {number}:'{pool.url}' already disabled")
        if sum(p.enabled for p in self._pools) == 1:
            return Reply("E", Code.LAST_POOL, f"Cannot disable last active pool {number}:'{pool.url}'")
        self._changed(lambda: setattr(pool, "enabled", False))
        return Reply("S", Code.POOL_DISABLED, f"Disabling pool {number}:'{pool.url}'")

    def remove(self, parameter: str | None) -> Reply:
        """``removepool``; neither the last one nor the one that is mined for."""
        number = self._number(parameter)
        if isinstance(number, Reply):
            return number
        pool = self._pools[number]
        if len(self._pools) == 1:
            return Reply("E", Code.REMOVE_LAST, f"Cannot remove last pool {number}:'{pool.url}'")
        if number == self.active:
            return Reply("E", Code.REMOVE_ACTIVE, f"Cannot remove active pool {number}:'{pool.url}'")
        del self._pools[number]
        self._order = [n - (n > number) for n in self._order if n != number]
        return Reply("S", Code.POOL_REMOVED, f"Removed pool {number}:'{pool.url}'")

    def prioritise(self, parameter: str | None) -> Reply:
        """``poolpriority``: numbers with commas between them; those not named follow in their present order."""
        wanted: list[int] = []
        for part in (parameter or "").split(",") if parameter else [""]:
            number = self._number(part)
            if isinstance(number, Reply):
                return number
            if number not in wanted:
                wanted.append(number)

        def change() -> None:
            self._order = [*wanted, *(n for n in self._order if n not in wanted)]

        self._changed(change)
        return Reply("S", Code.POOL_PRIORITY, "Changed pool priorities")

    def _number(self, parameter: str | None) -> int | Reply:
        text = (parameter or "").strip()
        if not text:
            return Reply("E", Code.MISSING_POOL_ID, "Missing pool id parameter")
        if len(text) > 5 or not text.isdecimal() or int(text) >= len(self._pools):
            last = len(self._pools) - 1
            return Reply("E", Code.INVALID_POOL_ID, f"Invalid pool id {text[:20]} - range is 0 - {last}")
        return int(text)

    def _changed(self, change: Callable[[], None]) -> None:
        before = self._pools[self.active]
        change()
        if self._pools[self.active] is not before:
            self._on_active(self._pools[self.active])
