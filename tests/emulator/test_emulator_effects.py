"""Planted effects: parsed strictly, recorded, and as large as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.emulator.effects import KINDS, checked_plants, parse_plants
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.span import Hit
from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.emulator.virtual_trace import VirtualTrace
from firmware_bridge.emulator.wall import WallMiner
from firmware_bridge.emulator.wall_config import WallConfig
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job, prevhash_symbol


def test_plants_are_parsed() -> None:
    assert parse_plants([]) == {}
    assert parse_plants(["input=1.5", "quality=-0.25"]) == {"input": 1.5, "quality": -0.25}


@pytest.mark.parametrize("item", ["input", "input=", "input=fast", "moon=1", "input=nan", "=1"])
def test_a_malformed_plant_is_refused_and_the_kinds_are_listed(item: str) -> None:
    with pytest.raises(UserError, match=r"input .*temperature .*quality|finite"):
        parse_plants([item])


def test_a_kind_is_planted_once() -> None:
    with pytest.raises(UserError, match="twice"):
        parse_plants(["input=1", "input=2"])
    with pytest.raises(UserError, match="finite"):
        checked_plants({"input": float("inf")})


def test_the_table_names_unit_and_quantity() -> None:
    assert list(KINDS) == ["input", "temperature", "quality", "thermal", "queue", "quality_delay_ms"]
    assert all(
        e.unit.startswith("ms ") and " per " in e.unit and e.quantity and e.delays for e in KINDS.values()
    )


def causes(trace: VirtualTrace) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {
        "input": trace.symbol[trace.row_job],
        "temperature": trace.row_temperature_c - 75.0,
        "quality": np.log2(trace.difficulty / 256.0),
    }


@pytest.mark.parametrize(
    "kind", ["input", "temperature", "quality"]
)  # those of memory: test_emulator_drive.py
@pytest.mark.parametrize("strength", [3.0, -2.0])
@pytest.mark.parametrize("physics", [Physics(), Physics.off()])
def test_a_plant_delays_the_report_by_its_strength_per_unit(
    kind: str, strength: float, physics: Physics
) -> None:
    trace = simulate(VirtualConfig(shares=6000, seed=1, plants={kind: strength}, physics=physics))
    waits = trace.row_ns / 1e6 - trace.row_found_ms
    X = np.c_[np.ones(trace.n), *causes(trace).values()]
    slopes, *_ = np.linalg.lstsq(X, waits, rcond=None)
    for i, name in enumerate(causes(trace)):
        expected = strength if name == kind else 0.0
        assert slopes[1 + i] == pytest.approx(expected, abs=0.02 * abs(strength) + 0.2)
    assert waits.min() >= -1e-3


def test_without_plants_nothing_depends_on_anything() -> None:
    trace = simulate(VirtualConfig(shares=6000, seed=1))
    waits = trace.row_ns / 1e6 - trace.row_found_ms
    for values in causes(trace).values():
        assert abs(np.corrcoef(values, waits)[0, 1]) < 4 / np.sqrt(trace.n)


def test_the_symbol_is_what_the_job_carries() -> None:
    trace = simulate(VirtualConfig(shares=500, seed=1))
    for index, row in enumerate(trace.job_rows(0, trace.job_sent_ns.size)):
        assert row[16] == prevhash_symbol(row[3]) == trace.symbol[index]
        assert row[17] == f'{{"prevhash": "{row[3][:8]}"}}'
    assert trace.symbol.min() >= 0
    assert trace.symbol.max() < 1
    assert np.std(trace.symbol) == pytest.approx(12**-0.5, rel=0.1)


def test_strength_zero_changes_no_byte() -> None:
    plain = simulate(VirtualConfig(shares=300, seed=5))
    planted = simulate(replace(plain.config, plants=dict.fromkeys(KINDS, 0.0)))
    np.testing.assert_array_equal(plain.row_ns, planted.row_ns)


def test_delays_far_longer_than_the_intervals_lose_no_rows() -> None:
    trace = simulate(VirtualConfig(shares=300, seed=5, plants={"quality": 60_000.0}))
    assert trace.n == 300
    assert np.all(np.diff(trace.row_ns) >= 0)


@pytest.mark.parametrize("strength", [40.0, -25.0])
def test_a_planted_delay_of_quality_is_a_step_at_four_times_the_floor(strength: float) -> None:
    quiet = simulate(VirtualConfig(shares=3000, seed=2, physics=Physics.off()))
    trace = simulate(replace(quiet.config, plants={"quality_delay_ms": strength}))
    waits = trace.row_ns / 1e6 - trace.row_found_ms
    good = trace.difficulty > 1024
    assert 0.2 < good.mean() < 0.3
    assert waits[good] == pytest.approx(max(0.0, strength), abs=0.001 if strength > 0 else 60.0)
    # a report never overtakes an earlier one: who comes right behind a delayed one waits with it
    assert np.median(waits[~good]) == pytest.approx(max(0.0, -strength), abs=0.001)
    assert waits.min() >= -1e-3
    assert (np.diff(trace.row_ns) >= 0).all()
    response = trace.response_ns / 1e6
    assert response[good].mean() - response[~good].mean() == pytest.approx(strength, abs=12.0)


def test_a_miner_in_wall_time_delays_by_the_same_rule() -> None:
    job = Job(
        "1",
        "5" * 64,
        "00" * 8,
        "00" * 8,
        (),
        "20000000",
        "1d00ffff",
        "65a00000",
        "0000ffff",
        difficulty=512.0,
    )
    miner = WallMiner(WallConfig(model="s9", host="", port=0, plants={"quality_delay_ms": 40.0}))
    for difficulty, expected in ((2047.0, 0.0), (2048.0, 0.0), (2049.0, 40.0), (1e6, 40.0)):
        hit = Hit(work_ms=1.0, extranonce2=1, nonce=1, version_bits=0, counter=1, difficulty=difficulty)
        assert miner._planted(job, hit, 1.0) == expected
    both = WallMiner(
        WallConfig(model="s9", host="", port=0, plants={"quality_delay_ms": -40.0, "quality": 1.0})
    )
    hit = Hit(work_ms=1.0, extranonce2=1, nonce=1, version_bits=0, counter=1, difficulty=1024.0)
    assert both._planted(job, hit, 1.0) == pytest.approx(41.0)
