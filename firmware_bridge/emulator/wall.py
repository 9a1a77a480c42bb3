"""Wall-clock time: an emulated miner that connects to a pool and hashes for real, as fast as its scale asks for.

Two threads. The event loop carries the connection and the states of :mod:`loader`; it decides when a pass over a job
begins and stops, and when a found share leaves the miner. The hashing thread works through the running pass a little
ahead of the clock, so that a share is known before the moment that its place in the scan stands for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from firmware_bridge.emulator import effects, geometry, loader
from firmware_bridge.emulator.hashing import BUDGET, Hashing, HashThread, Pass
from firmware_bridge.emulator.lbry_span import LbryHasher
from firmware_bridge.emulator.model import Model, get_model
from firmware_bridge.emulator.physics import PARAMETERS, Physics
from firmware_bridge.emulator.span import Hasher, Hit, PreparedJob
from firmware_bridge.emulator.wall_config import WallConfig, WallSummary
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, Share
from firmware_bridge.stratum.client import StratumClient

TIMER_MS = 1.5
"""How much too early a departure is scheduled, because a timer of the event loop may ring late."""

KEPT_JOBS = 64
READINGS = 1 << 16
ANSWER_WAIT_S = 2.0


class WallMiner:
    """An emulated miner in wall time.

    Args:
        config: what to emulate.
        on_warning: called with each warning as it arises.
    """

    def __init__(self, config: WallConfig, on_warning: Callable[[str], None] = lambda text: None) -> None:
        config.check()
        self.config = config
        self.model: Model = get_model(config.model)
        self._scale = self.model.default_scale if config.scale is None else config.scale
        if config.winning_jobs and self._scale * (1.0 + abs(config.winning_jobs)) > 1.0:
            raise UserError(
                f"{effects.WINNING_JOBS} has more nonces of a lucky job tried, and at a difficulty scale of "
                f"{self._scale:g} there are no more: take a smaller one, for example --scale 2^-20"
            )
        self.physics = Physics.of(config.model) if config.physics is None else config.physics
        self.client = StratumClient(
            self.model.client,
            config.host,
            config.port,
            user=config.user or self.model.user,
            password=config.password,
            scale=self._scale,
            on_job=self._notified,
            on_lost=self._lost,
            local_address=config.local_address,
        )
        self.warnings: list[str] = []
        self._on_warning = on_warning
        rate = self.physics.hash_rate_ths
        self._pace = 1.0 if rate is None else rate / self.model.capacity_ths
        self._rng, thermal = np.random.default_rng(config.seed).spawn(2)
        self._temperature = self.physics.temperatures(thermal, READINGS) - self.physics.temperature_c
        self._plants = effects.strengths(config.plants)
        self._constants = effects.constants_ms(config.plants, self.physics.temperature_sd_c)
        self._memory = effects.Memory(float(self._plants[effects.QUEUE]))
        self._p = self.physics.vector()
        self._state = loader.idle_miner()
        self._jobs: dict[int, PreparedJob] = {}
        self._n_jobs = 0
        self._pass: Pass | None = None
        self._hashing = HashThread(f"hash-{self.model.name}", self._now, self._hits)
        self._closing = False
        self._free_rate: float | None = None  # at scale 1: what this CPU does
        self._last_reported: tuple[int, int, int, int] | None = None
        self._last_departure = 0.0
        self._poll_phase = float(self._rng.random()) * self.physics.poll_ms
        self._timer: asyncio.TimerHandle | None = None
        self._first_job_ms: float | None = None
        self._started = time.monotonic()
        self._reason: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    # ---- life ----

    def request_stop(self, reason: str = "asked to stop") -> None:
        """End the run soon; callable from any thread and from signal handlers."""
        if self._reason is None:
            self._reason = reason
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

    async def run(self) -> WallSummary:
        """Mine until the seconds or shares asked for are reached, or somebody asks to stop.

        Raises:
            UserError: if the pool cannot be reached or refuses this miner.
        """
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if self._reason is not None:
            self._stop.set()
        await asyncio.to_thread(self._warm_up)
        self._started = time.monotonic()
        self._hashing.start()
        talk = asyncio.create_task(self.client.run())
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({talk, watch}, return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                talk.result()
        finally:
            self._closing = True
            self._hashing.end()
            if self._timer is not None:
                self._timer.cancel()
            for task in (talk, watch):
                task.cancel()
            await asyncio.gather(talk, watch, return_exceptions=True)
            await asyncio.to_thread(self._hashing.join)
        return self._summary()

    async def _watch(self) -> None:
        assert self._stop is not None
        limit = self.config.shares
        deadline = None if self.config.seconds is None else self._started + self.config.seconds
        while not self._stop.is_set():
            if limit is not None and self.client.stats.accepted >= limit:
                self._reason = f"{limit} shares accepted"
                break
            if deadline is not None and time.monotonic() >= deadline:
                self._reason = f"{self.config.seconds:g} s are over"
                break
            pause = 0.05 if deadline is None else min(0.05, max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
        # what has been sent is still being answered
        self._closing = True
        stats = self.client.stats
        for _ in range(round(ANSWER_WAIT_S / 0.01)):
            if not self.client.connected or stats.answered >= stats.submitted:
                break
            await asyncio.sleep(0.01)

    def _summary(self) -> WallSummary:
        stats = self.client.stats
        seconds = 0.0 if self._first_job_ms is None else (self._now() - self._first_job_ms) / 1e3
        stalled_s = self._hashing.stalled_ms / 1e3
        if stalled_s > 0.05 * max(seconds, 1.0):
            self._warn(
                f"this CPU fell behind the emulated {self.model.title} by {stalled_s:.1f} of {seconds:.1f} s: "
                f"its timing is not that of the model; {self._remedy(self._hashing.hashes / max(seconds, 1e-3))}"
            )
        return WallSummary(
            model=self.model.name,
            agent=self.client.agent,
            seconds=seconds,
            connections=stats.connections,
            jobs=stats.jobs,
            submitted=stats.submitted,
            accepted=stats.accepted,
            rejected=dict(stats.rejected),
            hashes=self._hashing.hashes,
            hash_rate=self._hashing.hashes / seconds if seconds > 0 else 0.0,
            wanted_hash_rate=self._wanted(),
            stalled_s=stalled_s,
            warnings=list(self.warnings),
            reason=self._reason or "ended",
            last_error=stats.last_error,
        )

    # ---- the CPU ----

    def _wanted(self) -> float:
        if self._free_rate is not None:
            return self._free_rate
        return self.model.capacity_ths * 1e12 * self._pace * self._scale

    def _remedy(self, rate: float) -> str:
        exponent = math.floor(math.log2(max(0.5 * rate, 1.0) / (self.model.capacity_ths * 1e12 * self._pace)))
        return f"give a smaller difficulty scale, for example --scale 2^{exponent}"

    def _warn_of_other_algorithm(self) -> None:
        mine, its = ("LBRY", "Bitcoin") if self.model.lbry else ("Bitcoin", "LBRY")
        text = (
            f"the pool sends jobs of {its}, an {self.model.title} hashes {mine}: they are left out; start the bridge "
            f"with --algorithm auto, or with --algorithm {'lbry' if self.model.lbry else 'sha256d'}"
        )
        if text not in self.warnings:
            self._warn(text)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._on_warning(text)

    def _warm_up(self) -> None:
        """Compile the kernels and measure this CPU before the pool sees the miner."""
        job = Job("0", "00" * 32, "00" * 60, "00" * 60, (), "20000000", "1d00ffff", "00000000", "00000000")
        prepared = PreparedJob.of(job, 1e9)
        self._hasher(prepared, 0.0, 1.0).run(1e9, 1000)
        hasher = self._hasher(prepared, 0.0, 1.0)
        begin = time.perf_counter()
        while time.perf_counter() - begin < 0.1:
            hasher.run(math.inf, BUDGET if not self.model.lbry else BUDGET // 50)
        rate = hasher.hashes / (time.perf_counter() - begin)
        state, rng = loader.idle_miner(), np.random.default_rng(0)
        loader.notified(state, 0.0, 0, self._p, rng)
        loader.step(state, self._p, rng)
        if self._wanted() <= 0.9 * rate:
            return
        if self._scale == 1.0:
            # unscaled, the emulated chip is as slow as this CPU: same layout of the scan, honest rate
            self._free_rate = rate
            hours = self.model.floor * (2**24 if self.model.lbry else 2**32) / rate / 3600
            self._warn(
                f"at scale 1 this CPU mines at its own {rate / 1e6:.1f} MH/s, not at the "
                f"{self.model.capacity_ths:.3g} TH/s of an {self.model.title}: "
                f"expect a share of difficulty {self.model.floor:g} every {hours:.1f} h"
            )
        else:
            self._warn(
                f"this CPU hashes {rate / 1e6:.1f} MH/s, the emulated {self.model.title} needs "
                f"{self._wanted() / 1e6:.1f} MH/s: it will stall; {self._remedy(rate)}"
            )

    def _hasher(self, prepared: PreparedJob, first_ms: float, luck: float) -> Hashing:
        """What hashes a job: the chips' own scan order, or LBRY's hash at the miner's rate.

        A lucky job has more of its nonces tried in the same time.
        """
        fraction = self._scale * luck
        if self.model.lbry:
            rate = self.model.capacity_ths * 1e9 * self._pace * fraction
            return LbryHasher(rate, prepared, self.model.floor)
        return Hasher(self.model.code, self._pace, fraction, prepared, first_ms)

    def _luck(self, job: Job) -> float:
        return float(effects.luck_of(np.array(self.config.carrier.read(job)), self.config.winning_jobs))

    # ---- the miner's states ----

    def _now(self) -> float:
        return (time.monotonic() - self._started) * 1e3

    def _at(self, when_ms: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        assert self._loop is not None
        delay_s = max(0.0, (when_ms - self._now()) / 1e3)
        return self._loop.call_later(delay_s, callback, *args)

    def _notified(self, job: Job) -> None:
        if (job.claimtrie is not None) is not self.model.lbry:
            self._warn_of_other_algorithm()
            return
        number = self._n_jobs
        try:
            self._jobs[number] = PreparedJob.of(job, self.model.floor)
        except ValueError as error:
            self._warn(f"the pool sent a job that cannot be hashed ({error}); it is left out")
            return
        self._n_jobs += 1
        self._jobs.pop(number - KEPT_JOBS, None)
        now = self._now()
        if self._first_job_ms is None:
            self._first_job_ms = now
        self._memory.sent(self.config.carrier.read(job), now)
        loader.notified(self._state, now, number, self._p, self._rng)
        self._drive()

    def _drive(self) -> None:
        """Do the steps that are due, and come back for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (when := loader.due(self._state)) <= self._now():
            what = loader.step(self._state, self._p, self._rng)
            if what in (loader.NEW_JOB, loader.SAME_JOB):
                self._begin_pass()
        if self._pass is not None:
            self._pass.stop_ms = min(self._pass.stop_ms, float(self._state[loader.STOP]))
        if when < loader.NEVER:
            self._timer = self._at(when, self._drive)

    def _begin_pass(self) -> None:
        state = self._state
        begin = float(state[loader.BEGIN])
        if self._pass is not None:
            self._pass.stop_ms = min(self._pass.stop_ms, begin)
        work_ms = geometry.S9_WORK_MS / self._pace
        free = self._free_rate is not None
        slow = self.physics.dead_time and not free
        job = int(state[loader.LOADED])
        first_ms = self._p[PARAMETERS.index("first_works")] * work_ms if slow else 0.0
        self._pass = Pass(
            job=job,
            hasher=self._hasher(self._jobs[job], float(first_ms), self._luck(self._jobs[job].job)),
            begin_ms=begin,
            pause_ms=float(state[loader.PAUSE]) if slow else 0.0,
            refill_ms=self.physics.refill_works * work_ms if slow else math.inf,
            stop_ms=float(state[loader.STOP]),
            free=free,
        )
        self._hashing.give(self._pass)

    def _lost(self) -> None:
        """The connection ended: its jobs are void."""
        if self._pass is not None:
            self._pass.stop_ms = self._now()
        self._pass = None
        self._hashing.give(None)
        self._jobs.clear()
        self._state = loader.idle_miner()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- shares ----

    def _hits(self, source: Pass, hits: list[Hit]) -> None:
        """Called by the hashing thread: each share is looked at again when its moment has come."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: the run is over
                self._loop.call_soon_threadsafe(self._await_hits, source, hits)

    def _await_hits(self, source: Pass, hits: list[Hit]) -> None:
        for hit in hits:
            self._at(source.at(hit.work_ms), self._found, source, hit)

    def _found(self, source: Pass, hit: Hit) -> None:
        found_ms = source.at(hit.work_ms)
        prepared = self._jobs.get(source.job)
        if found_ms >= source.stop_ms or prepared is None or self._closing:
            return
        name = (source.job, hit.extranonce2, hit.nonce, hit.version_bits)
        if name == self._last_reported:
            return
        self._last_reported = name
        if self.model.client.strictly_above and not hit.difficulty > prepared.pool_difficulty:
            return
        departure = found_ms + self._planted(prepared.job, hit, found_ms)
        if self.physics.delay:
            poll = self.physics.poll_ms
            departure = (math.floor((departure - self._poll_phase) / poll) + 1) * poll + self._poll_phase
            departure += float(self._rng.exponential(self.physics.network_ms))
        self._last_departure = departure = max(departure, self._last_departure)
        job = prepared.job
        size = job.extranonce2_size
        share = Share(
            job_id=job.job_id,
            extranonce2=(hit.extranonce2 % (1 << 8 * size)).to_bytes(size, "little").hex(),
            ntime=job.ntime,
            nonce=f"{hit.nonce:08x}",
            version_bits=f"{hit.version_bits:08x}" if self.model.client.version_bits else None,
        )
        self._at(departure - TIMER_MS, self._depart, departure, share, prepared)

    def _planted(self, job: Job, hit: Hit, found_ms: float) -> float:
        reading = min(int(found_ms / self.physics.telemetry_period_s / 1e3), READINGS - 1)
        floor = max(self.model.floor, job.difficulty)
        causes = {
            effects.INPUT: self.config.carrier.read(job),
            effects.TEMPERATURE: float(self._temperature[reading]),
            effects.QUALITY: math.log2(hit.difficulty / floor),
            effects.THERMAL: self._memory.heat(found_ms),
            effects.QUALITY_DELAY: float(hit.difficulty > effects.QUALITY_STEP * floor),
        }
        return self._memory.backlog_ms(found_ms) + sum(
            max(0.0, float(self._plants[kind]) * cause + float(self._constants[kind]))
            for kind, cause in causes.items()  # the queue's delay is what is left in it
            if self._plants[kind]
        )

    def _depart(self, when_ms: float, share: Share, prepared: PreparedJob) -> None:
        # the event loop's timers are good to a millisecond; the rest of the way is slept exactly
        time.sleep(min(max(0.0, when_ms - self._now()), TIMER_MS) / 1e3)
        # a share of a lost connection means nothing to the next one
        if any(prepared is kept for kept in self._jobs.values()) and not self._closing:
            self.client.submit(share)
