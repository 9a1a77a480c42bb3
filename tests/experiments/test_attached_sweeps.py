"""Clock and voltage of an attached miner: set for a cell, measured, and back, whatever ends the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.attached import Attached, model_of
from experiments.attached_run import since
from experiments.catalogue import catalogue, get_experiment
from experiments.experiment import EVIDENCE, NO_EVIDENCE, SUBJECT
from experiments.plan import make_plan
from experiments.results import Results
from experiments.several import AttachedDevices
from firmware_bridge.devices.journal import PoolJournal, SettingsJournal
from firmware_bridge.devices.settings import OperatingPoint
from firmware_bridge.errors import DeviceError, LimitError, UserError
from firmware_bridge.timing.run_data import build_run_data
from firmware_bridge.trace.reader import TraceReader
from tests.experiments.emulated_devices import FASTER, Emulated, device, lasting_port
from tests.experiments.live_runs import IMPATIENT, PATIENT, WAIT_S, cells_of, eventually
from tests.lab_process import PROJECT, running

LV06 = Attached(
    "sqlite:///x.db", "lv06://10.0.0.7", model="lv06", host="10.0.0.1", agreed=True,
    settable=("frequency_mhz", "core_voltage_mv"),
)  # fmt: skip
S9 = replace(
    LV06,
    device="s9://10.0.0.5",
    model="s9",
    settable=("frequency_mhz",),
    cannot={"core_voltage_mv": "a PIC holds it"},
)


# ---- the plan --------------------------------------------------------------------------------------------------------


def swept(subject: Attached, name: str, setting: str, size: str = "quick") -> list[float]:
    plan = make_plan(get_experiment(name), subject, size=size, seed=1)
    return sorted({float(c.point[setting]) for c in plan.cells if c.arm == SUBJECT})


def test_a_voltage_sweep_stays_within_the_hard_limits_of_the_model() -> None:
    bound = LV06.bound("core_voltage_mv")
    assert bound is not None
    volts = swept(LV06, "voltage-sweep", "core_voltage_mv")
    assert volts[0] == bound.low == 1000.0
    assert volts[-1] == max(bound.factory)
    assert swept(LV06, "frequency-sweep", "frequency_mhz")[0] == 300.0


@pytest.mark.parametrize(
    ("subject", "point", "why"),
    [
        (LV06, {"core_voltage_mv": 850.0}, "outside the hard limits"),
        (LV06, {"frequency_mhz": 700.0}, "outside the hard limits"),
        (S9, {"frequency_mhz": 320.0}, "PLL has no 320 MHz"),
        (S9, {"core_voltage_mv": 8800.0}, "no limits are known"),
    ],
)
def test_points_that_a_model_must_not_have_are_refused_without_asking_it(
    subject: Attached, point: dict[str, float], why: str
) -> None:
    with pytest.raises(LimitError, match=why):
        subject.check([{"difficulty": 256.0}, point])


def test_between_the_steps_of_the_menu_needs_the_users_word() -> None:
    driver = LV06._driver()
    assert driver is not None
    with pytest.raises(LimitError, match="only with --yes"):
        driver.checked(OperatingPoint(frequency_mhz=460.0))
    LV06.check([{"frequency_mhz": 460.0}])


def test_who_cannot_be_set_is_told_what_runs_there_instead() -> None:
    with pytest.raises(UserError, match=r"a PIC holds it\. On it run: .*frequency-sweep.*regime-map") as told:
        make_plan(get_experiment("voltage-sweep"), S9, size="quick", seed=1)
    assert "voltage-sweep," not in str(told.value)
    reads_only = replace(S9, device="pyasic://10.0.0.9", settable=())
    with pytest.raises(UserError, match="cannot set frequency_mhz") as told:
        make_plan(get_experiment("frequency-sweep"), reads_only, size="quick", seed=1)
    assert "difficulty" in str(told.value)
    anyone = Attached("sqlite:///x.db", "any").asked()
    assert anyone.lacks(("frequency",)) is not None
    assert anyone.lacks(("difficulty", "jobs")) is None


def test_a_map_leaves_out_a_voltage_that_cannot_be_set() -> None:
    plan = make_plan(get_experiment("regime-map"), S9, size="quick", seed=1)
    points = [cell.point for cell in plan.cells if cell.arm == SUBJECT]
    assert all(set(point) == {"frequency_mhz", "difficulty"} for point in points)
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert (
        "core_voltage_mv"
        in make_plan(get_experiment("regime-map"), LV06, size="quick", seed=1).cells[0].point
    )


def test_settling_and_dwell_belong_to_the_plan_and_add_up() -> None:
    experiment = get_experiment("frequency-sweep")
    plans = {s: make_plan(experiment, replace(LV06, settle_s=s), size="quick", seed=1) for s in (60.0, 90.0)}
    assert plans[60.0].digest != plans[90.0].digest
    cells = sum(cell.arm == SUBJECT for cell in plans[60.0].cells)
    assert plans[90.0].lasts_s == pytest.approx((plans[60.0].lasts_s or 0.0) + 30.0 * cells)
    # 1500 shares of 428 GH/s at difficulty 256 take an hour
    slow = max(plans[60.0].seconds or ())
    assert 3600.0 < slow < 3 * 3600.0
    assert plans[60.0].to_json()["lasts_s"] == pytest.approx(plans[60.0].lasts_s, abs=0.1)
    emulated = make_plan(experiment, LV06.placebo(), size="quick", seed=1)
    assert emulated.seconds is None
    assert "lasts_s" not in emulated.to_json()


def test_every_experiment_of_a_device_knows_how_long_it_takes() -> None:
    for experiment in catalogue().values():
        if "device" in experiment.kinds and LV06.lacks(experiment.capabilities) is None:
            others = AttachedDevices((LV06, replace(LV06, device="lv06://10.0.0.8")))
            plan = make_plan(experiment, others if experiment.compares else LV06, size="quick", seed=1)
            assert (plan.lasts_s or 0.0) > 60.0, experiment.name


def test_the_model_that_stands_for_a_device() -> None:
    told = {
        url: model_of(url)
        for url in ("axeos://h", "bm1366:/dev/x", "s9://h", "any", "emulate:lv06", "lb-box://h")
    }
    assert list(told.values()) == ["lv06", "lv06", "s9", "s9", "lv06", "s9"]


def test_shares_that_came_while_it_settled_are_left_out_with_the_interval_over_the_end() -> None:
    times = np.arange(10, dtype=np.int64) * 10**9
    data = build_run_data(
        run_id="r",
        kind="live",
        time_ns=times,
        time_source="kernel",
        job=np.arange(10),
        miner=np.array([1, 2] * 5),
    )
    kept = since(data, 4 * 10**9, 7)
    assert kept.time_ns.tolist() == times[4:].tolist()
    assert np.isnan(kept.interval_ms[:2]).all()
    assert kept.interval_ms[2:].tolist() == [2000.0] * 4
    assert kept.jobs_sent == 6
    assert since(data, None, None) is data


# ---- a miner of its own page -----------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def attached(folder: Path, miner: Emulated, **more: Any) -> Attached:
    subject = Attached(
        f"sqlite:///{folder}/lab.db", miner.url, model="lv06", agreed=True, settle_s=0.5, patience_s=60.0,
        physics={"hash_rate_ths": FASTER}, **more,
    )  # fmt: skip
    return subject.asked()


@pytest.mark.costly
def test_a_cell_is_measured_at_its_point_and_the_miner_is_left_as_it_was(tmp_path: Path, state: Path) -> None:
    with device(firmware="2.15.0") as miner:
        before, pool = miner.point(), miner.pool()
        subject = attached(tmp_path, miner)
        assert subject.settable == ("frequency_mhz", "core_voltage_mv")
        point = {"frequency_mhz": 450.0, "core_voltage_mv": 1150.0, "difficulty": 256.0}
        data, held = subject.at(3, point, shares=60, mode="swh")
        assert (miner.point(), miner.pool()) == (before, pool)
    assert held is not None
    assert held.in_force is True
    assert held.measured["frequency_mhz"] == pytest.approx(450.0, abs=2.0)
    assert 0.5 <= held.settled_s < 60.0
    assert data.n > 0
    reader = TraceReader(subject.db)
    events = [e["kind"] for e in reader.dicts(1, "events")]
    assert "settled" in events
    asked = {(c["setting"], c["requested"], c["reason"]) for c in reader.dicts(1, "settings")}
    assert ("frequency_mhz", "450", "operating point of the cell") in asked
    assert reader.run(1)["exit_status"] == "success"
    assert SettingsJournal(state).addresses() == []


@pytest.mark.slow
def test_a_setting_that_is_not_in_force_is_no_cell(tmp_path: Path, state: Path) -> None:
    with device(firmware="2.15.0", stuck_regulator=True) as miner:
        before, pool = miner.point(), miner.pool()
        subject = attached(tmp_path, miner)
        with pytest.raises(DeviceError, match=r"core_voltage_mv 1100\.0 was asked for .* not in force"):
            subject.at(3, {"core_voltage_mv": 1100.0}, shares=60, mode="swh")
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []


@pytest.mark.costly
def test_an_emulated_miner_of_the_lab_is_set_over_its_own_page(tmp_path: Path, state: Path) -> None:
    subject = Attached(
        f"sqlite:///{tmp_path}/lab.db", "emulate:s9", settle_s=0.5, physics={"hash_rate_ths": FASTER}
    ).asked()
    assert subject.settable == ("frequency_mhz",)
    held = None
    # an S9 restarts for a clock, which takes an emulated one 30 s
    with pytest.raises(LimitError, match="outside the hard limits"):
        subject.at(1, {"frequency_mhz": 900.0}, shares=5)
    assert held is None
    assert not (tmp_path / "lab.db").exists()


# ---- an S9, whose clock only its web page sets -----------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated S9 is back at once, and tells a rate at once."""
    from firmware_bridge.devices import antminer_s9

    monkeypatch.setattr(antminer_s9, "POLL_S", 0.2)
    monkeypatch.setattr(antminer_s9, "SETTLE_PAUSE_S", 0.2)


