"""Faults of an emulated miner's body, as its network faces and their drivers show them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices import axeos, goldshell
from firmware_bridge.devices.s9_fields import boards_of
from firmware_bridge.emulator.faults import Faults
from firmware_bridge.emulator.lb_box_api import LbBoxFace
from firmware_bridge.emulator.lv06_http import Lv06Face
from firmware_bridge.emulator.s9_api import S9Face
from firmware_bridge.errors import UserError

SECOND = 1_000_000_000


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_faults_are_taken_from_the_options_of_a_device_and_the_rest_is_left() -> None:
    faults, rest = Faults.taken({"fan_failed": True, "ambient_step_c": 15.0, "firmware": "2.15.0"})
    assert faults == Faults(fan_failed=True, ambient_step_c=15.0)
    assert rest == {"firmware": "2.15.0"}


@pytest.mark.parametrize(
    "options",
    [{"fan_failed": 3.0}, {"ambient_step_c": True}, {"voltage_droop_mv": float("nan")}, {"sensor_lost": "x"}],
)
def test_a_fault_of_the_wrong_kind_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Faults.taken(options)


def test_a_lost_sensor_is_no_temperature_for_any_driver() -> None:
    clock = VirtualClock()
    lv06, s9, box = Lv06Face(clock, rng(), {}), S9Face(clock, rng(), {}), LbBoxFace(clock, rng(), {})
    for face in (lv06, s9, box):
        face.machine.faults = Faults(sensor_lost=True)
    assert axeos.decode_info(json.dumps(lv06.info()).encode()).temperature_c is None
    stats = s9._stats(None)
    assert [b.temperature_c for b in boards_of(stats.rows[1])] == [None] * 3
    (board,) = goldshell.boards_of([box._board()])
    assert board.temperature_c is None


def test_a_stuck_sensor_repeats_itself_while_the_chip_heats_up() -> None:
    clock = VirtualClock()
    face = Lv06Face(clock, rng(), {})
    face.machine.faults = Faults(sensor_stuck=True, fan_failed=True)
    first = face.info()["temp"]
    clock.advance_to(120 * SECOND)
    assert face.info()["temp"] == first
    assert face.machine.thermal.temperature_c > first + 20


def test_a_supply_that_sags_shows_makes_wrong_hashes_and_stops_the_chip() -> None:
    clock = VirtualClock()
    face = Lv06Face(clock, rng(), {})
    told: list[float] = []
    face.machine.on_rate = lambda: told.append(face.machine.hash_rate_ghs)
    nominal = face.machine.hash_rate_ghs
    before = face.info()["coreVoltageActual"]
    face.machine.faults = Faults(voltage_droop_mv=140.0)
    clock.advance_to(600 * SECOND)
    assert face.info()["coreVoltageActual"] == before - 140
    assert 0.5 * nominal < face.machine.hash_rate_ghs < 0.99 * nominal
    assert face.machine.hardware_errors > 3
    assert told
    face.machine.faults = Faults(voltage_droop_mv=400.0)
    clock.advance_to(700 * SECOND)
    face.info()
    assert face.machine.hash_rate_ghs == told[-1] == 0.0
    face.machine.faults = Faults()
    face.machine.stop()
    face.machine.start()
    assert face.machine.hash_rate_ghs == pytest.approx(nominal)
