"""Mine for a pool in wall time, at the difficulty scale that the pool takes up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig, WallSummary
from firmware_bridge.stratum.client import ForeignPoolError


async def mine(
    config: WallConfig,
    on_start: Callable[[WallMiner], None] = lambda miner: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> WallSummary:
    """Emulate a miner; a pool that knows no difficulty scales is mined for at scale 1, unless a scale was asked for.

    Args:
        config: what to emulate.
        on_start: called with each miner before it starts; keep it to call ``request_stop``.
        on_warning: called with each warning as it arises.

    Raises:
        UserError: if the pool cannot be reached, refuses this miner, or does not take up the scale asked for.
    """
    miner = WallMiner(config, on_warning)
    on_start(miner)
    try:
        return await miner.run()
    except ForeignPoolError:
        if config.scale is not None:
            raise
    on_warning("this pool knows no difficulty scales: mining for it at scale 1, as any miner does")
    miner = WallMiner(replace(config, scale=1.0), on_warning)
    on_start(miner)
    return await miner.run()


def run_wall(
    model: str,
    host: str,
    port: int,
    *,
    scale: float | None = None,
    seconds: float | None = None,
    shares: int | None = None,
    seed: int = 0,
    plants: dict[str, float] | None = None,
    physics: Physics | None = None,
    user: str | None = None,
    password: str = "x",
    on_start: Callable[[WallMiner], None] = lambda miner: None,
    on_warning: Callable[[str], None] = lambda text: None,
) -> WallSummary:
    """Emulate a miner in wall time until it is done; see :class:`WallConfig` for the arguments.

    Args:
        model: see there, as for all arguments not named here.
        host: see there.
        port: see there.
        scale: see there.
        seconds: see there.
        shares: see there.
        seed: see there.
        plants: see there.
        physics: see there.
        user: see there.
        password: see there.
        on_start: see :func:`mine`.
        on_warning: see :func:`mine`.

    Raises:
        UserError: if the pool cannot be reached, refuses this miner, or an argument makes no sense.
    """
    config = WallConfig(
        model=model,
        host=host,
        port=port,
        scale=scale,
        seconds=seconds,
        shares=shares,
        seed=seed,
        plants=dict(plants or {}),
        physics=physics,
        user=user or None,
        password=password,
    )
    return asyncio.run(mine(config, on_start, on_warning))