HURRIED = """
from firmware_bridge.devices import antminer_s9
antminer_s9.POLL_S = antminer_s9.SETTLE_PAUSE_S = 0.2
"""


def s9_device(folder: Path, miner: Emulated) -> Attached:
    return Attached(
        f"sqlite:///{folder}/lab.db", miner.url, model="s9", agreed=True, settle_s=0.5, patience_s=60.0
    ).asked()


@pytest.mark.costly
@pytest.mark.usefixtures("hurried")
def test_each_cell_of_an_s9_is_measured_at_the_clock_asked_for_and_the_clock_is_set_back(
    tmp_path: Path, state: Path
) -> None:
    clocks_mhz = (250.0, 650.0)
    with device("s9", first_rate_s=0.2) as miner:
        before, pool = miner.point(), miner.pool()
        subject = s9_device(tmp_path, miner)
        assert subject.settable == ("frequency_mhz",)
        for clock_mhz in clocks_mhz:
            data, held = subject.at(3, {"frequency_mhz": clock_mhz}, shares=40, mode="swh")
            assert (miner.point(), miner.pool()) == (before, pool)
            assert SettingsJournal(state).addresses() == []
            assert held is not None
            assert held.asked == {"frequency_mhz": clock_mhz}
            # a rate tells a clock to some per cent, so that 650 MHz are not told apart from the 631 before
            assert held.in_force is (True if clock_mhz == 250.0 else None)
            assert held.measured["frequency_mhz"] == pytest.approx(clock_mhz, rel=0.03)
            assert data.n >= 40
    reader = TraceReader(subject.db)
    for run, clock_mhz in enumerate(clocks_mhz, 1):
        assert reader.run(run)["exit_status"] == "success"
        (settled,) = (e for e in reader.dicts(run, "events") if e["kind"] == "settled")
        told = [row for row in reader.dicts(run, "telemetry") if row["frequency_mhz"] is not None]
        assert {row["frequency_mhz"] for row in told} == {clock_mhz}
        assert any(row["monotonic_ns"] >= settled["monotonic_ns"] for row in told)


