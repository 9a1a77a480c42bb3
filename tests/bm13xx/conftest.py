"""What every test of a chain needs."""

from __future__ import annotations

import pytest

from firmware_bridge.bm13xx import registers as r
from firmware_bridge.bm13xx.frames import JobFrame
from firmware_bridge.emulator.bm1366_scan import JobScan


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """The kernels of the emulated chips: a chain that compiles them beside its serial line answers too late."""
    frame = JobFrame(8, 0x1703A30C, 0x66221BDF, bytes(range(32)), bytes(range(32, 64)), 0x20000000)
    work = JobScan(
        frame,
        chips=1,
        frequency_mhz=485.0,
        hcn=r.hash_counting_number(485.0, 1),
        ticket_mask=0,
        rolling=0x9000FFFF,
        scale=2.0**-20,
    )
    while not work.run_unit():
        pass
