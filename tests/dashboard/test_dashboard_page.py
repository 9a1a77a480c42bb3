"""The page: what it says is what the database says, and whoever may not look or stop cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chrome import chromium

pytest.importorskip("starlette")
from starlette.testclient import TestClient

from experiments.attached import Attached
from experiments.catalogue import get_experiment
from experiments.dashboard.app import make_app
from experiments.dashboard.feed import MAX_POINTS, LabFeed, RunFeed
from experiments.experiment import Cell
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import StoppedError, execute, serially
from experiments.subjects import Emulated, Recorded, Subject
from firmware_bridge.emulator.virtual import VirtualConfig, run_virtual
from firmware_bridge.errors import UserError
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter

POISSON = get_experiment("poisson")


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('dashboard')}/lab.db"
    with TraceWriter(url) as writer:
        run_virtual(VirtualConfig(shares=700, seed=1), writer)
    return url


def client(db: str, **options: Any) -> TestClient:
    return TestClient(make_app(db, **options), base_url="http://127.0.0.1")


def test_the_state_is_that_of_the_database(db: str) -> None:
    state = client(db).get("/api/state").json()
    run = state["run"]
    (miner,) = run["miners"]
    assert state["problem"] is None
    assert (miner["model"], miner["shares"] + miner["refused"]) == ("s9", 700)
    assert sum(run["intervals"]["count"]) == pytest.approx(700, abs=45)
    assert miner["low"] < miner["cv"] < miner["high"] < 1.0
    assert 70 < miner["telemetry"]["temperature_c"] < 80
    assert all(-60 <= s <= 0 for s, _ in run["raster"])
    assert len(run["raster"]) <= MAX_POINTS


def test_looking_again_reads_only_what_is_new(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url) as writer:
        run_virtual(VirtualConfig(shares=400, seed=2), writer)
    once = RunFeed(TraceReader(url), 1)
    once.read()
    first = once.to_json()
    once.read()
    assert once.to_json() == first
    reader, seen, last = TraceReader(url), 0, 0
    while True:
        rows, last = reader.newer(1, "shares", ("wall_ns", "reason"), after=last, limit=97)
        if not len(rows):
            break
        seen += len(rows)
    assert seen == 400


def test_a_run_of_an_experiment_shows_its_cells_and_finding(db: str) -> None:
    plan = make_plan(POISSON, Emulated(), size="fast", seed=5)
    with Results(db) as results:
        outcome = execute(POISSON, Emulated(), plan, results)
    shown = client(db).get(f"/api/experiments/{outcome.run_id}").json()
    assert (shown["done"], shown["total"], shown["finished"]) == (2, 2, True)
    assert shown["finding"]["code"] == outcome.finding.code
    assert {cell["arm"] for cell in shown["cells"]} == {"subject", "placebo"}
    assert all("cv" in cell["values"] for cell in shown["cells"])
    assert client(db).get("/api/state").json()["experiments"][0]["run"] == outcome.run_id
    assert client(db).get("/api/experiments/none").status_code == 404


def test_what_was_planted_is_said_wherever_a_run_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url) as writer:
        run_virtual(VirtualConfig(shares=700, seed=1, plants={"quality": 1.0}), writer)
    planted = [Emulated(plants={"quality": 1.0}), Recorded.find(url, "latest")]
    with Results(url) as results:
        for subject in planted:
            results.begin(make_plan(POISSON, subject, size="fast", seed=5))
    state = LabFeed(url, time.time_ns).look()
    assert state["experiment"]["on"].endswith("of an emulated s9, 700 shares, planted quality = 1")
    assert state["experiments"][1]["on"] == "emulated s9, planted quality = 1"


def test_the_time_that_is_left_is_that_of_the_miner_not_of_the_placebo_arm(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    experiment = get_experiment("share-rate")
    plan = make_plan(experiment, Attached(url, "emulate:s9").asked(), size="fast", seed=5)
    now_ns = time.time_ns()

    def left_s() -> float:
        return float(LabFeed(url, lambda: now_ns).look()["experiment"]["left_s"])

    assert plan.lasts_s is not None
    with Results(url) as results:
        run_id = results.begin(plan)
        assert left_s() == pytest.approx(plan.lasts_s, rel=0.01)
        own = [cell for cell in plan.cells if cell.arm == "subject"]
        (other, *_) = [cell for cell in plan.cells if cell.arm == "placebo"]
        results.add(run_id, other, {"per_s": 1.0}, 0.1)
        assert left_s() == pytest.approx(plan.lasts_s, rel=0.01)
        results.add(run_id, own[0], {"per_s": 1.0}, plan.lasts_s)  # twice as long as planned
        assert left_s() == pytest.approx(plan.lasts_s, rel=0.01)
    with TraceWriter(url) as writer:  # its second cell is under way
        run = writer.begin_run(RunRecord(kind="live", source="bridge", started_wall_ns=now_ns + 10**9))
        now_ns += 21 * 10**9
        assert left_s() == pytest.approx(plan.lasts_s - 20.0, rel=0.01)
        run.end("success")
    assert left_s() == pytest.approx(plan.lasts_s, rel=0.01)


def test_that_a_run_was_asked_to_stop_is_shown_until_it_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    feed = LabFeed(url, time.time_ns)
    with Results(url) as results:
        run_id = results.begin(make_plan(POISSON, Emulated(), size="fast", seed=5))
        assert feed.experiment(run_id)["stopping"] is False
        results.ask_to_stop(run_id)
        assert feed.experiment(run_id)["stopping"] is True
        results.go_on(run_id)
        assert feed.experiment(run_id)["stopping"] is False


def test_a_database_without_experiments_is_no_problem(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with TraceWriter(url):
        pass
    state = LabFeed(url, time.time_ns).look()
    assert (state["problem"], state["run"], state["experiments"]) == (None, None, [])


def test_a_token_is_asked_for_and_kept_in_a_cookie(db: str) -> None:
    asking = client(db, token="a-long-token")
    assert asking.get("/api/state").status_code == 401
    assert asking.get("/?token=wrong").status_code == 401
    assert asking.get("/api/state", headers={"Authorization": "Bearer a-long-token"}).status_code == 200
    led = asking.get("/?token=a-long-token", follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, "/")
    assert "HttpOnly" in led.headers["set-cookie"]
    assert asking.get("/api/state").status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(db: str) -> None:
    assert client(db).get("/", headers={"Host": "evil.example"}).status_code == 400
    page = client(db).get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]


class Slow:
    """Measures cells while the page asks it to stop after the first."""

    def __init__(self, ask: Any) -> None:
        self._ask = ask

    def __call__(self, name: str, subject: Subject, cells: Sequence[Cell]) -> Iterator[Any]:
        for number, done in enumerate(serially(name, subject, cells)):
            if number == 0:
                self._ask()
            yield done


def test_a_run_is_stopped_only_where_that_is_allowed_and_goes_on_later(db: str) -> None:
    plan = make_plan(POISSON, Emulated(), size="fast", seed=6)
    begun: list[str] = []

    def ask() -> None:
        where = f"/api/experiments/{begun[0]}/stop"
        assert client(db).post(where, headers={"X-Asiclab": "stop"}).status_code == 403
        assert client(db, control=True).post(where).status_code == 403
        assert client(db, control=True).post(where, headers={"X-Asiclab": "stop"}).json() == {"asked": True}

    with Results(db) as results:
        with pytest.raises(StoppedError, match="1 of 2 cells; go on with --resume"):
            execute(
                POISSON,
                Emulated(),
                plan,
                results,
                executor=Slow(ask),
                on_begin=lambda run, done: begun.append(run),
            )
        outcome = execute(POISSON, Emulated(), plan, results, resume=True)
        assert outcome.run_id == begun[0]
        with pytest.raises(UserError, match="under way"):
            results.ask_to_stop(begun[0])


def started(db: str, *options: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", "dashboard", "--port", "0", "--json", "--db", db, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, json.loads(line)["url"]


@pytest.mark.costly
def test_a_page_without_a_recording_has_no_empty_plots(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with Results(url) as results:
        results.begin(make_plan(POISSON, Emulated(plants={"quality": 1.0}), size="fast", seed=8))
    process, address = started(url)
    try:
        with chromium(tmp_path, address, width=390, height=844) as page:
            page.until(
                "document.getElementById('experiment-what')?.textContent.includes('planted quality = 1')"
            )
            assert page.evaluate("document.getElementById('run-what').textContent").startswith(
                "No recording yet"
            )
            assert page.evaluate("document.getElementById('raster-box').hidden")
            with TraceWriter(url) as writer:
                run_virtual(VirtualConfig(model="lv06", shares=50, seed=3), writer)
            page.until("!document.getElementById('raster-box').hidden")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.costly
def test_a_browser_shows_what_runs_and_can_stop_it(db: str, tmp_path: Path) -> None:
    plan = make_plan(POISSON, Emulated(), size="fast", seed=8)
    with Results(db) as results:
        run_id = results.begin(plan)
    process, url = started(db, "--control")
    try:
        with chromium(tmp_path, url, width=390, height=844) as page:
            page.until("document.getElementById('link')?.className === 'on'")
            page.until("document.querySelectorAll('canvas').length >= 3")
            assert "lab.s9 (s9)" in page.evaluate("document.getElementById('miners').innerText")
            assert page.evaluate("document.getElementById('left').textContent").startswith("0 of 2 cells")
            # a telephone scrolls downwards only
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.evaluate("window.confirm = () => true; document.getElementById('stop').click()")
            page.until("document.getElementById('left').textContent.includes('asked to stop')")
            page.until("document.getElementById('stop').hidden")
            with Results(db) as results:
                results.go_on(run_id)  # as --resume does
            page.until("!document.getElementById('stop').hidden && !document.getElementById('stop').disabled")
            page.evaluate("document.getElementById('stop').click()")
            page.until("document.getElementById('left').textContent.includes('asked to stop')")
            with TraceWriter(db) as writer:  # the page finds the newest run by itself
                run_virtual(VirtualConfig(model="lv06", shares=50, seed=3), writer)
            page.until("document.getElementById('miners').innerText.includes('lv06')")
    finally:
        process.terminate()
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "Traceback" not in said
    with Results(db) as results:
        assert results.asked_to_stop(run_id)


def test_an_address_that_is_taken_is_a_user_error(db: str) -> None:
    process, url = started(db)
    try:
        port = url.rstrip("/").rsplit(":", 1)[1]
        second = subprocess.run(
            [sys.executable, "-m", "experiments.cli", "dashboard", "--port", port, "--db", db],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert second.returncode == 2
    assert "cannot be listened on" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_a_page_for_others_has_a_token(db: str) -> None:
    process, url = started(db, "--host", "0.0.0.0")
    process.terminate()
    process.communicate(timeout=30)
    assert re.search(r"^http://127\.0\.0\.1:\d+/\?token=\S{16,}$", url)
    process, url = started(db, "--host", "0.0.0.0", "--name", "lab.local")
    process.terminate()
    process.communicate(timeout=30)
    assert url.startswith("http://lab.local:")


def test_many_pages_cost_one_look_a_beat(db: str) -> None:
    looks = 0

    class Counting(LabFeed):
        def look(self, run_id: str = "latest") -> dict[str, Any]:
            nonlocal looks
            looks += 1
            return super().look(run_id)

    import experiments.dashboard.app as app

    before, app.LabFeed = app.LabFeed, Counting  # type: ignore[misc]
    try:
        with client(db, hz=0.01) as page:  # a beat that no machine is too slow for
            threads = [threading.Thread(target=page.get, args=("/api/state",)) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        app.LabFeed = before  # type: ignore[misc]
    assert looks == 1


def test_looking_takes_no_lock_that_a_writer_would_wait_for(db: str) -> None:
    """Not even where a writer is in the middle of a transaction."""
    import sqlite3

    plan = make_plan(POISSON, Emulated(), size="fast", seed=11)
    with Results(db) as results:
        results.begin(plan)
    writer = sqlite3.connect(db.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        begun = time.monotonic()
        state = LabFeed(db, time.time_ns).look()
        assert time.monotonic() - begun < 10.0  # a lock would be waited for three times as long
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    assert state["problem"] is None
    assert state["experiment"]["seed"] == 11
