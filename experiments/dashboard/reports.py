"""Reports of finished runs of experiments, made when somebody opens one and kept for the next."""

from __future__ import annotations

from threading import Lock

from firmware_bridge.errors import UserError

KEPT = 8


class Reports:
    """Pages by run, read from a database that is never written.

    Args:
        db: where the runs are.
    """

    def __init__(self, db: str) -> None:
        self._db = db
        self._lock = Lock()  # drawings share the settings of matplotlib
        self._pages: dict[str, str] = {}

    def page(self, run_id: str) -> str:
        """The report of a run.

        Raises:
            UserError: if there is no such run, or it has not ended.
        """
        from experiments.report.experiment_page import render_run
        from experiments.results import Results

        with self._lock, Results(self._db, create=False) as results:
            stored = results.find(run_id)
            if not stored.finished:
                raise UserError(f"run {stored.run_id} has not ended; its report is there when it has")
            if stored.run_id not in self._pages:
                made = render_run(results, stored)
                self._pages = dict(list(self._pages.items())[1 - KEPT :]) | {stored.run_id: made}
            return self._pages[stored.run_id]
