"""Traces of earlier versions open, those of later ones say so."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace import store
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.schema import SCHEMA_VERSION, RunRecord, ShareRow, TelemetryRow, metadata
from firmware_bridge.trace.writer import TraceWriter

GOLDEN = Path(__file__).parent / "golden_0000.sql"
"""A trace of schema 0000: a finished run of three shares, and one whose bridge was killed."""


GOLDEN_0002 = Path(__file__).parent / "golden_0002.sql"
"""A trace of schema 0002: one run that uses every table, readings of a device and of nobody's."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(GOLDEN.read_text())
    connection.close()
    return path


def version_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(version)


def assert_golden_content(path: Path) -> None:
    reader = TraceReader(str(path))
    assert reader.resolve("5f0a") == 1
    record = reader.run(1)
    assert (record["tags"], record["notes"], record["config"]) == (["old"], "kept", {"difficulty": 256.0})
    rows = list(reader.share_rows(1))
    assert [r.kernel_ns for r in rows] == [None, 1_768_125_330_000_000_004, 1_768_125_330_000_000_005]
    assert [(r.response_ns, r.since_notify_ns) for r in rows] == [(None, None)] * 3
    assert reader.dicts(1, "jobs")[0]["symbol_fields"] is None
    assert reader.dicts(1, "miners")[0]["floor"] == 256.0
    assert reader.dicts(1, "events")[0]["kind"] == "clock_step"
    assert reader.columns(2, "shares", ["wall_ns"]).values["wall_ns"].tolist() == [2**53 + 1]


def test_a_reader_brings_an_older_trace_forward(old: Path) -> None:
    assert version_of(old) == "0000"
    assert_golden_content(old)
    assert version_of(old) == SCHEMA_VERSION


def test_a_trace_of_schema_0002_keeps_every_row_and_knows_of_no_sensor(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript(GOLDEN_0002.read_text())
    connection.row_factory = sqlite3.Row
    names = [name for name in metadata.tables if name != "runs"]
    before = {n: [dict(row) for row in connection.execute(f"SELECT * FROM {n}")] for n in names}
    connection.close()
    reader = TraceReader(str(path))
    assert version_of(path) == SCHEMA_VERSION
    for name in names:
        added = {
            "ambient_c",
            "regulator_temperature_c",
            "input_voltage_mv",
            "current_ma",
            "hardware_errors",
            "source",
        }
        unknown = dict.fromkeys(added) if name == "telemetry" else {}
        assert reader.dicts(1, name) == [
            {k: v for k, v in row.items() if k not in ("id", "run")} | unknown for row in before[name]
        ]
    assert len(before["telemetry"]) == 2
    with TraceWriter(str(path)) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.telemetry(TelemetryRow(None, 1, 2, ambient_c=21.25, source="room"))
        run.end("success")
    columns = TraceReader(str(path)).columns(2, "telemetry", ["ambient_c", "hardware_errors", "source"])
    assert columns.values["ambient_c"].tolist() == [21.25]
    assert columns.null["hardware_errors"].tolist() == [True]
    assert columns.values["source"].tolist() == ["room"]


def test_a_writer_brings_an_older_trace_forward_and_adds_to_it(old: Path) -> None:
    with TraceWriter(str(old)) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.share(ShareRow(1, *[None] * 13, 7, 8))
        run.end("success")
    assert_golden_content(old)
    assert [r.response_ns for r in TraceReader(str(old)).share_rows(3)] == [7]


def test_migrations_lead_to_the_tables_that_a_new_trace_has(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    TraceWriter(str(new)).close()
    TraceReader(str(old))
    columns = []
    for path in (old, new):
        engine = store.engine_for(store.locate(str(path)))
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
            found = inspect(connection)
            columns.append(
                {
                    (table, c["name"], str(c["type"]), c["nullable"])
                    for table in found.get_table_names()
                    for c in found.get_columns(table)
                }
            )
            assert not any(found.get_indexes(table) for table in metadata.tables)
        engine.dispose()
    assert columns[0] == columns[1]


def test_a_migration_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(old)
    connection.execute(
        "ALTER TABLE shares ADD COLUMN since_notify_ns BIGINT"
    )  # the last step will trip over it
    connection.commit()
    connection.close()
    with pytest.raises(TraceError, match="cannot be made ready for writing: duplicate column"):
        TraceReader(str(old))
    assert version_of(old) == "0000"
    connection = sqlite3.connect(old)
    names = {row[1] for row in connection.execute("PRAGMA table_info(jobs)")}
    connection.close()
    assert "symbol_fields" not in names


@pytest.mark.parametrize("opener", [TraceReader, TraceWriter])
def test_a_newer_trace_is_refused_with_its_version(tmp_path: Path, opener: type) -> None:
    path = tmp_path / "lab.db"
    TraceWriter(str(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.commit()
    connection.close()
    with pytest.raises(TraceError, match=r"schema version 0099.*up to 0003.*pip install -U"):
        opener(str(path))


@pytest.mark.xdist_group("timing")
def test_opening_a_new_trace_is_fast(tmp_path: Path) -> None:
    TraceWriter(str(tmp_path / "warm.db")).close()  # imports and SQLAlchemy's own caches
    best = 1.0
    for k in range(20):
        begin = time.perf_counter()
        TraceWriter(str(tmp_path / f"{k}.db")).close()
        best = min(best, time.perf_counter() - begin)
        if best < 0.3:
            return
    pytest.fail(f"the best of 20 took {best:.3f} s")


def test_someone_elses_table_of_runs_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE runs (a)")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="a table named runs that is not ours"):
        TraceWriter(str(path))
