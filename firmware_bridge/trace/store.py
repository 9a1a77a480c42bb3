"""Opening a trace: which database a URL means, its schema version, and bringing an older one up to date.

A new file is created from the table metadata and stamped with the schema version, which takes milliseconds; alembic is
only imported when an older version is found.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from firmware_bridge.errors import TraceError, UserError
from firmware_bridge.trace.provenance import redact_text
from firmware_bridge.trace.schema import SCHEMA_VERSION, metadata

POSTGRES = "postgresql+psycopg"
"""Driver that ``postgresql://`` and ``postgres://`` stand for."""

MAKING_TABLES = 0x61736963
"""Advisory lock of PostgreSQL that is held while tables are made or migrated: by one program at a time."""

MIGRATIONS = Path(__file__).parent / "migrations"

_version_metadata = MetaData()
version_table = Table(
    "alembic_version", _version_metadata, Column("version_num", String(32), primary_key=True)
)


class NoTraceError(UserError):
    """A database in which no trace was ever made."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a trace lives.

    Attributes:
        url: the parsed SQLAlchemy URL.
        path: the SQLite file that the standard library opens directly, or None for every other database.
    """

    url: URL
    path: Path | None

    @property
    def is_server(self) -> bool:
        """Whether it is reached by a connection, not by opening a file."""
        return self.url.get_backend_name() != "sqlite"

    @property
    def is_postgres(self) -> bool:
        """Whether it is a PostgreSQL server, spoken to by psycopg."""
        return self.url.drivername == POSTGRES

    def __str__(self) -> str:
        return str(self.path) if self.path else redact_text(self.url.render_as_string(hide_password=True))


def locate(url: str) -> Location:
    """Parse the URL of a trace; a bare path means a SQLite file.

    ``sqlite:///file`` goes through the standard library's sqlite3; any other URL (``postgresql://…``, also
    ``sqlite+pysqlite:///file``) through SQLAlchemy.

    Raises:
        UserError: if the URL cannot be parsed or names no file.
    """
    text = url if "://" in url else f"sqlite:///{url}"
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):  # neither is repeated: a password may stand in it
        raise UserError(
            "--db is not a database URL; use sqlite:///lab.db or postgresql://user@host/name; "
            "in a password @ is written %40, : %3A and / %2F"
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername=POSTGRES)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UserError(f"{text}: a trace needs a file that outlives the program; use sqlite:///lab.db")
    native = parsed.drivername == "sqlite"
    return Location(parsed, Path(str(parsed.database)) if native else None)


