"""A programme of operating points in virtual time: its shares follow the clock, the wrong hashes and the heat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from firmware_bridge.emulator.electrical import FACTS as CHIPS
from firmware_bridge.emulator.electrical import critical_voltage_mv
from firmware_bridge.emulator.physics import Physics
from firmware_bridge.emulator.program import Step, courses, parse_step, resolved
from firmware_bridge.emulator.thermal import FACTS
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual, simulate
from firmware_bridge.errors import UserError
from firmware_bridge.headers import Share, verify
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.replay import events_of
from firmware_bridge.trace.writer import TraceWriter

SECOND = 1_000_000_000


def config(*steps: Step, **changes: object) -> VirtualConfig:
    base = VirtualConfig(
        model="lv06", shares=None, seed=5, scale=2.0**-40, program=steps, physics=Physics.off()
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_rate_of_shares_is_that_of_the_right_hashes_in_each_step() -> None:
    critical = critical_voltage_mv(CHIPS["lv06"], FACTS["lv06"].temperature_c, 485.0, 55.0)
    steps = (
        Step(1200.0),
        Step(1200.0, core_voltage_mv=critical + 12.0),
        Step(600.0, core_voltage_mv=critical - 40.0),
        Step(1200.0, core_voltage_mv=1200.0, frequency_mhz=400.0),
    )
    trace = simulate(config(*steps))
    full = 485e6 * 894 / 2**32 / 256  # shares per second at difficulty 256
    edges = np.cumsum([0.0, *(s.seconds for s in steps)]) * 1e9
    counts = np.histogram(trace.row_ns, edges)[0]
    parts = []
    for step, course, count in zip(steps, trace.courses, counts, strict=True):
        part = (course.step.frequency_mhz or 0.0) / 485.0 * (1.0 - course.wrong.mean())
        parts.append(part)
        expected = full * part * step.seconds
        assert abs(count - expected) < 4.0 * np.sqrt(expected) + 1e-9
    assert parts[0] == pytest.approx(1.0, abs=1e-4)
    assert 0.1 < 1.0 - parts[1] < 0.6
    assert parts[2] == counts[2] == 0.0  # below its critical voltage it hangs
    assert parts[3] == pytest.approx(400 / 485, rel=1e-3)
    assert trace.courses[2].power_w[-1] < 1.5


def test_shares_of_a_programme_verify_and_name_their_own_jobs(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with TraceWriter(str(path)) as writer:
        run = run_virtual(config(Step(300.0), Step(300.0, frequency_mhz=400.0)), writer)
    events = list(events_of(TraceReader(str(path)), run.run))
    assert len(events) > 100
    for event in events:
        assert event.job is not None
        row = event.row
        found = verify(
            event.job,
            Share(
                event.job.job_id, row.extranonce2 or "", row.ntime or "", row.nonce or "", row.version_bits
            ),
        )
        assert found.meets_job
        assert found.difficulty == pytest.approx(row.difficulty)


def test_a_run_of_a_programme_stores_settings_telemetry_and_the_truth(tmp_path: Path) -> None:
    path = str(tmp_path / "p.db")
    with TraceWriter(path) as writer:
        run = run_virtual(
            config(Step(90.0), Step(60.0, core_voltage_mv=1100.0), Step(30.0, fan_percent=40.0)), writer
        )
    reader = TraceReader(path)
    record = reader.run(run.run)
    assert [s["core_voltage_mv"] for s in record["physics"]["program"]] == [1200.0, 1100.0, 1100.0]
    assert record["physics"]["electrical"]["threshold_mv"] == CHIPS["lv06"].threshold_mv
    assert record["ended_wall_ns"] - record["started_wall_ns"] == 180 * SECOND
    columns = reader.columns(
        run.run, "telemetry", ["monotonic_ns", "voltage_mv", "power_w", "fan_percent"]
    ).values
    assert columns["monotonic_ns"].tolist() == [3 * SECOND * i for i in range(60)]
    assert columns["voltage_mv"][29] == 1200.0
    assert columns["voltage_mv"][30] == 1100.0
    assert columns["power_w"][45] < 0.9 * columns["power_w"][10]
    assert columns["fan_percent"][-1] == 40.0
    changes = reader.columns(run.run, "settings", ["wall_ns"]).values["wall_ns"] - record["started_wall_ns"]
    assert changes.tolist() == [0, 0, 90 * SECOND, 150 * SECOND]


def test_a_step_of_the_load_fades_with_the_time_constant_of_the_heat_sink() -> None:
    facts = FACTS["lv06"]
    still = Step(1200.0, frequency_mhz=485.0, fan_percent=facts.fan_percent)
    after = Step(300.0, frequency_mhz=100.0)
    _, course = courses("lv06", (still, after), 1.0, np.zeros(1), np.random.default_rng(1))
    fall = course.temperature_c - course.temperature_c[-1]
    late = slice(5, 120)  # the die itself has followed by then
    slope = np.polyfit(np.arange(course.temperature_c.size)[late], np.log(fall[late]), 1)[0]
    assert -1.0 / slope == pytest.approx(facts.tau_s, rel=0.15)


def test_the_planted_effect_of_the_temperature_follows_the_programme() -> None:
    steps = [Step(600.0, frequency_mhz=mhz) for mhz in (485.0, 250.0)] * 3
    plain, planted = (simulate(config(*steps, plants=plants)) for plants in ({}, {"temperature": 50.0}))

    def delay(trace: object) -> float:
        wait_ms = trace.row_ns / 1e6 - trace.row_found_ms  # type: ignore[attr-defined]
        return float(stats.spearmanr(trace.row_temperature_c, wait_ms).statistic)  # type: ignore[attr-defined]

    assert delay(planted) > 0.8
    assert abs(delay(plain)) < 0.1


def test_equal_seeds_give_equal_runs_and_other_seeds_do_not() -> None:
    steps = (Step(60.0), Step(60.0, core_voltage_mv=1060.0))
    first, second, other = (simulate(config(*steps, seed=seed)) for seed in (1, 1, 2))
    assert first.row_ns.tolist() == second.row_ns.tolist() != other.row_ns.tolist()
    assert first.digest.tolist() == second.digest.tolist()


def test_steps_are_written_and_filled_in() -> None:
    step = parse_step("600,core_voltage_mv=1100, ambient_c=40")
    assert step == Step(600.0, core_voltage_mv=1100.0, ambient_c=40.0)
    first, second = resolved("lv06", [step, Step(3.0, frequency_mhz=400.0)])
    assert first.frequency_mhz == 485.0
    assert (second.core_voltage_mv, second.ambient_c, second.fan_percent) == (1100.0, 40.0, None)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x", "SECONDS"),
        ("0", "more than 0"),
        ("60,volts=3", "core_voltage_mv"),
        ("60,fan_percent=200", "fan_percent"),
        ("60,frequency_mhz", "frequency_mhz"),
        ("60,ambient_c=nan", "ambient_c"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(text: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_step(text)


def test_a_programme_says_itself_how_long_it_lasts() -> None:
    with pytest.raises(UserError, match="leave --shares"):
        config(Step(60.0), shares=10).check()
    with pytest.raises(UserError, match="multiple of the telemetry period"):
        config(Step(61.0)).check()
