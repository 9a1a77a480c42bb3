"""What is planted into the miner itself shows in its run as strongly as was said, and nothing changes without it."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from firmware_bridge.emulator.effects import WAVE_PERIOD_S
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.rates import BURST_EXPONENT, PULSE_HZ, burst_course, pulse_course
from firmware_bridge.emulator.virtual import VirtualConfig, simulate
from firmware_bridge.emulator.virtual_trace import VirtualTrace
from firmware_bridge.errors import UserError

SMALL = 2.0**-36


def run(plants: dict[str, float], shares: int = 6000, **more: Any) -> VirtualTrace:
    settings = {"mode": "stream", "job_period_s": 30.0, "scale": SMALL, "physics": Physics.off(), **more}
    return simulate(VirtualConfig(shares=shares, seed=3, plants=plants, **settings))


def intervals_ms(trace: VirtualTrace) -> Any:
    return np.diff(trace.row_ns) / 1e6


@pytest.mark.parametrize("model", ["s9", "lv06"])
def test_a_strength_of_zero_is_nothing_planted(model: str) -> None:
    plain = simulate(VirtualConfig(model=model, shares=200, seed=5))
    none = dict.fromkeys(
        ("swing", "waits", "pulse", "bursts", "wave", "choosy", "below", "devices", "variation"), 0.0
    )
    planted = simulate(VirtualConfig(model=model, shares=200, seed=5, plants=none))
    np.testing.assert_array_equal(plain.row_ns, planted.row_ns)
    np.testing.assert_array_equal(plain.digest, planted.digest)


@pytest.mark.parametrize("kind", ["pulse", "bursts", "wave", "choosy", "variation"])
def test_shares_of_a_planted_run_are_real_shares(kind: str) -> None:
    trace = simulate(VirtualConfig(model="lv06", shares=40, seed=5, plants={kind: 0.5}))
    from firmware_bridge.headers import target_from_difficulty

    target = target_from_difficulty(trace.config.floor() * trace.config.scale)
    digests = trace.digest[trace.row_share].astype(">u4")
    assert all(int.from_bytes(row.tobytes(), "little") <= target for row in digests)
    assert len({hashlib.sha256(row.tobytes()).digest() for row in digests}) > 30


def test_a_pulse_is_the_rate_at_2_4_hz() -> None:
    trace = run({"pulse": 0.5}, 20_000)
    phase = (trace.row_ns / 1e9 * PULSE_HZ) % 1.0
    counts, edges = np.histogram(phase, 12, (0.0, 1.0))
    middle = (edges[:-1] + edges[1:]) / 2
    slope = np.polyfit(np.sin(2 * np.pi * middle), np.log(counts), 1)[0]
    # 1 / sqrt(n / 2) is the error of the logarithm's amplitude
    assert slope == pytest.approx(0.5, abs=4 / math.sqrt(10_000))
    plain = run({}, 20_000)
    # the mean rate goes with the mean of exp(s sin), which is the Bessel function I0(s)
    assert intervals_ms(plain).mean() / intervals_ms(trace).mean() == pytest.approx(np.i0(0.5), rel=0.04)


def test_a_pulse_goes_round_without_a_seam() -> None:
    course = pulse_course(0.7)
    assert course.size == 250
    twice = np.log(np.concatenate([course, course])) / 0.7
    np.testing.assert_allclose(twice, np.sin(2 * np.pi * PULSE_HZ * np.arange(500) * 0.02), atol=1e-9)


def test_bursts_have_sizes_without_a_scale_and_the_mean_rate_stays() -> None:
    course = burst_course(1.0, 200_000, np.random.default_rng(1))
    edges = np.flatnonzero(np.diff(course)) + 1
    sizes = np.diff(edges)
    ones = 1.0 / sum(k**-BURST_EXPONENT for k in range(1, 100_000))
    assert (sizes == 1).mean() == pytest.approx(ones, abs=0.01)
    assert (sizes >= 20).mean() > 0.01
    assert (1.0 / course).mean() == pytest.approx(1.0, abs=0.1)
    planted, plain = intervals_ms(run({"bursts": 1.4}, 8000)), intervals_ms(run({}, 8000))
    assert planted.mean() == pytest.approx(plain.mean(), rel=0.15)
    assert planted.std() > 1.2 * plain.std()


@pytest.mark.parametrize("model", ["s9", "lv06"])
def test_a_wave_goes_round_the_silicon(model: str) -> None:
    trace = run({"wave": 0.6}, 8000, model=model)
    word = trace.nonce.byteswap()
    place = (word >> 26) / 63 if model == "s9" else (word >> 25) / 112
    phase = (
        place - trace.row_found_ms / 1e3 / WAVE_PERIOD_S - trace.config.start_wall_ns / 1e9 / WAVE_PERIOD_S
    ) % 1
    # the first harmonic of 1 + s cos is s / 2
    assert 2 * np.cos(2 * np.pi * phase).mean() == pytest.approx(0.6, abs=4 / math.sqrt(4000))
    assert 2 * np.sin(2 * np.pi * phase).mean() == pytest.approx(0.0, abs=4 / math.sqrt(4000))
    assert np.histogram(place, 4, (0, 1))[0].min() > 1700


def test_a_choosy_miner_keeps_quiet_about_some_of_its_shares() -> None:
    trace, plain = run({"choosy": 0.6}), run({})
    below = trace.digest[trace.row_share, 4] < 1 << 31
    assert below.mean() == pytest.approx(0.4 / 1.4, abs=0.025)
    assert (plain.digest[plain.row_share, 4] < 1 << 31).mean() == pytest.approx(0.5, abs=0.025)
    assert intervals_ms(plain).mean() / intervals_ms(trace).mean() == pytest.approx(0.7, abs=0.05)
    assert trace.failed_ns.size == 0


def test_devices_have_a_pace_of_their_own_in_each_run() -> None:
    paces = [VirtualConfig(device=d, plants={"devices": 0.2}).pace() for d in range(200)]
    assert np.log(paces).std() == pytest.approx(0.2, rel=0.15)
    assert VirtualConfig(device=7).pace() == 1.0
    fast = int(np.argmax(paces))
    rate = intervals_ms(run({}, device=fast)).mean() / intervals_ms(run({"devices": 0.2}, device=fast)).mean()
    assert rate == pytest.approx(paces[fast], rel=0.06)


def test_variation_is_the_same_wherever_it_is_given() -> None:
    named = simulate(VirtualConfig(shares=200, seed=2, variation_ms=0.5, device=3))
    planted = simulate(VirtualConfig(shares=200, seed=2, plants={"variation": 0.5}, device=3))
    np.testing.assert_array_equal(named.row_ns, planted.row_ns)
    assert named.to_run_data().plants == planted.to_run_data().plants == {"variation": 0.5}


def test_a_chip_reports_below_its_own_difficulty_only_where_that_is_asked() -> None:
    asked = VirtualConfig(model="lv06", difficulty=1.0, plants={"below": 1.0})
    assert asked.floor() == pytest.approx(256.0 / math.e)
    assert VirtualConfig(model="lv06", difficulty=300.0, plants={"below": 1.0}).floor() == 300.0
    trace = run({"below": 1.0}, model="lv06", difficulty=1.0)
    assert asked.floor() <= trace.difficulty.min() < 100.0


@pytest.mark.parametrize(
    ("plants", "why"),
    [
        ({"choosy": 1.0}, "choosy is the part"),
        ({"choosy": -0.1}, "choosy is the part"),
        ({"wave": 1.0}, "above -1 and below 1"),
        ({"variation": -1.0}, "variation is 0 or more"),
        ({"devices": -0.1}, "devices is 0 or more"),
        ({"below": -1.0}, "below is 0 or more"),
        ({"pulse": 9.0}, "logarithm of at most 3"),
        ({"swing": -9.0}, "logarithm of at most 3"),
    ],
)
def test_strengths_that_make_no_miner_are_refused(plants: dict[str, float], why: str) -> None:
    with pytest.raises(UserError, match=why):
        simulate(VirtualConfig(shares=10, plants=plants))
