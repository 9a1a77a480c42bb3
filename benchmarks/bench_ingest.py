"""Shares from parsed tuple to committed row, against the barest way into the same table.

SQLite: against raw `sqlite3.executemany`. Both write the same rows with write-ahead log and synchronous=NORMAL; the
peer commits every 1000 rows, which is its best batch, from tuples that already carry the run number.

PostgreSQL: against psycopg's `COPY` of such tuples, 16,384 to a commit, on a server of the benchmark's own with the
settings it comes with (or on the one that $ASICLAB_TEST_DATABASE names).

The heavy form puts 10 million shares into each. The two sides take turns, a tenth each, so that what else runs on the
machine hurts both alike; beside the peer stands what the disk alone could take: bytes of a row as they are on the disk
in the end, at the rate of one long synced write.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, Row, SkippedError, paired, seconds_of, tell
from firmware_bridge.trace.schema import RunRecord, ShareRow, shares
from firmware_bridge.trace.store import locate, prepare
from firmware_bridge.trace.writer import MAX_COMMIT_ROWS, TraceWriter
from tests import postgres_kit

ROWS = 200_000
BLOCK = 1000
MANY = 10_000_000
TURNS = 10
COLUMNS = [column.name for column in shares.columns if column.name != "id"]


def rows_of(number: int) -> list[ShareRow]:
    """Shares as a bridge stores them, every field filled but for the version bits."""
    base = 1_768_125_330_714_832_500
    return [
        ShareRow(
            miner=1 + i % 4,
            job=1 + i // 3,
            job_id=f"{i // 3:x}",
            extranonce2=f"{i:08x}",
            ntime="69637392",
            nonce=f"{i * 2654435761 & 0xFFFFFFFF:08x}",
            version_bits=None,
            difficulty=256.0 + i / 7,
            valid=True,
            reason=None,
            kernel_ns=base + i * 97_000_001,
            monotonic_ns=i * 97_000_011,
            wall_ns=base + i * 97_000_017,
            interval_ns=97_000_001,
            response_ns=None if i % 10 == 0 else 84_000_003,
            since_notify_ns=84_000_003,
        )
        for i in range(number)
    ]


def raw(folder: Path, names: Iterator[int], rows: list[tuple[object, ...]]) -> float:
    """Rows per second of sqlite3.executemany."""
    with raw_sqlite(folder / f"raw{next(names)}.db") as write:
        return len(rows) / seconds_of(lambda: write(rows))


@contextmanager
def raw_sqlite(path: Path) -> Iterator[Callable[[list[Any]], None]]:
    """A file with the table of shares, and what puts rows into it."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    types = {c.name: c.type.compile(dialect=None) for c in shares.columns}
    body = ", ".join(f"{name} {types[name]}" for name in COLUMNS)
    database.execute(f"CREATE TABLE shares (id INTEGER PRIMARY KEY, {body})")
    insert = f"INSERT INTO shares ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    written = 0

    def write(rows: list[Any]) -> None:
        nonlocal written
        for start in range(0, len(rows), BLOCK):
            database.execute("BEGIN")
            database.executemany(insert, rows[start : start + BLOCK])
            database.execute("COMMIT")
        written += len(rows)

    yield write
    assert database.execute("SELECT count(*) FROM shares").fetchone()[0] == written
    database.close()


@contextmanager
def raw_copy(url: str) -> Iterator[Callable[[list[Any]], None]]:
    """A database with the tables of a trace, and what copies rows into it."""
    import psycopg

    where = locate(url)
    prepare(where)
    text = where.url.set(drivername="postgresql").render_as_string(hide_password=False)
    copy = f"COPY shares ({', '.join(COLUMNS)}) FROM STDIN"
    written = 0
    with psycopg.connect(text) as connection:

        def write(rows: list[Any]) -> None:
            nonlocal written
            for start in range(0, len(rows), MAX_COMMIT_ROWS):
                with connection.cursor() as cursor, cursor.copy(copy) as stream:
                    for row in rows[start : start + MAX_COMMIT_ROWS]:
                        stream.write_row(row)
                connection.commit()
            written += len(rows)

        yield write
        assert connection.execute("SELECT count(*) FROM shares").fetchone() == (written,)


@contextmanager
def writer_of(url: str, block: int) -> Iterator[Callable[[list[ShareRow]], None]]:
    """A run of a trace, and what puts rows into it, all of them durable when it returns."""
    written = 0
    with TraceWriter(url) as writer:
        run = writer.begin_run(RunRecord(kind="live", source="bridge"))

        def write(rows: list[ShareRow]) -> None:
            nonlocal written
            if block == 1:
                for row in rows:
                    run.share(row)
            else:
                for start in range(0, len(rows), block):
                    run.shares(rows[start : start + block])
            run.flush()
            written += len(rows)

        yield write
        run.end("success")
    from firmware_bridge.trace.reader import TraceReader

    reader = TraceReader(url)
    assert reader.count(reader.resolve(run.run_id)) == written


def ours(url: str, rows: list[ShareRow], block: int) -> float:
    """Rows per second of the trace writer, given one at a time (`block` 1) or in blocks."""
    with writer_of(url, block) as write:
        return len(rows) / seconds_of(lambda: write(rows))


