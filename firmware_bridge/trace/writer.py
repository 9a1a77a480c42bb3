"""The one writer of a trace: a bounded queue, one thread, group commit.

Whatever is queued while a commit is under way goes into the next one, so an idle writer commits a share at once and a
busy one hundreds together. A share is reported to ``on_commit`` only after its commit; what each setting survives:

=============  ========================  ======================================================
synchronous    ``kill -9``, a crash      power cut, kernel panic
=============  ========================  ======================================================
off            every reported row        the database may be damaged
normal         every reported row        the database opens; the last reported rows may be gone
full           every reported row        every reported row
=============  ========================  ======================================================
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Table, insert, select

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace import emergency, provenance
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import RunRecord, runs
from firmware_bridge.trace.sinks import SYNCHRONOUS, Sink, open_sink
from firmware_bridge.trace.store import locate, prepare, stdlib_use

log = logging.getLogger(__name__)

MAX_QUEUED_ROWS = 200_000
"""Where a producer has to wait: about 100 MB of rows."""

MAX_COMMIT_ROWS = 16_384
"""Rows of one transaction, so that acknowledgements do not wait for a whole import."""

Operation = Callable[[Sink], Any]


class _Call:
    """Something other than rows to be done in the writer's transaction, and its outcome."""

    __slots__ = ("done", "error", "operation", "result")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.done = threading.Event()
        self.result: Any = None
        self.error: TraceError | None = None


