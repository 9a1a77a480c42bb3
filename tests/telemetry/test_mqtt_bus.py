"""What a publisher sends is what a recorder stores, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.messages import (
    RECORD_COLUMNS,
    TABLES,
    Resend,
    RowMessage,
    RunMessage,
    encode_resend,
    encode_row,
    encode_run,
)
from firmware_bridge.telemetry.mqtt import MqttClient, MqttSettings, Received
from firmware_bridge.telemetry.positions import Positions
from firmware_bridge.telemetry.publisher_watch import (
    REQUEST_EVERY_S,
    REQUESTS_AT_ONCE,
    REQUESTS_PER_S,
    Backlog,
    RequestGate,
)
from firmware_bridge.telemetry.remote import RemoteRecorder
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.run_writer import RunWriter
from firmware_bridge.trace.schema import RunRecord, TelemetryRow
from firmware_bridge.trace.store import locate
from firmware_bridge.trace.writer import TraceWriter
from tests.telemetry.broker_kit import BROKERS, PASSWORD, USER, broker
from tests.telemetry.mosquitto_kit import running
from tests.telemetry.mqtt_kit import (
    assert_equal,
    contents,
    eventually,
    fill,
    publishing,
    recording,
    settings_for,
    share,
    url_of,
)

RECORD = RunRecord(
    kind="live",
    source="bridge",
    config={"bridge": {"difficulty": 1.5, "ü": [1, None, "\n"]}},
    seeds={"jobs": 2**62},
    plants={"x": 0.25},
)


async def test_every_row_of_every_table_arrives_as_it_is_stored(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = writer.begin_run(RECORD)
        fill(run, 300)
        run.flush()
        settings = settings_for(mosquitto.url())
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, run.run_id, presence=dict) as publisher,
        ):
            await eventually(lambda: recorder.counts.rows >= 300)
            fill(run, 200, first=300)
            run.update_miner(1, address="10.0.0.7:1234", model="s9")
            run.update(jitter_floor={"median_ns": 1200})
            run.end("success", "500 shares")
            assert await publisher.finish(30.0, linger_s=0.05)
            await eventually(lambda: recorder.complete == [run.run_id])
            found = assert_equal(local, remote, run.run_id)
            assert len(found["shares"]) == 500
            assert found["exit_reason"] == "500 shares"
            assert recorder.counts.refused == 0


def begin(writer: TraceWriter, shares: int = 100) -> RunWriter:
    run = writer.begin_run(RECORD)
    fill(run, shares)
    run.flush()
    return run


async def test_a_recorder_that_starts_late_asks_for_the_whole_run(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer)
        settings = settings_for(mosquitto.url())
        async with publishing(settings, local, run.run_id, presence=dict) as publisher:
            await eventually(lambda: publisher.settled)
            async with recording(settings, remote) as recorder:
                await eventually(lambda: recorder.counts.rows == 112)
                run.end("success")
                assert await publisher.finish(30.0, linger_s=0.05)
                await eventually(lambda: recorder.complete)
                assert_equal(local, remote, run.run_id)


async def test_runs_from_before_the_recorder_came_are_told_of_when_the_lab_is_back(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        settings = settings_for(mosquitto.url())
        old = begin(writer, 50)
        old.end("abort", "first")
        async with publishing(settings, local, old.run_id, presence=dict) as publisher:
            assert await publisher.finish(30.0, linger_s=0.05)
        live = begin(writer, 20)
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, live.run_id, presence=dict) as publisher,
        ):
            await eventually(lambda: recorder.complete == [old.run_id])
            live.end("success")
            assert await publisher.finish(30.0, linger_s=0.05)
            await eventually(lambda: len(recorder.complete) == 2)
        assert_equal(local, remote, old.run_id)
        assert_equal(local, remote, live.run_id)


async def test_a_publisher_that_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 400)
        settings = settings_for(mosquitto.url())
        async with recording(settings, remote) as recorder:
            async with publishing(settings, local, run.run_id, presence=dict) as first:
                await eventually(lambda: first.settled)
            fill(run, 30, first=400)
            run.end("success")
            async with publishing(settings, local) as second:
                second.add_unfinished()
                assert await second.finish(30.0, linger_s=0.05)
                await eventually(lambda: recorder.complete)
                assert second.rows < 100
        assert Positions(locate(local), settings).unfinished() == []
        assert_equal(local, remote, run.run_id)


async def test_a_broker_that_drops_what_it_acknowledged_is_found_out(tmp_path: Path) -> None:
    """Mosquitto holds fifty messages for a slow client here, and forgets the others."""
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    extra = ("max_queued_messages 50", "max_inflight_messages 1")
    with running(tmp_path / "m", extra=extra) as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 200)
        run.end("success")
        settings = settings_for(mosquitto.url())
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, run.run_id) as publisher,
        ):
            await publisher.finish(60.0, linger_s=0.05)
            await eventually(lambda: recorder.complete)
            assert recorder.counts.asked > 0
            assert_equal(local, remote, run.run_id)


async def test_two_labs_and_a_run_without_an_end_share_one_trace(tmp_path: Path) -> None:
    remote = url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto:
        async with recording(settings_for(mosquitto.url()), remote) as recorder:
            runs = []
            for lab in ("one", "two"):
                local = url_of(tmp_path / f"{lab}.db")
                with TraceWriter(local) as writer:
                    run = begin(writer, 60)
                    if lab == "one":
                        run.end("success")
                async with publishing(settings_for(mosquitto.url(), lab), local, run.run_id) as publisher:
                    assert await publisher.finish(30.0, linger_s=0.05)
                    # a recorder that is late asks once more, and somebody has to be there to answer
                    await eventually(lambda: all(r.in_step is not None for r in recorder._runs.values()))
                runs.append((local, run.run_id))
            assert recorder.complete == [runs[0][1]]
            assert not list(recorder.lacking())
        for local, run_id in runs:
            assert_equal(local, remote, run_id)


async def test_a_name_with_a_wildcard_is_an_event_and_its_rows_go_under_the_number(tmp_path: Path) -> None:
    local = url_of(tmp_path / "lab.db")
    heard: list[Received] = []
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 8)
        settings = settings_for(mosquitto.url())
        listener = MqttClient(settings)
        listener.subscribe("asiclab/#", heard.append)
        await listener.start()

        def tell(kind: str, severity: str, detail: dict[str, Any], miner: int | None = None) -> None:
            run.event(kind, severity, detail, miner=miner)

        def newest(topic: str) -> Any:
            return next(
                (json.loads(m.payload) for m in reversed(heard) if m.topic == f"asiclab/here/{topic}"), None
            )

        presence = {1: True, 2: False}
        async with publishing(settings, local, run.run_id, presence=lambda: presence, tell=tell) as publisher:
            await eventually(lambda: publisher.settled)
            presence[2] = True
            run.update_miner(3, model="s9")
            await eventually(lambda: (newest("lv06/state") or {}).get("online") is True)
            await eventually(lambda: newest("miner-3/state")["row"]["model"] == "s9")
        # the last word of all, which is still on its way when the publisher has stopped
        await eventually(lambda: newest("state")["online"] is False)
        await listener.stop()
    levels = {m.topic.split("/")[2] for m in heard if m.topic.count("/") == 3}
    assert levels == {"s9", "lv06", "miner-3", "miner-4", "-"}
    assert newest("s9/state")["online"] is True
    reader = TraceReader(local)
    told = [e for e in reader.dicts(1, "events") if e["kind"] == "topic-refused"]
    assert [(e["miner"], json.loads(e["detail"])["topic"]) for e in told] == [(3, "miner-3"), (4, "miner-4")]


async def test_a_row_too_large_for_a_message_is_an_event_and_the_rest_arrives(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    told: list[str] = []
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 10)
        run.telemetry(TelemetryRow(1, 1, 1, raw="x" * 70_000))
        run.telemetry(TelemetryRow(1, 2, 2, raw="small"))
        run.end("success")
        settings = settings_for(mosquitto.url())
        async with (
            recording(settings, remote) as recorder,
            publishing(
                settings, local, run.run_id, presence=dict, tell=lambda kind, *_: told.append(kind)
            ) as publisher,
        ):
            assert await publisher.finish(30.0, linger_s=0.05)
            await eventually(lambda: recorder.complete)
    assert told.count("mqtt-row-refused") == 1
    readings = TraceReader(remote).dicts(1, "telemetry")
    assert [r["wall_ns"] for r in readings] == [0, None, 2]


async def test_what_strangers_say_is_refused_and_logged_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with TraceWriter(remote) as writer:
        own = begin(writer, 5)  # a run that this trace made itself
        own.end("success")
    before = contents(remote, own.run_id)
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 40)
        settings = settings_for(mosquitto.url())
        stranger = MqttClient(settings_for(mosquitto.url(), max_payload=20_000_000))
        await stranger.start()
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, run.run_id) as publisher,
        ):
            await eventually(lambda: recorder.counts.rows >= 40)
            record = RunMessage(
                {name: before[name] for name in RECORD_COLUMNS}, dict.fromkeys(TABLES, 99), live=True
            )
            for topic, payload in [
                ("asiclab/here/s9/share", b"{"),
                ("asiclab/here/s9/share", b'{"run": "x", "id": -1, "row": {}}'),
                (
                    "asiclab/here/s9/event",
                    encode_row(RowMessage(run.run_id, "shares", 9999, 1, tuple(share(1)))),
                ),
                (
                    "asiclab/there/s9/share",
                    encode_row(RowMessage(run.run_id, "shares", 41, 40, tuple(share(1)))),
                ),
                ("asiclab/here/s9/telemetry", bytes(10_000_000)),
                ("asiclab/here/run", encode_run(record)),
                ("asiclab/here/run", b"[]"),
                (
                    "asiclab/here/resend",
                    b'{"recorder": "me", "run": "%s", "table": "secrets"}' % run.run_id.encode(),
                ),
                ("asiclab/here/resend", b'{"recorder": "me", "run": "unknown", "table": "shares"}'),
                ("asiclab/here/resend", b"\xff"),
            ]:
                await stranger.publish(topic, payload)
            await eventually(lambda: recorder.counts.refused >= 6)
            await eventually(lambda: "table is no table that is sent" in caplog.text)
            run.end("success")
            assert await publisher.finish(30.0, linger_s=0.05)
            await eventually(lambda: recorder.complete == [run.run_id])
            assert recorder.client.counts.too_large == 1
        await stranger.stop()
    assert_equal(local, remote, run.run_id)
    assert contents(remote, own.run_id) == before
    assert "10000000 bytes" in caplog.text
    assert "comes from another lab" in caplog.text
    assert "did not come from there" in caplog.text


async def test_a_run_of_the_trace_that_was_never_published_is_not_given_away(tmp_path: Path) -> None:
    local = url_of(tmp_path / "lab.db")
    heard: list[Received] = []
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        secret, run = begin(writer, 5), begin(writer, 5)
        settings = settings_for(mosquitto.url())
        listener = MqttClient(settings)
        listener.subscribe("asiclab/#", heard.append)
        await listener.start()
        async with publishing(settings, local, run.run_id) as publisher:
            await eventually(lambda: publisher.settled)
            await listener.publish(
                "asiclab/here/resend", encode_resend(Resend("me", secret.run_id, "shares"))
            )
            await listener.publish("asiclab/here/resend", encode_resend(Resend("me", run.run_id, "shares")))
            await eventually(lambda: sum(m.topic.endswith("/share") for m in heard) >= 10)
        await listener.stop()
    assert secret.run_id.encode() not in b"".join(m.payload for m in heard if not m.topic.endswith("resend"))


async def test_a_flood_of_requests_is_answered_now_and_then(tmp_path: Path) -> None:
    local = url_of(tmp_path / "lab.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 50)
        settings = settings_for(mosquitto.url())
        stranger = MqttClient(settings)
        await stranger.start()
        async with publishing(settings, local, run.run_id) as publisher:
            await eventually(lambda: publisher.settled)
            rows, begun = publisher.rows, time.monotonic()
            for number in range(400):
                request = Resend(f"r{number}", run.run_id, "shares", None)
                await stranger.publish("asiclab/here/resend", encode_resend(request))
            await stranger.publish("asiclab/here/resend", b"last")
            await eventually(lambda: publisher.settled)
            epochs = publisher.runs[run.run_id].cursors["shares"].epoch
            assert 1 <= epochs <= REQUESTS_AT_ONCE + REQUESTS_PER_S * (time.monotonic() - begun) + 1
            assert publisher.rows - rows <= 50 * epochs
        await stranger.stop()


async def test_a_second_publisher_of_one_lab_is_noticed_by_both(tmp_path: Path) -> None:
    told: dict[str, list[str]] = {"a": [], "b": []}
    with running(tmp_path / "m") as mosquitto:
        settings = settings_for(mosquitto.url())
        runs = {}
        for name in told:
            with TraceWriter(url_of(tmp_path / f"{name}.db")) as writer:
                runs[name] = begin(writer, 1).run_id
        tell = {n: (lambda kind, *_, n=n, **__: told[n].append(kind)) for n in told}
        async with (
            publishing(settings, url_of(tmp_path / "a.db"), runs["a"], presence=dict, tell=tell["a"]) as a,
        ):
            await eventually(lambda: a.settled)
            async with publishing(
                settings, url_of(tmp_path / "b.db"), runs["b"], presence=dict, tell=tell["b"]
            ):
                await eventually(lambda: all("lab-name-in-use" in kinds for kinds in told.values()))
    assert [kinds.count("lab-name-in-use") for kinds in told.values()] == [1, 1]


@pytest.mark.parametrize("kind", BROKERS)
async def test_other_databases_and_either_broker_serve_as_well(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASICLAB_STATE", str(tmp_path / "state"))
    local = f"sqlite+pysqlite:///{tmp_path / 'lab.db'}"
    remote = f"sqlite+pysqlite:///{tmp_path / 'remote.db'}"
    async with broker(kind, tmp_path) as port:
        settings = MqttSettings("127.0.0.1", port, USER, PASSWORD, lab="here")
        with TraceWriter(local) as writer:
            run = begin(writer, 80)
            run.end("success")
        async with (
            recording(settings, remote) as recorder,
            publishing(settings, local, run.run_id) as publisher,
        ):
            assert await publisher.finish(30.0, linger_s=0.05)
            await eventually(lambda: recorder.complete)
    assert_equal(local, remote, run.run_id)


async def test_rows_that_wait_for_a_broker_too_long_are_an_event(tmp_path: Path) -> None:
    local = url_of(tmp_path / "lab.db")
    told: list[str] = []
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 5)
        settings = settings_for(mosquitto.url())
        mosquitto.kill()
        options = {"presence": dict, "tell": lambda kind, *_: told.append(kind), "behind_s": 0.0}
        async with publishing(settings, local, run.run_id, **options):
            await eventually(lambda: "mqtt-behind" in told)
            mosquitto.start()
            await eventually(lambda: "mqtt-caught-up" in told)
    assert told[0] == "mqtt-lost"
    assert "mqtt-back" in told


async def test_two_recorders_of_one_trace_do_not_store_a_row_twice(tmp_path: Path) -> None:
    local, remote = url_of(tmp_path / "lab.db"), url_of(tmp_path / "remote.db")
    with running(tmp_path / "m") as mosquitto, TraceWriter(local) as writer:
        run = begin(writer, 30)
        run.end("success")
        settings = settings_for(mosquitto.url())
        one, other = RemoteRecorder(settings, remote), RemoteRecorder(settings, remote)
        await one.start()
        await other.start()
        work = [asyncio.ensure_future(one.work()), asyncio.ensure_future(other.work())]
        async with publishing(settings, local, run.run_id):
            await eventually(lambda: one.complete or other.complete)
        ended = [task for task in work if task.done()]
        for task in work:
            task.cancel()
        results = await asyncio.gather(*work, return_exceptions=True)
        for recorder in (one, other):
            with contextlib.suppress(UserError):
                await recorder.stop()
    assert_equal(local, remote, run.run_id)
    assert len(ended) <= 1
    assert all(isinstance(r, UserError | asyncio.CancelledError) for r in results)


def test_a_damaged_file_of_positions_costs_only_that_rows_are_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = locate(url_of(tmp_path / "lab.db"))
    settings = settings_for("mqtt://127.0.0.1")
    first = Positions(where, settings)
    first.store("a", {"shares": 7, "jobs": None}, done=False)
    first.store("b", {"shares": 8}, done=False)
    first.store("a", {"shares": 9}, done=True)
    first.close()
    again = Positions(where, settings)
    assert (again.of("a"), again.unfinished(), again.published()) == ({"shares": 9}, ["b"], ["a", "b"])
    again.close()
    assert Positions(where, settings_for("mqtt://127.0.0.1:1884")).of("a") == {}
    (tmp_path / "lab.db.mqtt").write_bytes(b"no database at all" * 100)
    damaged = Positions(where, settings)
    assert (damaged.of("a"), damaged.published()) == ({}, [])
    damaged.store("a", {"shares": 1}, done=False)
    assert "every row is published again" in caplog.text


def test_a_recorder_is_answered_now_and_then_and_a_crowd_of_them_in_turn() -> None:
    gate = RequestGate()
    one = Resend("r", "run", "shares", 5)
    assert gate.allows(one, 100.0)
    assert not gate.allows(one, 100.0 + REQUEST_EVERY_S / 2)
    assert gate.allows(Resend("r", "run", "events"), 100.0)
    assert gate.allows(one, 100.0 + REQUEST_EVERY_S)
    crowd = sum(gate.allows(Resend(f"r{number}", "run", "shares"), 200.0) for number in range(1000))
    assert crowd == REQUESTS_AT_ONCE
    later = sum(gate.allows(Resend(f"s{number}", "run", "shares"), 201.0) for number in range(1000))
    assert later == REQUESTS_PER_S


def test_a_backlog_is_news_when_it_begins_to_be_too_long_and_when_it_is_over() -> None:
    backlog = Backlog(60.0)
    assert [backlog.look(now, False) for now in (0.0, 59.0)] == [None, None]
    assert backlog.look(61.0, False) == ("mqtt-behind", "warning", 61.0)
    assert backlog.look(90.0, False) is None
    assert backlog.look(100.0, True) == ("mqtt-caught-up", "info", 100.0)
    assert [backlog.look(now, True) for now in (101.0, 300.0)] == [None, None]
    assert [backlog.look(now, now == 330.0) for now in (301.0, 330.0, 331.0)] == [None, None, None]
