"""Commands that keep running: their two lines, clean stops, and real emulated miners against the real bridge."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from experiments.demo import DemoPlan, Progress, _is_enough
from firmware_bridge.trace.reader import TraceReader
from tests.lab_process import first_line

SCALE = "2^-24"
START_S = 150
"""How long a test waits for a process that has to start, and perhaps to compile its kernels, on a busy machine."""


def last_line(child: subprocess.Popen[str], timeout: float = START_S, code: int = 0) -> dict[str, Any]:
    out, err = child.communicate(timeout=timeout)
    assert child.returncode == code, err
    lines = out.splitlines()
    assert len(lines) == 1, out
    value = json.loads(lines[0])
    assert isinstance(value, dict)
    return value


def reader(folder: Path) -> TraceReader:
    return TraceReader(f"sqlite:///{folder / 'lab.db'}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_bridge_says_when_it_listens_and_stops_cleanly(lab, how: signal.Signals) -> None:
    with lab.process("bridge", "--port", 0, "--json", "--seed", 4) as child:
        ready = first_line(child)
        assert ready["ready"] is True
        assert ready["host"] == "127.0.0.1"
        with socket.create_connection((ready["host"], ready["port"]), timeout=START_S):
            child.send_signal(how)
            end = last_line(child)
    assert end["run"] == ready["run"]
    assert end["status"] == "success"
    assert how.name in end["reason"]
    stored = reader(lab.folder).run(1)
    assert stored["run_id"] == ready["run"]
    assert stored["exit_status"] == "success"
    assert stored["seeds"] == {"jobs": 4}
    assert stored["jitter_floor"]


def test_bridge_ends_by_itself_after_seconds(lab) -> None:
    with lab.process("bridge", "--port", 0, "--seconds", 0.3, "--json") as child:
        first_line(child)
        assert last_line(child)["reason"] == "0.3 s"


def test_port_in_use_is_a_user_error(lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with lab.process("bridge", "--port", port) as child:
            _, err = child.communicate(timeout=START_S)
    assert child.returncode == 2
    assert f"127.0.0.1:{port}" in err
    assert "--port 0" in err
    assert "Traceback" not in err


@pytest.mark.costly
@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("model", ["s9", "lv06"])
def test_emulated_miner_mines_for_the_bridge_until_it_is_asked_to_stop(lab, model: str) -> None:
    """LV06 at difficulty 1 would still report only difficulty 256; a tenth of its wait is enough here."""
    with lab.process("bridge", "--port", 0, "--mode", "swh", "--json") as bridge:
        ready = first_line(bridge)
        pool = f"{ready['host']}:{ready['port']}"
        wanted = 25 if model == "s9" else 2
        # an S9 that loads its previous job again would send shares twice, and rightly be refused
        arguments = ("--scale", SCALE, "--shares", wanted, "--physics", "duplicates=off", "--json")
        with lab.process("emulate", model, "--pool", pool, *arguments) as miner:
            assert first_line(miner)["model"] == model
            end = last_line(miner, timeout=START_S)
        assert end["accepted"] >= wanted
        assert end["rejected"] == {}
        bridge.send_signal(signal.SIGTERM)
        total = last_line(bridge)
    assert total["shares"] >= wanted
    trace = reader(lab.folder)
    miner_row = trace.dicts(1, "miners")[0]
    assert miner_row["scale"] == 2.0**-24
    assert "scale=2^-24" in miner_row["user_agent"]
    rows = trace.columns(1, "shares", ["valid", "difficulty", "kernel_ns", "monotonic_ns", "response_ns"])
    assert rows.values["valid"].all()
    assert (rows.values["difficulty"] >= 256).all()
    assert not rows.null["monotonic_ns"].any()


def test_miner_of_another_scale_is_told_so(lab) -> None:
    with lab.process("bridge", "--port", 0, "--scale", "2^-10", "--json") as bridge:
        ready = first_line(bridge)
        pool = f"{ready['host']}:{ready['port']}"
        with lab.process("emulate", "s9", "--pool", pool, "--scale", SCALE, "--seconds", 20) as miner:
            _, err = miner.communicate(timeout=START_S)
        assert miner.returncode == 2
        assert "scale" in err
        assert "Traceback" not in err


def test_pool_that_is_not_there_is_a_user_error(lab) -> None:
    with socket.socket() as mute:  # bound, so that nobody else takes the port, and never listening
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        with lab.process("emulate", "s9", "--pool", f"127.0.0.1:{port}") as miner:
            _, err = miner.communicate(timeout=START_S)
    assert miner.returncode == 2
    assert str(port) in err
    assert "Traceback" not in err


def test_emulator_in_wall_time_stops_on_a_signal(lab) -> None:
    with lab.process("bridge", "--port", 0, "--json") as bridge:
        ready = first_line(bridge)
        pool = f"{ready['host']}:{ready['port']}"
        with lab.process("emulate", "s9", "--pool", pool, "--scale", SCALE, "--json") as miner:
            assert first_line(miner)["pool"] == pool
            deadline = time.monotonic() + START_S
            while reader(lab.folder).dicts(1, "miners") == []:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            miner.send_signal(signal.SIGINT)
            assert "SIGINT" in last_line(miner)["reason"]


def test_replay_in_recorded_time_stops_on_a_signal(with_excerpt) -> None:
    with with_excerpt.process("replay", "latest", "--speed", 0.01, "--events", "--json") as child:
        assert first_line(child)["nonce"] == "8b7746ab"
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=START_S)
    assert child.returncode == 143, err
    end = json.loads(out.splitlines()[-1])
    assert not end["complete"]
    assert end["shares"] < 300


SECRET = "correct-horse-battery-staple-4711"


def test_no_export_holds_a_password(lab) -> None:
    """Through the front door: a miner's password must be in no file that can leave the lab."""
    with lab.process("bridge", "--port", 0, "--mode", "swh", "--json") as bridge:
        ready = first_line(bridge)
        pool = f"{ready['host']}:{ready['port']}"
        arguments = ("--scale", SCALE, "--shares", 4, "--password", SECRET)
        with lab.process("emulate", "s9", "--pool", pool, *arguments, "--json") as miner:
            assert first_line(miner)["ready"]
            assert last_line(miner, timeout=START_S)["accepted"] >= 4
        bridge.send_signal(signal.SIGTERM)
        last_line(bridge)
    lab("export", "latest", "--out", "shares.csv")
    lab("bundle", "latest", "--out", "run.zip")
    lab("report", "latest", "--out", "report.html")
    (lab.folder / "stats.json").write_text(lab("stats", "latest", "--json").stdout)
    (lab.folder / "runs.json").write_text(lab("runs", "--json").stdout)
    with zipfile.ZipFile(lab.folder / "run.zip") as archive:
        archive.extractall(lab.folder / "unpacked")
    files = [path for path in lab.folder.rglob("*") if path.is_file()]
    assert len(files) >= 7
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path.name


