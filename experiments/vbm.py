"""How much a Virtual Block Manager gains: direct, relayed and managed work in randomised blocks, with its null.

Every arm ends at the same counter in front of the pool (``emulator.delay.DelayRelay``), so that only shares which the
pool itself accepted count, whoever answered the miner before. A block holds each arm once, in random order; the gain of
an arm is the mean over the blocks of the logarithm of its rate over that of ``direct``, with Student's t interval. The
``direct again`` arm is the null: whatever it "gains" is the noise of this measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np

from experiments.vbm_result import Arm, Block, Plan, VbmResult, judge
from experiments.vbm_subjects import Subject
from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.emulator.delay import DelayRelay, Tally


def order_of(plan: Plan) -> list[tuple[int, Arm]]:
    """Blocks with their arms in random order."""
    rng = np.random.default_rng([plan.seed, 11])
    return [(b, plan.arms[i]) for b in range(plan.blocks) for i in rng.permutation(len(plan.arms))]


async def run(
    subject: Subject,
    plan: Plan,
    *,
    clock: Clock | None = None,
    on_block: Callable[[Block, int], None] = lambda block, total: None,
) -> VbmResult:
    """Run the experiment.

    Raises:
        LabError: if the miner or the pool cannot be used.
    """
    clock = clock or SystemClock()
    blocks: list[Block] = []
    order = order_of(plan)
    try:
        for number, arm in order:
            block = await one_block(subject, plan, number, arm, clock)
            blocks.append(block)
            on_block(block, len(order))
    finally:
        await subject.end()
    return judge(subject, plan, blocks)


async def one_block(subject: Subject, plan: Plan, number: int, arm: Arm, clock: Clock) -> Block:
    """One arm for the time of a block; whoever calls ends the subject.

    Raises:
        LabError: if the miner or the pool cannot be used.
    """
    async with _places(plan, arm, clock) as (host, port, far):
        began: list[tuple[int, Tally]] = []

        def started() -> None:
            began.append((clock.monotonic_ns(), far.tally.copy()))

        side = await subject.block(host, port, plan.block_s, started)
        start_ns, before = began[0]
        seconds = (clock.monotonic_ns() - start_ns) / 1e9
        await asyncio.sleep(0.2 + (plan.round_trip_s or 0.0))  # the last shares are still on their way
        return Block(number, arm, seconds, far.tally.since(before), side, far.mean_round_trip_s)


@contextlib.asynccontextmanager
async def _places(plan: Plan, arm: Arm, clock: Clock) -> AsyncIterator[tuple[str, int, DelayRelay]]:
    """Everything that an arm needs: where the miner connects to, and the counter in front of the pool."""
    from firmware_bridge.emulator.builtin_pool import BuiltinPool
    from firmware_bridge.stratum.proxy import Proxy, ProxyConfig, Upstream
    from firmware_bridge.trace.writer import TraceWriter

    async with contextlib.AsyncExitStack() as stack:
        if plan.pool is None:
            rng = np.random.default_rng([plan.seed, 12])
            pool = BuiltinPool(rng, clock, plan.difficulty, mode="swh")
            place = ("127.0.0.1", await pool.start("127.0.0.1"))
            stack.push_async_callback(pool.stop)
        else:
            place = plan.pool
        far = DelayRelay(*place, round_trip_s=plan.round_trip_s or 0.0)
        host, port = await far.start(plan.host if arm.startswith("direct") else "127.0.0.1")
        stack.push_async_callback(far.stop)
        if arm in ("relay", "vbm"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="asiclab-vbm-"))
            config = ProxyConfig(
                (Upstream(host, port, plan.user),),
                mode="relay" if arm == "relay" else "vbm",
                host=plan.host,
                port=0,
                work="share",
            )
            url = str(Path(folder) / "block.db")
            proxy = Proxy(
                config,
                lambda on_commit, on_failure: TraceWriter(url, on_commit=on_commit, on_failure=on_failure),
                np.random.default_rng([plan.seed, 13]),
                clock=clock,
            )
            host, port = await proxy.start()
            stack.push_async_callback(proxy.stop)
        yield host, port, far
