"""An emulated miner as a device in a network: its own ports on a loopback address, and real mining behind them.

A model's *face* says which servers it has and how it answers (``s9_api``, ``lv06_http``, ``lb_box_api``); this module
binds them, mines for the pool (a built-in one where none is given), and plays a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.emulator.builtin_pool import BuiltinPool
from firmware_bridge.emulator.faults import Faults
from firmware_bridge.emulator.machine import Counts, Machine
from firmware_bridge.emulator.mine import mine
from firmware_bridge.emulator.model import get_model
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig, WallSummary, joined
from firmware_bridge.errors import UserError
from firmware_bridge.stratum.client_session import ClientStats

BUILTIN_SCALE = 2.0**-24
"""Difficulty scale for the built-in pool: hashing goes on, and leaves the CPU to others."""
BUILTIN_DIFFICULTY = {"lv06": 256.0}
"""Difficulty of the built-in pool: where a model finds few shares, its own floor."""
USUAL_DIFFICULTY = 2048.0
RETRY_S = 10.0
"""Between attempts to mine for a pool that was set later and cannot be mined for."""
ANSWER_S = 0.05
"""Time for the answer to a restart to leave before the servers go."""

Sleep = Callable[[float], Awaitable[None]]


class Server(Protocol):
    """One of a face's servers."""

    async def start(self, host: str, port: int) -> int:
        """Listen; the port."""

    async def stop(self) -> None:
        """Hang up on everybody."""


class Face(Protocol):
    """How a model shows itself in the network."""

    machine: Machine
    restart_s: float
    aside: frozenset[str]
    """Servers that the device can be used without: on their usual ports they may be missing."""
    takes: frozenset[str]
    """Names of its options."""

    def __init__(self, clock: Clock, rng: np.random.Generator, options: Mapping[str, Any]) -> None: ...

    def servers(self) -> Mapping[str, tuple[Server, int]]:
        """``http`` and ``api``: the server and its usual port."""


FACES = {
    "s9": ("firmware_bridge.emulator.s9_api", "S9Face"),
    "lv06": ("firmware_bridge.emulator.lv06_http", "Lv06Face"),
    "lb-box": ("firmware_bridge.emulator.lb_box_api", "LbBoxFace"),
}
"""Model to the module and class of its face; the class takes ``(clock, rng, options)``."""


@dataclass(frozen=True)
class ApplianceConfig:
    """What to emulate, and where it answers.

    Attributes:
        wall: the miner: model, scale, seed, limits, physics, plants; its pool is ``pool``.
        pool: host and port, or None for the built-in one.
        bind: address of its servers.
        http_port: in the place of the model's own; 0 takes a free one.
        api_port: the same for the cgminer API.
        lenient: a port that cannot be bound is a warning, not an error.
        options: of the face: firmware era, faults of its firmware; and those of its body (``faults.Faults``).
        restart_s: how long a restart takes; None means what the model takes.
    """

    wall: WallConfig
    pool: tuple[str, int] | None = None
    bind: str = "127.0.0.1"
    http_port: int | None = None
    api_port: int | None = None
    lenient: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    restart_s: float | None = None