@pytest.mark.costly
@pytest.mark.usefixtures("hurried")
def test_an_s9_has_its_clock_back_where_a_cell_fails_in_the_middle(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firmware_bridge.errors import TraceError
    from firmware_bridge.stratum.server import Bridge

    stored, seen = Bridge.store, []

    def full(self: Bridge, connection: Any, judged: Any) -> None:
        stored(self, connection, judged)
        if miner.point() != before:
            seen.append(miner.point().frequency_mhz)
        if len(seen) == 5:
            self.fail(TraceError("the disk is full"))

    monkeypatch.setattr(Bridge, "store", full)
    with device("s9", first_rate_s=0.2) as miner:
        before, pool = miner.point(), miner.pool()
        subject = s9_device(tmp_path, miner)
        with pytest.raises(TraceError, match="the disk is full"):
            subject.at(3, {"frequency_mhz": 250.0}, shares=1000, mode="swh")
        assert seen[:5] == [250.0] * 5
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []


@pytest.mark.usefixtures("hurried")
def test_what_an_s9_cannot_be_set_to_is_said_before_anything_is_touched(tmp_path: Path, state: Path) -> None:
    with device("s9", first_rate_s=0.2) as miner:
        before, pool = miner.point(), miner.pool()
        subject = s9_device(tmp_path, miner)
        with pytest.raises(UserError, match=r"cannot set core_voltage_mv: .*a PIC on each board holds it"):
            make_plan(get_experiment("voltage-sweep"), subject, size="fast", seed=1)
        with pytest.raises(LimitError, match="no limits are known for core_voltage_mv, so it is never set"):
            subject.at(1, {"frequency_mhz": 250.0, "core_voltage_mv": 8800.0}, shares=5)
        with pytest.raises(LimitError, match=r"PLL has no 320 MHz; next to it are 318\.75 and 325"):
            subject.at(1, {"frequency_mhz": 320.0}, shares=5)
        assert (miner.point(), miner.pool()) == (before, pool)
        sweep = make_plan(get_experiment("frequency-sweep"), subject, size="full", seed=1)
        clocks_mhz = {float(cell.point["frequency_mhz"]) for cell in sweep.cells if cell.arm == SUBJECT}
        assert clocks_mhz == {300.0, 325.0, 350.0, 375.0, 400.0, 425.0, 450.0, 475.0, 500.0}
    assert not (tmp_path / "lab.db").exists()


@pytest.mark.usefixtures("hurried")
def test_an_s9_whose_page_is_locked_says_so_and_nothing_is_left_to_be_set_back(
    tmp_path: Path, state: Path
) -> None:
    with device("s9", first_rate_s=0.2, password="geheim") as miner:
        pool = miner.pool()
        subject = s9_device(tmp_path, miner)
        assert subject.settable == ()
        with pytest.raises(
            UserError, match=r"cannot set frequency_mhz: its web page is out of reach or refused"
        ):
            make_plan(get_experiment("frequency-sweep"), subject, size="fast", seed=1)
        with pytest.raises(UserError, match=r"its API is read-only.* By hand: .*Miner Configuration") as told:
            subject.data(1, shares=5)
        assert str(told.value).count("By hand") == 1  # the lab's pool, not its own as well
        assert miner.pool() == pool
    assert PoolJournal(state).addresses() == []


# ---- driven by an experiment -----------------------------------------------------------------------------------------


def s9_in_wall_time(folder: Path) -> Attached:
    physics = {"hash_rate_ths": FASTER, "load_ms": 1.0, "first_works": 0, "refill_ms": 0.0}
    return Attached(f"sqlite:///{folder}/lab.db", "emulate:s9", physics=physics, period_s=0.05).asked()


@pytest.mark.costly
def test_hashes_come_from_the_shares_of_a_live_miner(tmp_path: Path) -> None:
    from experiments.analyses.share_hashes import share_hashes

    found = share_hashes(s9_in_wall_time(tmp_path), 3, 60)
    assert found is not None
    assert found.hashes.shape[0] >= 60
    values = found.hashes[:, 31].astype(int) | found.hashes[:, 0].astype(int)
    assert values.size == len(found.targets)


# ---- whatever ends the run -------------------------------------------------------------------------------------------

SMALL = """
from experiments.catalogue import frequency_sweep
frequency_sweep.SHARES["fast"] = 120
frequency_sweep.CLOCKS_MHZ["fast"] = (450.0, 500.0)
frequency_sweep.CONTENTS = ("noise",)
"""


def sweeping(
    folder: Path, miner: Emulated, *more: str, patient: bool = True, smaller: str = SMALL
) -> AbstractContextManager[subprocess.Popen[str]]:
    """``asiclab run frequency-sweep`` on a device, with little cells."""
    return running(
        folder, "run", "frequency-sweep", "--device", miner.url,
        "--size", "fast", "--seed", "1", "--settle", "0.5", "--patience", "60" if patient else "5",
        "--db", f"sqlite:///{folder}/lab.db", "--yes", "--json", *more,
        before=smaller + (PATIENT if patient else IMPATIENT),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_bring_clock_and_pool_back(
    tmp_path: Path, state: Path, number: signal.Signals
) -> None:
    with device(firmware="2.15.0") as miner:
        before, pool = miner.point(), miner.pool()
        with sweeping(tmp_path, miner) as child:
            eventually(lambda: miner.point() != before, child)
            child.send_signal(number)
            _, said = child.communicate(timeout=WAIT_S)
        assert child.returncode == 128 + number, said
        assert "--resume goes on" in said
        assert "Traceback" not in said
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []


SLOW_S9 = """
from experiments.catalogue import frequency_sweep
frequency_sweep.SHARES["fast"] = 110
frequency_sweep.CLOCKS_MHZ["fast"] = (150.0, 650.0)
frequency_sweep.CONTENTS = ("structure",)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shares_of_an_s9_come_as_fast_as_the_clock_of_their_cell_says(tmp_path: Path, state: Path) -> None:
    with device("s9", hash_rate_ths=None, first_rate_s=0.2) as miner:
        before, pool = miner.point(), miner.pool()
        with sweeping(tmp_path, miner, smaller=SLOW_S9 + HURRIED) as child:
            out, said = child.communicate(timeout=800)
        assert child.returncode == 0, said
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []
    assert json.loads(out)["finding"]["code"] in (EVIDENCE, NO_EVIDENCE)
    with Results(f"sqlite:///{tmp_path}/lab.db", create=False) as results:
        rows = results.rows(json.loads(out)["run"], "fast")
    cells = {row.values["frequency_mhz"]: row.values for row in rows if row.cell.arm == SUBJECT}
    assert set(cells) == {150.0, 650.0}
    for clock_mhz, values in cells.items():
        assert values["held"]["measured"]["frequency_mhz"] == pytest.approx(clock_mhz, rel=0.03)
    slow, fast = (cells[clock_mhz]["n"] / cells[clock_mhz]["seconds"] for clock_mhz in (150.0, 650.0))
    # within a factor of two, which is five standard errors; a clock that was not set gives 1
    assert 0.5 < fast / slow / (650.0 / 150.0) < 2.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigterm_in_the_middle_of_a_cell_brings_the_clock_of_an_s9_back(tmp_path: Path, state: Path) -> None:
    with device("s9", first_rate_s=0.2) as miner:
        before, pool = miner.point(), miner.pool()
        with sweeping(tmp_path, miner, smaller=SMALL + HURRIED) as child:
            eventually(lambda: miner.point() != before, child)
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=WAIT_S)
        assert child.returncode == 143, said
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_is_remembered_and_who_goes_on_leaves_the_miner_as_the_first_found_it(
    tmp_path: Path, state: Path
) -> None:
    with device(firmware="2.15.0") as miner:
        before, pool = miner.point(), miner.pool()
        with sweeping(tmp_path, miner) as child:
            eventually(lambda: miner.point() != before, child)
            child.kill()
            child.communicate()
        assert miner.point() != before
        assert miner.pool() != pool
        kept = SettingsJournal(state)
        assert kept.addresses() == [miner.url]
        assert kept.left_behind(miner.url) == OperatingPoint(frequency_mhz=before.frequency_mhz)
        there = cells_of(tmp_path)
        with sweeping(tmp_path, miner, "--resume") as child:
            out, said = child.communicate(timeout=900)
        assert child.returncode == 0, said
        assert (miner.point(), miner.pool()) == (before, pool)
    assert kept.addresses() == []
    assert json.loads(out)["cells"] == 4
    assert set(there) <= set(cells_of(tmp_path))  # none was measured again


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_a_kill_the_command_brings_clock_and_pool_back(tmp_path: Path, state: Path) -> None:
    with device(firmware="2.15.0") as miner:
        before, pool = miner.point(), miner.pool()
        with sweeping(tmp_path, miner) as child:
            eventually(lambda: miner.point() != before, child)
            child.kill()
            child.communicate()
        told = subprocess.run(
            [sys.executable, "-m", "experiments.cli", "devices", "restore", "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            check=True,
        )
        assert json.loads(told.stdout)["devices"][0]["restored"] is True
        assert (miner.point(), miner.pool()) == (before, pool)
    assert SettingsJournal(state).addresses() == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_miner_that_is_lost_in_the_middle_ends_the_run_and_resume_gives_the_rest(
    tmp_path: Path, state: Path
) -> None:
    port = lasting_port()
    with device(firmware="2.15.0", port=port) as miner:
        before = miner.point()
        with sweeping(tmp_path, miner, patient=False) as child:
            eventually(lambda: bool(cells_of(tmp_path)) and miner.point() != before, child)
            miner.appliance.request_stop("the plug")
            _, said = child.communicate(timeout=WAIT_S)
    assert child.returncode == 1, said
    assert "Traceback" not in said
    assert "NOT" in said
    assert SettingsJournal(state).addresses() == [miner.url]
    with device(firmware="2.15.0", port=port) as again:
        assert again.url == miner.url
        there = cells_of(tmp_path)
        assert len(there) == 1
        with sweeping(tmp_path, again, "--resume") as child:
            out, said = child.communicate(timeout=900)
        assert child.returncode == 0, said
        assert again.point() == before
    assert json.loads(out)["cells"] == 4
    assert set(there) < set(cells_of(tmp_path))  # none was measured again
