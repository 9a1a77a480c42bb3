"""Verdicts while something runs, worked out in a process of their own that gives way to everything else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

FIRST_SHARES = 500
"""Below this a run has no verdict."""
GROWTH = 1.5
"""A run is judged again when it has grown by this factor: few looks, however long it lasts."""
MOST_SHARES = 200_000
"""Beyond this a verdict takes minutes, and is left to ``asiclab stats``."""
PAUSE_S = 10.0
"""Between two looks at the cells of an experiment."""

Work = Callable[[str, str], dict[str, Any]]


def timing_verdict(db: str, run_id: str) -> dict[str, Any]:
    """Code, text and number of shares of the verdict on a run of the trace."""
    from firmware_bridge.timing.intervals import load_run
    from firmware_bridge.timing.verdict import judge
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(db)
    data = load_run(reader, reader.resolve(run_id))
    verdict = judge(data)
    return {"code": verdict.code, "text": verdict.text, "shares": data.n}


def finding_so_far(db: str, run_id: str) -> dict[str, Any]:
    """Code and text of what the cells of an unfinished run would say, were they all."""
    from experiments.catalogue import get_experiment
    from experiments.results import Results
    from experiments.runner import conclude

    with Results(db, create=False) as results:
        stored = results.find(run_id)
        rows = results.rows(run_id, stored.size)
    found, _ = conclude(get_experiment(stored.experiment), rows)
    return {"code": found.code, "text": found.text, "cells": len(rows)}


@dataclass
class _Known:
    """What is known of one thing that grows."""

    size: int = 0
    said: dict[str, Any] | None = None
    looks: int = 0
    at_s: float = -1e9


class Judge:
    """Works out one verdict at a time, and never lets whoever asks wait.

    Args:
        db: where the trace and the results are.
        work: by kind, what is worked out.
        clock_s: monotonic time.
    """

    def __init__(
        self,
        db: str,
        work: Mapping[str, Work] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._clock_s = db, clock_s
        self._work = work or {"run": timing_verdict, "experiment": finding_so_far}
        self._known: dict[tuple[str, str], _Known] = {}
        self._under_way: tuple[BaseProcess, Connection, _Known, int] | None = None

    def of_run(self, run_id: str, shares: int, *, ended: bool) -> dict[str, Any] | None:
        """The newest verdict on a run, with how often it was looked at; None before the first."""
        known = self._look("run", run_id)
        due = shares >= FIRST_SHARES and (shares >= GROWTH * known.size or (ended and shares > known.size))
        if due and shares <= MOST_SHARES:
            self._begin("run", run_id, known, shares)
        return self._told(known)

    def of_experiment(self, run_id: str, cells: int) -> dict[str, Any] | None:
        """What the cells so far would say; None before the first."""
        known = self._look("experiment", run_id)
        if cells > known.size and self._clock_s() - known.at_s > PAUSE_S:
            self._begin("experiment", run_id, known, cells)
        return self._told(known)

    def close(self) -> None:
        """End what is under way."""
        if self._under_way is not None:
            process, connection, _, _ = self._under_way
            process.kill()
            process.join()
            connection.close()
            self._under_way = None

    def _told(self, known: _Known) -> dict[str, Any] | None:
        return None if known.said is None else {**known.said, "looks": known.looks}

    def _look(self, kind: str, run_id: str) -> _Known:
        """Take in what has ended; what is known of this one."""
        if self._under_way is not None:
            process, connection, about, size = self._under_way
            if connection.poll() or not process.is_alive():
                with contextlib.suppress(EOFError):  # it died, as where memory ran out: nothing is said
                    about.said = connection.recv() or about.said
                about.size, about.at_s = size, self._clock_s()
                about.looks += 1
                process.join()
                connection.close()
                self._under_way = None
        return self._known.setdefault((kind, run_id), _Known())

    def _begin(self, kind: str, run_id: str, known: _Known, size: int) -> None:
        if self._under_way is not None:
            return
        # spawned: a copy of a process with threads and open databases would inherit both
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_answer, args=(theirs, self._work[kind], self._db, run_id), daemon=True
        )
        process.start()
        theirs.close()
        self._under_way = (process, mine, known, size)


def _answer(connection: Connection, work: Work, db: str, run_id: str) -> None:
    """Body of the process: an answer, or nothing where it cannot be told."""
    os.nice(19)
    said: dict[str, Any] | None = None
    # cells that are still missing can make a conclusion impossible in any way: then none is shown
    with contextlib.suppress(Exception):
        said = work(db, run_id)
    connection.send(said)
    connection.close()
