"""A run says where it came from, and never tells a secret."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.trace import bundle, formats, provenance
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import RunRecord
from firmware_bridge.trace.writer import TraceWriter

SECRET = "hunter2-q7"
SNAPSHOTS: list[Any] = [
    {"password": SECRET},
    {"pool": {"pool_pass": SECRET, "user": "me"}},
    {"mqttPassword": SECRET, "API-Key": SECRET, "access_token": SECRET, "clientSecret": SECRET},
    {"workers": [{"name": "w", "pass": SECRET}, ("x", {"Authorization": f"Bearer {SECRET}"})]},
    {"db": f"postgresql+psycopg://lab:{SECRET}@host/lab"},
    {"db": f"postgresql://host/lab?user=lab&password={SECRET}&sslmode=require"},
    {"pool": f"stratum+tcp://w.1:{SECRET}@pool:3333", "remote": f"https://{SECRET}{SECRET}@github.com/x/y"},
    {"command": f"bridge --db mysql://u:p@{SECRET}@h/d token={SECRET}"},
    {"pin": {"secret": 42_424_242}},
]


@pytest.mark.parametrize("config", SNAPSHOTS)
def test_no_secret_reaches_the_trace_or_an_export(tmp_path: Path, config: Any) -> None:
    path = tmp_path / "lab.db"
    with TraceWriter(str(path)) as writer:
        run = writer.begin_run(
            RunRecord(kind="live", source="bridge", config=config, seeds=config, physics=config)
        )
        run.event("configured", detail=config)
        run.update(jitter_floor=config)
        run.end("success")
    reader = TraceReader(str(path))
    formats.export_run(reader, 1, tmp_path / "x.csv")
    bundle.write_bundle(reader, 1, tmp_path / "x.zip")
    for file in sorted(tmp_path.iterdir()):
        content = file.read_bytes()
        if file.suffix == ".zip":
            import zipfile

            with zipfile.ZipFile(file) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        assert SECRET.encode() not in content, file.name
        assert b"42424242" not in content, file.name


@pytest.mark.parametrize("failing", ["disk", "event"])
def test_no_secret_reaches_the_sidecar(tmp_path: Path, failing: str) -> None:
    path = tmp_path / "lab.db"
    with TraceWriter(str(path)) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        writer.last_word(run, failing, "error", {"url": f"mqtt://u:{SECRET}@h", "token": SECRET})
    sidecar = Path(f"{path}.emergency.jsonl").read_text()
    assert failing in sidecar
    assert SECRET not in sidecar


def test_what_is_no_secret_stays() -> None:
    config = {
        "keep_secrets": False,
        "password": None,
        "bypass": "x",
        "passes": 3,
        "compass": "north",
        "monkey": "banana",
        "host": "127.0.0.1",
        "url": "http://127.0.0.1:3333/path",
        "mail": "me@example.org",
        "difficulty": 256.5,
        "empty": {"token": ""},
    }
    assert provenance.redact(config) == config


def test_a_snapshot_is_what_json_can_hold() -> None:
    import json
    from dataclasses import dataclass

    import numpy as np

    @dataclass
    class Point:
        x: Any
        password: str = SECRET

    found = provenance.redact(
        {
            "a": np.int64(3),
            "b": np.array([1.5]),
            "c": Point((1, {2})),
            "d": Path("/x"),
            "e": float("nan"),
            5: {1},
        }
    )
    assert found == {
        "a": 3, "b": [1.5], "c": {"x": [1, [2]], "password": "***"}, "d": "/x", "e": None, "5": [1],
    }  # fmt: skip
    json.dumps(found, allow_nan=False)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5)
)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    once = provenance.redact({"value": value, "token": value})
    assert provenance.redact(once) == once


def test_run_ids_are_short_and_unlike() -> None:
    ids = {provenance.new_run_id(1_768_125_330 * 10**9) for _ in range(200)}
    assert len(ids) == 200
    assert all(run_id.endswith("-20260111-095530") and len(run_id) <= 40 for run_id in ids)


def test_git_state_is_that_of_the_code_and_unknown_without_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provenance.git_state.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))  # no git here
    assert provenance.git_state() == {"sha": None, "dirty": None}
    monkeypatch.undo()
    provenance.git_state.cache_clear()
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")

    def run(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(
            [git, "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    copy = tmp_path / "pkg" / "provenance.py"
    copy.parent.mkdir()
    copy.write_text("x = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(copy))
    run("init", "-q")
    assert provenance.git_state() == {"sha": None, "dirty": None}  # someone else's checkout: not tracked
    provenance.git_state.cache_clear()
    run("add", ".")
    run("commit", "-q", "-m", "x")
    assert provenance.git_state() == {"sha": run("rev-parse", "HEAD"), "dirty": False}
    provenance.git_state.cache_clear()
    copy.write_text("x = 2\n")
    assert provenance.git_state()["dirty"] is True
    provenance.git_state.cache_clear()


def test_host_clock_and_versions_are_told() -> None:
    host = provenance.host()
    assert host["cpus"] >= 1
    assert host["machine"]
    assert 1 <= provenance.clock_tick_ns() < 1_000_000_000
    versions = provenance.versions()
    assert {"python", "sqlite", "numpy", "SQLAlchemy"} <= set(versions)