def into_file(heavy: bool) -> Iterator[Row]:
    rows = rows_of(ROWS * (5 if heavy else 1))
    numbered = [(1, *row) for row in rows]
    gc.freeze()  # the rows were there before: no collection is to walk over them in either side's rounds
    names = count()
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as name:
        peer = partial(raw, Path(name), names, numbered)
        for block, title in (
            (BLOCK, f"durable ingest, blocks of {BLOCK}"),
            (1, "durable ingest, row by row"),
        ):

            def mine(block: int = block) -> float:
                return ours(f"sqlite:///{name}/ours{next(names)}.db", rows, block)

            yield paired(title, mine, peer, unit="rows/s", aim=0.75, rounds=13)


@contextmanager
def server() -> Iterator[Callable[[], str]]:
    """What makes an empty database on a PostgreSQL server, and gives its URL.

    Raises:
        SkippedError: if there is no server.
    """
    with ExitStack() as stack:
        if elsewhere := os.environ.get(postgres_kit.VARIABLE):
            yield lambda: stack.enter_context(postgres_kit.database_beside(elsewhere))
            return
        try:
            own = stack.enter_context(postgres_kit.running(durable=True))
        except postgres_kit.AbsentError as reason:
            raise SkippedError(str(reason)) from None
        yield lambda: own.socket_url(own.database())


def into_server(heavy: bool) -> Iterator[Row]:
    rows = rows_of(ROWS // 2)
    numbered = [(1, *row) for row in rows]
    gc.freeze()
    with server() as database:

        def peer() -> float:
            with raw_copy(database()) as write:
                return len(rows) / seconds_of(lambda: write(numbered))

        for block, title in (
            (BLOCK, f"into PostgreSQL, blocks of {BLOCK}"),
            (1, "into PostgreSQL, row by row"),
        ):

            def mine(block: int = block) -> float:
                return ours(database(), rows, block)

            yield paired(f"durable ingest {title}", mine, peer, unit="rows/s", aim=0.6, rounds=5)


def many(heavy: bool, *, total: int = MANY) -> Iterator[Row]:
    """As many shares as a miner finds in a dozen days, into a file and into a server."""
    rows = rows_of(total // TURNS)
    numbered = [(1, *row) for row in rows]
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="asiclab-bench-") as name:
        folder = Path(name)
        limit = bytes_per_s(folder / "plain")
        ours_file, raw_file = folder / "ours.db", folder / "raw.db"
        with ExitStack() as stack:
            sides = [
                (stack.enter_context(writer_of(f"sqlite:///{ours_file}", BLOCK)), rows),
                (stack.enter_context(raw_sqlite(raw_file)), numbered),
            ]
            seconds = in_turns(sides)
        yield told("SQLite", total, seconds, ours_file.stat().st_size, limit)
        ours_file.unlink()
        raw_file.unlink()
    with server() as database:
        ours_url, raw_url = database(), database()
        with ExitStack() as stack:
            sides = [
                (stack.enter_context(writer_of(ours_url, BLOCK)), rows),
                (stack.enter_context(raw_copy(raw_url)), numbered),
            ]
            seconds = in_turns(sides)
        yield told("PostgreSQL", total, seconds, table_bytes(ours_url), limit)


def in_turns(sides: list[tuple[Callable[[list[Any]], None], list[Any]]]) -> list[float]:
    """Seconds of each side; one goes first in one turn, the other in the next."""
    seconds = [0.0] * len(sides)
    for turn in range(TURNS):
        for index in (0, 1) if turn % 2 else (1, 0):
            write, rows = sides[index]
            seconds[index] += seconds_of(lambda write=write, rows=rows: write(rows))
        tell(f"    turn {turn + 1} of {TURNS}: {seconds[0]:.0f} s against {seconds[1]:.0f} s")
    return seconds


def told(where: str, total: int, seconds: list[float], stored_bytes: int, bytes_per_s: float) -> Row:
    mine, theirs = (total / spent for spent in seconds)
    detail = {
        "shares": total,
        "seconds": seconds[0],
        "seconds_peer": seconds[1],
        "bytes_per_share": stored_bytes / total,
        "disk_mb_per_s": bytes_per_s / 1e6,
        "of_disk_limit": mine * stored_bytes / total / bytes_per_s,
    }
    name = f"ingest of {total:.0e} shares into {where}".replace("e+0", "e")
    return Row(name, mine, theirs, "rows/s", mine / theirs, 0.6, detail)


def bytes_per_s(path: Path, size: int = 1 << 29) -> float:
    """Rate of one long write that is synced at its end."""
    block = os.urandom(1 << 22)

    def write() -> None:
        with path.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

    rate = size / seconds_of(write)
    path.unlink()
    return rate


def table_bytes(url: str) -> int:
    """Bytes of the shares on a server, index included."""
    from sqlalchemy import create_engine, text

    engine = create_engine(locate(url).url)
    with engine.connect() as connection:
        size = int(connection.execute(text("SELECT pg_total_relation_size('shares')")).scalar_one())
    engine.dispose()
    return size


BENCHMARKS = [
    Benchmark("ingest", into_file),
    Benchmark("ingest into PostgreSQL", into_server),
    Benchmark("ingest of 1e7 shares", many, heavy=True),
]
