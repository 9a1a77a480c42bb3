"""The command line as such: start-up, help, exit codes, lab.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from experiments import tpf_leakage
from experiments.cli.options import parse_scale
from experiments.config import key_line
from experiments.narma import FOUND_AT

COMMANDS = (
    "demo",
    "bridge",
    "emulate",
    "effects",
    "import",
    "export",
    "replay",
    "runs",
    "bundle",
    "stats",
    "report",
    "narma",
    "reservoir",
)


def processor_s(project: Path, *arguments: str) -> float:
    """Time on a processor, which a start that waits for nothing takes of the clock as well, on a host that is idle."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(project)},
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)  # it is waited for already
    assert child.returncode == 0
    return used.ru_utime + used.ru_stime


@pytest.mark.xdist_group("timing")
def test_help_starts_fast(project: Path) -> None:
    """Under 0.3 s, or, on a machine that cannot even start Python in 0.03 s, that much slower; the best of many."""
    ours = bare = float("inf")
    for _ in range(40):
        ours = min(ours, processor_s(project, "-m", "experiments.cli", "--help"))
        if ours < 0.3:
            return
        bare = min(bare, processor_s(project, "-c", "pass"))
    assert ours < 10 * bare, f"--help took {ours:.3f} s, bare Python {bare:.3f} s"


def test_help_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys, experiments.cli; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'numpy', 'pandas', 'scipy', 'numba', 'matplotlib', 'sqlalchemy', 'jinja2', 'rich', 'asyncio'}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(project)},
    )
    assert found.stdout.strip() == "[]"


def test_every_command_has_help_json_and_config(lab) -> None:
    text = lab("--help").stdout
    for command in (*COMMANDS, "doctor"):
        assert command in text
    groups = ("effects", "reservoir")
    leaves = [(c,) for c in COMMANDS if c not in groups]
    leaves += [("doctor",), ("effects", "list"), ("reservoir", "evaluate")]
    leaves += [("runs", sub) for sub in ("list", "tag", "note", "rm", "merge")]
    for leaf in leaves:
        shown = lab(*leaf, "--help").stdout
        assert "--json" in shown, leaf
        assert "--config" in shown, leaf


def test_the_version_is_that_of_the_package(lab) -> None:
    assert lab("--version").stdout == f"asiclab {metadata.version('asic-reservoir-lab')}\n"
    # it is said before anything else is looked at
    assert lab("--version", "nonsense").stdout.startswith("asiclab ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stats", "--db", "sqlite:///nowhere.db"), "nowhere.db"),
        (("import", "nofile.csv"), "nofile.csv"),
        (("emulate", "s7"), "s7"),
        (("emulate", "lb-box", "--time", "virtual"), "--time wall"),
        (("emulate", "s9", "--bind", "203.0.113.1"), "--bind"),
        (("emulate", "bm1366", "--fault", "gravity"), "gravity"),
        (("emulate", "bm1366", "--count", "129"), "--count"),
        (("emulate", "s9", "--time", "virtual", "--pool", "localhost:1"), "--time wall"),
        (("emulate", "s9", "--plant", "gravity=1"), "gravity"),
        (("emulate", "s9", "--physics", "gravity=1"), "gravity"),
        (("emulate", "s9", "--physics", "late_loads=maybe"), "late_loads"),
        (("bridge", "--mode", "push"), "push"),
        (("bridge", "--difficulty", "-1"), "-1"),
        (("bridge", "--version-mask", "xyz"), "xyz"),
        (("bridge", "--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("bridge", "--scale", "2"), "2"),
        (("bridge", "--config", "absent.toml"), "absent.toml"),
        (("runs", "merge", "one"), "two"),
        (("nonsense",), "nonsense"),
    ],
)
def test_user_error_is_one_clear_message(lab, arguments: tuple[str, ...], says: str) -> None:
    result = lab(*arguments, code=2)
    assert says in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "value"),
    [("2^-20", 2.0**-20), ("2**-3", 0.125), ("1/1024", 1 / 1024), ("9.5e-7", 9.5e-7), ("1", 1.0), (0.5, 0.5)],
)
def test_scale_is_read_in_every_spelling(text: object, value: float) -> None:
    assert parse_scale(text) == value


