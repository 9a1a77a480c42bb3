"""Runs of experiments in the database, beside the trace: the plan before the first sample, each cell as it ends.

A cell is committed before the next is begun, so a run that is killed has lost the cells under way and nothing else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.types import JSON

from experiments.experiment import Cell, Row
from experiments.plan import Plan
from firmware_bridge.errors import LabError, TraceError, UserError
from firmware_bridge.trace.provenance import git_state, host, new_run_id, versions
from firmware_bridge.trace.store import (
    NoTraceError,
    engine_for,
    hold_for_tables,
    locate,
    prepare,
    reading_engine,
    stdlib_use,
    unreachable,
)

metadata = MetaData()
_id = BigInteger().with_variant(Integer, "sqlite")

experiment_runs = Table(
    "experiment_runs",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run_id", String(40), nullable=False, unique=True),
    Column("experiment", String(64), nullable=False),
    Column("size", String(16), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),  # of the plan, stored before the first sample
    Column("plan", JSON, nullable=False),
    Column("started_wall_ns", BigInteger, nullable=False),
    Column("ended_wall_ns", BigInteger),  # NULL while it runs, or where it was killed
    Column("finding", JSON),
    Column("stop_wall_ns", BigInteger),  # when somebody asked it to stop
    Column("versions", JSON, nullable=False),
    Column("git", JSON, nullable=False),
    Column("host", JSON, nullable=False),
)

experiment_cells = Table(
    "experiment_cells",
    metadata,
    Column("id", _id, primary_key=True),
    Column("run", _id, ForeignKey("experiment_runs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("arm", String(16), nullable=False),
    Column("point", JSON, nullable=False),
    Column("repetition", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column(
        "cell_values", Text, nullable=False
    ),  # canonical JSON: equal values are equal bytes on every database
    Column("ended_wall_ns", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    UniqueConstraint("run", "number"),
)


@dataclass(frozen=True)
class StoredRun:
    """A run of an experiment as it stands in the database.

    Attributes:
        run_id: of the run.
        experiment: its name.
        size: ``fast``, ``quick`` or ``full``.
        seed: of the plan.
        digest: of the plan.
        plan: as plain data.
        started_wall_ns: begin.
        ended_wall_ns: end; None where it was not finished.
        finding: as plain data; None likewise.
        done: cells that are there.
        versions: of the libraries.
        git: state of the checkout.
        host: machine.
    """

    run_id: str
    experiment: str
    size: str
    seed: int
    digest: str
    plan: Mapping[str, Any]
    started_wall_ns: int
    ended_wall_ns: int | None
    finding: Mapping[str, Any] | None
    done: int
    versions: Mapping[str, Any]
    git: Mapping[str, Any]
    host: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.finding is not None


def canonical(values: Any) -> str:
    """JSON with sorted keys; numbers as Python writes them, NaN as null.

    Raises:
        ValueError: if a value cannot be written so that it reads back equal.
    """
    from experiments.cli.output import plain

    return json.dumps(plain(values), sort_keys=True, allow_nan=False)


class NoRunsError(UserError):
    """A database in which no experiment was ever run."""


class Results:
    """Access to the results of experiments in a database.

    Args:
        db: its URL; the tables are made where they are missing.

    Raises:
        UserError: if the URL cannot be used.
        TraceError: if the database cannot be written.
    """

    def __init__(self, db: str, *, create: bool = True) -> None:
        self.url = db
        self.where = locate(db)
        prepare(self.where, create=create)
        self._held = ExitStack()
        if self.where.path is not None:
            # another SQLite library that closed the file would take this one's locks with it
            self._held.enter_context(stdlib_use(self.where.path))
        self._engine = engine_for(self.where)
        self._reading = reading_engine(self.where)
        try:
            there = inspect(self._reading).has_table("experiment_cells")
            if not there and create:
                with self._engine.begin() as connection:
                    hold_for_tables(connection)
                    metadata.create_all(connection)
        except DatabaseError as error:
            self.close()
            raise TraceError(
                f"{self.where}: cannot be made ready for results: {error.orig}; see that the file and its folder can "
                "be written and the disk is not full"
            ) from error
        if not there and not create:
            self.close()
            raise NoRunsError(f"{self.where} holds no run of an experiment; make one with: asiclab run NAME")

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()
        self._reading.dispose()
        self._held.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self._trouble(error, "written") from None

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        try:
            with self._reading.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise self._trouble(error, "read") from None

    def _trouble(self, error: DBAPIError, what: str) -> LabError:
        if self.where.is_server and isinstance(error, OperationalError):
            return unreachable(self.where, error)
        see = "; see that the file and its folder can be written and the disk is not full"
        return TraceError(
            f"{self.where}: results cannot be {what}: {error.orig}{see if what == 'written' else ''}"
        )

    def begin(self, plan: Plan) -> str:
        """Store a plan before its first sample; the id of the run."""
        now_ns = time.time_ns()
        run_id = new_run_id(now_ns)
        # whoever looks on can then say how long it will still take
        seconds = {} if plan.seconds is None else {"seconds": [round(one, 1) for one in plan.seconds]}
        with self._writing() as connection:
            connection.execute(
                insert(experiment_runs).values(
                    run_id=run_id,
                    experiment=plan.experiment,
                    size=plan.size,
                    seed=plan.seed,
                    digest=plan.digest,
                    plan={**plan.to_json(), "words": dict(plan.words), **seconds},
                    started_wall_ns=now_ns,
                    versions=versions(),
                    git=git_state(),
                    host=host(),
                )
            )
        return run_id

    def unfinished(self, plan: Plan) -> str | None:
        """Newest run of exactly this plan that did not come to its end."""
        wanted = (
            select(experiment_runs.c.run_id)
            .where(experiment_runs.c.digest == plan.digest, experiment_runs.c.ended_wall_ns.is_(None))
            .order_by(experiment_runs.c.id.desc())
            .limit(1)
        )
        with self._looking() as connection:
            return connection.execute(wanted).scalar()

    def add(self, run_id: str, cell: Cell, values: Mapping[str, Any], seconds: float) -> None:
        """Store what a cell gave; it is on disk when this returns."""
        with self._writing() as connection:
            connection.execute(
                insert(experiment_cells).values(
                    run=self._key(connection, run_id),
                    number=cell.number,
                    arm=cell.arm,
                    point=dict(cell.point),
                    repetition=cell.repetition,
                    seed=cell.seed,
                    cell_values=canonical(values),
                    ended_wall_ns=time.time_ns(),
                    seconds=seconds,
                )
            )

    def rows(self, run_id: str, size: str) -> list[Row]:
        """Cells that are there, in the order of the table."""
        columns = experiment_cells.c
        with self._looking() as connection:
            found = connection.execute(
                select(
                    columns.number,
                    columns.point,
                    columns.repetition,
                    columns.arm,
                    columns.seed,
                    columns.cell_values,
                )
                .where(columns.run == self._key(connection, run_id))
                .order_by(columns.number)
            ).all()
        return [
            Row(Cell(number, point, repetition, arm, seed, size), json.loads(values))
            for number, point, repetition, arm, seed, values in found
        ]

    def seconds(self, run_id: str) -> dict[int, float]:
        """Time that each cell of a run took, by its number."""
        columns = experiment_cells.c
        with self._looking() as connection:
            wanted = select(columns.number, columns.seconds).where(
                columns.run == self._key(connection, run_id)
            )
            return {int(number): float(took_s) for number, took_s in connection.execute(wanted)}

    def end(self, run_id: str, finding: Mapping[str, Any]) -> None:
        """Store what the run says."""
        text = json.loads(canonical(finding))
        with self._writing() as connection:
            connection.execute(
                update(experiment_runs)
                .where(experiment_runs.c.run_id == run_id)
                .values(finding=text, ended_wall_ns=time.time_ns())
            )

    def ask_to_stop(self, run_id: str) -> None:
        """Ask whoever measures this run to stop after the cell under way.

        Raises:
            UserError: if there is no such run, or it has ended.
        """
        columns = experiment_runs.c
        with self._writing() as connection:
            changed = connection.execute(
                update(experiment_runs)
                .where(columns.run_id == run_id, columns.ended_wall_ns.is_(None))
                .values(stop_wall_ns=time.time_ns())
            )
        if not changed.rowcount:
            raise UserError(f"{self.where}: no run {run_id!r} of an experiment is under way")

    def asked_to_stop(self, run_id: str) -> bool:
        """Whether somebody asked this run to stop."""
        with self._looking() as connection:
            asked = select(experiment_runs.c.stop_wall_ns).where(experiment_runs.c.run_id == run_id)
            return connection.execute(asked).scalar() is not None

    def go_on(self, run_id: str) -> None:
        """Forget that somebody asked: the run goes on."""
        with self._writing() as connection:
            connection.execute(
                update(experiment_runs).where(experiment_runs.c.run_id == run_id).values(stop_wall_ns=None)
            )

    def runs(self, experiment: str | None = None) -> list[StoredRun]:
        """Runs, oldest first."""
        columns = experiment_runs.c
        done = (
            select(func.count())
            .select_from(experiment_cells)
            .where(experiment_cells.c.run == columns.id)
            .scalar_subquery()
        )
        wanted = select(experiment_runs, done.label("done")).order_by(columns.id)
        if experiment is not None:
            wanted = wanted.where(columns.experiment == experiment)
        with self._looking() as connection:
            found: Sequence[Any] = connection.execute(wanted).mappings().all()
        return [
            StoredRun(**{k: v for k, v in row.items() if k not in ("id", "stop_wall_ns")}) for row in found
        ]

    def find(self, name: str) -> StoredRun:
        """A run by id, unique prefix, or ``latest``.

        Raises:
            UserError: if there is none, or more than one.
        """
        every = self.runs()
        if name == "latest" and every:
            return every[-1]
        fits = [run for run in every if run.run_id.startswith(name)] if name else []
        if len(fits) != 1:
            how = "there is none" if not fits else f"{len(fits)} begin so"
            raise UserError(
                f"{self.where}: no run of an experiment {name!r} ({how}); see: asiclab experiments runs"
            )
        return fits[0]

    def _key(self, connection: Any, run_id: str) -> int:
        return int(
            connection.execute(
                select(experiment_runs.c.id).where(experiment_runs.c.run_id == run_id)
            ).scalar_one()
        )


def stored_runs(db: str) -> list[StoredRun]:
    """Runs in a database, oldest first; none where it, or its table, is not there yet."""
    try:
        with Results(db, create=False) as results:
            return results.runs()
    except (NoRunsError, NoTraceError):
        return []
