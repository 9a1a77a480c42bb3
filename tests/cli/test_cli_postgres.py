"""Every command says the same of a trace on a server as of one in a file."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Lab
from tests.cli.test_cli_running import SCALE, START_S, last_line
from tests.lab_process import first_line
from tests.postgres_kit import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("postgres")

RUN_ID = re.compile(r"\b[0-9a-f]{8}-\d{8}-\d{6}\b")
SHORT = ("--train", 600, "--test", 300, "--washout", 100, "--permutations", 39, "--lags", 2)
STAMP = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
WALL = {
    *(
        "seconds",
        "elapsed_s",
        "started_wall_ns",
        "ended_wall_ns",
        "made",
        "git",
        "host",
        "versions",
        "db",
        "files",
    ),
    *("bytes", "sha256", "data_sha256", "model_sha256"),  # of what names its run
}
"""What no two runs of equal seed have in common."""


class Both:
    """A folder whose lab.db is a file, and one whose lab.toml names a database on a server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.labs = []
        for name in ("file", "server"):
            (folder / name).mkdir()
            self.labs.append(Lab(folder / name))
        self.file, self.server = self.labs
        (self.server.folder / "lab.toml").write_text(f'db = "{url}"\n')

    def __call__(self, *arguments: object, code: int = 0, as_json: bool = True) -> Any:
        """Run a command in both, and give what it says in both."""
        said = [lab(*arguments, *(["--json"] if as_json else []), code=code) for lab in self.labs]
        for result in said:
            assert PASSWORD not in result.output
        texts = [RUN_ID.sub("RUN", result.stdout) for result in said]
        if not as_json:
            return texts[0]
        first, second = ([comparable(json.loads(line)) for line in text.splitlines()] for text in texts)
        assert first == second, arguments
        assert first, arguments
        return first[-1]

    def same_file(self, name: str) -> None:
        """The file of this name is the same in both folders, but for ids of runs and when it was made."""
        texts = [(lab.folder / name).read_text() for lab in self.labs]
        texts = [STAMP.sub("WHEN", RUN_ID.sub("RUN", text)) for text in texts]
        assert PASSWORD not in texts[1]
        assert texts[0] == texts[1], name


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items() if name not in WALL}
    return [comparable(item) for item in value] if isinstance(value, list) else value


@pytest.fixture
def both(tmp_path: Path, server_url: str) -> Iterator[Both]:
    both = Both(tmp_path, server_url)
    yield both
    assert not (both.server.folder / "lab.db").exists()


def test_recordings_go_in_and_out_as_with_a_file(both: Both, excerpt: Path) -> None:
    both("claims")  # of a database without a trace
    both("import", excerpt)
    both("runs", "tag", "latest", "s9", "cold")
    both("runs", "note", "latest", 'it\'s "quoted" – ½')
    both("export", "latest", "--format", "csv", "--out", "shares.csv")
    both.same_file("shares.csv")
    assert both("replay", "latest", "--speed", "max")["shares"] > 290
    both("bundle", "latest", "--out", "run.zip")
    both("import", "shares.csv")
    both("import", "run.zip")
    for lab in both.labs:
        names = [run["run"] for run in lab.json("runs")["runs"]]
        assert lab.json("runs", "merge", *names[:2])["shares"] > 580
        lab("runs", "rm", names[0], "--yes")
    listed = both("runs")["runs"]
    assert [run["kind"] for run in listed] == ["recorded", "recorded", "merged"]
    assert both("replay", "latest", "--speed", "max")["shares"] > 580
    assert "Runs in" in both("runs", as_json=False)


def test_a_trace_goes_from_a_file_to_a_server_and_back(both: Both, excerpt: Path) -> None:
    both.file("import", excerpt)
    both.file("bundle", "latest", "--out", "out.zip")
    both.server("import", both.file.folder / "out.zip")
    both.server("bundle", "latest", "--out", "back.zip")
    back = both.server.folder / "back.zip"
    (both.file.folder / "other").mkdir()
    both.file("import", back, "--db", "sqlite:///other/lab.db")
    replay = ("replay", "latest", "--speed", "max")
    digests = [both.file.json(*replay, *db)["digest"] for db in ((), ("--db", "sqlite:///other/lab.db"))]
    digests.append(both.server.json(*replay)["digest"])
    assert len(set(digests)) == 1


def test_mistakes_in_the_url_are_told_without_the_password(lab: Any, postgres: Server) -> None:
    name = postgres.database()
    emulate = ("emulate", "s9", "--time", "virtual", "--shares", 5)
    for command in (("runs",), emulate, ("experiments", "runs"), ("claims",), ("dashboard", "--port", 0)):
        for url, said in (
            (postgres.url(name, password="wrong-7"), "password authentication failed"),
            (postgres.url("none"), "createdb"),
            (postgres.url(name, port=1), "see that the server runs"),
        ):
            result = lab(*command, "--db", url, code=1 if ":1/" in url else 2)
            assert said in result.stderr, (command, result.output)
            assert "Traceback" not in result.output
            assert PASSWORD not in result.output
            assert "wrong-7" not in result.output


def test_the_doctor_asks_the_server(postgres: Server) -> None:
    from experiments.doctor import _place_of_traces

    found = _place_of_traces(postgres.url(postgres.database()))
    assert (found.name, found.state) == ("database", "ok")
    assert "answers" in found.found
    assert PASSWORD not in str(found)
    lacking = _place_of_traces(postgres.url("none"))
    assert lacking.state == "missing"
    assert "createdb" in str(lacking.remedy)
    assert _place_of_traces("sqlite:///lab.db").name == "disk"


