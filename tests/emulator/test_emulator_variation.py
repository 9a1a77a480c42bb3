"""Planted differences between devices: of the size that is said, the device's own, and off unless asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.emulator import geometry
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.variation import REACH_SD, own_delays_ms
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.writer import TraceWriter


def test_delays_belong_to_the_device_and_are_never_negative() -> None:
    one = own_delays_ms(geometry.S9, 7, 0.5)
    np.testing.assert_array_equal(one, own_delays_ms(geometry.S9, 7, 0.5))
    assert not np.array_equal(one, own_delays_ms(geometry.S9, 8, 0.5))
    assert (one.size, own_delays_ms(geometry.LV06, 7, 0.5).size) == (63, 112)
    assert own_delays_ms(geometry.S9, 7, 0.0).size == 0
    many = np.concatenate([own_delays_ms(geometry.LV06, d, 2.0) for d in range(50)])
    assert many.min() >= 0
    assert many.std() == pytest.approx(2.0, rel=0.05)
    assert many.mean() == pytest.approx(2.0 * REACH_SD, rel=0.02)


@pytest.mark.parametrize("model", ["s9", "lv06"])
def test_each_part_delays_its_reports_by_its_own_constant(model: str) -> None:
    config = VirtualConfig(model=model, shares=800, seed=1, variation_ms=3.0, device=4, physics=Physics.off())
    trace = simulate(config)
    word = trace.nonce.byteswap()
    part = word >> 26 if model == "s9" else word >> 25
    wait = trace.row_ns / 1e6 - trace.row_found_ms
    own = own_delays_ms(trace.model.code, 4, 3.0)[part]
    np.testing.assert_array_less(own - 1e-3, wait)  # a report may have to queue behind an earlier one
    assert np.isclose(wait, own, atol=1e-3).mean() > 0.5


def test_nothing_changes_where_nothing_is_planted() -> None:
    plain = simulate(VirtualConfig(shares=300, seed=5))
    named = simulate(VirtualConfig(shares=300, seed=5, device=99))
    np.testing.assert_array_equal(plain.row_ns, named.row_ns)
    planted = simulate(replace(plain.config, variation_ms=0.5))
    assert not np.array_equal(plain.row_ns, planted.row_ns)
    assert plain.to_run_data().plants == {}
    assert planted.to_run_data().plants == {"variation": 0.5}


def test_the_run_records_what_was_planted(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url) as writer:
        run_virtual(VirtualConfig(shares=20, variation_ms=0.25, device=6), writer)
    record = TraceReader(url).run(TraceReader(url).resolve("latest"))
    assert record["plants"] == {"variation": 0.25}
    assert (record["config"]["variation_ms"], record["config"]["device"]) == (0.25, 6)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_variation_that_makes_no_sense_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="variation"):
        simulate(VirtualConfig(shares=10, variation_ms=value))
    with pytest.raises(UserError, match="device"):
        simulate(VirtualConfig(shares=10, device=-1))
