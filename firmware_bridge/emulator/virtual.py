"""Virtual time: a run of one emulated miner, thousands of times faster than real time, byte-identical per seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.emulator import effects
from firmware_bridge.emulator.model import Model, get_model
from firmware_bridge.emulator.physics import PARAMETERS
from firmware_bridge.emulator.virtual_config import DEFAULT_SHARES, VirtualConfig, settings_of
from firmware_bridge.headers import target_from_difficulty

if TYPE_CHECKING:
    from firmware_bridge.emulator.program import Course
    from firmware_bridge.emulator.virtual_trace import VirtualTrace
    from firmware_bridge.trace.run_writer import RunWriter
    from firmware_bridge.trace.writer import TraceWriter

__all__ = ["VirtualConfig", "run_virtual", "simulate"]

ROWS_AT_ONCE = 5000
"""Rows handed to the trace writer in one block."""


def simulate(config: VirtualConfig) -> VirtualTrace:
    """Run the engine without a database.

    Raises:
        UserError: if the configuration makes no sense.
    """
    config.check()
    if config.program:
        return _simulate_program(config)
    model = get_model(config.model)
    target = target_from_difficulty(config.floor() * config.scale)
    hashes_per_ms = model.capacity_ths * config.pace() * 1e9
    mean_ms = (1 << 256) / (target + 1) / config.scale / hashes_per_ms
    expected = DEFAULT_SHARES
    seconds = config.seconds
    if config.drive is not None and config.mode == "stream":
        seconds = len(config.drive.symbols) * config.job_period_s
    elif config.drive is not None:
        expected = len(config.drive.symbols) + 1  # the last job's answer calls for one that is not there
    if seconds is not None:
        expected = int(seconds * 1e3 / mean_ms * 1.1) + 100
    rows = min(config.shares or expected, expected) if config.shares is None or seconds else config.shares
    while True:
        trace = _simulate_rows(config, model, mean_ms, rows)
        ended_early = trace.n < rows or trace.n == config.shares
        if seconds is None or ended_early:
            return trace
        rows = min(2 * rows, config.shares or 2 * rows)  # chance filled the rows before the time was up


def _simulate_program(config: VirtualConfig) -> VirtualTrace:
    """One run of the engine per step, each at its own clock and with the heat of that time, put end to end."""
    from firmware_bridge.emulator import virtual_trace
    from firmware_bridge.emulator.program import courses

    physics = config.resolved_physics()
    period_s = physics.telemetry_period_s
    readings = sum(round(step.seconds / period_s) for step in config.program)
    wander_rng, sensor_rng = np.random.default_rng([config.seed, 1 << 20]).spawn(2)
    wander_c = physics.temperatures(wander_rng, readings) - physics.temperature_c
    model = get_model(config.model)
    target = target_from_difficulty(config.floor() * config.scale)
    whole = courses(config.model, config.program, period_s, wander_c, sensor_rng)
    reach_c = max(float(np.abs(course.temperature_c - physics.temperature_c).max()) for course in whole)
    if config.drive is not None:
        return _simulate_settings(config, model, target, whole, reach_c)
    parts, start_s = [], 0.0
    for number, course in enumerate(whole):
        part = replace(
            config,
            program=(),
            seconds=course.step.seconds,
            seed=[config.seed, number],  # type: ignore[arg-type] # one stream of chance per step
            physics=replace(physics, hash_rate_ths=course_rate_ths(config, course)),
            start_wall_ns=config.start_wall_ns + round(start_s * 1e9),
        )
        mean_ms = (1 << 256) / (target + 1) / config.scale / (model.capacity_ths * part.pace() * 1e9)
        rows = int(course.step.seconds * 1e3 / mean_ms * 1.1) + 100
        while (trace := _simulate_rows(part, model, mean_ms, rows, (course,), reach_c)).n >= rows:
            rows *= 2
        parts.append(trace)
        start_s += course.step.seconds
    return virtual_trace.joined(replace(config, physics=physics), parts)


def _simulate_settings(
    config: VirtualConfig, model: Model, target: int, whole: Sequence[Course], reach_c: float
) -> VirtualTrace:
    """One run of the engine, in which each job has the clock of its step: shares under way outlive its change."""
    from firmware_bridge.emulator.thermal import FACTS

    nominal_mhz = FACTS[config.model].frequency_mhz
    speeds = np.array([(course.step.frequency_mhz or 0.0) / nominal_mhz for course in whole])
    mean_ms = (1 << 256) / (target + 1) / config.scale / (model.capacity_ths * config.pace() * 1e9)
    rows = int(float(speeds.sum()) * config.job_period_s * 1e3 / mean_ms * 1.1) + 100
    while (trace := _simulate_rows(config, model, mean_ms, rows, whole, reach_c, speeds)).n >= rows:
        rows *= 2
    return trace


def course_rate_ths(config: VirtualConfig, course: Course) -> float:
    """Hash rate of a step in TH/s, wrong hashes included: the model's, in proportion to the clock."""
    from firmware_bridge.emulator.thermal import FACTS

    assert course.step.frequency_mhz is not None
    full = get_model(config.model).capacity_ths * config.pace()
    return full * course.step.frequency_mhz / FACTS[config.model].frequency_mhz


