"""The connection comes back, tells what it lost, and never waits in a hot loop or grows without bound."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry.mqtt import (
    LostError,
    MqttClient,
    MqttSettings,
    Received,
    TooLargeError,
    Will,
)
from firmware_bridge.telemetry.topics import matches
from tests.telemetry.mosquitto_kit import PATIENCE_S, certificates, running

PASSWORD = "horse-battery-4711"


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - conditions of every kind
            await asyncio.sleep(0.005)


async def publish_for_ever(client: MqttClient) -> None:
    while True:
        await client.publish("x", b"into the void")


@asynccontextmanager
async def listening(
    settings: MqttSettings, *filters: str
) -> AsyncIterator[tuple[MqttClient, list[Received]]]:
    client = MqttClient(settings)
    heard: list[Received] = []
    client.subscribe(filters, heard.append)
    await client.start()
    try:
        yield client, heard
    finally:
        await client.stop()


# ---- settings --------------------------------------------------------------------------------------------------------


def test_a_url_says_everything_and_the_password_is_never_shown(tmp_path: Path) -> None:
    settings = MqttSettings.from_url(f"mqtts://me:{PASSWORD}@broker.example:9999", lab="l", environment={})
    assert (settings.host, settings.port, settings.username) == ("broker.example", 9999, "me")
    assert (settings.password, settings.tls, settings.lab) == (PASSWORD, True, "l")
    assert PASSWORD not in repr(settings) + str(settings.to_json()) + settings.address
    assert settings.address == "mqtts://me@broker.example:9999"


def test_ports_by_default_and_a_host_alone() -> None:
    assert MqttSettings.from_url("box", lab="l").port == 1883
    assert MqttSettings.from_url("mqtts://box", lab="l").port == 8883
    assert MqttSettings.from_url("mqtt://[::1]", lab="l").address == "mqtt://[::1]:1883"


def test_the_password_comes_from_the_url_then_the_file_then_the_environment(tmp_path: Path) -> None:
    file, environment = tmp_path / "password", {"ASICLAB_MQTT_PASSWORD": "env"}
    file.write_text("from file\r\nnot this\n")
    assert (
        MqttSettings.from_url("mqtt://u:p%40@h", password_file=file, environment=environment).password == "p@"
    )
    assert (
        MqttSettings.from_url("mqtt://u@h", password_file=file, environment=environment).password
        == "from file"
    )
    assert MqttSettings.from_url("mqtt://u@h", environment=environment).password == "env"
    assert MqttSettings.from_url("mqtt://h", environment=environment).password is None


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("http://h", {}, "mqtt://user@host"),
        ("mqtt://", {}, "mqtt://user@host"),
        ("mqtt://h:99999", {}, "mqtt://user@host"),
        ("mqtt://h/topic", {}, "mqtt://user@host"),
        (f"mqtt://u:{PASSWORD}@h:bad", {}, "mqtt://user@host"),
        ("mqtt://h", {"ca_file": Path("x")}, "mqtts://h"),
        ("mqtts://h", {"cert_file": Path("x")}, "both"),
        ("mqtt://h", {"lab": "a/b"}, "--lab"),
        ("mqtt://h", {"password_file": Path("nowhere")}, "needs a user"),
        ("mqtt://u@h", {"password_file": Path("nowhere")}, "nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(url: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        MqttSettings.from_url(url, environment={}, **options)  # type: ignore[arg-type]
    assert PASSWORD not in str(caught.value)


def test_an_unusable_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = MqttSettings.from_url("mqtts://h", ca_file=tmp_path / "ca.pem", lab="l")
    with pytest.raises(UserError, match=r"ca\.pem"):
        settings.tls_context()


@pytest.mark.parametrize(
    ("topic", "pattern", "hit"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/+", True),
        ("a/b", "#", True),
        ("a", "a/#", True),
        ("a/b/c", "a/+", False),
        ("a", "a/+", False),
        ("$SYS/x", "#", False),
        ("$SYS/x", "+/x", False),
        ("$SYS/x", "$SYS/#", True),
        ("/a", "+/a", True),
    ],
)
def test_filters_match_as_the_standard_says(topic: str, pattern: str, hit: bool) -> None:
    assert matches(topic, pattern) is hit


# ---- with a real broker ----------------------------------------------------------------------------------------------


async def test_messages_arrive_in_order_and_retained_ones_are_marked(tmp_path: Path) -> None:
    with running(tmp_path / "m") as broker:
        settings = MqttSettings.from_url(broker.url(), lab="l")
        async with listening(settings, "x/+", "y") as (client, heard):
            for number in range(50):
                await client.send("x/n", b"%d" % number)
            await client.publish("y", b"kept", retain=True)
            await eventually(lambda: len(heard) == 51)
            assert [m.payload for m in heard[:50]] == [b"%d" % n for n in range(50)]
            assert not any(m.retain for m in heard)
        async with listening(settings, "y") as (_, later):
            await eventually(lambda: later)
            assert later == [Received("y", b"kept", True)]


async def test_after_a_kill_of_the_broker_it_comes_back_and_the_waiting_publish_is_told(
    tmp_path: Path,
) -> None:
    lost: list[str] = []
    greetings: list[int] = []

    async def greet() -> None:
        greetings.append(1)

    with running(tmp_path / "m") as broker:
        client = MqttClient(
            MqttSettings.from_url(broker.url(), lab="l"), on_lost=lost.append, on_connected=greet
        )
        heard: list[Received] = []
        client.subscribe("x", heard.append)
        assert await client.start()
        await eventually(lambda: greetings)
        broker.kill()
        with pytest.raises(LostError):
            await publish_for_ever(client)
        await eventually(lambda: lost)
        broker.start()
        await eventually(lambda: client.connected)
        await client.publish("x", b"again")
        await eventually(lambda: any(m.payload == b"again" for m in heard))
        assert len(greetings) == client.counts.connections == 2
        assert len(lost) == 1
        await client.stop()


async def test_no_broker_is_no_error_and_no_hot_loop(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # bound, not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        lost: list[str] = []
        client = MqttClient(
            MqttSettings.from_url(f"mqtt://127.0.0.1:{taken.getsockname()[1]}", lab="l"), on_lost=lost.append
        )
        with caplog.at_level(logging.WARNING):
            assert not await client.start()
            await asyncio.sleep(1.0)
        with pytest.raises(LostError):
            await client.publish("x", b"")
        await client.stop()
    assert len(lost) == 1
    assert len(caplog.records) <= 2


@pytest.mark.parametrize(("user", "password"), [("lab", "wrong"), ("nobody", PASSWORD), (None, None)])
async def test_a_wrong_password_at_the_start_is_a_user_error_that_does_not_show_it(
    tmp_path: Path, user: str | None, password: str | None
) -> None:
    with running(tmp_path / "m", users={"lab": PASSWORD}) as broker:
        settings = MqttSettings.from_url(
            broker.url(user), lab="l", environment={"ASICLAB_MQTT_PASSWORD": password or ""}
        )
        with pytest.raises(UserError, match="refused user") as caught:
            await MqttClient(settings).start()
        assert str(password) not in str(caught.value) or password == "wrong"
        assert "wrong" not in str(caught.value)
        right = MqttSettings.from_url(
            broker.url("lab"), lab="l", environment={"ASICLAB_MQTT_PASSWORD": PASSWORD}
        )
        async with listening(right, "x") as (client, _):
            assert client.connected


async def test_the_will_is_said_when_the_client_is_gone_without_a_word_and_not_after_stop(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "m") as broker:
        settings = MqttSettings.from_url(broker.url(), lab="l")
        async with listening(settings, "state") as (_, heard):
            polite = MqttClient(settings, will=Will("state", b"polite is gone"))
            await polite.start()
            await polite.stop()
            silent = MqttClient(settings, will=Will("state", b"silent is gone"))
            await silent.start()
            assert silent._link is not None
            silent._link.client._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
            await eventually(lambda: heard)
            assert [m.payload for m in heard] == [b"silent is gone"]
            await silent.stop()


async def test_a_payload_of_10_mb_is_refused_and_logged_and_the_next_message_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path / "m") as broker:
        settings = MqttSettings.from_url(broker.url(), lab="l")
        large = MqttClient(MqttSettings.from_url(broker.url(), lab="l", max_payload=20_000_000))
        async with listening(settings, "x") as (client, heard):
            await large.start()
            await large.publish("x", bytes(10_000_000))
            await large.publish("x", b"small")
            await eventually(lambda: heard)
            assert [m.payload for m in heard] == [b"small"]
            assert client.counts.too_large == 1
            assert "10000000 bytes for x was refused" in caplog.text
            with pytest.raises(TooLargeError):
                await client.publish("x", bytes(settings.max_payload + 1))
            await large.stop()


async def test_a_handler_that_fails_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path / "m") as broker:
        client = MqttClient(MqttSettings.from_url(broker.url(), lab="l"))
        heard: list[bytes] = []

        def handler(message: Received) -> None:
            heard.append(message.payload)
            if message.payload == b"bad":
                raise ValueError("a fault")

        client.subscribe("x", handler)
        await client.start()
        await client.publish("x", b"bad")
        await client.publish("x", b"good")
        await eventually(lambda: heard == [b"bad", b"good"])
        await client.stop()
    assert "internal error" in caplog.text


async def test_tls_with_an_authority_of_our_own_and_not_without_it(tmp_path: Path) -> None:
    ca, cert, key = certificates(tmp_path / "certs")
    with running(tmp_path / "m", tls=(cert, key)) as broker:
        trusted = MqttSettings.from_url(broker.url(scheme="mqtts"), lab="l", ca_file=ca)
        async with listening(trusted, "x") as (client, heard):
            await client.publish("x", b"over TLS")
            await eventually(lambda: heard)
        stranger = MqttSettings.from_url(broker.url(scheme="mqtts"), lab="l")
        with pytest.raises(UserError, match="--mqtt-ca"):
            await MqttClient(stranger).start()
