"""Nothing is reported stored that is not: killed processes, full disks, locked databases."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace import emergency
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import RunRecord, ShareRow
from firmware_bridge.trace.writer import TraceWriter

ROW = ShareRow(1, *[None] * 15)

CHILD = textwrap.dedent(
    """
    import os, sys, threading
    from firmware_bridge.trace.schema import RunRecord, ShareRow
    from firmware_bridge.trace.writer import TraceWriter

    def report(tokens):
        os.write(1, b"".join(b"%d\\n" % token for token in tokens))

    writer = TraceWriter(sys.argv[1], on_commit=report, synchronous=sys.argv[2])
    run = writer.begin_run(RunRecord(kind="live", source="bridge", run_id=sys.argv[3]))
    os.write(1, b"ready\\n")
    pause = threading.Event()
    number = 0
    while True:
        for _ in range(1 + number % 97):
            run.share(ShareRow(1, *[None] * 11, number, None, None, None), token=number)
            number += 1
        pause.wait(0.0005)
    """
)


def kill_a_writer(url: str, run_id: str, synchronous: str, after_s: float) -> list[int]:
    """Numbers that the child reported stored before it was killed."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, synchronous, run_id], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    timer = threading.Timer(after_s, child.send_signal, [signal.SIGKILL])
    timer.start()
    with child:
        reported = child.stdout.read().split(b"\n")
    timer.join()
    return [int(line) for line in reported[:-1]]  # the last line may have been cut


