"""The PID against an independent one, on plants solved by scipy, and at its corners."""

from __future__ import annotations

import numpy as np
import pytest
import simple_pid
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import cont2discrete

from firmware_bridge.sentinel.pid import Gains, Pid


class Plant:
    """Two thermal nodes with a gain of `gain` °C per unit, exact for constant input over each step."""

    def __init__(self, gain: float, tau_s: float, fast_s: float, ambient: float) -> None:
        self._tau, self._fast = tau_s, fast_s
        self._x = np.zeros(2)
        self._gain, self._ambient = gain, ambient
        self._a = np.array([[-1 / tau_s, 0.0], [1 / fast_s, -1 / fast_s]])
        self._exact: dict[float, tuple[np.ndarray, np.ndarray]] = {}
        self._b = np.array([[gain / tau_s], [0.0]])

    def step(self, u: float, dt: float) -> float:
        if dt not in self._exact:
            self._exact[dt] = cont2discrete((self._a, self._b, np.eye(2), np.zeros((2, 1))), dt)[:2]
        a, b = self._exact[dt]
        self._x = a @ self._x + b[:, 0] * u
        return self._ambient + float(self._x[1])


@pytest.mark.parametrize(("kp", "ki", "kd"), [(2.0, 0.05, 0.0), (1.0, 0.02, 3.0), (0.0, 0.05, 0.0)])
def test_it_equals_simple_pid_in_a_closed_loop(kp: float, ki: float, kd: float) -> None:
    now = 0.0
    reference = simple_pid.PID(
        kp, ki, kd, setpoint=60.0, sample_time=None, output_limits=(-1e9, 1e9), time_fn=lambda: now
    )
    ours = Pid(Gains(kp, ki, kd), -1e9, 1e9)
    rng = np.random.default_rng(1)
    for pid in ("ours", "reference"):
        plant, y, now, seen = Plant(1.0, 45.0, 2.0, 25.0), 25.0, 0.0, []
        rng = np.random.default_rng(1)
        for n in range(400):
            y_read = y + 0.1 * rng.standard_normal()
            if pid == "reference":
                u = reference(y_read)
                if n == 0:
                    reference._integral = 0.0  # its first sample already integrates over a made-up step
                    u = kp * (60.0 - y_read)
            elif n == 0:
                ours.start(kp * (60.0 - y_read), y_read, 60.0, now)
                u = ours.output
            else:
                u = ours.update(y_read, 60.0, now)
            dt = 3.0 if n % 3 else 1.0  # irregular
            y = plant.step(u, dt)
            now += dt
            seen.append(y)
        if pid == "ours":
            ours_seen = seen
    assert np.allclose(ours_seen, seen, atol=1e-6)
    assert abs(seen[-1] - 60.0) < 1.0


def test_it_starts_without_a_bump() -> None:
    pid = Pid(Gains(3.0, 0.1, 2.0, filter_s=5.0), 0.0, 100.0, direction=-1)
    pid.start(42.0, 61.0, 60.0, 0.0)
    assert pid.output == 42.0
    # one second of an error of 1 °C integrates to 0.1
    assert pid.update(61.0, 60.0, 1.0) == pytest.approx(42.1)


def test_anti_windup_leaves_saturation_as_soon_as_the_error_turns() -> None:
    pid = Pid(Gains(1.0, 0.1, track_s=5.0), 0.0, 10.0)
    pid.start(0.0, 0.0, 0.0, 0.0)
    for n in range(1, 1000):
        assert pid.update(0.0, 50.0, float(n)) <= 10.0
    assert pid.output == 10.0
    steps = 0
    while pid.output == 10.0:
        steps += 1
        pid.update(0.0, -1.0, 1000.0 + steps)
    assert steps < 60  # without back-calculation it would take 50 000


def test_a_cooler_cools_more_when_it_is_warmer() -> None:
    pid = Pid(Gains(1.0, 0.0), 0.0, 100.0, direction=-1)
    pid.start(50.0, 60.0, 60.0, 0.0)
    assert pid.update(65.0, 60.0, 3.0) == pytest.approx(55.0)


def test_slew_and_dead_zone() -> None:
    pid = Pid(Gains(10.0, 0.0), 0.0, 100.0, slew_per_s=2.0)
    pid.start(0.0, 0.0, 0.0, 0.0)
    assert pid.update(0.0, 50.0, 3.0) == 6.0
    resting = Pid(Gains(0.0, 1.0, dead_zone=0.5), 0.0, 100.0)
    resting.start(10.0, 0.0, 0.0, 0.0)
    assert resting.update(0.4, 0.0, 10.0) == 10.0
    assert resting.update(-0.6, 0.0, 20.0) == pytest.approx(11.0)


def test_nonsense_is_refused() -> None:
    pid = Pid(Gains(1.0, 0.0), 0.0, 1.0)
    pid.start(0.0, 0.0, 0.0, 10.0)
    with pytest.raises(ValueError, match="time went back"):
        pid.update(0.0, 0.0, 9.0)
    with pytest.raises(ValueError, match="are numbers"):
        pid.update(float("nan"), 0.0, 11.0)
    with pytest.raises(ValueError, match="range"):
        Pid(Gains(1.0, 0.0), 1.0, 1.0)
    with pytest.raises(ValueError, match="gains"):
        Gains(-1.0, 0.0)


@given(
    st.lists(st.tuples(st.floats(-50, 150), st.floats(0.0, 100.0)), min_size=1, max_size=60),
    st.floats(0, 10),
    st.floats(0, 1),
    st.floats(0, 10),
)
def test_the_output_stays_within_its_limits_for_any_measurements(
    samples: list[tuple[float, float]], kp: float, ki: float, kd: float
) -> None:
    pid = Pid(Gains(kp, ki, kd, filter_s=2.0), -5.0, 5.0, direction=-1)
    now = 0.0
    for measurement, dt in samples:
        now += dt
        assert -5.0 <= pid.update(measurement, 60.0, now) <= 5.0


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("tau_s", [25.0, 45.0, 90.0])
def test_the_tuning_of_the_fan_holds_for_half_and_twice_the_gain_and_the_time_constant(
    gain: float, tau_s: float
) -> None:
    from firmware_bridge.devices.settings import Setting
    from firmware_bridge.sentinel.models import FACTS

    pid = Pid(FACTS["lv06"].gains[Setting.FAN], 0.0, 60.0, direction=-1)
    plant, rng, y, seen = Plant(-gain, tau_s, 1.0, 85.0), np.random.default_rng(2), 85.0, []
    pid.start(0.0, y, 60.0, 0.0)
    for n in range(1, 1200):
        y = plant.step(pid.update(y + 0.1 * rng.standard_normal(), 60.0, 3.0 * n), 3.0)
        seen.append(y)
    settled = np.array(seen[600:])
    assert np.abs(settled - 60.0).max() < 1.0
    assert min(seen) > 60.0 - (2.0 if tau_s == 45.0 else 4.0)
