"""The discrete-event engine: one emulated miner and its pool, from job to share, in virtual time (numba).

Events, in ms since the run began: a job is sent, the miner's loader begins or ends, the boards stop or restart, a share
is found, a share arrives. The miner's states are those of :mod:`physics`: *idle* (the newest job runs), *loading*,
*late* (a spoiled load waits for its successor). Found shares pass the driver's filter (a nonce equal to the last one is
dropped), the planted delays, the host's poll and the network.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from firmware_bridge.emulator.drive import mixed, put
from firmware_bridge.emulator.effects import (
    CHOOSY,
    FIRMWARE_WAITS,
    HEAT_AT_START,
    HEAT_TAU_MS,
    INPUT,
    QUALITY,
    QUALITY_DELAY,
    QUALITY_STEP,
    QUEUE,
    RATE_SWING,
    SWING_PERIOD_S,
    TEMPERATURE,
    THERMAL,
    WAVE,
    WAVE_PERIOD_S,
)
from firmware_bridge.emulator.geometry import CELLS, GROUPS, S9, group_of, locate, scan_time
from firmware_bridge.emulator.grind import grind
from firmware_bridge.emulator.loader import (
    BEGIN,
    DELAY,
    FIRST_WORKS,
    LOADED,
    NETWORK,
    NEVER,
    NEW_JOB,
    PAUSE,
    POLL,
    ROUND_TRIP,
    SAME_JOB,
    STOP,
    TURNAROUND,
    TURNAROUND_SD,
    due,
    idle_miner,
    notified,
    pass_time,
    step,
)
from firmware_bridge.emulator.rates import STEP_MS

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
U8 = npt.NDArray[np.uint8]

SHARE_JOB, SHARE_EXTRANONCE2, SHARE_NONCE, SHARE_VERSION, SHARE_COUNTER, SHARE_BATCH = range(6)
"""Columns of the table of contents of shares."""

DIFFICULTY_1 = float(0xFFFF) * 2.0**208

HEAT, BACKLOG, SINCE = range(3)
"""The planted memory: its heat and backlog in ms at the moment, in ms, at which the newest job was sent."""

WORD_HALF = np.uint32(1 << 31)
"""First half of a 64-bit word, below which ``choosy`` passes a hash over."""
UNDRAWN, SPOILED = -1, -2
"""In the place of the number of a share: it has no contents yet; its hash came out wrong."""


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def digest_difficulty(digest: U32) -> float:
    """Difficulty of a digest to 64 bits; the planted effect of quality needs no more."""
    value = 0.0
    for i in range(4):
        w = digest[7 - i]
        swapped = (
            ((w >> np.uint32(24)) & np.uint32(0xFF))
            | ((w >> np.uint32(8)) & np.uint32(0xFF00))
            | ((w << np.uint32(8)) & np.uint32(0xFF0000))
            | (w << np.uint32(24))
        )
        value = value * 4294967296.0 + np.float64(np.uint32(swapped))
    return DIFFICULTY_1 / (value * 2.0**128) if value > 0 else 1e70


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def warmed(heat: float, symbol: float, passed_ms: float) -> float:
    """Planted heat after a job of this symbol was the newest one for so long."""
    return symbol + (heat - symbol) * math.exp(-max(0.0, passed_ms) / HEAT_TAU_MS)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def send(
    job: int,
    when: float,
    start_s: float,
    sent_ms: F64,
    ntimes: U32,
    symbols: F64,
    carrier: int,
    job_bytes: U8,
    extranonce1: U8,
    versions: U32,
    levels: I64,
    n_levels: int,
    queue_ms: float,
    memory: F64,
) -> None:
    """Send a job, not the first: stamp it, write its symbol into its field, and let the planted memory take it in."""
    sent_ms[job] = when
    ntimes[job] = np.uint32(start_s + when / 1000.0)
    put(carrier, symbols[job], job, job_bytes, extranonce1, versions, ntimes, levels, n_levels)
    passed = when - memory[SINCE]
    memory[HEAT] = warmed(memory[HEAT], symbols[job - 1], passed)
    memory[BACKLOG] = max(0.0, memory[BACKLOG] - passed) + queue_ms * symbols[job]
    memory[SINCE] = when


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def doubled(values: Any) -> Any:
    """The same values in an array of twice the length."""
    longer = np.empty(2 * values.size, dtype=values.dtype)
    for i in range(values.size):
        longer[i] = values[i]
    return longer


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def swung(swing: float, wall_s: float) -> float:
    """Factor on the hash rate of a job that is loaded at this wall time."""
    return math.exp(swing * math.sin(2.0 * math.pi * (wall_s / SWING_PERIOD_S % 1.0)))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pulse_at(pulse: F64, state: F64, work_ms: float, refill_ms: float) -> float:
    """Factor on the hash rate at a work-time of the running pass."""
    wall_ms = state[BEGIN] + work_ms + (state[PAUSE] if work_ms >= refill_ms else 0.0)
    return float(pulse[int(min(wall_ms, 1e15) / STEP_MS) % pulse.size])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def kept_quiet(
    model: int, behaviour: F64, nonce: int, digest: U32, wall_s: float, rng: np.random.Generator
) -> bool:
    """Whether nobody hears of a share, because of what it is or where it was found."""
    if behaviour[WAVE] != 0.0:
        place = group_of(model, nonce) / GROUPS[model]
        high = 1.0 + behaviour[WAVE] * math.cos(2.0 * math.pi * (place - wall_s / WAVE_PERIOD_S))
        if rng.random() * (1.0 + abs(behaviour[WAVE])) >= high:
            return True
    return bool(behaviour[CHOOSY] > 0.0 and digest[4] < WORD_HALF and rng.random() < behaviour[CHOOSY])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def run_engine(
    rng: np.random.Generator,
    p: F64,
    model: int,
    pace: float,
    speeds: F64,
    luck: F64,
    failing: F64,
    behaviour: F64,
    pulse: F64,
    bursts: F64,
    mean_ms: F64,
    floor_scaled: F64,
    first_ms: float,
    refill_ms: float,
    period_ms: float,
    lengths_ms: F64,
    limit_ms: float,
    target: U32,
    random_bytes: U8,
    extranonce1: U8,
    version: U32,
    nbits: np.uint32,
    start_s: float,
    tick_ns: float,
    symbols: F64,
    carrier: int,
    feedback: float,
    levels: I64,
    temperatures: F64,
    telemetry_ms: float,
    wrong: F64,
    plants: F64,
    plant_constants: F64,
    own_delays_ms: F64,
    sent_ms: F64,
    ntimes: U32,
    row_share: I64,
    row_ms: F64,
    found_ms: F64,
    shares: I64,
    digests: U32,
) -> tuple[int, int, int, F64, I64]:
    """Run one miner until its rows, its jobs or its time are used up.

    Args:
        rng: where chance comes from.
        p: ``Physics.vector()``.
        model: ``geometry.S9`` or ``geometry.LV06``.
        pace: hash rate over the model's own.
        speeds: shape (jobs,): clock while each job is loaded, over the one that ``pace`` is of; all times in works
            (``mean_ms``, ``first_ms``, ``refill_ms``) are those at a speed of 1.
        luck: shape (jobs,): factor on the rate at which each job gives shares, 1 where the hash is fair.
        failing: shape (jobs,): factor on the share of each job's hashes that are wrong, 1 where nothing is planted.
        behaviour: strengths of what is planted into the miner itself, see ``effects.behaviour``.
        pulse: factor on the hash rate, ``rates.STEP_MS`` of wall time apart, again and again; empty where it is 1.
        bursts: factor on the hash rate until each share; empty where it is 1.
        mean_ms: shape (levels,): mean work-time between shares at each level of difficulty.
        floor_scaled: shape (levels,): verified difficulty of the smallest share (planted quality counts from there).
        first_ms: work-time before which no work gives a share.
        refill_ms: work-time after which the works pause for ``p[REFILL]``.
        period_ms: job period of the stream mode, or <= 0 for a new job after every share.
        lengths_ms: shape (jobs,), of the stream mode: how long after each job the next one is sent.
        limit_ms: end of the run.
        target: shape (levels, 8), words most significant first.
        random_bytes: shape (jobs, 96): prevhash, coinb1 and coinb2 of each job; receives symbols that go there.
        extranonce1: shape (jobs, 4); receives symbols that go there.
        version: shape (jobs,), version of each job; receives symbols that go there.
        nbits: nBits of all jobs.
        start_s: wall time at 0 ms, for ntime.
        tick_ns: resolution of the pool's stamps, which the feedback is made of.
        symbols: shape (jobs,): input symbol of each job before the feedback; receives what was sent.
        carrier: position in ``drive.FIELDS`` of the field that symbols are written into; -1 writes none.
        feedback: see :class:`~firmware_bridge.emulator.drive.Drive`.
        levels: shape (jobs,): level of difficulty of each job; receives symbols that go there.
        temperatures: deviation from the mean in °C, ``telemetry_ms`` apart.
        telemetry_ms: see there.
        wrong: share of the hashes that are wrong, ``telemetry_ms`` apart; empty where none are.
        plants: ms per unit of each kind, in the order of ``effects.KINDS``.
        plant_constants: constant delay of each that keeps them from being negative.
        own_delays_ms: shape (groups,): delay of each part of the silicon, see ``geometry.group_of``; empty for none.
        sent_ms: receives when each job was sent, shape (jobs,).
        ntimes: receives the ntime of each job, shape (jobs,).
        row_share: receives the number of the share that each row reports, shape (rows,).
        row_ms: receives when the pool stamped each row, shape (rows,).
        found_ms: receives when the chip found what each row reports, shape (rows,).
        shares: receives the contents of shares, shape (rows + slack, 6); see the column names.
        digests: receives their hashes, 8 words as hashed.

    Returns:
        Rows, jobs and shares (contents) written; when the host found a nonce wrong, in ms, and of which job it was.
    """
    poll_phase = rng.random() * p[POLL]
    coinbase = np.empty(72, dtype=np.uint8)
    prevhash = np.empty(8, dtype=np.uint32)
    at = np.zeros(4, dtype=np.int64)
    answer = np.empty(3, dtype=np.int64)
    # the shares of the job that is being hashed: work-time of each, and its number among the contents
    capacity = 256
    times = np.empty(capacity)
    numbers = np.empty(capacity, dtype=np.int64)
    known = 0
    drawn_ms = first_ms
    speed = 1.0
    draw_at0 = draw_at1 = draw_at2 = np.int64(0)

    n_rows = 0
    n_shares = 0
    n_jobs = 1
    sent_ms[0] = 0.0
    ntimes[0] = np.uint32(start_s)
    symbols[0] = mixed(symbols[0], 0.0, feedback)
    put(carrier, symbols[0], 0, random_bytes, extranonce1, version, ntimes, levels, mean_ms.size)
    memory = np.array([HEAT_AT_START, plants[QUEUE] * symbols[0], 0.0])
    ticks = 1e6 / tick_ns
    received = 0  # jobs that the miner has taken notice of
    state = idle_miner()
    loaded = -1
    pointer = 0
    last_reported = -1
    to_pool_ms = 0.5 * p[ROUND_TRIP]
    luck_now = 1.0
    highest = pulse.max() if pulse.size > 0 else 1.0
    # as many more are drawn as are dropped again
    fastest = highest * (1.0 + abs(behaviour[WAVE]))
    n_drawn = 0
    n_failed = 0
    failed_ms = np.empty(64)
    failed_job = np.empty(64, dtype=np.int64)
    pending = np.empty(64, dtype=np.int64)
    pending_ms = np.empty(64)
    pending_found = np.empty(64)
    n_pending = 0
    last_arrival = 0.0
    pool_free = 0.0
    next_job = lengths_ms[0] if period_ms > 0 else NEVER

    while n_rows < row_share.size:
        found = NEVER
        if loaded >= 0:
            if pointer == known:
                # draw the next share of this job in work-time; what the boards do not hash yet is skipped
                if known == capacity:
                    capacity *= 2
                    times = doubled(times)
                    numbers = doubled(numbers)
                burst = bursts[n_drawn % bursts.size] if bursts.size > 0 else 1.0
                n_drawn += 1
                while True:
                    drawn_ms += rng.exponential(mean_ms[levels[loaded]] / speed / luck_now / fastest / burst)
                    # of shares drawn at the fastest rate as many stay as that of their moment has (Lewis, Shedler 1979)
                    if pulse.size > 0 and rng.random() * highest >= pulse_at(
                        pulse, state, drawn_ms, refill_ms / speed
                    ):
                        continue
                    locate(model, drawn_ms, pace * speed, rng.random(), at)
                    if at[3] == 1 and (model != S9 or at[0] >= p[FIRST_WORKS]):
                        break
                times[known] = drawn_ms
                numbers[known] = UNDRAWN
                known += 1
                draw_at0, draw_at1, draw_at2 = at[0], at[1], at[2]
            found = pass_time(state, times[pointer], refill_ms / speed)
        notify = sent_ms[received] + to_pool_ms if received < n_jobs else NEVER
        arrival = pending_ms[0] if n_pending > 0 else NEVER
        inner = due(state)
        now = min(min(min(found, notify), min(arrival, inner)), next_job)
        if now > limit_ms:
            break

        if now == notify:
            notified(state, now, received, p, rng)
            received += 1
        elif now == inner:
            what = step(state, p, rng)
            if what == NEW_JOB:
                loaded = int(state[LOADED])
                speed = speeds[loaded]
                luck_now = luck[loaded]
                if behaviour[RATE_SWING] != 0.0:
                    luck_now *= swung(behaviour[RATE_SWING], start_s + now / 1000.0)
                known = 0
                drawn_ms = first_ms / speed
            if what in (NEW_JOB, SAME_JOB):
                pointer = 0
        elif now == next_job:
            if n_jobs >= sent_ms.size:
                break
            send(
                n_jobs, now, start_s, sent_ms, ntimes, symbols, carrier, random_bytes, extranonce1, version,
                levels, mean_ms.size, plants[QUEUE], memory,
            )  # fmt: skip
            n_jobs += 1
            next_job += lengths_ms[n_jobs - 1]
        elif now == found:
            reading = min(int(now / telemetry_ms), wrong.size - 1)
            if (
                reading >= 0
                and numbers[pointer] == UNDRAWN
                and rng.random() < wrong[reading] * failing[loaded]
            ):
                numbers[pointer] = SPOILED
                if n_failed == failed_ms.size:
                    failed_ms = doubled(failed_ms)
                    failed_job = doubled(failed_job)
                failed_ms[n_failed] = now
                failed_job[n_failed] = loaded
                n_failed += 1
            if numbers[pointer] == SPOILED:
                pointer += 1
                continue
            if numbers[pointer] == UNDRAWN:
                if n_shares >= shares.shape[0]:
                    break
                at[0], at[1], at[2] = draw_at0, draw_at1, draw_at2
                job_bytes = random_bytes[loaded]
                for i in range(8):
                    prevhash[i] = (
                        (np.uint32(job_bytes[4 * i]) << np.uint32(24))
                        | (np.uint32(job_bytes[4 * i + 1]) << np.uint32(16))
                        | (np.uint32(job_bytes[4 * i + 2]) << np.uint32(8))
                        | np.uint32(job_bytes[4 * i + 3])
                    )
                for i in range(32):
                    coinbase[i] = job_bytes[32 + i]
                    coinbase[40 + i] = job_bytes[64 + i]
                for i in range(4):
                    coinbase[32 + i] = extranonce1[loaded, i]
                grind(
                    model, at, int(rng.random() * CELLS[model]), coinbase, 36, prevhash,
                    version[loaded], ntimes[loaded], nbits, target[levels[loaded]], digests[n_shares], answer,
                )  # fmt: skip
                if kept_quiet(model, behaviour, answer[0], digests[n_shares], start_s + now / 1000.0, rng):
                    numbers[pointer] = SPOILED
                    times[pointer] = max(scan_time(model, pace * speed, at), times[pointer])
                    drawn_ms = times[pointer]
                    pointer += 1
                    continue
                numbers[pointer] = n_shares
                shares[n_shares, SHARE_JOB] = loaded
                shares[n_shares, SHARE_EXTRANONCE2] = at[0]
                shares[n_shares, SHARE_NONCE] = answer[0]
                shares[n_shares, SHARE_VERSION] = answer[1]
                shares[n_shares, SHARE_COUNTER] = at[1]
                shares[n_shares, SHARE_BATCH] = at[2]
                # the nonce may lie some counters further on; its time is that of its place in the scan
                later = max(scan_time(model, pace * speed, at), times[pointer])
                times[pointer] = later
                drawn_ms = later
                n_shares += 1
            number = numbers[pointer]
            pointer += 1
            if number != last_reported:
                last_reported = number
                wait = 0.0
                if own_delays_ms.size > 0:
                    wait += own_delays_ms[group_of(model, shares[number, SHARE_NONCE])]
                if plants[INPUT] != 0.0:
                    wait += max(0.0, plants[INPUT] * symbols[loaded] + plant_constants[INPUT])
                if plants[TEMPERATURE] != 0.0:
                    reading = min(int(now / telemetry_ms), temperatures.size - 1)
                    wait += max(
                        0.0, plants[TEMPERATURE] * temperatures[reading] + plant_constants[TEMPERATURE]
                    )
                if plants[QUALITY] != 0.0:
                    octaves = math.log2(digest_difficulty(digests[number]) / floor_scaled[levels[loaded]])
                    wait += max(0.0, plants[QUALITY] * octaves + plant_constants[QUALITY])
                if plants[QUALITY_DELAY] != 0.0:
                    good = digest_difficulty(digests[number]) > QUALITY_STEP * floor_scaled[levels[loaded]]
                    wait += plant_constants[QUALITY_DELAY] + (plants[QUALITY_DELAY] if good else 0.0)
                if plants[THERMAL] != 0.0:
                    warmth = warmed(memory[HEAT], symbols[n_jobs - 1], now - memory[SINCE])
                    wait += max(0.0, plants[THERMAL] * warmth + plant_constants[THERMAL])
                if plants[QUEUE] != 0.0:
                    wait += max(0.0, memory[BACKLOG] - max(0.0, now - memory[SINCE]))
                arrives = now + wait
                if p[DELAY] > 0:
                    arrives = (math.floor((arrives - poll_phase) / p[POLL]) + 1.0) * p[POLL] + poll_phase
                    arrives += rng.exponential(p[NETWORK])
                arrives += to_pool_ms
                last_arrival = max(arrives, last_arrival)
                if n_pending == pending.size:
                    pending = doubled(pending)
                    pending_ms = doubled(pending_ms)
                    pending_found = doubled(pending_found)
                pending[n_pending] = number
                pending_ms[n_pending] = last_arrival
                pending_found[n_pending] = now
                n_pending += 1
                if behaviour[FIRMWARE_WAITS] > 0.0 and rng.random() < behaviour[FIRMWARE_WAITS]:
                    if period_ms > 0:  # until the answer is there, or a new job takes over
                        state[BEGIN] += last_arrival + to_pool_ms - now
                    else:
                        state[STOP] = min(state[STOP], now)
        else:
            stamp = max(arrival, pool_free)
            row_share[n_rows] = pending[0]
            row_ms[n_rows] = stamp
            found_ms[n_rows] = pending_found[0]
            n_rows += 1
            for i in range(1, n_pending):
                pending[i - 1] = pending[i]
                pending_ms[i - 1] = pending_ms[i]
                pending_found[i - 1] = pending_found[i]
            n_pending -= 1
            pool_free = stamp
            if period_ms <= 0:
                if n_jobs >= sent_ms.size:
                    break
                if p[DELAY] > 0:
                    pool_free += max(0.5, p[TURNAROUND] + p[TURNAROUND_SD] * rng.standard_normal())
                own = sent_ms[shares[row_share[n_rows - 1], SHARE_JOB]]
                response_ns = (math.floor(stamp * ticks) - math.floor(own * ticks)) * tick_ns
                symbols[n_jobs] = mixed(symbols[n_jobs], response_ns, feedback)
                send(
                    n_jobs, pool_free, start_s, sent_ms, ntimes, symbols, carrier, random_bytes, extranonce1, version,
                    levels, mean_ms.size, plants[QUEUE], memory,
                )  # fmt: skip
                n_jobs += 1
                if p[DELAY] > 0:
                    pool_free += 0.02
    return n_rows, n_jobs, n_shares, failed_ms[:n_failed], failed_job[:n_failed]
