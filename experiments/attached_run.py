"""One run of the bridge for one cell on an attached miner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from experiments import attached_miner
from experiments.hosting import Patience, as_one, attend, serve_miner
from firmware_bridge.errors import DeviceError

if TYPE_CHECKING:
    from experiments.attached import Attached
    from experiments.held_point import Held
    from experiments.hosting import Miner
    from firmware_bridge.devices.settings import OperatingPoint
    from firmware_bridge.stratum.server import Bridge
    from firmware_bridge.timing.run_data import RunData


SIGN_S = 60.0
"""Between two words on how far a cell is, which can take hours."""


class Signs:
    """Says from time to time how many shares there are.

    Args:
        name: of the miner.
        shares: that the cell asks for; None where something else ends it.
        tell: takes a line for people.
        now_s: when it begins.
    """

    def __init__(self, name: str, shares: int | None, tell: Callable[[str], None], now_s: float) -> None:
        self._name, self._tell, self._told_s = name, tell, now_s
        self._of = "" if shares is None else f" of {shares}"

    def look(self, now_s: float, shares: int) -> None:
        """Say so if it is time."""
        if now_s - self._told_s >= SIGN_S:
            self._told_s = now_s
            self._tell(f"{self._name}: {shares}{self._of} shares")


@runtime_checkable
class Ending(Protocol):
    """A source of symbols that knows when it is done: the run then ends, however many shares there were."""

    on_end: Callable[[], object]


class Recording:
    """One run of the bridge for one cell.

    Args:
        subject: who mines.
        seed: of the jobs.
        shares: that count; None where the end of ``source`` ends it.
        hold: point that the miner is held at.
        seconds: after which a held one ends, with what came.
        carrier: job field that the planted effects of an emulated one follow.
        source: of symbols.
        telemetry_period_s: between two readings of a device; None reads none.
    """

    def __init__(
        self,
        subject: Attached,
        seed: int,
        shares: int | None,
        *,
        hold: OperatingPoint | None = None,
        seconds: float | None = None,
        carrier: str = "prevhash",
        source: Any = None,
        telemetry_period_s: float | None = None,
    ) -> None:
        self._subject, self._seed, self._shares = subject, seed, shares
        self._hold, self._seconds, self._carrier = hold, seconds, carrier
        self._source, self._telemetry_period_s = source, telemetry_period_s
        self.began_wall_ns: int | None = None
        self.began_monotonic_ns: int | None = None
        self.held: Held | None = None

    async def run(self, settings: Mapping[str, Any]) -> str:
        """Record; id of the run."""
        from firmware_bridge.stratum.config import BridgeConfig
        from firmware_bridge.stratum.server import Bridge
        from firmware_bridge.trace.schema import RunRecord
        from firmware_bridge.trace.writer import TraceWriter

        subject = self._subject
        # a virtual run of this kind hands over at every share unless it says otherwise; so does this one
        config = BridgeConfig(host=subject.host, port=subject.port, **{"mode": "swh", **settings})
        record = RunRecord(
            kind="live",
            source="bridge",
            seeds={"jobs": self._seed},
            config={"experiment": True, "device": subject.to_json()["device"]},
            plants=dict(subject.plants),
            physics=subject.own_physics(),
        )
        miner = await attached_miner.miner_of(
            subject,
            self._seed,
            carrier=self._carrier,
            hold=self._hold,
            period_s=self._telemetry_period_s,
            on_notice=subject.notice,  # who presses Ctrl-C is told why it takes a while
        )
        rng = np.random.default_rng(self._seed)
        writer = partial(TraceWriter, subject.db)
        server = Bridge(config, writer, rng, record=record, source=self._source)
        if isinstance(self._source, Ending):
            self._source.on_end = partial(server.request_stop, "the source of the symbols is done", "success")
        host, port = await server.start()
        limit = self._shares if self._hold is None else None
        failures = await serve_miner(server, miner, self._watch(server, miner, host, port), shares=limit)
        if failures:
            raise as_one(failures)
        return str(server.run.run_id)

    async def _watch(self, server: Bridge, miner: Miner, host: str, port: int) -> None:
        """Bring the miner in, and give up where no share comes; a held one that answers has ended then.

        Raises:
            LabError: if it cannot be brought in, breaks down, or stays away too long.
        """
        from experiments.held_point import AtPoint

        patience = Patience(server, miner, host, port, self._subject.patience_s)
        loop = asyncio.get_running_loop()
        first, began_s = 0, loop.time()
        signs = Signs(miner.name, self._shares, self._subject.notice, began_s)

        def look(joined: bool) -> None:
            nonlocal first, began_s
            if self._hold is None or self.began_wall_ns is not None:
                signs.look(loop.time(), server.stats.accepted - first)
            if self._hold is None:
                patience.look()
                return
            if not joined:  # restarts and settling take what they take
                return
            if self.began_wall_ns is None:
                self.held = miner.held if isinstance(miner, AtPoint) else None
                clock = server.clock
                self.began_wall_ns, self.began_monotonic_ns = clock.wall_ns(), clock.monotonic_ns()
                asked = {str(s): float(v) for s, v in self._hold.given().items()}
                detail = {"asked": asked} if self.held is None else self.held.to_json()
                times = {"wall_ns": self.began_wall_ns, "monotonic_ns": self.began_monotonic_ns}
                server.run.event("settled", "info", detail, **times)
                first, began_s = server.stats.accepted, loop.time()
                patience.restart()
            if self._shares is not None and self._seconds is not None:
                if server.stats.accepted - first >= self._shares:
                    server.request_stop(f"{self._shares} shares")
                elif loop.time() - began_s > self._seconds:
                    server.request_stop(f"{self._seconds:g} s at this point")
            patience.look()

        try:
            await attend(server, miner, host, port, look)
        except DeviceError:
            if not patience.silent:
                raise
            held = isinstance(miner, AtPoint) and self.held is not None and await miner.answers()
            if not held:
                raise
            server.request_stop(f"no share for {self._subject.patience_s:g} s, though the device answers")
            await asyncio.Event().wait()


def since(data: RunData, wall_ns: int | None, monotonic_ns: int | None) -> RunData:
    """The shares of a run after a moment; the interval that reaches over it is unknown, for long ones do so oftener."""
    at_ns = monotonic_ns if data.time_source == "monotonic" else wall_ns
    if at_ns is None:
        return data
    kept = data.select(data.time_ns >= at_ns)
    interval_ms, first_of_job = kept.interval_ms.copy(), kept.first_of_job.copy()
    for number in kept.miner_numbers():
        interval_ms[np.flatnonzero(kept.miner == number)[0]] = np.nan
    jobs = int(np.unique(kept.job[kept.job >= 0]).size)
    return replace(kept, interval_ms=interval_ms, first_of_job=first_of_job, jobs_sent=jobs)
