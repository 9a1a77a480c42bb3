"""A chain as a miner of a bridge's run: jobs out, nonces verified and stored like the shares of a Stratum connection.

The chain's nonces go through the same desk as submits do, so that rows, intervals, statistics and replay cannot tell
the difference. The host chooses extranonce2 here: a new one for every job.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from firmware_bridge.bm13xx import pll
from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.chain import Chain, ChainNonce
from firmware_bridge.bm13xx.nonces import share_fields
from firmware_bridge.bm13xx.port import Port
from firmware_bridge.errors import DeviceError, LabError, TraceError, UserError
from firmware_bridge.headers import DEFAULT_VERSION_MASK, Job
from firmware_bridge.stratum.dispatch import DispatchContext, JobPolicy, JobSymbol, SymbolSource, tell_shares
from firmware_bridge.stratum.shares import ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import SubmitLine
from firmware_bridge.trace.schema import TelemetryRow

if TYPE_CHECKING:
    from firmware_bridge.stratum.server import Bridge

log = logging.getLogger(__name__)

AGENT = "bm1366 over serial"
"""With the number of chips, which the layout of nonces depends on: ``bm1366 over serial, 12 chips``."""
ROLL_AFTER = 0.5
"""Part of a job's versions after which the chain gets the job again with another extranonce2: a long chain goes through
them in seconds, and would then find the same nonces again."""
MUTE = 2.0**32
"""Difficulty at which nothing comes any more: the speed of the line is not changed in the middle of an answer."""
LEAST_ROLLED_BITS = 3
"""The eight small cores of a core work on as many versions side by side."""
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
        self._roll_timer: asyncio.TimerHandle | None = None
        self._extranonces = 0
        self._over = False
        self._watch: asyncio.Task[None] | None = None
        self._sent = 0
        self._before_mhz: float | None = None
        self._before_word: int | None = None
        self._counted: tuple[int, int] | None = None

    # ---- life ----

    async def start(self, bridge: Bridge) -> None:
        """Bring the chain up and give it its first job.

        Raises:
            UserError: if the bridge lets miners roll fewer version bits than these chips need.
            DeviceError: if no chip answers.
        """
        mask = DEFAULT_VERSION_MASK & bridge.config.version_mask
        if mask.bit_count() < LEAST_ROLLED_BITS:
            raise UserError(
                f"{self.address}: a BM1366 works on 8 versions at once, so it has to roll {LEAST_ROLLED_BITS} bits of "
                f"1fffe000 at least; the bridge's version mask leaves {mask:08x}"
            )
        self._bridge, self._policy, self._source = bridge, bridge.policy, bridge.source
        chain, config = self.chain, self.config
        chain.start()
        await chain.find()
        word = await chain.pll_word()
        held = pll.decode(word)
        if held is not None:
            self._before_mhz, self._before_word = held.frequency_mhz, word
        target = config.frequency_mhz or self._before_mhz or 485.0
        chips = await chain.initialise(frequency_mhz=target, ticket=self._ticket, baud=config.baud)
        chain.write(r.Register.VERSION_ROLLING, r.version_rolling(mask))
        desk = ShareDesk(keep_jobs=bridge.on_share is not None)
        self._session = _Enrolled(
            f"{AGENT}, {chips} chips", config.scale, bridge.factory.extranonce1(), mask, desk
        )
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
            try:
                await self._bring_back(bridge)
            except DeviceError as error:
                bridge.source_lost(self.miner, self.address, DeviceError(f"its clock is not back: {error}"))
        await asyncio.to_thread(self.chain.close)

    async def _bring_back(self, bridge: Bridge) -> None:
        self.chain.set_ticket(MUTE)
        now_mhz = await self.chain.frequency()
        target = self._before_mhz or pll.RAMP_START_MHZ
        if bridge.failure is None:
            await self._write_counters()
        if now_mhz is not None and abs(now_mhz - target) > 0.01:
            await self.chain.set_frequency(target, from_mhz=now_mhz, word=self._before_word)
        if self.config.baud is not None:
            await self.chain.set_baud(r.RESET_BAUD)

    def _cancel(self) -> None:
        for timer in (self._timer, self._roll_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._roll_timer = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def acknowledge(self, answers: bytes, count: int) -> None:
        """Nothing is owed to a chain for a stored share."""

    # ---- work ----

    def _dispatch(self, response_ns: int | None = None) -> None:
        """The next job of the lab; ``response_ns`` is that of the nonce that calls for it, if one does."""
        bridge, session = self._bridge, self._session
        assert bridge is not None
        assert session is not None
        if self.chain.lost is not None or bridge.stopping or self._over:
            return
        try:
            wall_ns = bridge.clock.wall_ns()
            symbol = self._symbol(bridge, session, wall_ns, response_ns)
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
            self._extranonces = 0  # within one job, so that it tells how far the work on it has got
            prepared = PreparedJob(job)
            prepared.sent_wall_ns = bridge.clock.wall_ns()
            prepared.sent_monotonic_ns = bridge.clock.monotonic_ns()
            self._give(job)
            self._sent += 1
            bridge.sent_by_source(self.miner, prepared)
        except DeviceError as error:
            self._lost(error)
            return
        except LabError as error:
            self._over = True
            self._cancel()
            bridge.fail(error)
            return
        session.desk.add_job(prepared)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._policy.deadline_s(), self._dispatch)

    def _give(self, job: Job) -> None:
        """Put a job on the chain, with an extranonce2 of its own, and come back before its versions are used up."""
        assert self._session is not None
        extranonce2 = (self._extranonces & 0xFFFFFFFF).to_bytes(job.extranonce2_size, "little").hex()
        self._extranonces += 1
        self.chain.dispatch(job, extranonce2)
        if self._roll_timer is not None:
            self._roll_timer.cancel()
            self._roll_timer = None
        hcn = self.chain.hash_counting_number
        if hcn is not None:
            roll_s = ROLL_AFTER * r.versions_last_s(hcn, self._session.version_mask)
            self._roll_timer = asyncio.get_running_loop().call_later(roll_s, self._roll, job)

    def _roll(self, job: Job) -> None:
        """The same job once more, with another extranonce2."""
        self._roll_timer = None
        if self.chain.lost is not None or self._over or self._bridge is None or self._bridge.stopping:
            return
        try:
            self._give(job)
        except DeviceError as error:
            self._lost(error)

    def _symbol(
        self, bridge: Bridge, session: _Enrolled, wall_ns: int, response_ns: int | None
    ) -> JobSymbol | None:
        """What the next job carries; a symbol for another difficulty or extranonce1 takes effect here.

        Raises:
            LabError: if the source fails, or the chain cannot carry its symbol.
        """
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
            response_ns=response_ns,
        )
        try:
            symbol = self._source.next(context)
        except LabError:
            raise
        except Exception as error:  # a caller's code: whatever it raises ends the run, with its cause
            raise UserError(f"the symbol source failed: {error!r}") from error
        if symbol is None:
            return None
        if symbol.version_bits is not None and symbol.version_bits & session.version_mask:
            raise UserError(
                f"{self.address}: the symbol sets version bits {symbol.version_bits:08x}, but the chips roll "
                f"{session.version_mask:08x}: use bits outside, or start the bridge with a smaller version mask"
            )
        if symbol.difficulty is not None:
            try:
                self._ticket = float(self.chain.set_ticket(symbol.difficulty))
            except ValueError as error:
                raise UserError(f"{self.address}: the symbol cannot be carried: {error}") from error
        if symbol.extranonce1 is not None:
            session.extranonce1 = symbol.extranonce1
        return symbol

    def _found(self, nonce: ChainNonce) -> None:
        bridge, session = self._bridge, self._session
        if bridge is None or session is None or bridge.stopping:
            return
        word, version_bits = share_fields(nonce.answer)
        if nonce.work is None:  # a name that no job has, so that the desk judges it as it judges a stranger's
            params = [self.config.name, f"chip-{nonce.origin.job_id:02x}", "", "", word, version_bits]
        else:
            job = nonce.work.job
            params = [self.config.name, job.job_id, nonce.work.extranonce2, job.ntime, word, version_bits]
        judged = session.desk.judge([SubmitLine(params, UNSET)], nonce.stamp)
        if judged.valid:
            tell_shares(self._policy, judged.rows)
        if self._policy.replace_on_share(current=judged.current_valid, valid=judged.valid > 0):
            self._dispatch(judged.current_response_ns)
        bridge.store_of_source(self, judged)

    def _lost(self, error: DeviceError) -> None:
        self._cancel()
        if self._bridge is not None and not self._over:
            self._over = True
            self._bridge.source_lost(self.miner, self.address, error)

    # ---- counters ----

    async def _look_at_counters(self) -> None:
        while True:
            await asyncio.sleep(COUNTERS_EVERY_S)
            try:
                await self._write_counters()
            except DeviceError as error:  # a bad cable spoils a reading, not the run
                log.warning("%s", error)
            except TraceError as error:
                assert self._bridge is not None
                self._bridge.fail(error)
                return

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