def test_lab_toml_beside_the_database_is_in_force_and_the_command_line_wins(lab) -> None:
    folder = lab.folder / "deep"
    folder.mkdir()
    (folder / "lab.toml").write_text('[emulate]\nshares = 40\nseed = 9\nplant = ["quality=0.5"]\n')
    db = "sqlite:///deep/lab.db"
    assert lab.json("emulate", "s9", "--db", db)["shares"] == 40
    assert lab.json("emulate", "s9", "--db", db, "--shares", 30)["shares"] == 30
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(f"sqlite:///{folder / 'lab.db'}")
    stored = reader.run(reader.resolve("latest"))
    assert stored["config"]["cli"]["options"]["shares"] == 30
    assert stored["config"]["cli"]["options"]["seed"] == 9
    assert stored["config"]["cli"]["files"] == ["deep/lab.toml"]
    assert stored["plants"] == {"quality": 0.5}


def test_a_lab_toml_that_is_a_folder_is_an_error_and_not_passed_over(lab) -> None:
    (lab.folder / "lab.toml").mkdir()
    assert "lab.toml: cannot be read" in lab("runs", code=2).output


def test_top_of_lab_toml_holds_for_every_command_that_has_the_option(lab) -> None:
    (lab.folder / "lab.toml").write_text('db = "sqlite:///elsewhere.db"\n')
    lab("emulate", "s9", "--shares", 20)
    assert (lab.folder / "elsewhere.db").is_file()
    assert len(lab.json("runs")["runs"]) == 1


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[bridge]\nport = 1\ndificulty = 3\n", "lab.toml:3", "dificulty"),
        ("# x\n[brigde]\nport = 1\n", "lab.toml:2", "brigde"),
        ("\nspeed_of_light = 3\n", "lab.toml:2", "speed_of_light"),
        ("[runs.merge]\nquick = true\n", "lab.toml:2", "quick"),
        ("[bridge]\ndifficulty = [\n", "lab.toml", "TOML"),
        ('[runs]\ndb = "sqlite:///x.db"\n[emulate]\nseed = "many"\n', "lab.toml:4", "seed"),
    ],
)
def test_mistake_in_lab_toml_names_file_and_line(lab, text: str, where: str, what: str) -> None:
    (lab.folder / "lab.toml").write_text(text)
    result = lab("emulate", "s9", "--shares", 10, code=2)
    assert where in result.stderr
    assert what in result.stderr
    assert not (lab.folder / "lab.db").exists()


def test_key_line_reads_tables_in_order() -> None:
    text = 'a = 1\n[x]\na = 2\n[ x . y ]\n"a" = 3\n'
    assert [key_line(text, table, "a") for table in ("", "x", "x.y", "z")] == [1, 3, 5, None]
    assert key_line(text, "x.y", "") == 4


def test_doctor_says_what_lacks(lab) -> None:
    result = lab.json("doctor")
    assert result["ok"]
    names = {check["name"] for check in result["checks"]}
    assert {"Python", "numba", "SO_TIMESTAMPNS", "clock", "disk", "file descriptors", "hash rate"} <= names
    for check in result["checks"]:
        assert check["state"] in ("ok", "limited", "missing")
        assert check["needed_for"]
        assert check["state"] == "ok" or check["remedy"] or check["name"] == "file descriptors"


def test_doctor_fails_where_nothing_can_be_written(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    result = lab.json("doctor", code=1)
    assert not result["ok"]
    assert "--db" in next(check["remedy"] for check in result["checks"] if check["name"] == "disk")


def test_effects_list_names_unit_and_detectable_strength(lab) -> None:
    effects = {effect["kind"]: effect for effect in lab.json("effects", "list")["effects"]}
    from firmware_bridge.emulator.effects import BEHAVIOURS

    delays = {"input", "temperature", "quality", "thermal", "queue", "quality_delay_ms"}
    behaviours = set(BEHAVIOURS)
    assert set(effects) == delays | behaviours
    measured = {
        **{kind: ("asiclab narma", strength) for kind, (_, strength) in FOUND_AT.items()},
        **{kind: ("asiclab tpf evaluate", strength) for kind, strength in tpf_leakage.FOUND_AT.items()},
    }
    for kind in behaviours:
        assert effects[kind]["found_by"].startswith("asiclab run ")
        assert 0 < effects[kind]["detectable"] < 2
    for kind in delays:
        effect = effects[kind]
        assert effect["unit"].startswith("ms ")
        by, strength = measured.get(kind, ("asiclab stats", None))
        assert effect["found_by"].startswith(by)
        assert effect["detectable"] == strength if strength else 0 < effect["detectable"] < 10
