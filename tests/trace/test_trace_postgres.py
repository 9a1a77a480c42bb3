"""A trace on a PostgreSQL server keeps what a file keeps, and says in words what stands in the way."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, text

from firmware_bridge.errors import LabError, TraceError, UserError
from firmware_bridge.trace import manage, store
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.records import storable
from firmware_bridge.trace.schema import MinerRow, RunRecord, ShareRow, TelemetryRow
from firmware_bridge.trace.sinks import COPY_ROWS
from firmware_bridge.trace.writer import TraceWriter
from tests.postgres_kit import PASSWORD, Server

pytestmark = pytest.mark.xdist_group("postgres")

NS = st.none() | st.integers(-(2**63), 2**63 - 1)
TEXT = st.none() | st.text(max_size=8) | st.sampled_from(["\\N", "\\.", "a\tb\nc\\", "nul \0", "half \ud800"])
SHARE = st.builds(
    ShareRow, st.integers(1, 9), NS, TEXT, TEXT, TEXT, TEXT, TEXT, st.none() | st.floats(allow_nan=False),
    st.sampled_from([None, True, False]), TEXT, NS, NS, NS, NS, NS, NS,
)  # fmt: skip
FEW = st.lists(SHARE, min_size=1, max_size=COPY_ROWS - 1)
MANY = st.lists(SHARE, min_size=COPY_ROWS, max_size=40)
BASE = ShareRow(1, *[None] * 15)


def record(**more: Any) -> RunRecord:
    return RunRecord(kind="live", source="bridge", **more)


def test_rows_survive_however_many_come_at_once(server_url: str) -> None:
    with TraceWriter(server_url) as writer:
        reader = TraceReader(server_url)

        @settings(max_examples=15)
        @given(blocks=st.lists(FEW | MANY, max_size=4))
        def check(blocks: list[list[ShareRow]]) -> None:
            run = writer.begin_run(record())
            for block in blocks:
                run.shares(block)
                run.flush()
            run.end("success")
            rows = [ShareRow._make(map(storable, row)) for block in blocks for row in block]
            number = reader.resolve(run.run_id)
            assert list(reader.share_rows(number, chunk=7)) == rows
            assert reader.count(number) == len(rows)
            stored = reader.run(number)
            if rows:
                assert stored["last_share_id"] - stored["first_share_id"] == len(rows) - 1
            else:
                assert stored["first_share_id"] is stored["last_share_id"] is None

        check()


def test_numpy_numbers_and_what_is_no_number_are_stored_as_a_file_does(
    server_url: str, tmp_path: Path
) -> None:
    odd = BASE._replace(difficulty=np.float64(1.5), valid=np.bool_(True))
    rows = [odd._replace(wall_ns=np.int64(2**60 + i)) for i in range(20)]
    rows += [BASE._replace(difficulty=math.nan), BASE._replace(difficulty=math.inf)]
    read = []
    for url in (server_url, f"sqlite:///{tmp_path / 'lab.db'}"):
        with TraceWriter(url) as writer:
            run = writer.begin_run(record())
            run.shares(rows)
            run.telemetry(TelemetryRow(None, 1, 2, temperature_c=math.nan))
            run.end("success")
        reader = TraceReader(url)
        read.append((list(reader.share_rows(1)), reader.dicts(1, "telemetry")))
    assert read[0] == read[1]
    assert read[0][0][20].difficulty is None


def test_two_writers_at_once_keep_their_own_shares_in_order(server_url: str) -> None:
    barrier = threading.Barrier(2)
    ids: dict[int, str] = {}

    def write(number: int) -> None:
        with TraceWriter(server_url) as writer:
            run = writer.begin_run(record())
            ids[number] = run.run_id
            barrier.wait(60)
            for start in range(0, 2000, 50):
                run.shares([BASE._replace(wall_ns=number * 10**6 + start + i) for i in range(50)])
                run.flush()
            run.end("success")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = TraceReader(server_url)
    for number, run_id in ids.items():
        found = reader.columns(reader.resolve(run_id), "shares", ["wall_ns"]).values["wall_ns"]
        assert found.tolist() == list(range(number * 10**6, number * 10**6 + 2000))
    assert reader.runs()["shares"].tolist() == [2000, 2000]
    assert manage.merge(server_url, list(ids.values()))["shares"] == 4000
    assert manage.remove(server_url, ids[0], vacuum=True)["shares"] == 2000


def test_programs_that_start_together_on_an_empty_database_do_not_get_into_each_others_way(
    server_url: str,
) -> None:
    from experiments.results import Results

    barrier = threading.Barrier(4)
    troubles: list[BaseException] = []

    def begin(open_it: Callable[[str], Any]) -> None:
        barrier.wait(60)
        try:
            open_it(server_url).close()
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=begin, args=(what,)) for what in (TraceWriter, Results) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []


def test_long_texts_and_large_numbers_are_kept_as_in_a_file(server_url: str) -> None:
    with TraceWriter(server_url) as writer:
        run = writer.begin_run(record(run_id="r" * 99, clock_source="c" * 999, mode="m" * 99))
        run.miner(MinerRow("one", model="m" * 99))
        run.share(BASE._replace(miner=2**40, job=2**40))
        run.event("k" * 99, "s" * 99)
        run.end("success" * 9)
    reader = TraceReader(server_url)
    number = reader.resolve("r" * 99)
    assert reader.run(number)["clock_source"] == "c" * 999
    assert next(reader.share_rows(number)).miner == 2**40


def test_a_trace_of_the_first_layout_is_brought_forward(server_url: str) -> None:
    where = store.locate(server_url)
    engine = create_engine(where.url)

    def layout() -> set[tuple[str, str, str, bool]]:
        found = inspect(engine)
        return {
            (table, c["name"], str(c["type"]), c["nullable"])
            for table in found.get_table_names()
            for c in found.get_columns(table)
        }

    try:
        with engine.begin() as connection:
            store.migrate(connection, "0000")
            plain = ("run_id", "kind", "source", "notes")
            plans = (
                "config",
                "seeds",
                "plants",
                "physics",
                "versions",
                "git",
                "host",
                "jitter_floor",
                "tags",
            )
            connection.execute(
                text(
                    f"INSERT INTO runs (unverified, {', '.join(plain + plans)}) "
                    f"VALUES (false, 'old', 'live', 'bridge', 'kept', {', '.join([repr('{}')] * 9)})"
                )
            )
        reader = TraceReader(server_url)
        assert reader.run(reader.resolve("old"))["notes"] == "kept"
        migrated = layout()
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        TraceWriter(server_url).close()
        assert layout() == migrated
    finally:
        engine.dispose()


def test_a_newer_trace_says_so(server_url: str) -> None:
    TraceWriter(server_url).close()
    engine = create_engine(store.locate(server_url).url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(TraceError, match="schema version 9999"):
        TraceReader(server_url)


# ---- what stands in the way ------------------------------------------------------------------------------------------


def refused(url: str) -> LabError:
    with pytest.raises(LabError) as caught:
        TraceWriter(url)
    said = str(caught.value)
    assert PASSWORD not in said
    assert "wrong-7" not in said
    assert "\n" not in said
    return caught.value


def test_a_server_that_lets_nobody_in_is_told_in_words(postgres: Server) -> None:
    name = postgres.database()
    with pytest.raises(UserError, match="holds no trace"):
        TraceReader(postgres.url(name))
    postgres.sql("DROP ROLE IF EXISTS guest")
    postgres.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    mistakes = {
        postgres.url(name, password="wrong-7"): "PGPASSWORD",
        postgres.url(name, user="nobody"): "PGPASSWORD",  # a server does not say which users there are
        postgres.url("none"): "createdb",
        postgres.socket_url(name).replace("lab@", "ghost@"): "createuser",
        postgres.url(name, user="guest"): "GRANT CREATE",
    }
    for url, remedy in mistakes.items():
        error = refused(url)
        assert isinstance(error, UserError), url
        assert remedy in str(error), error
    assert "see that the server runs" in str(refused(postgres.url(name, port=1)))
    assert "spelt right" in str(refused(f"postgresql://lab:{PASSWORD}@no.such.host.invalid/x"))
    with pytest.raises(UserError, match="not a database URL") as caught:
        TraceReader(f"postgresql://lab:{PASSWORD}@host:port/x")
    assert PASSWORD not in str(caught.value)


def test_a_password_in_the_url_is_shown_nowhere(postgres: Server) -> None:
    for url in (postgres.url("x"), f"postgres://lab@h/x?password={PASSWORD}"):
        assert PASSWORD not in str(store.locate(url))
        assert store.locate(url).is_postgres


def test_a_user_who_may_only_read_can_read(postgres: Server) -> None:
    name = postgres.database()
    with TraceWriter(postgres.socket_url(name)) as writer:
        run = writer.begin_run(record())
        run.share(BASE)
        run.end("success")
    postgres.sql("DROP ROLE IF EXISTS looker")
    postgres.sql(f"CREATE ROLE looker LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data")
    url = postgres.url(name, user="looker")
    reader = TraceReader(url)
    assert reader.count(reader.resolve("latest")) == 1
    with pytest.raises(LabError, match="permission denied") as caught, TraceWriter(url) as writer:
        writer.begin_run(record())
    assert "let the user" in str(caught.value)


@pytest.mark.costly
def test_what_was_acknowledged_is_there_after_the_server_was_killed(postgres: Server) -> None:
    """The server dies under a writer that is busy: the run fails in words, and nothing reported is lost."""
    url = postgres.url(postgres.database())
    acknowledged: list[Any] = []
    failures: list[TraceError] = []
    enough = threading.Event()

    def committed(tokens: list[object]) -> None:
        acknowledged.extend(tokens)
        if len(acknowledged) > 500:
            enough.set()

    writer = TraceWriter(url, on_commit=committed, on_failure=failures.append)
    run = writer.begin_run(record())

    def produce() -> None:
        until = time.monotonic() + 120
        for number in range(10**7):
            if time.monotonic() > until:
                return
            try:
                run.share(BASE._replace(wall_ns=number), token=number)
            except TraceError:
                return

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        assert enough.wait(60)
    finally:
        postgres.stop()
        thread.join()
    postgres.start()
    assert "database lost" in str(failures[0])
    assert "What was acknowledged is stored" in str(failures[0])
    with pytest.raises(TraceError):
        run.end("success")
    writer.close()
    reader = TraceReader(url)
    number = reader.resolve(run.run_id)
    stored = reader.columns(number, "shares", ["wall_ns"]).values["wall_ns"]
    assert acknowledged == list(range(len(acknowledged)))
    assert stored.tolist() == list(range(len(stored)))
    assert len(stored) >= len(acknowledged)
    with TraceWriter(url) as writer:  # and the next run goes on in the same database
        writer.begin_run(record()).end("success")


def test_a_server_that_was_restarted_between_two_looks_is_asked_again(postgres: Server) -> None:
    from experiments.results import Results

    url = postgres.url(postgres.database())
    with Results(url) as results:
        TraceWriter(url).close()
        reader = TraceReader(url)
        assert reader.run_records() == []
        postgres.stop()
        with pytest.raises(TraceError, match="see that the server runs"):
            reader.run_records()
        with pytest.raises(TraceError, match="see that the server runs"):
            results.runs()
        postgres.start()
        assert reader.run_records() == []
        assert results.runs() == []