def connect_sqlite(path: Path, *, mode: str = "mode=rwc", timeout_s: float = 30.0) -> sqlite3.Connection:
    """Open a SQLite file in autocommit mode.

    Raises:
        sqlite3.Error: if the file cannot be opened.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def engine_for(where: Location, *, timeout_s: float = 30.0) -> Engine:
    """SQLAlchemy engine of a trace, whose transactions take the write lock when they begin.

    Raises:
        UserError: if the driver that the URL names is not installed.
    """
    engine = reading_engine(where, timeout_s=timeout_s, read_only=False)
    if where.is_server:
        return engine

    # the driver's own transaction handling would commit before DDL, and a migration must be all or nothing
    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(where: Location, *, timeout_s: float = 30.0, read_only: bool = True) -> Engine:
    """SQLAlchemy engine for readers, whose transactions take no lock that a writer would wait for.

    Args:
        where: the trace.
        timeout_s: how long a lock is waited for.
        read_only: whether its connections cannot write; a file may then lie in a folder that cannot be written.

    Raises:
        UserError: if the driver that the URL names is not installed.
    """
    arguments: dict[str, Any] = {} if where.is_server else {"timeout": timeout_s}
    if where.is_postgres:
        # a host that is gone would be waited for by the system for a quarter of an hour; one second counts as none
        wait_s = max(2, round(timeout_s))
        ours = {
            "connect_timeout": wait_s,
            "tcp_user_timeout": 1000 * wait_s,
            "application_name": "asiclab",
        }
        arguments = {name: value for name, value in ours.items() if name not in where.url.query}
    if where.path is not None and read_only:
        path = where.path
        return create_engine(where.url, creator=lambda: open_read_only(path, timeout_s=timeout_s))
    try:
        # a server may have been restarted since a connection was last used
        return create_engine(where.url, connect_args=arguments, pool_pre_ping=where.is_server)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(
            f"{where}: no driver for this database ({error}); "
            "for PostgreSQL: pip install 'asic-reservoir-lab[postgres]'"
        ) from None


def prepare(where: Location, *, create: bool = True, timeout_s: float = 30.0) -> None:
    """Make the tables of a trace ready: created, checked, or migrated forward.

    Raises:
        UserError: if the folder is missing, the file is no database, or there is no trace and ``create`` is false.
        TraceError: if the database was written by a newer version of the lab, or cannot be written.
    """
    if where.path is not None:
        check_file(where.path, create=create)
        if sqlite_version(where.path) == SCHEMA_VERSION:
            return
    engine = engine_for(where, timeout_s=timeout_s)
    try:
        with engine.begin() as connection:
            if where.is_server and _version(connection) == SCHEMA_VERSION:
                return
            hold_for_tables(connection)
            version = _version(connection)
            if version is None:
                if not create:
                    raise NoTraceError(
                        f"{where} holds no trace; make one: asiclab run NAME, asiclab emulate s9 --time virtual, or "
                        "asiclab import FILE"
                    )
                if inspect(connection).has_table("runs"):
                    raise UserError(f"{where} has a table named runs that is not ours; give another --db")
                metadata.create_all(connection)
                version_table.create(connection)
                connection.execute(version_table.insert().values(version_num=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                check_version(where, version)
                migrate(connection)
    except OperationalError as error:
        if where.is_server:
            raise unreachable(where, error) from None
        raise TraceError(
            f"{where}: cannot be made ready for writing: {error.orig}; see that the file and its folder can be "
            "written and that no other program holds it"
        ) from error
    except DatabaseError as error:
        if getattr(error.orig, "sqlstate", None) == "42501":
            raise unreachable(where, error) from None
        raise UserError(f"{where} is not a trace database ({error.orig}); give another --db") from error
    finally:
        engine.dispose()


def hold_for_tables(connection: Connection) -> None:
    """Wait until no other program makes or migrates tables; SQLite holds its write lock anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MAKING_TABLES)))


_REMEDIES = (
    (
        r"password authentication failed|no password supplied",
        "give the password in PGPASSWORD or in ~/.pgpass",
    ),
    (r"database .* does not exist", "make it: createdb -h HOST -U USER NAME"),
    (r"role .* does not exist", "make the user: createuser -h HOST --pwprompt NAME"),
    (r"resolve host|translate host name", "see that the host in --db is spelt right"),
    (r"no pg_hba\.conf entry", "let this host in, in the server's pg_hba.conf"),
    (r"permission denied", "let the user make and change tables: GRANT CREATE ON SCHEMA public TO the user"),
    (r"too many clients|connection slots", "end other programs, or raise max_connections of the server"),
)


def unreachable(where: Location, error: BaseException) -> TraceError | UserError:
    """What to say of a server that lets nobody in; a wrong name or password is a mistake of the user.

    Only what the server or the driver said is told, in one line; neither repeats a password.
    """
    cause = getattr(error, "orig", None) or error
    said = redact_text(" ".join(str(cause).split())).removeprefix("connection failed: ")
    said = said.partition(" Is the server running")[0].rstrip(" .?")
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, said):
            return UserError(f"{where}: {said}; {remedy}")
    return TraceError(f"{where}: {said}; see that the server runs and listens there")


