"""What a component holds that writes into one run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Table, func, select, update

from firmware_bridge.errors import TraceError
from firmware_bridge.headers import Job
from firmware_bridge.trace import provenance
from firmware_bridge.trace.records import job_row, storable
from firmware_bridge.trace.schema import (
    MinerRow,
    ShareRow,
    TelemetryRow,
    events,
    jobs,
    miners,
    recorded_bytes,
    runs,
    settings,
    shares,
    telemetry,
)
from firmware_bridge.trace.sinks import Sink

if TYPE_CHECKING:
    from firmware_bridge.trace.writer import TraceWriter


class RunWriter:
    """Writes into one run of a trace; made by :meth:`TraceWriter.begin_run`.

    Rows are queued and stored in the order of the calls; methods return at once unless the queue is full. After a
    failure they raise :class:`TraceError`, except :meth:`event`, which then goes to the sidecar.

    Attributes:
        run: number of the run in its database.
        run_id: its name.
        failed: why nothing can be stored any more, or None.
        ended: whether :meth:`end` was called.
        on_event: told of each event as it is added, with its kind, severity and detail; it must not take long.
    """

    def __init__(self, writer: TraceWriter, run: int, run_id: str) -> None:
        self.run = run
        self.run_id = run_id
        self.failed: TraceError | None = None
        self.ended = False
        self.on_event: Callable[[str, str, Mapping[str, Any]], None] = lambda kind, severity, detail: None
        self.has_share_range = False
        self._writer = writer
        self._put = writer.put
        self._lock = threading.Lock()
        self._miners = 0
        self._jobs = 0
        self._last_share_id: int | None = None

    def miner(self, row: MinerRow) -> int:
        """Add a miner; returns its number in the run, from 1."""
        with self._lock:
            self._miners += 1
            number = self._miners
        self._writer.put(miners, self, (number, *row), None)
        return number

    def update_miner(self, miner: int, **columns: Any) -> None:
        """Set columns of a miner, such as the name that it gave when it authorised."""
        values = {name: storable(value) for name, value in columns.items()}
        statement = update(miners).where(miners.c.run == self.run, miners.c.miner == miner).values(**values)
        self._writer.call(lambda sink: sink.execute(statement), wait=False)

    def job(
        self, miner: int | None, job: Job, *, sent_wall_ns: int | None, sent_monotonic_ns: int | None
    ) -> int:
        """Add a job as it was sent; returns its number in the run, from 1."""
        with self._lock:
            self._jobs += 1
            number = self._jobs
        row = job_row(number, miner, job, sent_wall_ns=sent_wall_ns, sent_monotonic_ns=sent_monotonic_ns)
        self._writer.put(jobs, self, row, None)
        return number

    def jobs(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add many jobs: rows in the order of the table's columns after ``run``, the number first."""
        if rows:
            with self._lock:
                self._jobs = max(self._jobs, max(row[0] for row in rows))
            self._writer.put_block(jobs, self, rows, None)

    def share(self, row: ShareRow, token: object = None) -> None:
        """Add a share; ``token``, unless None, is handed to ``on_commit`` once the share is durable."""
        self._put(shares, self, row, token)

    def shares(self, rows: Sequence[tuple[Any, ...]], token: object = None) -> None:
        """Add many shares: rows in the order of :class:`ShareRow`."""
        self._writer.put_block(shares, self, rows, token)

    def telemetry(self, row: TelemetryRow) -> None:
        """Add one reading."""
        self._writer.put(telemetry, self, row, None)

    def telemetry_rows(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add many readings: rows in the order of :class:`TelemetryRow`."""
        self._writer.put_block(telemetry, self, rows, None)

    def recorded(self, piece: tuple[Any, ...]) -> None:
        """Add bytes of a link: a row in the order of ``recorder.RecordedBytes``."""
        self._writer.put(recorded_bytes, self, piece, None)

    def rows(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows of any event table as they stand, in the order of its columns after ``run``."""
        self._writer.put_block(table, self, rows, None)

    def setting(
        self,
        *,
        miner: int | None,
        wall_ns: int | None,
        setting: str,
        previous: str | None,
        requested: str | None,
        measured: str | None,
        reason: str | None,
    ) -> None:
        """Add a change of a setting: what was asked, and what was measured afterwards."""
        row = (miner, wall_ns, setting, previous, requested, measured, reason)
        self._writer.put(settings, self, row, None)

    def event(
        self,
        kind: str,
        severity: str = "info",
        detail: dict[str, Any] | None = None,
        *,
        miner: int | None = None,
        wall_ns: int | None = None,
        monotonic_ns: int | None = None,
    ) -> None:
        """Add an event of the run; the times are now where they are not given."""
        self.on_event(kind, severity, detail or {})
        if self.failed is not None:
            self._writer.last_word(self, kind, severity, detail or {})
            return
        clock = self._writer.clock
        row = (
            miner,
            clock.wall_ns() if wall_ns is None else wall_ns,
            clock.monotonic_ns() if monotonic_ns is None else monotonic_ns,
            kind,
            severity,
            json.dumps(provenance.redact(detail or {}), sort_keys=True),
        )
        self._writer.put(events, self, row, None)

    def update(self, **runs_columns: Any) -> None:
        """Set columns of the run itself, such as ``jitter_floor`` after a calibration."""
        values = {
            name: provenance.redact(value) if isinstance(value, dict | list | tuple) else storable(value)
            for name, value in runs_columns.items()
        }
        statement = update(runs).where(runs.c.run == self.run).values(**values)
        self._writer.call(lambda sink: sink.execute(statement), wait=False)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return once everything queued so far is durable.

        Raises:
            TraceError: if it could not be stored, or not within the time-out.
        """
        self._writer.call(lambda sink: None, timeout_s=timeout_s)

    def end(self, status: str, reason: str | None = None, *, wall_ns: int | None = None) -> None:
        """End the run with ``success``, ``abort`` or ``fail``; durable when this returns.

        Args:
            status: how it ended.
            reason: why, in words.
            wall_ns: when it ended, where that is not now.

        Raises:
            TraceError: if rows could not be stored, unless the run is ended as failed anyway.
        """
        if self.ended:
            return
        if self.failed is not None:
            self.ended = True
            if status == "fail":
                return  # the failure itself has been recorded already
            raise TraceError(str(self.failed)) from self.failed
        ended_wall_ns = self._writer.clock.wall_ns() if wall_ns is None else wall_ns

        def operation(sink: Sink) -> None:
            mine = shares.c.run == self.run
            last = self._last_share_id
            values: dict[str, Any] = {}
            if last is None and not sink.numbers_rows:
                values["first_share_id"] = sink.execute(select(func.min(shares.c.id)).where(mine))
                last = sink.execute(select(func.max(shares.c.id)).where(mine))
            sink.execute(
                update(runs)
                .where(runs.c.run == self.run)
                .values(
                    **values,
                    last_share_id=last,
                    ended_wall_ns=ended_wall_ns,
                    exit_status=status,
                    exit_reason=storable(reason),
                )
            )

        self._writer.call(operation)
        self.ended = True

    def note_rows(self, table: Table, ids: tuple[int, int] | None, sink: Sink | None) -> None:
        """Remember which ids this run's shares have; called by the writer thread within the transaction."""
        if ids is None or table.name != "shares":
            return
        self._last_share_id = ids[1]
        if not self.has_share_range and sink is not None:
            first = update(runs).where(runs.c.run == self.run).values(first_share_id=ids[0])
            sink.execute(first)
            self.has_share_range = True
