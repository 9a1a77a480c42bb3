"""A small S9-like share process for tests of the verdict: numpy only, shares no code with the emulator."""

from __future__ import annotations

import numpy as np

from firmware_bridge.timing.run_data import MinerInfo, RunData, build_run_data

SLOPE_MS = 0.2327
COUNTER_MAX = 470_000
MEAN_WORK_MS = 76.0


def s9_run(
    n: int,
    seed: int,
    *,
    dead_ms: float = 21.5,
    noise_ms: float = 1.5,
    late: bool = True,
    per_quality_ms: float = 0.0,
    per_symbol_ms: float = 0.0,
    per_degree_ms: float = 0.0,
    work_per_symbol: float = 0.0,
    memory: float = 0.0,
) -> RunData:
    """Single-word handshake: each share brings the next job, so that every share is the first of its job."""
    rng = np.random.default_rng(seed)
    symbol = rng.uniform(-1, 1, n)
    steps = rng.normal(size=n)
    temperature = np.empty(n)
    level = 0.0
    for i in range(n):
        level = 0.995 * level + 0.1 * steps[i]
        temperature[i] = 60 + 2 * level
    quality = rng.standard_exponential(n) / np.log(2)  # log2 of difficulty / 256
    work = rng.standard_exponential(n) * MEAN_WORK_MS * (1 + work_per_symbol * symbol)
    for i in range(1, n):
        work[i] += memory * max(work[i - 1] - MEAN_WORK_MS, 0.0)
    extranonce2 = np.floor(work / SLOPE_MS).astype(np.int64)
    counter = np.floor((work / SLOPE_MS - extranonce2) * COUNTER_MAX).astype(np.int64)
    position = extranonce2 * SLOPE_MS + counter / COUNTER_MAX * SLOPE_MS
    response = dead_ms + position + rng.normal(0, noise_ms, n) if noise_ms else dead_ms + position
    response = (
        response + per_quality_ms * quality + per_symbol_ms * symbol + per_degree_ms * (temperature - 60)
    )
    if late:
        for i in range(1, n):
            if response[i - 1] < 34 and rng.random() < 0.85:
                response[i] += 32 + rng.normal(0, 3)
    response = np.maximum(response, 0.01)
    swapped = (rng.integers(0, 63, n) << 26) | (counter << 7) | rng.integers(0, 114, n)
    return build_run_data(
        run_id=f"test-{seed}",
        kind="live",
        mode="swh",
        time_ns=np.cumsum(np.round(response * 1e6).astype(np.int64)),
        time_source="kernel",
        job=np.arange(n),
        response_ns=np.round(response * 1e6).astype(np.int64),
        since_notify_ns=np.round(response * 1e6).astype(np.int64),
        difficulty=256.0 * 2.0**quality,
        extranonce2=extranonce2,
        nonce=swapped.astype(np.uint32).byteswap(),
        version_bits=np.zeros(n),
        symbol=symbol,
        temperature_c=temperature,
        miners={1: MinerInfo("s9", "s9", None, 1.0, 256.0)},
        clock_tick_ns=1,
    )
