"""A chain as a miner of a bridge's run: jobs out, nonces verified and stored like the shares of a Stratum connection.

The chain's nonces go through the same desk as submits do, so that rows, intervals, statistics and replay cannot tell
the difference. The host chooses extranonce2 here: a new one for every job.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.chain import Chain, ChainNonce
from firmware_bridge.bm13xx.port import Port
from firmware_bridge.errors import DeviceError, LabError, UserError
from firmware_bridge.headers import DEFAULT_VERSION_MASK
from firmware_bridge.stratum.dispatch import DispatchContext, JobPolicy, JobSymbol, SymbolSource
from firmware_bridge.stratum.shares import ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import SubmitLine
from firmware_bridge.trace.schema import TelemetryRow

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

AGENT = "bm1366 over serial"
COUNTERS_EVERY_S = 30.0
"""Time between two looks at the chips' own counters."""


@dataclass(frozen=True)
class SerialMinerConfig:
    """One chain.

    Attributes:
        name: of the miner in the run.
        frequency_mhz: of the clock; None keeps the one that the chain has, or starts at 485 MHz.
        ticket: smallest difficulty that the chips report; a power of two.
        scale: difficulty scale of an emulated chain; 1 for chips.
        baud: working speed; None stays at 115200.
    """

    name: str = "bm1366"
    frequency_mhz: float | None = None
    ticket: float = 256.0
    scale: float = 1.0
    baud: int | None = r.WORKING_BAUD


@dataclass(slots=True)
class _Enrolled:
    """What the roster asks of a session."""

    agent: str
    scale: float
    extranonce1: str
    version_mask: int
    desk: ShareDesk = field(default_factory=ShareDesk)