class Appliance:
    """One emulated miner with its servers.

    Args:
        config: what to emulate.
        on_warning: called with each warning as it arises.
        clock: of its up time, heat and answers.
        sleep: how a restart waits.
    """

    def __init__(
        self,
        config: ApplianceConfig,
        on_warning: Callable[[str], None] = lambda text: None,
        *,
        clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        config.wall.check()
        self.config = config
        self.clock: Clock = clock or SystemClock()
        self._sleep = sleep
        self._on_warning = on_warning
        module, name = FACES[config.wall.model]
        chance = np.random.default_rng([config.wall.seed, 5])
        face_rng, self._pool_rng = chance.spawn(2)
        faults, options = Faults.taken(config.options)
        face_type: type[Face] = getattr(importlib.import_module(module), name)
        if unknown := sorted(options.keys() - face_type.takes):
            known = ", ".join(sorted({*face_type.takes, *(f.name for f in fields(Faults))}))
            raise UserError(f"--fault {unknown[0]}: an emulated {config.wall.model} has {known}")
        self.face: Face = face_type(self.clock, face_rng, options)
        self.machine = self.face.machine
        self.machine.faults = faults
        self.machine.counts = self._counts
        self.machine.on_restart = lambda: self._changed("restart")
        self.machine.on_pool = lambda: self._changed("pool")
        self.machine.on_rate = lambda: self._changed("rate")
        self.machine.pool_difficulty = lambda: None if self._miner is None else self._miner.client.difficulty
        self.ports: dict[str, int] = {}
        self.warnings: list[str] = []
        self._builtin: BuiltinPool | None = None
        self._miner: WallMiner | None = None
        self._done: list[WallSummary] = []
        self._failed = Counts()  # of pools that could be mined for no longer
        self._reason: str | None = None
        self._wish: str | None = None
        self._wished: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- life ----

    async def start(self) -> dict[str, Any]:
        """Bind everything; what the ready line says.

        Raises:
            UserError: if a port cannot be bound: with the remedy.
        """
        self._loop = asyncio.get_running_loop()
        config, stored = self.config, self.machine.stored
        difficulty = BUILTIN_DIFFICULTY.get(config.wall.model, USUAL_DIFFICULTY)
        if config.pool is None:
            self._builtin = BuiltinPool(self._pool_rng, self.clock, difficulty)
            stored.pool_host, stored.pool_port = "127.0.0.1", await self._builtin.start("127.0.0.1")
        else:
            stored.pool_host, stored.pool_port = config.pool
        stored.pool_user = config.wall.user or get_model(config.wall.model).user
        self.machine.take_up()
        try:
            await self._listen()
        except BaseException:
            await self.close()
            raise
        return {
            "ready": True,
            "model": config.wall.model,
            "host": config.bind,
            "ports": dict(self.ports),
            "pool": f"{stored.pool_host}:{stored.pool_port}",
            "builtin_pool": self._builtin is not None,
            "url": self._url(),
            "scale": self._scale(),
        }

    async def serve(self) -> WallSummary:
        """Mine and answer until the limits of the configuration, or until somebody asks to stop.

        Raises:
            UserError: if the first pool cannot be reached, or refuses this miner. One that is set later does not end
                it: a device without its pool goes on answering.
        """
        assert self._loop is not None, "start() comes first"
        wall = self.config.wall
        deadline = None if wall.seconds is None else self._loop.time() + wall.seconds
        try:
            while (
                self._reason is None or not self._done
            ):  # who is stopped at once has mined nothing, and says so
                left = None if deadline is None else deadline - self._loop.time()
                if left is not None and left <= 0:
                    break
                try:
                    self._done.append(await self._mine(left))
                except UserError as error:
                    if not self._done:
                        raise  # the pool that was asked for; a later one is a setting of the device
                    await self._without_pool(error, left)
                    if self._wish is None:
                        continue
                self._miner = None
                if self._reason is not None or self._wish is None:
                    break
                wish, self._wish = self._wish, None
                self._wished.clear()
                await self._carry_out(wish)
        finally:
            await self.close()
        return self._summary()

    def request_stop(self, reason: str = "asked to stop") -> None:
        """End soon; callable from any thread and from signal handlers."""
        if self._reason is None:
            self._reason = reason
        if self._miner is not None:
            self._miner.request_stop(reason)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wished.set)

    async def close(self) -> None:
        """Let go of every port; :meth:`serve` does it at its end."""
        await self._hang_up()
        if self._builtin is not None:
            await self._builtin.stop()

    async def _hang_up(self) -> None:
        for server, _ in self.face.servers().values():
            await server.stop()

    # ---- servers ----

    def _wanted_port(self, name: str, usual: int) -> int:
        if name in self.ports:
            return self.ports[name]
        given = self.config.http_port if name == "http" else self.config.api_port
        return usual if given is None else given

    async def _listen(self) -> None:
        for name, (server, usual) in self.face.servers().items():
            port = self._wanted_port(name, usual)
            try:
                self.ports[name] = await server.start(self.config.bind, port)
            except OSError as error:
                option = "--http-port" if name == "http" else "--api-port"
                reason = error.strerror or str(error)
                text = (
                    f"{self.config.bind}:{port} cannot be bound ({reason}); give another port with {option} "
                    f"{8080 if name == 'http' else 14028} (0 takes a free one) or another address with --bind 127.0.0.2"
                )
                if port < 1024 and isinstance(error, PermissionError):
                    text += "; ports below 1024 need privileges"
                aside = name in self.face.aside and self.config.http_port is None
                if not (self.config.lenient or aside):
                    raise UserError(text) from error
                self._warn(f"{text}. It mines without that server")

    def _url(self) -> str | None:
        scheme = self.config.wall.model
        main = "api" if scheme == "s9" else "http"
        if main not in self.ports:
            return None
        query = f"?api={self.ports['api']}" if scheme == "lb-box" and "api" in self.ports else ""
        if scheme == "s9" and "http" in self.ports:
            query = f"?http={self.ports['http']}"
        return f"{scheme}://{self.config.bind}:{self.ports[main]}{query}"

    # ---- mining ----

    def _scale(self) -> float | None:
        if self.config.wall.scale is None and self._builtin is not None:
            return BUILTIN_SCALE
        return self.config.wall.scale

    def _wall_config(self, left_s: float | None) -> WallConfig:
        wall, in_force = self.config.wall, self.machine.in_force
        physics = Physics.of(wall.model) if wall.physics is None else wall.physics
        if physics.hash_rate_ths is None:
            physics = replace(physics, hash_rate_ths=max(self.machine.hash_rate_ghs, 1e-6) / 1e3)
        accepted = sum(summary.accepted for summary in self._done)
        return replace(
            wall,
            host=in_force.pool_host,
            port=in_force.pool_port,
            scale=self._scale(),
            seconds=left_s,
            shares=None if wall.shares is None else max(1, wall.shares - accepted),
            physics=physics,
            user=in_force.pool_user,
            seed=wall.seed + len(self._done),
            local_address=self._local_address(in_force.pool_host),
        )

    def _local_address(self, pool_host: str) -> str | None:
        """Shares come from the address that the servers have, where pool and servers are both on loopback."""
        try:
            both = [ipaddress.ip_address(self.config.bind), ipaddress.ip_address(pool_host)]
        except ValueError:
            return None
        usable = all(a.is_loopback and a.version == 4 for a in both)
        return self.config.bind if usable else None

    async def _mine(self, left_s: float | None) -> WallSummary:
        mining = asyncio.ensure_future(mine(self._wall_config(left_s), self._took_over, self._warn))
        wishing = asyncio.ensure_future(self._wished.wait())
        try:
            await asyncio.wait({mining, wishing}, return_when=asyncio.FIRST_COMPLETED)
            if self._wish == "restart" and self._reason is None:
                await asyncio.sleep(ANSWER_S)
                await self._hang_up()
            if not mining.done() and self._miner is not None:
                self._miner.request_stop(self._reason or f"the device takes up another {self._wish}")
            return await mining
        finally:
            for task in (mining, wishing):
                task.cancel()
            await asyncio.gather(mining, wishing, return_exceptions=True)

    async def _without_pool(self, error: UserError, left_s: float | None) -> None:
        """Answer on, and try again after a while or at the next wish."""
        if (text := str(error)) not in self.warnings:
            self._warn(text)
        if self._miner is not None:
            self._failed += _counted(self._miner.client.stats)
            self._miner = None
        pause_s = RETRY_S if left_s is None else min(RETRY_S, left_s)
        await _first_of(self._wished.wait(), self._sleep(pause_s))

    def _took_over(self, miner: WallMiner) -> None:
        self._miner = miner
        if self._reason is not None or self._wished.is_set():
            miner.request_stop(self._reason or "the device changes")

    def _changed(self, wish: str) -> None:
        rank = ("rate", "pool", "restart")  # each of them also does what the ones before do
        if self._wish is None or rank.index(wish) > rank.index(self._wish):
            self._wish = wish
        self._wished.set()

    async def _carry_out(self, wish: str) -> None:
        """A restart takes the servers away for a while; another pool or clock only changes how it mines."""
        if wish == "pool":
            self.machine.take_up()
        if wish != "restart":
            return
        self.machine.stop()
        await self._hang_up()
        pause_s = self.face.restart_s if self.config.restart_s is None else self.config.restart_s
        await _first_of(self._until_stopped(), self._sleep(pause_s))
        if self._reason is None:
            self.machine.start()
            await self._listen()

    async def _until_stopped(self) -> None:
        while self._reason is None:
            await self._wished.wait()
            if self._reason is None:  # a wish during the pause: the restart under way grants it
                self._wish = None
                self._wished.clear()

    # ---- accounts ----

    def _counts(self) -> Counts:
        live = [] if self._miner is None else [_counted(self._miner.client.stats)]
        return sum((*map(_counted, self._done), *live), start=self._failed)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._on_warning(text)

    def _summary(self) -> WallSummary:
        if not self._done:
            raise UserError(f"the emulated {self.config.wall.model} was stopped before it began to mine")
        reason = self._reason or self._done[-1].reason
        return replace(joined(self._done), warnings=list(self.warnings), reason=reason)


async def _first_of(*waits: Awaitable[object]) -> None:
    """Until one of them is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _counted(part: WallSummary | ClientStats) -> Counts:
    return Counts(part.accepted, sum(part.rejected.values()), part.connections)