class TraceWriter:
    """Writes runs into a trace; every method may be called from any thread.

    Args:
        url: SQLAlchemy URL of the trace, or the path of a SQLite file; made if missing, migrated if older.
        synchronous: ``off``, ``normal`` or ``full`` (SQLite; see the module).
        clock: where default times of events and runs come from.
        on_commit: called in the writer thread after each commit, with the tokens of the rows it made durable, in order.
        on_failure: called once, in the writer thread, when no more rows can be stored.
        lock_timeout_s: how long to wait for another process's lock.
        max_size_bytes: stop, as on a full disk, before the SQLite file outgrows this.

    Raises:
        UserError: if the URL, the folder or an option is wrong.
        TraceError: if the database is newer than this program or cannot be written.
    """

    def __init__(
        self,
        url: str,
        *,
        synchronous: str = "normal",
        clock: Clock | None = None,
        on_commit: Callable[[list[object]], None] | None = None,
        on_failure: Callable[[TraceError], None] | None = None,
        lock_timeout_s: float = 30.0,
        max_size_bytes: int | None = None,
    ) -> None:
        if synchronous not in SYNCHRONOUS:
            raise UserError(f"synchronous is one of {', '.join(SYNCHRONOUS)}, not {synchronous!r}")
        self.clock: Clock = clock or SystemClock()
        self.failed: TraceError | None = None
        self._where = locate(url)
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._runs: list[RunWriter] = []
        self._queue: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._room = threading.Condition()
        self._block_rows = 0
        self._closed = False
        self._unusable = False  # failed or closed: one look per row
        self._cleanup = contextlib.ExitStack()
        prepare(self._where, timeout_s=lock_timeout_s)
        with contextlib.ExitStack() as stack:
            if self._where.path is not None:
                stack.enter_context(stdlib_use(self._where.path))
            self._sink = open_sink(
                self._where,
                synchronous=synchronous,
                lock_timeout_s=lock_timeout_s,
                max_size_bytes=max_size_bytes,
            )
            stack.callback(self._sink.close)
            self._reserve = self._prepare_for_failure(stack)
            self._cleanup = stack.pop_all()
        self._thread = threading.Thread(target=self._main, name="trace-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path | None:
        """The SQLite file, if it is one."""
        return self._where.path

    def begin_run(self, record: RunRecord) -> RunWriter:
        """Start a run; it is durable when this returns.

        Versions, git state and host are added, secrets are taken out of the configuration.

        Raises:
            TraceError: if it cannot be stored.
            UserError: if the trace has a run of that id already.
        """
        started = self.clock.wall_ns() if record.started_wall_ns is None else record.started_wall_ns
        monotonic = record.started_monotonic_ns
        if monotonic is None and record.kind == "live":
            monotonic = self.clock.monotonic_ns()
        run_id = record.run_id or provenance.new_run_id(self.clock.wall_ns())
        live = record.kind == "live"
        values = {
            "run_id": run_id,
            "kind": record.kind,
            "source": record.source,
            "mode": record.mode,
            "unverified": record.unverified,
            "started_wall_ns": started,
            "started_monotonic_ns": monotonic,
            "config": provenance.redact(record.config),
            "seeds": provenance.redact(record.seeds),
            "plants": provenance.redact(record.plants),
            "physics": provenance.redact(record.physics),
            "versions": provenance.versions(),
            "git": provenance.git_state(),
            "host": provenance.host(),
            "clock_tick_ns": record.clock_tick_ns or (provenance.clock_tick_ns() if live else None),
            "clock_source": record.clock_source or (provenance.clock_source() if live else None),
            "jitter_floor": provenance.redact(record.jitter_floor),
        }

        def operation(sink: Sink) -> int | None:
            if sink.execute(select(runs.c.run).where(runs.c.run_id == run_id)) is not None:
                return None
            sink.execute(insert(runs).values(**values))
            return int(sink.execute(select(runs.c.run).where(runs.c.run_id == run_id)))

        number = self.call(operation)
        if number is None:
            raise UserError(f"{self._where} has a run {run_id} already; see `asiclab runs`")
        run = RunWriter(self, number, run_id)
        self._runs.append(run)
        return run

    def close(self) -> None:
        """Store what is queued, end the thread and close the database. May be called again."""
        if self._closed:
            return
        self._closed = self._unusable = True
        self._queue.put(None)
        self._thread.join()
        if self._reserve is not None:
            self._reserve.release()
        self._cleanup.close()

    def call(self, operation: Operation, *, wait: bool = True, timeout_s: float | None = None) -> Any:
        """Do something in the writer's transaction, after all that was queued before it.

        Returns:
            What the operation returned, once it is durable; None at once where ``wait`` is false.

        Raises:
            TraceError: if it could not be stored, or not within the time-out.
        """
        self._refuse_if_unusable()
        call = _Call(operation)
        self._queue.put((None, call))
        if not wait:
            return None
        while not call.done.wait(timeout_s if timeout_s is not None else 1.0):
            if timeout_s is not None:
                raise TraceError(f"{self._where}: not stored within {timeout_s:g} s; the disk is too slow")
            if not self._thread.is_alive():
                raise TraceError(f"{self._where}: the writer was closed before this was stored")
        if call.error is not None:
            raise TraceError(str(call.error)) from call.error
        return call.result

    def put(self, table: Table, run: RunWriter, row: Sequence[Any], token: object) -> None:
        """Queue one row; ``token`` goes to ``on_commit``.

        Raises:
            TraceError: if nothing can be stored any more.
        """
        queue = self._queue
        if self._unusable or queue.qsize() > MAX_QUEUED_ROWS:
            self._wait_for_room(0)
        queue.put((table, run, row, token))

    def put_block(self, table: Table, run: RunWriter, rows: Sequence[Sequence[Any]], token: object) -> None:
        """Queue many rows; ``token`` goes to ``on_commit`` when the last of them is durable.

        Raises:
            TraceError: if nothing can be stored any more.
        """
        for start in range(0, len(rows), MAX_COMMIT_ROWS):
            block = rows[start : start + MAX_COMMIT_ROWS]
            last = start + MAX_COMMIT_ROWS >= len(rows)
            self._wait_for_room(len(block))
            self._queue.put((table, run, None, token if last else None, block))

    def last_word(self, run: RunWriter, kind: str, severity: str, detail: dict[str, Any]) -> None:
        """Keep an event of a run whose store has failed, in the sidecar if that can be written."""
        if self._where.path is not None:
            with contextlib.suppress(OSError):
                emergency.write_sidecar(self._where.path, [self._word(run, kind, severity, detail)])

    def _prepare_for_failure(self, stack: contextlib.ExitStack) -> emergency.Reserve | None:
        if self._where.path is None:
            return None
        try:
            emergency.fold(self._sink, self._where.path)
        except Exception as error:
            self._sink.rollback()
            log.warning("%s: earlier failures are not in the trace yet: %s", self._where, error)
        reserve = emergency.Reserve(self._where.path)
        reserve.hold()
        stack.callback(reserve.release)
        return reserve

    def _refuse_if_unusable(self) -> None:
        if self.failed is not None:
            raise TraceError(str(self.failed)) from self.failed
        if self._closed:
            raise TraceError(f"{self._where}: this writer is closed")

    def _wait_for_room(self, block_rows: int) -> None:
        while True:
            self._refuse_if_unusable()
            with self._room:
                if self._queue.qsize() + self._block_rows <= MAX_QUEUED_ROWS:
                    self._block_rows += block_rows
                    return
                self._room.wait(0.05)

    def _main(self) -> None:
        running = True
        while running:
            items, block_rows, running = self._take()
            if self.failed is None:
                try:
                    self._store(items)
                except Exception as error:
                    self._fail(error, items)
            else:
                self._refuse(items)
            if block_rows:
                with self._room:
                    self._block_rows -= block_rows
                    self._room.notify_all()

    def _take(self) -> tuple[list[tuple[Any, ...]], int, bool]:
        """Wait for an item and take with it all that is there.

        Returns:
            The items, the number of rows in blocks among them, and False once the writer is to end.
        """
        items: list[tuple[Any, ...]] = []
        block_rows = 0
        get = self._queue.get
        item = get()
        try:
            while item is not None:
                items.append(item)
                if len(item) == 5:
                    block_rows += len(item[4])
                if block_rows + len(items) >= MAX_COMMIT_ROWS:
                    return items, block_rows, True
                item = get(False)
        except Empty:
            return items, block_rows, True
        return items, block_rows, False

    def _store(self, items: list[tuple[Any, ...]]) -> None:
        groups: dict[tuple[str, int], tuple[Table, RunWriter, list[Sequence[Any]]]] = {}
        calls: list[_Call] = []
        tokens: list[object] = []
        begun = False
        table: Table | None = None
        run: RunWriter | None = None
        rows: list[Sequence[Any]] = []
        for item in items:
            # most rows follow one of the same table and run, and this loop competes with the event loop for the lock
            if item[0] is table and table is not None and item[1] is run and len(item) == 4:
                rows.append(item[2])
                if item[3] is not None:
                    tokens.append(item[3])
                continue
            table = item[0]
            if table is None:
                if not begun:
                    self._sink.begin()
                    begun = True
                self._insert(groups)
                item[1].result = item[1].operation(self._sink)
                calls.append(item[1])
                continue
            run = item[1]
            rows = groups.setdefault((table.name, run.run), (table, run, []))[2]
            if len(item) == 5:
                rows.extend(item[4])
            else:
                rows.append(item[2])
            if item[3] is not None:
                tokens.append(item[3])
        if not begun and len(groups) == 1:
            ((table, run, rows),) = groups.values()
            if run.has_share_range or table.name != "shares":
                run.note_rows(table, self._sink.insert_at_once(table, run.run, rows), None)
                groups.clear()
        if groups or begun:
            if not begun:
                self._sink.begin()
            self._insert(groups)
            self._sink.commit()
        for call in calls:
            call.done.set()
        if tokens and self._on_commit is not None:
            try:
                self._on_commit(tokens)
            except Exception:
                log.exception("on_commit failed; the rows are stored")

    def _insert(self, groups: dict[tuple[str, int], tuple[Table, RunWriter, list[Sequence[Any]]]]) -> None:
        for table, run, rows in groups.values():
            run.note_rows(table, self._sink.insert(table, run.run, rows), self._sink)
        groups.clear()

    def _fail(self, error: Exception, items: list[tuple[Any, ...]]) -> None:
        with contextlib.suppress(Exception):
            self._sink.rollback()
        kind, remedy = emergency.classify(error)
        cause = str(getattr(error, "orig", None) or error) or type(error).__name__
        failure = TraceError(
            f"{self._where}: rows can no longer be stored ({kind.replace('_', ' ')}: {cause}); {remedy}. "
            "What was acknowledged is stored."
        )
        failure.__cause__ = error
        self.failed = failure
        self._unusable = True
        for run in self._runs:
            run.failed = failure
        detail = {"error": cause, "rows_not_stored": self._refuse(items)}
        words = [
            self._word(run, kind, "error", detail, exit_reason=str(failure))
            for run in self._runs
            if not run.ended
        ]
        emergency.leave(self._sink, self._where.path, self._reserve, words)
        if self._on_failure is not None:
            try:
                self._on_failure(failure)
            except Exception:
                log.exception("on_failure failed")

    def _word(
        self,
        run: RunWriter,
        kind: str,
        severity: str,
        detail: dict[str, Any],
        exit_reason: str | None = None,
    ) -> emergency.LastWord:
        return emergency.LastWord(
            run_id=run.run_id,
            kind=kind,
            severity=severity,
            wall_ns=self.clock.wall_ns(),
            monotonic_ns=self.clock.monotonic_ns(),
            detail=provenance.redact(detail),
            exit_reason=exit_reason,
        )

    def _refuse(self, items: list[tuple[Any, ...]]) -> int:
        """Drop items whose store has failed; the number of rows among them."""
        rows = 0
        for item in items:
            if item[0] is None:
                item[1].error = self.failed
                item[1].done.set()
            else:
                rows += len(item[4]) if len(item) == 5 else 1
        return rows