def test_the_password_can_stand_in_a_file_of_its_own(
    lab: Any, postgres: Server, monkeypatch: pytest.MonkeyPatch, excerpt: Path
) -> None:
    name = postgres.database()
    file = lab.folder / "pgpass"
    file.write_text(f"127.0.0.1:{postgres.port}:{name}:lab:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    url = f"postgresql://lab@127.0.0.1:{postgres.port}/{name}"
    lab("import", excerpt, "--db", url)
    assert len(lab.json("runs", "--db", url)["runs"]) == 1


@pytest.mark.slow
def test_an_emulated_run_is_analysed_as_in_a_file(both: Both) -> None:
    both("emulate", "s9", "--time", "virtual", "--shares", 700, "--seed", 5)
    both("stats", "latest")
    both("tpf", "evaluate", "latest", "--seed", 2)
    both("run", "poisson", "--size", "fast", "--seed", 1, "--jobs", 1, "--out", "results")
    both.same_file("results/poisson/cells.jsonl")
    both.same_file("results/poisson/finding.json")
    both("experiments", "runs")
    both("claims")
    found = [
        lab.json("run", "poisson", "--size", "fast", "--trace", "latest", "--jobs", 1) for lab in both.labs
    ]
    assert found[0]["finding"] == found[1]["finding"]  # the plans are two, as they name the run


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_driven_runs_and_reports_say_the_same(both: Both) -> None:
    both("narma", "--seed", 4, "--mode", "dialogue", *SHORT)
    both("reservoir", "evaluate", "latest", *SHORT)
    both("reservoir", "properties", "--trace", "latest", "--steps", 600, "--washout", 60, "--delays", 8)
    both("emulate", "s9", "--time", "virtual", "--shares", 300, "--seed", 1)
    both("report", "latest", "--out", "report.html")
    for lab in both.labs:
        assert PASSWORD not in (lab.folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_tells_which_work_succeeds_says_the_same(both: Both) -> None:
    for seed in (1, 2):
        both("emulate", "s9", "--time", "virtual", "--shares", 900, "--seed", seed)
    both("tpf", "audit", "latest")
    both("tpf", "train", "latest", "--classifier", "logistic", "--out", "model")
    both("tpf", "nonce", "latest", "--permutations", 99)
    both("tpf", "signals", "latest", "--draws", 39)
    both("proofs", "certify", "latest", code=1)
    for lab in both.labs:
        names = [run["run"] for run in lab.json("runs")["runs"]]
        lab("puf", "evaluate", f"a={names[0]}", f"b={names[1]}", "--split", 4)
        lab("puf", "enroll", names[0], "--out", "one.json", "--challenge", 3)
    both.same_file("one.json")


@pytest.mark.costly
def test_parquet_and_jobs_of_a_recording_are_the_same(both: Both, excerpt: Path) -> None:
    both("import", excerpt)
    both("tpf", "frontier", "--hashes", "6e3", "--zero-bits", 2, "--trace", "latest")
    both("export", "latest", "--format", "parquet", "--out", "shares.parquet")
    both("import", "shares.parquet")
    both("export", "latest", "--out", "shares.csv")
    both.same_file("shares.csv")


@pytest.mark.slow
def test_a_bridge_a_recorder_and_the_page_work_on_a_server(both: Both, tmp_path: Path) -> None:
    lab = both.server
    with lab.process("bridge", "--port", 0, "--mode", "swh", "--scale", SCALE, "--json") as bridge:
        port = first_line(bridge)["port"]
        arguments = ("--pool", f"127.0.0.1:{port}", "--scale", SCALE, "--shares", 30, "--json")
        with lab.process("emulate", "s9", *arguments) as miner:
            assert miner.wait(START_S) == 0, miner.stderr.read()
        bridge.send_signal(signal.SIGINT)
        end = last_line(bridge)
    assert end["status"] == "success"
    (run,) = lab.json("runs")["runs"]
    assert run["shares"] >= 30
    with lab.process("dashboard", "--port", 0, "--json") as page:
        from urllib.request import urlopen

        url = first_line(page)["url"]
        with urlopen(url.rstrip("/") + "/api/state", timeout=START_S) as answer:
            state = json.load(answer)
        with urlopen(url.rstrip("/") + "/api/about", timeout=START_S) as answer:
            assert PASSWORD not in answer.read().decode()
    assert state["problem"] is None
    assert state["run"]["run_id"] == run["run"]


@pytest.mark.slow
@pytest.mark.parametrize("from_server", [True, False])
def test_a_run_goes_over_a_broker_from_and_to_a_server(lab: Any, server_url: str, from_server: bool) -> None:
    from firmware_bridge.trace.schema import RunRecord
    from firmware_bridge.trace.writer import TraceWriter
    from tests.telemetry.mosquitto_kit import running
    from tests.telemetry.mqtt_kit import assert_equal, fill

    file = f"sqlite:///{lab.folder / 'lab.db'}"
    here, there = (server_url, file) if from_server else (file, server_url)
    with TraceWriter(here) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        fill(run, 60)
        run.end("success")
    with running(lab.folder / "m") as broker:
        bus = ("--broker", broker.url())
        with lab.process("mqtt", "record", "--db", there, "--runs", 1, *bus, "--json") as recorder:
            assert first_line(recorder)["connected"] is True
            assert lab.json("mqtt", "publish", run.run_id, "--db", here, *bus)["published"] is True
            assert recorder.wait(START_S) == 0, recorder.stderr.read()
    assert len(assert_equal(here, there, run.run_id)["shares"]) == 60