def test_another_process_reads_while_the_writer_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lab.db'}"
    child = subprocess.Popen([sys.executable, "-c", CHILD, url, "normal", "run"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    drain = threading.Thread(target=child.stdout.read)
    try:
        assert child.stdout.readline() == b"ready\n"
        drain.start()
        reader = TraceReader(url)
        lengths: list[int] = []
        deadline = time.monotonic() + 120
        while len(lengths) < 15 or lengths[-1] == lengths[0]:
            assert time.monotonic() < deadline, "the writer wrote nothing more"
            stamps = reader.columns(1, "shares", ["wall_ns"]).values["wall_ns"]
            assert stamps.tolist() == list(range(len(stamps)))
            lengths.append(len(stamps))
            assert reader.count(1) >= lengths[-1]
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()
        drain.join()
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]


def kill_repeatedly(path: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    url = f"sqlite:///{path}"
    for k in range(times):
        reported = kill_a_writer(url, f"run{k}", rng.choice(["off", "normal", "full"]), rng.uniform(0.0, 0.4))
        reader = TraceReader(url)
        run = reader.resolve(f"run{k}")
        stored = [row.wall_ns for row in reader.share_rows(run)]
        assert stored == list(range(len(stored)))
        assert reported == list(range(len(reported)))
        assert len(stored) >= len(reported) >= 0
        assert reader.run(run)["exit_status"] is None
        assert reader.columns(run, "shares", ["wall_ns"]).values["wall_ns"].tolist() == stored
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path / "lab.db", 4, seed=1)


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_reported_20_times(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path / "lab.db", 20, seed=2)


def fill(run: RunWriter, rows: int = 40_000) -> int:
    """Add rows until the writer refuses; how many it took."""
    for number in range(rows):
        try:
            run.share(ROW._replace(wall_ns=number, nonce=f"{number:064x}"), token=number)
            if number % 256 == 255:
                run.flush()
        except TraceError:
            return number
    pytest.fail("the writer never refused a row")


def assert_stopped_safely(
    path: Path, run: RunWriter, committed: list[object], failures: list[TraceError], kind: str
) -> None:
    """The failure was told once, what was reported is there, and the run has the event."""
    assert len(failures) == 1
    with pytest.raises(TraceError):
        run.share(ROW)
    with pytest.raises(TraceError):
        run.flush()
    with pytest.raises(TraceError):
        run.end("success")
    stored = [row.wall_ns for row in TraceReader(str(path)).share_rows(run.run)]
    assert committed == list(range(len(committed)))
    assert stored[: len(committed)] == committed
    TraceWriter(str(path), max_size_bytes=None).close()  # folds a sidecar in
    reader = TraceReader(str(path))
    events = [e for e in reader.dicts(run.run, "events") if e["kind"] == kind]
    assert len(events) == 1
    assert events[0]["severity"] == "error"
    assert json.loads(events[0]["detail"])["rows_not_stored"] >= 1
    record = reader.run(run.run)
    assert record["exit_status"] == "fail"
    assert "no longer be stored" in record["exit_reason"]
    assert not emergency.sidecar_of(path).exists()


def test_a_full_disk_stops_the_run_and_is_an_event_of_it(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    committed: list[object] = []
    failures: list[TraceError] = []
    writer = TraceWriter(
        str(path), on_commit=committed.extend, on_failure=failures.append, max_size_bytes=1_000_000
    )
    run = writer.begin_run(RunRecord(kind="live", source="bridge"))
    fill(run)
    run.event("stopped", "info", {"why": "disk"})  # must not raise: it goes to the sidecar
    writer.close()
    assert "disk full" in str(failures[0])
    assert_stopped_safely(path, run, committed, failures, "disk_full")
    assert [e["kind"] for e in TraceReader(str(path)).dicts(run.run, "events")].count("stopped") == 1
    assert not Path(f"{path}.reserve").exists()


def test_a_file_that_cannot_grow_stops_the_run(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the file system itself refuses the write."""
    script = textwrap.dedent(
        """
        import resource, signal, sys, json
        from firmware_bridge.trace.schema import RunRecord, ShareRow
        from firmware_bridge.trace.writer import TraceWriter
        from firmware_bridge.errors import TraceError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
        committed, failures = [], []
        writer = TraceWriter(sys.argv[1], on_commit=committed.extend, on_failure=failures.append)
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        try:
            for number in range(100_000):
                run.share(ShareRow(1, *[None] * 4, "%064x" % number, *[None] * 6, number, *[None] * 3), number)
                if number % 256 == 255:
                    run.flush()
        except TraceError:
            pass
        writer.close()
        print(json.dumps([committed, [str(f) for f in failures]]))
        """
    )
    path = tmp_path / "lab.db"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    committed, failures = json.loads(done.stdout)
    assert len(failures) == 1
    assert "disk error" in failures[0] or "disk full" in failures[0]
    assert committed == list(range(len(committed)))
    assert len(committed) > 1000
    with TraceWriter(str(path)):
        pass
    reader = TraceReader(str(path))
    assert [row.wall_ns for row in reader.share_rows(1)][: len(committed)] == committed
    assert [e["kind"] for e in reader.dicts(1, "events")] in (["disk_error"], ["disk_full"])
    assert reader.run(1)["exit_status"] == "fail"


def test_a_truly_full_file_system_leaves_room_for_the_last_word(tmp_path: Path) -> None:
    """A tmpfs of 2 MB, in a namespace of its own where that is allowed."""
    script = textwrap.dedent(
        f"""
        set -e
        mount -t tmpfs -o size=2m tmpfs {tmp_path}
        {sys.executable} - <<'END'
        from firmware_bridge.trace.schema import RunRecord, ShareRow
        from firmware_bridge.trace.writer import TraceWriter
        from firmware_bridge.trace.reader import TraceReader
        from firmware_bridge.errors import TraceError
        committed, failures = [], []
        writer = TraceWriter("{tmp_path}/lab.db", on_commit=committed.extend, on_failure=failures.append)
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        try:
            for number in range(100_000):
                run.share(ShareRow(1, *[None] * 4, "%064x" % number, *[None] * 6, number, *[None] * 3), number)
                if number % 256 == 255:
                    run.flush()
        except TraceError:
            pass
        writer.close()
        assert len(failures) == 1 and "disk full" in str(failures[0]), failures
        reader = TraceReader("{tmp_path}/lab.db")
        stored = [row.wall_ns for row in reader.share_rows(1)]
        assert stored[:len(committed)] == committed == list(range(len(committed))) and len(stored) > 1000
        assert [e["kind"] for e in reader.dicts(1, "events")] == ["disk_full"]
        assert reader.run(1)["exit_status"] == "fail"
        print("checked")
        END
        """
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout == "checked\n", done.stderr


def test_a_locked_database_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    committed: list[object] = []
    failures: list[TraceError] = []
    told = threading.Event()

    def on_failure(error: TraceError) -> None:
        failures.append(error)
        told.set()

    writer = TraceWriter(str(path), on_commit=committed.extend, on_failure=on_failure, lock_timeout_s=0.2)
    run = writer.begin_run(RunRecord(kind="live", source="bridge"))
    run.share(ROW._replace(wall_ns=0), token=0)
    run.flush()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    run.share(ROW._replace(wall_ns=1), token=1)
    assert told.wait(120)
    holder.execute("ROLLBACK")
    holder.close()
    writer.close()
    assert committed == [0]
    assert "database locked" in str(failures[0])
    assert_stopped_safely(path, run, committed, failures, "database_locked")


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    with TraceWriter(str(path), lock_timeout_s=30) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        run.share(ROW)
        with pytest.raises(TraceError, match="not stored within"):
            run.flush(timeout_s=0.05)
        holder.execute("ROLLBACK")
        holder.close()
        run.end("success")
    assert TraceReader(str(path)).count(1) == 1


def test_last_words_are_folded_in_once_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    with TraceWriter(str(path)) as writer:
        writer.begin_run(RunRecord(kind="live", source="bridge", run_id="ab"))
    word = emergency.LastWord("ab", "disk_full", "error", 1, 2, {"error": "x"}, "full")
    emergency.write_sidecar(path, [word, word, emergency.LastWord("gone", "x", "error", 1, 2, {})])
    with emergency.sidecar_of(path).open("a") as file:
        file.write('{"run_id": "a')
    for _ in range(2):
        TraceWriter(str(path)).close()
    reader = TraceReader(str(path))
    assert [e["kind"] for e in reader.dicts(1, "events")] == ["disk_full"]
    assert reader.run(1)["exit_reason"] == "full"


def test_values_that_a_driver_refuses_are_made_storable(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "lab.db"
    with TraceWriter(str(path)) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.share(ROW._replace(job_id="a\ud800b", wall_ns=np.int64(2**62), difficulty=np.float64(1.5)))
        run.end("success")
    (row,) = TraceReader(str(path)).share_rows(1)
    assert (row.job_id, row.wall_ns, row.difficulty) == ("a?b", 2**62, 1.5)


def test_a_value_that_no_database_holds_fails_the_run_and_not_silently(tmp_path: Path) -> None:
    failures: list[TraceError] = []
    path = tmp_path / "lab.db"
    with TraceWriter(str(path), on_failure=failures.append) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.share(ROW._replace(wall_ns=2**64))
        with pytest.raises(TraceError):
            run.flush()
    assert len(failures) == 1
    assert TraceReader(str(path)).run(1)["exit_status"] == "fail"


def test_a_callback_that_fails_does_not_stop_the_writer(tmp_path: Path) -> None:
    def broken(tokens: list[object]) -> None:
        raise RuntimeError("the event loop is closed")

    with TraceWriter(str(tmp_path / "lab.db"), on_commit=broken) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        run.share(ROW, token=1)
        run.flush()
        run.share(ROW, token=2)
        run.end("success")
    assert TraceReader(str(tmp_path / "lab.db")).count(1) == 2


def test_tokens_come_in_order_and_only_after_their_commit(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    order: list[object] = []
    missing: list[object] = []

    def on_commit(tokens: list[object]) -> None:
        other = sqlite3.connect(path)
        stored = other.execute("SELECT count(*) FROM shares").fetchone()[0]
        other.close()
        order.extend(tokens)
        if stored < len(order):
            missing.append(tokens)

    with TraceWriter(str(path), on_commit=on_commit) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        for number in range(500):
            run.share(ROW, token=number)
        run.end("success")
    assert order == list(range(500))
    assert not missing


def test_a_bounded_queue_holds_producers_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from firmware_bridge.trace import writer as module

    monkeypatch.setattr(module, "MAX_QUEUED_ROWS", 100)
    gate = threading.Event()
    with TraceWriter(str(tmp_path / "lab.db"), on_commit=lambda _: gate.wait()) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))
        done = threading.Event()

        def produce() -> None:
            for _ in range(1000):
                run.share(ROW, token=1)
            run.shares([ROW] * 50, token=1)
            done.set()

        thread = threading.Thread(target=produce)
        thread.start()
        assert not done.wait(0.3)
        assert writer._queue.qsize() <= 102
        gate.set()
        thread.join(120)
        run.end("success")
    assert TraceReader(str(tmp_path / "lab.db")).count(1) == 1050


def test_where_a_trace_cannot_be_written_the_user_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; make it first"):
        TraceWriter(str(tmp_path / "no" / "lab.db"))
    with pytest.raises(UserError, match="synchronous is one of"):
        TraceWriter(str(tmp_path / "lab.db"), synchronous="extra")
    with pytest.raises(TraceError, match=r"/proc/asiclab\.db"):
        TraceWriter("/proc/asiclab.db")
    if os.geteuid() == 0:
        return  # root may write anywhere
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(TraceError, match="closed"):
        TraceWriter(str(folder / "lab.db"))


def test_default_times_come_from_the_clock_given(tmp_path: Path) -> None:
    clock = VirtualClock(5_000)
    with TraceWriter(str(tmp_path / "lab.db"), clock=clock) as writer:
        run = writer.begin_run(RunRecord(kind="virtual", source="emulator"))
        clock.advance_to(70)
        run.event("tick")
        run.end("success")
    reader = TraceReader(str(tmp_path / "lab.db"))
    assert (reader.run(1)["started_wall_ns"], reader.run(1)["ended_wall_ns"]) == (5_000, 5_070)
    assert reader.dicts(1, "events")[0]["monotonic_ns"] == 70
