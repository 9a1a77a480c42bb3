"""Mine for a pool in wall time, at the difficulty scale that the pool takes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig, WallSummary
from firmware_bridge.stratum.client_session import ForeignPoolError


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
