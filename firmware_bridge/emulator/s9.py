"""Antminer S9: 3 boards of 63 BM1387, bmminer on a Zynq (``hardware.md`` §2, §6; ``statistics.md`` §1)."""

from __future__ import annotations

from firmware_bridge.emulator import geometry
from firmware_bridge.emulator.model import Model

MODEL = Model(
    name="s9",
    title="Antminer S9",
    code=geometry.S9,
    agent="bmminer/2.0.0",
    user="lab.s9",
    floor=256.0,
    capacity_ths=geometry.HASHES_PER_MS[geometry.S9] * 1e3 / 1e12,
    handshake=("subscribe", "authorize"),
    lockstep=True,
    version_bits=False,
    integer_difficulty=False,
    strictly_above=False,
    # bmminer is a cgminer: pong and get_version are answered, set_extranonce is not understood (§6.2)
    understands=frozenset(
        {
            "mining.notify",
            "mining.set_difficulty",
            "mining.ping",
            "client.get_version",
            "client.show_message",
            "client.reconnect",
        }
    ),
)
