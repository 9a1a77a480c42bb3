"""Lucky Miner LV06: one BM1366 under a fork of ESP-Miner v2.1 (``hardware.md`` §1, §4.4, §6)."""

from __future__ import annotations

from firmware_bridge.emulator import geometry
from firmware_bridge.emulator.model import Model
from firmware_bridge.stratum.client_session import ClientProfile

MODEL = Model(
    name="lv06",
    title="Lucky Miner LV06",
    code=geometry.LV06,
    client=ClientProfile(
        agent="cgminer/LV06 asiclab-emulator",
        handshake=("subscribe", "configure", "suggest_difficulty", "authorize"),
        strict_lockstep=True,
        version_bits=True,
        integer_difficulty=True,
        strictly_above=True,
        # set_extranonce, ping and reconnect are unknown to that code base (§4.4 h)
        understands=frozenset({"mining.notify", "mining.set_difficulty", "mining.set_version_mask"}),
        suggested_difficulty=256,
        most_branches=32,
    ),
    user="lab.lv06",
    floor=256.0,
    capacity_ths=geometry.HASHES_PER_MS[geometry.LV06] * 1e3 / 1e12,
)
