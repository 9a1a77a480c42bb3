"""Recordings come in, runs go out and come back without loss."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_roundtrip import SHARE

from firmware_bridge.errors import UserError
from firmware_bridge.headers import Job
from firmware_bridge.trace import bundle, formats, manage, tabular
from firmware_bridge.trace.companion import ADDED_COLUMNS
from firmware_bridge.trace.importer import import_csv, import_file
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import job_row
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.writer import TraceWriter

TABLES = ("miners", "jobs", "shares", "telemetry", "settings", "events", "recorded_bytes")
REQUIRED = [
    "miner", "job_id", "extranonce2", "ntime", "nonce", "version_bits", "difficulty", "valid", "reason", "kernel_ns",
    "monotonic_ns", "wall_ns", "interval_ns",
]  # fmt: skip


def everything(reader: TraceReader, run: int) -> dict[str, Any]:
    record = {k: v for k, v in reader.run(run).items() if k not in ("run", "first_share_id", "last_share_id")}
    return {"record": record} | {table: reader.dicts(run, table) for table in TABLES}


def full_run(url: str, rows: list[ShareRow], **record: Any) -> None:
    """A run that uses every table, with jobs that no share answers."""
    with TraceWriter(url) as writer:
        values: dict[str, Any] = {"kind": "virtual", "source": "emulator", "mode": "swh"} | record
        run = writer.begin_run(RunRecord(config={"a": [1, {"b": None}]}, plants={"input": 0.5}, **values))
        for name in ("w.1", "w.1", "", "ü\n,\"'\\"):
            run.miner(MinerRow(name, "agent\\n", None, "s9", "0000ffff", 0x1FFFE000, 2**-20, 256.0, 2**60))
        job = Job("a\r", "ab" * 32, "", "02", ("cd" * 32,), "20000000", "1d00ffff", "69637392", symbol=-0.1)
        run.jobs(
            [job_row(n, n % 5 or None, job, sent_wall_ns=n, sent_monotonic_ns=None) for n in range(1, 30)]
        )
        run.shares([row._replace(job=row.job and row.job % 25 + 1) for row in rows])
        run.telemetry(TelemetryRow(1, 1, None, 60.25, raw='{"x": 1}'))
        run.telemetry(
            TelemetryRow(1, 3, 4, None, 1.5, *range(2, 8), "{}", 21.5, 70.25, 5_010.0, 2_900.0, 2**60, "ü/1")
        )
        run.setting(
            miner=1, wall_ns=2, setting="fan", previous=None, requested="100", measured=None, reason="",
        )  # fmt: skip
        run.event("note", detail={"k": "v"}, wall_ns=1, monotonic_ns=2)
        run.recorded((1, "serial:///dev/x", "received", None, 5, 2**60, bytes(range(256))))
        run.recorded((None, "http://h", "sent", None, 6, 7, b""))
        run.update(tags=["x"], notes="a note", jitter_floor={"p50_ns": 1.5})
        run.end("abort", "stopped", wall_ns=99)


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(SHARE, min_size=1, max_size=20))
@pytest.mark.parametrize("format_", formats.FORMATS)
def test_an_export_is_imported_without_loss(
    rows: list[ShareRow], format_: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("pyarrow") if format_ == "parquet" else None
    folder = tmp_path_factory.mktemp("x")
    full_run(str(folder / "a.db"), rows)
    reader = TraceReader(str(folder / "a.db"))
    before = everything(reader, 1)
    out = folder / f"shares.{format_}"
    formats.export_run(reader, 1, out, format_)
    result = import_file(str(folder / "b.db"), out)
    assert result.rejected_rows == []
    assert result.shares == len(rows)
    assert everything(TraceReader(str(folder / "b.db")), 1) == before
    # the shares alone bring back themselves and their jobs
    formats.companion_of(out).unlink()
    import_file(str(folder / "c.db"), out)
    alone = everything(TraceReader(str(folder / "c.db")), 1)
    assert alone["shares"] == before["shares"]
    answered = {row["job"] for row in before["shares"]}
    assert alone["jobs"] == [job for job in before["jobs"] if job["job"] in answered]
    assert alone["record"]["kind"] == "recorded"


def test_the_companion_of_an_older_version_is_brought_forward(tmp_path: Path, excerpt: Path) -> None:
    full_run(str(tmp_path / "a.db"), [ShareRow(1, 3, "a", *([None] * 13))])
    reader = TraceReader(str(tmp_path / "a.db"))
    out = tmp_path / "out.csv"
    formats.export_run(reader, 1, out)
    beside = formats.companion_of(out)
    content = json.loads(beside.read_text())
    content["schema_version"] = "0001"
    del content["recorded_bytes"]
    for row in content["jobs"]:
        del row["claimtrie"]
    added = len(ADDED_COLUMNS["0003"]["telemetry"])
    content["telemetry"] = [row[:-added] for row in content["telemetry"]]
    beside.write_text(json.dumps(content))
    import_file(str(tmp_path / "b.db"), out)
    before, after = everything(reader, 1), everything(TraceReader(str(tmp_path / "b.db")), 1)
    unknown = dict.fromkeys(ADDED_COLUMNS["0003"]["telemetry"])
    readings = [row | unknown for row in before["telemetry"]]
    assert after == before | {"recorded_bytes": [], "telemetry": readings}
    for version, fault in ("0002", r"is missing|is no list"), ("0003", "is missing|is no list of 18 values"):
        content["schema_version"] = version  # a companion of that time that lacks them is damaged
        beside.write_text(json.dumps(content))
        with pytest.raises(UserError, match=fault):
            import_file(str(tmp_path / "c.db"), out)


def test_a_companion_whose_readings_lack_what_its_version_has_is_damaged(tmp_path: Path) -> None:
    full_run(str(tmp_path / "a.db"), [ShareRow(1, 3, "a", *([None] * 13))])
    out = tmp_path / "out.csv"
    formats.export_run(TraceReader(str(tmp_path / "a.db")), 1, out)
    beside = formats.companion_of(out)
    content = json.loads(beside.read_text())
    content["telemetry"][1].pop()
    beside.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"telemetry\[1\] is no list of 18 values"):
        import_file(str(tmp_path / "b.db"), out)


def test_a_bundle_of_schema_0002_is_imported(tmp_path: Path) -> None:
    bundle.import_bundle(str(tmp_path / "b.db"), Path(__file__).parent / "golden_0002.zip")
    reader = TraceReader(str(tmp_path / "b.db"))
    first, second = reader.dicts(1, "telemetry")
    assert (first["temperature_c"], first["voltage_mv"], first["raw"]) == (60.25, 1210.0, '{"temp": 60.25}')
    assert (second["miner"], second["wall_ns"], second["temperature_c"]) == (None, 2**53 + 1, 21.5)
    assert {first[name] for name in ADDED_COLUMNS["0003"]["telemetry"]} == {None}
    assert reader.dicts(1, "jobs")[0]["claimtrie"] == "cd" * 32
    assert reader.dicts(1, "recorded_bytes")[0]["data"] == b"\x00\xff{}"


def test_a_mapped_csv_brings_what_stands_beside_a_miner(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("t,room,ma,bad\n1,21.5,2900,3\n2,21.75,2950.5,4.5\n3,,,5e0\n4,21,2900,-1\n")
    mapping = {"timestamp": "t", "ambient_c": "room", "current_ma": "ma", "hardware_errors": "bad"}
    with TraceWriter(str(tmp_path / "lab.db")) as writer:
        result = import_csv(path, writer, mapping)
    assert [row["line"] for row in result.rejected_rows] == [3, 5]
    assert "'4.5' is no count" in result.rejected_rows[0]["reason"]
    rows = TraceReader(str(tmp_path / "lab.db")).dicts(1, "telemetry")
    found = [(row["ambient_c"], row["current_ma"], row["hardware_errors"], row["source"]) for row in rows]
    assert found == [(21.5, 2900.0, 3, None), (None, None, 5, None)]


def test_exports_have_the_promised_columns_and_equal_bytes_for_equal_data(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [ShareRow(1, 1, "a", "00", "69637392", "00ff00ff", None, 256.5, True, None, *[2**60] * 6)] * 3
    for name in ("a", "b"):
        full_run(str(tmp_path / f"{name}.db"), rows)
        reader = TraceReader(str(tmp_path / f"{name}.db"))
        formats.export_run(reader, 1, tmp_path / f"{name}.csv", "csv")
        formats.export_run(reader, 1, tmp_path / f"{name}.parquet", "parquet")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    with (tmp_path / "a.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[: len(REQUIRED)] == REQUIRED
    assert table[0]["kernel_ns"] == str(2**60)
    assert table[0]["version_bits"] == ""
    assert table[0]["nonce"] == "00ff00ff"


def test_an_exported_share_that_was_changed_is_found_out(tmp_path: Path, excerpt: Path) -> None:
    import_file(str(tmp_path / "a.db"), excerpt)
    reader = TraceReader(str(tmp_path / "a.db"))
    out = tmp_path / "shares.csv"
    formats.export_run(reader, 1, out)
    lines = out.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace(lines[3].split(",")[4], "00000000")
    lines[5] = "1,2,3\n"
    out.write_text("".join(lines))
    result = import_file(str(tmp_path / "b.db"), out)
    assert result.rejected_rows == [{"line": 6, "reason": "3 fields where the header has 41"}]
    kinds = {e["kind"] for e in TraceReader(str(tmp_path / "b.db")).dicts(1, "events")}
    assert {"edited_after_export", "rejected_row"} <= kinds
    formats.companion_of(out).unlink()
    import_file(str(tmp_path / "c.db"), out)
    alone = TraceReader(str(tmp_path / "c.db"))
    assert alone.run(1)["unverified"] is True
    (event,) = [e for e in alone.dicts(1, "events") if e["kind"] == "unverified_shares"]
    assert json.loads(event["detail"]) == {"count": 1, "lines": [4]}


def test_the_excerpt_of_the_s9_recording_verifies(tmp_path: Path, excerpt: Path) -> None:
    result = import_file(str(tmp_path / "lab.db"), excerpt)
    assert (result.shares, result.valid, result.rejected_rows) == (300, 300, [])
    reader = TraceReader(str(tmp_path / "lab.db"))
    record = reader.run(reader.resolve(result.run))
    assert (record["kind"], record["source"], record["unverified"]) == ("recorded", "import", False)
    assert record["clock_tick_ns"] == 100
    row = next(reader.share_rows(1))
    assert row.difficulty == pytest.approx(287.126985, abs=1e-6)
    assert (row.wall_ns, row.kernel_ns, row.monotonic_ns) == (1_768_125_330_714_832_500, None, None)
    assert row.since_notify_ns == row.response_ns == 84_449_000


def test_the_whole_s9_recording_verifies(tmp_path: Path, traces: Path) -> None:
    result = import_file(str(tmp_path / "lab.db"), traces / "s9_stratum_shares.csv")
    assert (result.shares, result.valid) == (2588, 2588)
    reader = TraceReader(str(tmp_path / "lab.db"))
    frame = reader.frame(1, "shares")
    assert (frame["reason"] == "duplicate").sum() == 42
    assert len(reader.dicts(1, "jobs")) == 2325
    assert (frame["difficulty"] > 512).sum() == 1304
    assert frame["difficulty"].median() == pytest.approx(515.92334, abs=1e-5)
    assert frame["interval_ns"].mean() / 1e6 == pytest.approx(97.23948, abs=1e-5)
    assert (frame["wall_ns"].iloc[-1] - frame["wall_ns"].iloc[0]) / 1e9 == pytest.approx(251.558534, abs=1e-6)


BREAKS = {
    "nonce": ("xyz", "nonce 'xyz' has 3 characters"),
    "prevhash": ("zz" * 32, "is not hex"),
    "timestamp": ("soon", "timestamp 'soon' is not a number"),
    "jitter_ms": ("nan", "not a usable number"),
    "merkle_branch": ("[1", "not a list of hex"),
    "coinb1": ("abc", "coinb1 'abc' is not hex"),
}


def test_broken_rows_are_named_and_the_rest_is_kept(tmp_path: Path, excerpt: Path) -> None:
    with excerpt.open(newline="") as file:
        rows = list(csv.DictReader(file))[:20]
    expected = {}
    for position, (column, (value, reason)) in enumerate(BREAKS.items(), 3):
        rows[position][column] = value
        expected[position + 2] = reason
    good_nonce = rows[12]["nonce"]
    rows[12]["nonce"] = "00000000"  # well-formed, and no solution
    broken = tmp_path / "broken.csv"
    with broken.open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0], lineterminator="\r\n")
        out.writeheader()
        out.writerows(rows)
    text = broken.read_bytes()
    text = b"\xef\xbb\xbf" + text + b'\r\nonly,three,fields\r\n"never closed\r\n\xff\xfe,bytes\r\n'
    broken.write_bytes(text)
    expected |= {23: "3 fields", 24: "not CSV", 25: "not UTF-8"}
    result = import_file(str(tmp_path / "lab.db"), broken)
    found = {row["line"]: row["reason"] for row in result.rejected_rows}
    assert sorted(found) == sorted(expected)
    for line, reason in expected.items():
        assert reason in found[line]
    assert (result.shares, result.valid) == (14, 13)
    reader = TraceReader(str(tmp_path / "lab.db"))
    bad = [row for row in reader.share_rows(1) if not row.valid]
    assert [(row.nonce, row.reason) for row in bad] == [("00000000", "low-difficulty")]
    assert good_nonce not in [row.nonce for row in bad]
    assert [e["kind"] for e in reader.dicts(1, "events")].count("rejected_row") == len(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b"\xef\xbb\xbf\r\n", "line 1: the file is empty"),
        (b"a,b\n1,2\n", r"line 1: neither an S9 recording \(columns missing: timestamp, job_id"),
        (b"a,a\n1,2\n", "line 1: the header names a twice"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        (b"a\0b", "binary data"),
        (b"PK\x03\x04 no zip", "damaged archive"),
        (b"PAR1 no parquet", "Parquet"),
    ],
)
def test_files_of_no_known_form_leave_no_run(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        import_file(str(tmp_path / "lab.db"), path)
    assert "file.csv" in str(error.value) or "pyarrow" in str(error.value)
    if (tmp_path / "lab.db").exists():
        assert len(TraceReader(str(tmp_path / "lab.db")).runs()) == 0
    with pytest.raises(UserError, match="no such file"):
        import_file(str(tmp_path / "lab.db"), tmp_path / "none.csv")


def test_a_file_without_a_usable_row_is_an_error_with_its_line(tmp_path: Path, excerpt: Path) -> None:
    header = excerpt.read_text().splitlines()[0]
    path = tmp_path / "rows.csv"
    path.write_text(header + "\n")
    with pytest.raises(UserError, match="line 2: there is no row below the header"):
        import_file(str(tmp_path / "lab.db"), path)
    path.write_text(header + "\n\n1,2\n")
    with pytest.raises(UserError, match="line 3: 2 fields where the header has 13; no row"):
        import_file(str(tmp_path / "lab.db"), path)


def test_arrival_times_of_any_csv_are_stored_as_unverified(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(
        "when;who;u;degrees;latency\n"
        "2025-12-26T15:32:06.748638123;a;0.5;60;12.5\n"
        "2025-12-26T16:32:07,5+01:00;b;0.5;;\n"
        "yesterday;a;0.5;60;1\n"
        "2025-12-26 15:32:08Z;a;-1;61.5;7\n"
        "2025-12-26T15:32:07Z;a;-1;61.5;7\n"
    )
    mapping = {
        "timestamp": "when", "miner": "who", "symbol": "u", "temperature_c": "degrees", "response_ms": "latency",
    }  # fmt: skip
    with TraceWriter(str(tmp_path / "lab.db")) as writer:
        result = import_csv(path, writer, mapping)
    assert (result.shares, result.valid) == (4, 0)
    assert [row["line"] for row in result.rejected_rows] == [4]
    reader = TraceReader(str(tmp_path / "lab.db"))
    assert reader.run(1)["unverified"] is True
    rows = list(reader.share_rows(1))
    assert rows[0].wall_ns == 1_766_763_126_748_638_123
    assert [row.miner for row in rows] == [1, 2, 1, 1]
    assert [row.valid for row in rows] == [None] * 4
    assert rows[1].interval_ns is None
    assert rows[2].interval_ns == 1_766_763_128 * 10**9 - rows[0].wall_ns
    assert [row.response_ns for row in rows] == [12_500_000, None, 7_000_000, 7_000_000]
    jobs = reader.dicts(1, "jobs")
    assert [(j["miner"], j["symbol"]) for j in jobs] == [(1, 0.5), (2, 0.5), (1, -1.0)]
    assert [t["temperature_c"] for t in reader.dicts(1, "telemetry")] == [60.0, 61.5, 61.5]
    kinds = [e["kind"] for e in reader.dicts(1, "events")]
    assert sorted(kinds) == ["clock_step", "rejected_row", "time_zone_assumed"]


@pytest.mark.parametrize(
    ("texts", "unit", "expected"),
    [
        (["1768125330.7148325", "1768125330.804181"], None, [1768125330714832500, 1768125330804181000]),
        (["1768125330714.8325"], None, [1768125330714832500]),
        (["1768125330714832"], None, [1768125330714832000]),
        (["1768125330714832501"], None, [1768125330714832501]),
        (["0", "0.084"], None, [0, 84_000_000]),
        (["0", "84"], "ms", [0, 84_000_000]),
        (["1.5e9"], None, [1_500_000_000 * 10**9]),
        (["-1"], None, [-(10**9)]),
        (["1969-12-31T23:59:59.5Z"], None, [-500_000_000]),
        (["20251226T153206Z"], None, [1_766_763_126 * 10**9]),
    ],
)
def test_times_are_read_exactly(texts: list[str], unit: str | None, expected: list[int]) -> None:
    parser = tabular.TimeParser(unit)
    assert [parser.parse(text) for text in texts] == expected


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e30", "2025-13-01T00:00:00", "9999-12-31T00:00:00Z", "x"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(tabular.RowError):
        tabular.TimeParser().parse(text)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"nonce": "a"}, "needs timestamp=COLUMN"),
        ({"timestamp": "nope"}, "no column 'nope' for timestamp; the header has a, b"),
        ({"timestamp": "a", "color": "b"}, "knows no field color; there are timestamp, miner"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(
    tmp_path: Path, mapping: dict[str, str], message: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=message):
        import_file(str(tmp_path / "lab.db"), path, mapping)
    assert not (tmp_path / "lab.db").exists()


def test_a_bundle_carries_a_run_and_betrays_a_change(tmp_path: Path, excerpt: Path) -> None:
    import_file(str(tmp_path / "a.db"), excerpt)
    reader = TraceReader(str(tmp_path / "a.db"))
    packed = bundle.write_bundle(reader, 1, tmp_path / "run.zip")
    again = bundle.write_bundle(reader, 1, tmp_path / "again.zip")
    assert packed.sha256 == again.sha256
    result = import_file(str(tmp_path / "b.db"), tmp_path / "run.zip")
    assert result.run == packed.run
    assert everything(TraceReader(str(tmp_path / "b.db")), 1) == everything(reader, 1)
    # once more into the same trace: under a new id that tells the old one
    second = import_file(str(tmp_path / "b.db"), tmp_path / "run.zip")
    assert second.run != packed.run
    assert TraceReader(str(tmp_path / "b.db")).run(2)["config"]["restored_from"] == packed.run
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(tmp_path / "run.zip") as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"true", b"TRUE", 1) if name == "shares.csv" else data)
    with pytest.raises(UserError, match=r"shares\.csv does not match its checksum"):
        import_file(str(tmp_path / "c.db"), changed)
    with zipfile.ZipFile(changed, "w") as target:
        target.writestr("hello", "x")
    with pytest.raises(UserError, match="not one made by"):
        import_file(str(tmp_path / "c.db"), changed)
    cut = tmp_path / "cut.zip"
    cut.write_bytes((tmp_path / "run.zip").read_bytes()[:-500])
    with pytest.raises(UserError, match="damaged archive"):
        import_file(str(tmp_path / "c.db"), cut)
    assert not (tmp_path / "c.db").exists()


def test_runs_are_tagged_annotated_removed_and_merged(tmp_path: Path) -> None:
    url = str(tmp_path / "lab.db")
    row = ShareRow(2, 3, "a", "00", "69637392", "00ff00ff", None, 256.5, True, None, *[2**60] * 6)
    full_run(url, [row] * 5, run_id="aa", started_wall_ns=20)
    full_run(url, [row._replace(job=None)] * 7, run_id="bb", started_wall_ns=10)
    assert manage.tag(url, "a", ["x", "y", "y"]) == {"run": "aa", "tags": ["x", "y"]}
    assert manage.tag(url, "aa", ["x"], remove=True) == {"run": "aa", "tags": ["y"]}
    assert manage.note(url, "aa", "warm day")["notes"] == "warm day"
    merged = manage.merge(url, ["aa", "bb"])
    assert (merged["shares"], merged["parts"]) == (12, ["bb", "aa"])
    listed = manage.list_runs(url)
    assert [(r["run"], r["shares"], r["kind"]) for r in listed[:2]] == [
        ("aa", 5, "virtual"),
        ("bb", 7, "virtual"),
    ]
    assert (listed[2]["kind"], listed[2]["shares"], listed[2]["mode"]) == ("merged", 12, "swh")
    reader = TraceReader(url)
    rows = list(reader.share_rows(3))
    assert [r.miner for r in rows] == [2] * 7 + [6] * 5
    jobs = {job["job"]: job for job in reader.dicts(3, "jobs")}
    assert len(jobs) == 58
    assert {r.job for r in rows} == {None, 4 + 29}
    part = {job["job"]: job for job in reader.dicts(1, "jobs")}[4]
    assert {k: v for k, v in jobs[33].items() if k not in ("job", "miner")} == {
        k: v for k, v in part.items() if k not in ("job", "miner")
    }
    assert jobs[33]["miner"] == part["miner"] + 4
    assert reader.run(3)["config"]["merged_from"] == ["bb", "aa"]
    assert reader.run(3)["plants"] == {"input": 0.5}
    assert manage.remove(url, "aa", vacuum=True) == {"run": "aa", "shares": 5}
    assert [r["run"] for r in manage.list_runs(url)] == ["bb", merged["run"]]
    assert [(r.miner, r.job) for r in TraceReader(url).share_rows(3)] == [(r.miner, r.job) for r in rows]
    for table in TABLES:
        assert TraceReader(url).columns(2, table, ["run"]).values["run"].tolist()
    with pytest.raises(UserError, match="two or more different runs"):
        manage.merge(url, ["bb", "bb"])
    with pytest.raises(UserError, match="no run 'aa'"):
        manage.remove(url, "aa")


def test_an_export_that_cannot_be_written_is_an_error(tmp_path: Path, excerpt: Path) -> None:
    import_file(str(tmp_path / "a.db"), excerpt)
    reader = TraceReader(str(tmp_path / "a.db"))
    with pytest.raises(UserError, match="cannot be written"):
        formats.export_run(reader, 1, tmp_path / "no" / "x.csv")
    with pytest.raises(UserError, match="--format is one of csv, parquet"):
        formats.export_run(reader, 1, tmp_path / "x.csv", "xlsx")
    with pytest.raises(UserError, match="no run number 9"):
        formats.export_run(reader, 9, tmp_path / "x.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db"]
