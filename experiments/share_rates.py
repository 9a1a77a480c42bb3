"""How fast shares come, by the arithmetic of hash rates."""

from __future__ import annotations


def shares_per_s(
    model: str, difficulty: float, *, frequency_mhz: float | None = None, hash_rate_ths: float | None = None
) -> float:
    """Shares that a miner finds in a second while it hashes: its rate over ``D 2^32``.

    Args:
        model: its own smallest difficulty is the least that counts.
        difficulty: of a share.
        frequency_mhz: clock that the rate goes with; None: that of the model.
        hash_rate_ths: rate where it is known; None or 0: that of the model at this clock.
    """
    from firmware_bridge.emulator.electrical import FACTS
    from firmware_bridge.emulator.model import get_model

    facts = get_model(model)
    rate_ths = hash_rate_ths or facts.capacity_ths
    if frequency_mhz is not None and not hash_rate_ths:
        rate_ths *= frequency_mhz / FACTS[model].frequency_mhz
    return rate_ths * 1e12 / (max(difficulty, facts.floor) * 2.0**32)