@pytest.mark.costly
@pytest.mark.xdist_group("timing")
def test_demo_in_short(lab) -> None:
    begin = time.monotonic()
    with lab.process("demo", "--out", "out", "--seed", 3, "--shares", 60, "--seconds", 40, "--json") as child:
        out, err = child.communicate(timeout=240)
    assert child.returncode == 0, err
    ready, end = (json.loads(line) for line in out.splitlines())
    assert ready["ready"] is True
    assert end["run"] == ready["run"]
    assert (
        time.monotonic() - begin < 40 + 23 + 120
    )  # gathering, its grace, and all the rest with a cold cache
    folder = lab.folder / "out"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["run"] == end["run"]
    models = {miner["model"]: miner["shares"] for miner in summary["miners"].values()}
    assert models["s9"] >= 20
    assert summary["verdict"]["code"] == "cannot_tell", "so few shares tell nothing"
    assert "<svg" in (folder / "report.html").read_text()
    stored = reader(folder)
    shares = stored.columns(1, "shares", ["valid", "reason"])
    # an S9 that loads its previous job again sends shares twice, and is told so
    assert set(shares.values["reason"][~shares.values["valid"]]) <= {"duplicate"}
    assert stored.run(1)["exit_status"] == "success"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_demo_stops_cleanly_and_leaves_nobody_behind(lab, how: signal.Signals) -> None:
    with lab.process("demo", "--out", "out", "--json") as child:
        ready = first_line(child)
        child.send_signal(how)
        end = last_line(child, timeout=START_S, code=128 + how)
    assert end["stopped"] == how.name
    assert reader(lab.folder / "out").run(1)["exit_status"] == "success"
    with socket.socket() as probe:
        assert probe.connect_ex((ready["host"], ready["port"])) != 0, "the bridge still listens"


def test_demo_waits_for_enough_shares_but_not_forever() -> None:
    plan = DemoPlan(Path("out"), shares=1000, seconds=125.0)
    assert _is_enough(plan, Progress(shares={"s9": 1000}, elapsed_s=90.0))
    assert not _is_enough(plan, Progress(shares={"s9": 700}, elapsed_s=124.0))
    assert _is_enough(plan, Progress(shares={"s9": 700}, elapsed_s=126.0))
    assert not _is_enough(plan, Progress(shares={"s9": 400}, elapsed_s=126.0))
    assert _is_enough(plan, Progress(shares={"s9": 0}, elapsed_s=150.0))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("timing")
def test_demo_at_full_size(lab) -> None:
    """Its verdict is a test at 5 % on shares that no seed fixes: three runs may deviate by chance once in 8,000."""
    codes = []
    for seed in (1, 2, 3):
        begin = time.monotonic()
        with lab.process("demo", "--out", f"out{seed}", "--seed", seed, "--json") as child:
            out, err = child.communicate(timeout=240)
        assert child.returncode == 0, err
        assert time.monotonic() - begin < 180
        verdict = json.loads(out.splitlines()[-1])["verdict"]
        summary = json.loads((lab.folder / f"out{seed}" / "summary.json").read_text())
        s9 = next(miner for miner in summary["miners"].values() if miner["model"] == "s9")
        assert s9["shares"] >= 500
        codes.append(f"{verdict['code']}: {verdict['text']}")
        if verdict["code"] == "consistent":
            return
        assert verdict["code"] == "deviates", "so many shares tell something"
        assert verdict["p_value"] > 1e-5, "not by chance"
    pytest.fail("\n".join(codes))
