"""Measured time efficiency against its formula: the intervals by simulation, the miners over real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.report.vbm_eta_page import render, write_page
from experiments.vbm_eta import FEWEST, EtaCell, EtaPlan, EtaResult, cell_of, measure
from firmware_bridge.emulator.work_miner import Ledger
from firmware_bridge.errors import UserError

PLAN = EtaPlan(seconds=5.0, miners=6)


def simulated(rng: np.random.Generator, network_s: float, *, waits: bool, t_hash_s: float = 0.1) -> Ledger:
    """Books of 30 s of a miner whose wait is known, drawn without any clock."""
    ledger, left = Ledger(), round(30e9)
    while True:
        hashed = round(rng.exponential(t_hash_s) * 1e9)
        if hashed >= left:
            ledger.hashing_ns += left
            return ledger
        left -= hashed
        ledger.hashing_ns += hashed
        ledger.hashes_ns.append(hashed)
        if waits:
            wait = min(left, round(rng.normal(network_s, 0.002) * 1e9))
            ledger.waiting_ns += wait
            left -= wait
            if left <= 0:
                return ledger
            ledger.waits_ns.append(wait)


def cell(ledgers: list[Ledger], cells: int, **kind: Any) -> EtaCell:
    return cell_of(PLAN, ledgers, cells, way_s=0.0, accepted=0, rejected=0, **kind)


@pytest.mark.parametrize(("rtt", "waits"), [(0.05, True), (0.2, True), (0.2, False)])
def test_intervals_hold_the_formula_as_often_as_they_say(rtt: float, waits: bool) -> None:
    rng = np.random.default_rng([1, round(1e3 * rtt), waits])
    agreed = 0
    for _ in range(300):
        ledgers = [simulated(rng, rtt, waits=waits) for _ in range(2)]
        agreed += bool(cell(ledgers, 1, round_trip_s=rtt, firmware="waits" if waits else "queues").agrees)
    assert 0.91 < agreed / 300 <= 1.0  # 95 % for both intervals together, which are not independent


def test_a_miner_that_loses_time_which_the_formula_does_not_know_of_does_not_agree() -> None:
    rng = np.random.default_rng(3)
    ledgers = [simulated(rng, 0.05, waits=True, t_hash_s=0.13) for _ in range(4)]
    found = cell(ledgers, 6, round_trip_s=0.05, firmware="waits")
    assert found.agrees is False
    result = EtaResult(PLAN, (found,))
    assert "not everywhere" in result.verdict
    assert "Not as the formula says" in render(result)


def test_too_few_shares_are_no_answer() -> None:
    few = Ledger(hashing_ns=10**9, hashes_ns=[10**8] * (FEWEST - 1))
    found = cell([few], 1, round_trip_s=0.0, firmware="queues")
    assert found.agrees is None
    result = EtaResult(PLAN, (found,))
    assert result.verdict.startswith("Cannot tell")
    assert "–" in render(result)
    assert json.loads(json.dumps(result.to_json()))["cells"][0]["ledger"] is None


async def check(plan: EtaPlan) -> EtaResult:
    result = await measure(plan)
    assert len(result.cells) == 2 * len(plan.round_trips_s)
    for found in result.cells:
        assert found.ledger is not None, found
        assert found.shares is not None, found
        for middle, low, high in (found.ledger, found.shares):
            # twice the interval: what chance does in one run of millions, on a machine however busy
            assert low - (middle - low) - 1e-9 <= found.formula <= high + (high - middle) + 1e-9, found
        assert not found.rejected, found
        assert found.accepted >= found.cycles - 2 * plan.miners, found
        assert found.way_s >= 0.98 * found.round_trip_s, found
        if found.firmware == "waits":
            assert 0.999 * found.round_trip_s <= found.network_s < found.round_trip_s + 1.0, found
        else:
            assert found.network_s == 0.0, found
            assert found.ledger[0] > 0.999, found
    return result


@pytest.mark.xdist_group("timing")
@pytest.mark.costly
async def test_eta_is_that_of_the_formula_at_every_distance_for_both_kinds_of_firmware(
    tmp_path: Path,
) -> None:
    result = await check(PLAN)
    waiting = {c.round_trip_s: c for c in result.cells if c.firmware == "waits"}
    assert waiting[0.0].ledger > waiting[0.05].ledger > waiting[0.2].ledger  # type: ignore[operator]
    write_page(result, tmp_path / "new" / "eta.html")
    page = (tmp_path / "new" / "eta.html").read_text()
    assert result.verdict in page
    assert page.count("<tr><td") == 6
    with pytest.raises(UserError, match="--out"):
        write_page(result, tmp_path / "new" / "eta.html" / "x.html")


@pytest.mark.slow
async def test_eta_is_that_of_the_formula_within_two_per_cent() -> None:
    result = await check(EtaPlan(seconds=45.0, miners=24, seed=1))
    for found in result.cells:
        assert found.ledger is not None
        assert found.ledger[2] - found.ledger[1] < 0.05, found


@pytest.mark.parametrize(
    "wrong",
    [{"round_trips_s": (-1.0,)}, {"round_trips_s": ()}, {"t_hash_s": 0.0}, {"seconds": 0.0}, {"miners": 0}],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        EtaPlan(**wrong)