def _simulate_rows(
    config: VirtualConfig,
    model: Model,
    mean_ms: float,
    rows: int,
    courses: Sequence[Course] = (),
    reach_c: float = 0.0,
    speeds: np.ndarray[Any, np.dtype[np.float64]] | None = None,
) -> VirtualTrace:
    from firmware_bridge.emulator import geometry, rates, variation, virtual_trace
    from firmware_bridge.emulator.drive import UNDRIVEN
    from firmware_bridge.emulator.engine import run_engine
    from firmware_bridge.sha256d import target_words

    physics = config.resolved_physics()
    pace = config.pace()
    engine_rng, job_rng, thermal_rng, rate_rng = np.random.default_rng(config.seed).spawn(4)
    period_ms = config.job_period_s * 1e3 if config.mode == "stream" else 0.0
    limit_ms = float("inf") if config.seconds is None else config.seconds * 1e3
    drive = config.drive
    floors = np.array([config.floor()])
    if drive is not None:
        whole = model.client.integer_difficulty
        floors = drive.difficulties(config.floor(), whole=whole)
        mean_ms = mean_ms * float(floors[-1] / config.floor())
    longest_ms = min(limit_ms, (mean_ms + 60.0) * (rows + 10 * rows**0.5 + 100))
    jobs = rows + 2 if period_ms <= 0 else int(longest_ms / period_ms) + 3
    if drive is not None:
        jobs = len(drive.symbols)
        longest_ms = jobs * period_ms if period_ms > 0 else longest_ms
        limit_ms = longest_ms if period_ms > 0 else limit_ms
    if config.job_lengths_s:
        jobs = len(config.job_lengths_s)
    lengths_ms = np.array(config.job_lengths_s) * 1e3 if config.job_lengths_s else np.full(jobs, period_ms)
    job_bytes = job_rng.integers(0, 256, size=(jobs, 96), dtype=np.uint8)
    symbols = virtual_trace.symbols_of(job_bytes) if drive is None else np.array(drive.symbols)
    extranonce1 = np.tile(np.frombuffer(virtual_trace.EXTRANONCE1, dtype=np.uint8), (jobs, 1))
    versions = np.full(jobs, virtual_trace.VERSION, dtype=np.uint32)
    levels = np.zeros(jobs, dtype=np.int64) if drive is None else (~drive.working()).astype(np.int64)
    period_s = physics.telemetry_period_s
    wrong = np.concatenate([np.empty(0), *(course.wrong for course in courses)])
    if not courses:
        temperatures = sensed = physics.temperatures(thermal_rng, int(longest_ms / 1e3 / period_s) + 2)
    else:
        temperatures = np.concatenate([course.temperature_c for course in courses])
        sensed = np.concatenate([course.sensed_c for course in courses])
    sent_ms = np.empty(jobs)
    ntimes = np.empty(jobs, dtype=np.uint32)
    row_share = np.empty(rows, dtype=np.int64)
    row_ms, found_ms = np.empty(rows), np.empty(rows)
    constants = effects.constants_ms(config.plants, physics.temperature_sd_c)
    if courses:  # a programme goes further than the wander that the constant is made for
        constants[effects.TEMPERATURE] = abs(config.plants.get("temperature", 0.0)) * reach_c
    own_delays_ms = variation.own_delays_ms(model.code, config.device, config.own_variation_ms())
    longest_delay_ms = effects.longest_ms(config.plants, constants, period_ms or mean_ms)
    longest_delay_ms += float(own_delays_ms.max(initial=0.0))
    under_way = 1000 + int(3 * longest_delay_ms / mean_ms)
    shares = np.empty((rows + under_way, 6), dtype=np.int64)
    digests = np.empty((rows + under_way, 8), dtype=np.uint32)
    pulse = rates.pulse_course(config.plants.get("pulse", 0.0))
    bursts = rates.burst_course(config.plants.get("bursts", 0.0), rows + under_way, rate_rng)
    vector = physics.vector()
    if not physics.dead_time:
        vector[PARAMETERS.index("first_works")] = 0.0
    work_ms = geometry.S9_WORK_MS / pace
    slowed = physics.dead_time
    tick = physics.tick_ns()
    n_rows, n_jobs, n_shares, failed_ms, failed_job = run_engine(
        engine_rng,
        vector,
        model.code,
        pace,
        np.ones(jobs) if speeds is None else speeds,
        effects.luck_of(symbols, config.luck()),
        effects.luck_of(symbols, config.plants.get("failing_jobs", 0.0)),
        effects.behaviour(config.plants),
        pulse,
        bursts,
        mean_ms * floors / floors[-1],
        floors * config.scale,
        physics.first_works * work_ms if slowed else 0.0,
        physics.refill_works * work_ms if slowed else float("inf"),
        period_ms,
        lengths_ms,
        limit_ms,
        np.array([target_words(target_from_difficulty(floor * config.scale)) for floor in floors]),
        job_bytes,
        extranonce1,
        versions,
        np.uint32(virtual_trace.NBITS),
        config.start_wall_ns / 1e9,
        float(tick),
        symbols,
        UNDRIVEN if drive is None else drive.code,
        0.0 if drive is None else drive.feedback,
        levels,
        temperatures - physics.temperature_c,
        period_s * 1e3,
        wrong,
        effects.strengths(config.plants),
        constants,
        own_delays_ms,
        sent_ms,
        ntimes,
        row_share,
        row_ms,
        found_ms,
        shares,
        digests,
    )

    def stamps(ms: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray(np.floor(ms * (1e6 / tick)).astype(np.int64) * tick)

    if n_rows and drive is None and not config.job_lengths_s:
        n_jobs = min(n_jobs, int(np.searchsorted(sent_ms[:n_jobs], row_ms[n_rows - 1], side="right")) + 1)
    return virtual_trace.VirtualTrace(
        config=replace(config, physics=physics),
        model=model,
        job_bytes=job_bytes[:n_jobs],
        job_ntime=ntimes[:n_jobs],
        job_extranonce1=extranonce1[:n_jobs],
        job_version=versions[:n_jobs],
        job_difficulty=config.difficulty * np.ones(n_jobs) if floors.size == 1 else floors[levels[:n_jobs]],
        job_sent_ns=stamps(sent_ms[:n_jobs]),
        symbol=symbols[:n_jobs],
        row_share=row_share[:n_rows],
        row_ns=stamps(row_ms[:n_rows]),
        row_found_ms=found_ms[:n_rows],
        share=shares[:n_shares],
        digest=digests[:n_shares],
        failed_ns=stamps(failed_ms),
        failed_job=failed_job,
        temperature_c=sensed,
        tick_ns=tick,
        courses=tuple(courses),
    )


def run_virtual(
    config: VirtualConfig, writer: TraceWriter, *, progress: Callable[[int, int], None] | None = None
) -> RunWriter:
    """Simulate a run and write it into a trace; returns the ended run.

    Args:
        config: what to simulate.
        writer: where to.
        progress: called with rows written and rows in all, after each block.

    Raises:
        UserError: if the configuration makes no sense.
        TraceError: if the trace cannot be written.
    """
    from firmware_bridge.emulator.program import truth
    from firmware_bridge.trace.schema import MinerRow, RunRecord

    trace = simulate(config)
    physics = config.resolved_physics()
    settings = settings_of(config)
    run = writer.begin_run(
        RunRecord(
            kind="virtual",
            source="emulator",
            mode=config.mode,
            started_wall_ns=config.start_wall_ns,
            started_monotonic_ns=0,
            config=settings,
            seeds={"emulator": config.seed},
            plants=config.planted(),
            physics=physics.to_json() | (truth(config.model, config.program) if config.program else {}),
            clock_tick_ns=trace.tick_ns,
            clock_source="virtual",
        )
    )
    model = trace.model
    run.miner(
        MinerRow(
            name=model.user,
            user_agent=config.agent(),
            address=None,
            model=model.name,
            extranonce1="0000ffff",
            version_mask=config.version_mask(),
            scale=config.scale,
            floor=config.floor(),
            connected_wall_ns=config.start_wall_ns,
        )
    )
    jobs = int(trace.job_sent_ns.size)
    for start in range(0, jobs, ROWS_AT_ONCE):
        run.jobs(trace.job_rows(start, min(start + ROWS_AT_ONCE, jobs)))
    run.telemetry_rows(trace.telemetry_rows())
    for change in trace.changes():
        run.setting(miner=1, **change)
    for start in range(0, trace.n, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, trace.n)
        run.shares(trace.share_rows(start, stop))
        if progress is not None:
            progress(stop, trace.n)
    last_ns = int(trace.row_ns[-1]) if trace.n else 0
    if config.program:
        last_ns = round(sum(step.seconds for step in config.program) * 1e9)
    run.end("success", wall_ns=config.start_wall_ns + last_ns)
    return run