def check_file(path: Path, *, create: bool) -> None:
    """Refuse a path that cannot be a trace, in words.

    Raises:
        UserError: if the folder or (unless ``create``) the file is missing, or the file is something else.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; --db names a file, such as sqlite:///{path}/lab.db")
    if not path.exists():
        if not create:
            raise NoTraceError(
                f"{path}: no such trace; name one with --db sqlite:///FILE, or make one: asiclab run NAME, "
                "asiclab emulate s9 --time virtual, or asiclab import FILE"
            )
        if not path.absolute().parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist; make it first")
        return
    if not _is_sqlite(path):
        raise UserError(f"{path} is not a SQLite database; `asiclab import` reads CSV, Parquet and bundles")


def _is_sqlite(path: Path) -> bool:
    """Whether SQLite takes a file for a database of its own; an empty one counts, one in use by others too.

    SQLite itself has to look: closing a file that was opened in any other way drops the locks that this process holds
    on it, and then another process may take the write-ahead log away under a writer that is open here.
    """
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: cannot be read: {os.strerror(errno.EACCES)}")
    with stdlib_use(path):
        connection = None
        try:
            connection = connect_sqlite(path, mode="mode=ro", timeout_s=1.0)
            connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError:
            return True  # locked, or in a folder where nothing can be written: told elsewhere
        except sqlite3.DatabaseError:
            return False
        finally:
            if connection is not None:
                connection.close()
    return True


def sqlite_version(path: Path) -> str | None:
    """Schema version of a SQLite trace; None where there is none yet.

    Raises:
        UserError: if the file is damaged or no database.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    with stdlib_use(path):
        connection = None
        try:
            connection = open_read_only(path)
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise TraceError(
                f"{path}: cannot be opened: {error}; see that its folder can be read and its disk is not full"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{path} is not a readable SQLite database: {error}") from error
        finally:
            if connection is not None:
                connection.close()
    return str(row[0]) if row else None


def reading_mode(path: Path) -> str:
    """How to open a trace that is only read.

    A connection that may write tidies up SQLite's ``-wal`` and ``-shm`` files when it closes last, one that may not
    leaves them lying about; so ``mode=ro`` is for files and folders that cannot be written.
    """
    writable = os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK)
    return "mode=rw" if writable else "mode=ro"


def open_read_only(path: Path, *, timeout_s: float = 30.0) -> sqlite3.Connection:
    """Open a SQLite trace for reading, also one that lies in a folder that cannot be written.

    Raises:
        sqlite3.Error: if it cannot be opened or read.
    """
    mode = reading_mode(path)
    connection = connect_sqlite(path, mode=mode, timeout_s=timeout_s)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        return connection
    except sqlite3.OperationalError:
        connection.close()
        wal = Path(f"{path}-wal")
        if mode == "mode=rw" or (wal.exists() and wal.stat().st_size):
            raise
    # WAL needs a shared-memory file beside the database; without write access and without a log nothing can change
    return connect_sqlite(path, mode="mode=ro&immutable=1", timeout_s=timeout_s)


def check_version(where: Location, version: str) -> None:
    """Refuse a schema that this version of the lab does not know.

    Raises:
        TraceError: if the database is newer than this program, or of an unknown version.
    """
    known = {path.name.split("_")[0].removeprefix("v") for path in (MIGRATIONS / "versions").glob("v*_*.py")}
    if version not in known:
        raise TraceError(
            f"{where} has schema version {version}, this program knows up to {SCHEMA_VERSION}; "
            "update it with `pip install -U asic-reservoir-lab`"
        )


def migrate(connection: Connection, target: str = "head") -> None:
    """Run the migrations that are missing, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(version_table.name):
        return None
    version = connection.execute(select(version_table.c.version_num)).scalar()
    return None if version is None else str(version)


# POSIX drops every lock a process holds on a file as soon as *any* copy of the SQLite library in it closes that file.
# ADBC brings its own copy, so the two never have the same database open at the same time in one process.
_guard = threading.Lock()
_standard: dict[str, int] = {}


@contextmanager
def stdlib_use(path: Path) -> Iterator[None]:
    """Hold while the standard library's SQLite has ``path`` open in this process."""
    key = os.path.realpath(path)
    with _guard:
        _standard[key] = _standard.get(key, 0) + 1
    try:
        yield
    finally:
        with _guard:
            _standard[key] -= 1
            if not _standard[key]:
                del _standard[key]


@contextmanager
def foreign_use(path: Path) -> Iterator[bool]:
    """Yield whether another SQLite library may open ``path`` now; nobody else opens it meanwhile if so."""
    key = os.path.realpath(path)
    with _guard:
        yield key not in _standard
