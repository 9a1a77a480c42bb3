"""Goldshell LB-Box: hashes LBRY, its host program is of the family of the LB1's (``hardware.md`` §5)."""

from __future__ import annotations

from firmware_bridge.emulator.model import Model
from firmware_bridge.stratum.client_session import ClientProfile

LB_BOX = 2
"""Number of its scan, which nobody outside has described: see ``lbry_span``."""

MODEL = Model(
    name="lb-box",
    title="Goldshell LB-Box",
    code=LB_BOX,
    client=ClientProfile(
        agent="icbtminer asiclab-emulator",
        handshake=("subscribe", "authorize"),
        strict_lockstep=False,
        version_bits=False,
        integer_difficulty=False,
        strictly_above=False,
        understands=frozenset(
            {"mining.notify", "mining.set_difficulty", "client.show_message", "client.reconnect"}
        ),
    ),
    user="lab.lb-box",
    floor=1.0,
    capacity_ths=0.175,
    default_scale=2.0**-22,
    lbry=True,
)