class SerialMiner:
    """One chain in a run; give it to ``Bridge.attach``.

    Args:
        port: open.
        config: of the chain.
        sleep: how the clock's ramp waits.
    """

    def __init__(self, port: Port, config: SerialMinerConfig, *, sleep: Any = asyncio.sleep) -> None:
        self.config = config
        self.address = port.path
        self.chain = Chain(port, on_nonce=self._found, on_lost=self._lost, sleep=sleep)
        self.miner: int | None = None
        self._bridge: Bridge | None = None
        self._session: _Enrolled | None = None
        self._policy: JobPolicy
        self._source: SymbolSource | None = None
        self._worker: Worker
        self._ticket = float(r.ticket_difficulty(config.ticket))
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._sent = 0
        self._before_mhz: float | None = None
        self._counted: tuple[int, int] | None = None

    # ---- life ----

    async def start(self, bridge: Bridge) -> None:
        """Bring the chain up and give it its first job.

        Raises:
            DeviceError: if no chip answers.
        """
        self._bridge, self._policy, self._source = bridge, bridge.policy, bridge.source
        chain, config = self.chain, self.config
        chain.start()
        await chain.count()
        self._before_mhz = await chain.frequency()
        target = config.frequency_mhz or self._before_mhz or 485.0
        chips = await chain.initialise(frequency_mhz=target, ticket=self._ticket, baud=config.baud)
        mask = DEFAULT_VERSION_MASK & bridge.config.version_mask
        chain.write(r.Register.VERSION_ROLLING, r.version_rolling(mask))
        desk = ShareDesk(keep_jobs=bridge.on_share is not None)
        self._session = _Enrolled(AGENT, config.scale, bridge.factory.extranonce1(), mask, desk)
        self._worker = bridge.enroll_source(self._session, self.address, config.name)
        desk.workers[config.name] = self._worker
        self.miner = self._worker.number
        bridge.run.update_miner(self.miner, model="bm1366", floor=self._ticket)
        detail = {"chips": chips, "frequency_mhz": await chain.frequency(), "before_mhz": self._before_mhz}
        bridge.run.event("chain", "info", {"port": self.address, **detail}, miner=self.miner)
        self._dispatch()
        await self._write_counters()
        self._watch = asyncio.get_running_loop().create_task(self._look_at_counters())

    async def stop(self) -> None:
        """No more work; the clock goes back to what it was, or to its lowest."""
        self._cancel()
        bridge = self._bridge
        if bridge is not None and self.chain.lost is None and self._session is not None:
            with contextlib.suppress(DeviceError):
                await self._write_counters()
                now_mhz = await self.chain.frequency()
                target = self._before_mhz or 56.25
                if now_mhz is not None and abs(now_mhz - target) > 0.01:
                    await self.chain.set_frequency(target, from_mhz=now_mhz)
                if self.config.baud is not None:
                    await self.chain.set_baud(r.RESET_BAUD)
        await asyncio.to_thread(self.chain.close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def acknowledge(self, answers: bytes, count: int) -> None:
        """Nothing is owed to a chain for a stored share."""

    # ---- work ----

    def _dispatch(self) -> None:
        bridge, session = self._bridge, self._session
        assert bridge is not None
        assert session is not None
        if self.chain.lost is not None or bridge.stopping:
            return
        wall_ns = bridge.clock.wall_ns()
        symbol = self._symbol(bridge, session, wall_ns)
        if symbol is not None and symbol.difficulty is not None:
            self._ticket = float(self.chain.set_ticket(symbol.difficulty))
        job = bridge.factory.make(
            extranonce1=session.extranonce1,
            difficulty=r.threshold(self._ticket),
            scale=session.scale,
            version_mask=session.version_mask,
            wall_ns=wall_ns,
            symbol=symbol,
            label=self._source is None,
            clean=True,
        )
        extranonce2 = (self._sent & 0xFFFFFFFF).to_bytes(job.extranonce2_size, "little").hex()
        prepared = PreparedJob(job)
        prepared.sent_wall_ns, prepared.sent_monotonic_ns = (
            bridge.clock.wall_ns(),
            bridge.clock.monotonic_ns(),
        )
        try:
            self.chain.dispatch(job, extranonce2)
        except DeviceError as error:
            self._lost(error)
            return
        self._sent += 1
        bridge.sent_by_source(self.miner, prepared)
        session.desk.add_job(prepared)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._policy.deadline_s(), self._dispatch)

    def _symbol(self, bridge: Bridge, session: _Enrolled, wall_ns: int) -> JobSymbol | None:
        if self._source is None:
            return None
        current = session.desk.current
        context = DispatchContext(
            miner=self._worker.number,
            miner_name=self._worker.name,
            index=self._sent,
            wall_ns=wall_ns,
            monotonic_ns=bridge.clock.monotonic_ns(),
            answered=None if current is None else current.answered,
            version_mask=session.version_mask,
            extranonce_subscribed=True,
        )
        try:
            symbol = self._source.next(context)
        except Exception as error:  # a caller's code: whatever it raises ends the run, with its cause
            failure = (
                error if isinstance(error, LabError) else UserError(f"the symbol source failed: {error!r}")
            )
            failure.__cause__ = None if failure is error else error
            bridge.fail(failure)
            return None
        if symbol is not None and symbol.extranonce1 is not None:
            session.extranonce1 = symbol.extranonce1
        return symbol

    def _found(self, nonce: ChainNonce) -> None:
        bridge, session = self._bridge, self._session
        if bridge is None or session is None or bridge.stopping:
            return
        job = nonce.work.job
        word = nonce.answer.nonce.to_bytes(4, "little").hex()
        params = [self.config.name, job.job_id, nonce.work.extranonce2, job.ntime, word]
        if session.version_mask:
            params.append(f"{(nonce.answer.version_bits or 0) << r.VERSION_SHIFT:08x}")
        judged = session.desk.judge([SubmitLine(params, UNSET)], nonce.stamp)
        if self._policy.replace_on_share(current=judged.current_valid, valid=judged.valid > 0):
            self._dispatch()
        bridge.store_of_source(self, judged)

    def _lost(self, error: DeviceError) -> None:
        self._cancel()
        if self._bridge is not None:
            self._bridge.source_lost(self.miner, self.address, error)

    # ---- counters ----

    async def _look_at_counters(self) -> None:
        while True:
            await asyncio.sleep(COUNTERS_EVERY_S)
            with contextlib.suppress(DeviceError):
                await self._write_counters()

    async def _write_counters(self) -> None:
        """What the link and the chips counted, as an event of the run."""
        assert self._bridge is not None
        chain = self.chain
        link = chain.decoder.counts.to_json() | chain.counts.to_json()
        hashes, now_ns = await chain.hashes() * r.HASHES_PER_COUNT, self._bridge.clock.monotonic_ns()
        detail = {"link": link, "hashes": hashes, "errors": await chain.errors()}
        self._bridge.run.event("chain-counters", "info", detail, miner=self.miner)
        rate_ghs = None
        if self._counted is not None and now_ns > self._counted[1] and hashes >= self._counted[0]:
            rate_ghs = (hashes - self._counted[0]) / (now_ns - self._counted[1])  # a hash per ns is a GH/s
        self._counted = (hashes, now_ns)
        wall_ns, frequency_mhz = self._bridge.clock.wall_ns(), await chain.frequency()
        reading = TelemetryRow(
            self.miner, wall_ns, now_ns, frequency_mhz=frequency_mhz, hash_rate_ghs=rate_ghs
        )
        self._bridge.run.telemetry(reading)
