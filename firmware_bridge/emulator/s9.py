"""Antminer S9: 3 boards of 63 BM1387, bmminer on a Zynq (``hardware.md`` §2, §6; ``statistics.md`` §1)."""

from __future__ import annotations

from firmware_bridge.emulator import geometry
from firmware_bridge.emulator.model import Model
from firmware_bridge.stratum.client_session import ClientProfile

MODEL = Model(
    name="s9",
    title="Antminer S9",
    code=geometry.S9,
    client=ClientProfile(
        agent="bmminer/2.0.0 asiclab-emulator",
        handshake=("subscribe", "authorize"),
        strict_lockstep=False,
        version_bits=False,
        integer_difficulty=False,
        strictly_above=False,
        # bmminer is a cgminer: it answers ping and get_version, and does not know set_extranonce (§6.2)
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
    ),
    user="lab.s9",
    floor=256.0,
    capacity_ths=geometry.HASHES_PER_MS[geometry.S9] * 1e3 / 1e12,
)
