from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.headers import prevhash_symbol
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import JobSymbol
from firmware_bridge.stratum.jobs import JobFactory


def make(**arguments: object):
    factory = JobFactory(BridgeConfig(), np.random.default_rng(1))
    return factory.make(
        extranonce1="00000001",
        difficulty=1.0,
        scale=1.0,
        version_mask=0,
        wall_ns=1_700_000_000_000_000_000,
        **arguments,  # type: ignore[arg-type]
    )


def test_a_job_without_a_symbol_is_labelled_with_its_own_prevhash() -> None:
    job = make(label=True)
    assert job.symbol == prevhash_symbol(job.prevhash) == int(job.prevhash[:8], 16) / 2**32
    assert job.symbol_fields == {"prevhash": job.prevhash[:8]}
    assert 0 <= job.symbol < 1


@pytest.mark.parametrize("label", [True, False])
def test_somebodys_symbol_is_never_replaced(label: bool) -> None:
    job = make(symbol=JobSymbol(0.25, ntime=7), label=label)
    assert job.symbol == 0.25
    assert job.symbol_fields == {"ntime": "00000007"}


def test_without_a_label_there_is_no_symbol() -> None:
    assert make().symbol is None
