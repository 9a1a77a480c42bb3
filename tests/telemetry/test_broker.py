"""The embedded broker lets in whom it should, refuses and names the rest, and keeps going."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry import broker as broker_module
from firmware_bridge.telemetry import broker_wire, passwords
from firmware_bridge.telemetry.broker import BrokerSettings, EmbeddedBroker
from firmware_bridge.telemetry.broker_wire import Packet, PacketRefusedError

PATIENCE_S = 30.0
SECRET = "correct horse battery"


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[EmbeddedBroker, int]]:
    broker = EmbeddedBroker(BrokerSettings(port=0, **settings))
    _, port = await broker.start()
    try:
        yield broker, port
    finally:
        await broker.stop()


def client(port: int, **options: Any) -> Any:
    return aiomqtt.Client("127.0.0.1", port, timeout=PATIENCE_S, **options)


async def next_message(client: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await anext(client.messages)


async def until(condition: Any) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")


async def send_and_be_let_go(port: int, topic: str, payload: bytes) -> None:
    async with client(port) as sender:
        sending = asyncio.create_task(sender.publish(topic, payload))
        with pytest.raises(aiomqtt.MqttError, match="Disconnected"):
            await next_message(sender)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    passwords.add(path, "lab", SECRET)
    return path


def connect_packet(
    client_id: bytes = b"x", user: bytes | None = None, password: bytes | None = None
) -> bytes:
    flags = 2 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = b"\0\4MQTT\4" + bytes([flags]) + b"\0\0"
    for text in (client_id, user, password):
        if text is not None:
            body += len(text).to_bytes(2, "big") + text
    return packet(0x10, body)


def packet(first: int, body: bytes) -> bytes:
    length, head = len(body), bytes([first])
    while True:
        head += bytes([length % 128 | (0x80 if length > 127 else 0)])
        length //= 128
        if not length:
            return head + body


# ---- passwords


def test_a_password_file_holds_hashes_for_its_owner_alone_and_keeps_what_else_stands_in_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "passwords"
    assert passwords.add(path, "lab", SECRET) is False
    path.write_text("# ours\n" + path.read_text())
    assert passwords.add(path, "other", "another secret") is False
    assert passwords.add(path, "lab", "changed secret") is True
    text = path.read_text()
    assert SECRET not in text
    assert text.startswith("# ours\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = passwords.load(path)
    assert len(known) == 2
    assert known.verify("lab", "changed secret")
    assert known.verify("other", "another secret")
    for user, password in (("lab", SECRET), ("lab", ""), ("nobody", "changed secret"), ("", "")):
        assert not known.verify(user, password)


def test_a_broken_password_file_is_named_with_its_line_and_no_hash(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    passwords.add(path, "lab", SECRET)
    path.write_text(path.read_text() + "eve:plain-secret\n")
    with pytest.raises(UserError, match=r"passwords, line 2: is no NAME:HASH") as caught:
        passwords.load(path)
    assert "plain-secret" not in str(caught.value)
    path.write_text("# nobody\n")
    with pytest.raises(UserError, match="names no user"):
        passwords.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        passwords.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("user", "password"), [("", SECRET), ("a:b", SECRET), ("a\nb", SECRET), ("a", "short")]
)
def test_users_that_no_file_could_hold_are_refused(tmp_path: Path, user: str, password: str) -> None:
    with pytest.raises(UserError):
        passwords.add(tmp_path / "passwords", user, password)
    assert not (tmp_path / "passwords").exists()


# ---- who may listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lab.example"])
def test_an_open_door_needs_a_password_file_or_an_explicit_word(host: str, password_file: Path) -> None:
    with pytest.raises(UserError, match=r"--host .*--password-file FILE, or --anonymous"):
        BrokerSettings(host=host).check()
    BrokerSettings(host=host, anonymous=True).check()
    BrokerSettings(host=host, password_file=password_file).check()


def test_loopback_needs_none() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        BrokerSettings(host=host).check()


async def test_a_taken_port_is_a_mistake_that_names_the_way_out() -> None:
    async with running() as (_, port):
        second = EmbeddedBroker(BrokerSettings(port=port))
        with pytest.raises(UserError, match=rf"--port {port}: cannot listen.*--port 0"):
            await second.start()


# ---- logins


async def test_messages_and_retained_messages_reach_those_who_log_in(password_file: Path) -> None:
    async with running(password_file=password_file) as (broker, port):
        login = {"username": "lab", "password": SECRET}
        async with client(port, **login) as sender, client(port, **login) as reader:
            await sender.publish("a/kept", b"old", qos=1, retain=True)
            await reader.subscribe("a/#", qos=1)
            kept = await next_message(reader)
            assert (str(kept.topic), kept.payload, kept.retain) == ("a/kept", b"old", True)
            await sender.publish("a/b", b"\0new", qos=1)
            live = await next_message(reader)
            assert (str(live.topic), live.payload, live.retain) == ("a/b", b"\0new", False)
        assert broker.counts.to_json() == {"clients": 2, "refused_logins": 0, "refused_packets": 0}


@pytest.mark.parametrize(
    "login",
    [
        {"username": "lab", "password": "a guess"},
        {"username": "eve", "password": SECRET},
        {"username": "lab"},
        {},
    ],
    ids=["wrong password", "unknown user", "no password", "no name"],
)
async def test_a_wrong_login_is_refused_and_logged_without_the_password(
    login: dict[str, str],
    password_file: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker_module, "LOGIN_PAUSE_S", 0.0)
    async with running(password_file=password_file) as (broker, port):
        with pytest.raises(aiomqtt.MqttError, match=r"[Nn]ot authori[sz]ed"):
            async with client(port, **login):
                pass
        await until(lambda: broker.counts.refused_logins == 1)
        assert broker.counts.clients == 0
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "refused" in record.getMessage()
    assert "a guess" not in caplog.text
    assert SECRET not in caplog.text


async def test_anonymous_lets_in_clients_without_a_name_and_still_checks_names(
    password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "LOGIN_PAUSE_S", 0.0)
    async with running(password_file=password_file, anonymous=True) as (_, port):
        async with client(port):
            pass
        with pytest.raises(aiomqtt.MqttError):
            async with client(port, username="lab", password="a guess"):
                pass


async def test_a_refused_login_does_not_disturb_the_client_whose_name_it_takes(
    password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "LOGIN_PAUSE_S", 0.0)
    async with running(password_file=password_file) as (broker, port):  # noqa: SIM117 # the client leaves before the broker
        async with client(port, identifier="meter", username="lab", password=SECRET) as meter:
            await meter.subscribe("a/b")
            thief = client(port, identifier="meter", username="lab", password="a guess")
            with pytest.raises(aiomqtt.MqttError):
                await thief.__aenter__()
            await until(lambda: broker.counts.refused_logins == 1)
            async with client(port, username="lab", password=SECRET) as sender:
                await sender.publish("a/b", b"still here", qos=1)
            assert (await next_message(meter)).payload == b"still here"


async def test_another_version_of_mqtt_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (broker, port):
        with pytest.raises(aiomqtt.MqttError, match=r"[Uu]nsupported protocol version"):
            async with client(port, protocol=aiomqtt.ProtocolVersion.V5):
                pass
        await until(lambda: broker.counts.refused_logins == 1)
    assert "speaks MQTT 3.1.1" in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n" + b" " * 200,
        b"\x30\x03\0\1a",
        b"\x10\xff\xff\xff\xff\xff",
        packet(0x10, b"\0\4MQTT\4"),
    ],
    ids=["http", "publish first", "endless length", "cut CONNECT"],
)
async def test_what_is_no_login_is_let_go(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with running() as (broker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: broker.counts.refused_logins == 1)
        async with client(port):
            pass
    assert "refused" in caplog.text


# ---- what a client may send


async def test_a_payload_of_ten_megabytes_is_refused_and_the_others_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as (broker, port), client(port) as reader:
        await reader.subscribe("#")
        await send_and_be_let_go(port, "a", bytes(10 << 20))
        await until(lambda: broker.counts.refused_packets == 1)
        async with client(port) as sender:
            await sender.publish("b", b"fine", qos=1)
        assert str((await next_message(reader)).topic) == "b"
    assert "is let go: a packet of 104857" in caplog.text


async def test_the_limit_is_that_of_the_payload() -> None:
    async with running(max_payload=100) as (broker, port), client(port) as reader:
        await reader.subscribe("#")
        topic = "a" * 300
        async with client(port) as sender:
            await sender.publish(topic, bytes(100), qos=1)
            assert len((await next_message(reader)).payload) == 100
        await send_and_be_let_go(port, topic, bytes(101))
        await until(lambda: broker.counts.refused_packets == 1)


@pytest.mark.parametrize("topic", [b"a/#", b"+/b", b"", b"a\0b", b"\xff", b"$SYS/x"])
async def test_a_topic_that_nobody_may_publish_to_ends_the_connection(
    topic: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And what follows it within the packet is never taken for a packet of its own."""
    smuggled = packet(0x30, b"\0\1s" + b"smuggled")
    async with running() as (broker, port), client(port) as watcher:
        await watcher.subscribe("#")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(connect_packet())
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readexactly(4) == b"\x20\2\0\0"
            writer.write(packet(0x30, len(topic).to_bytes(2, "big") + topic + smuggled))
            assert await reader.read() == b""
        writer.close()
        await until(lambda: broker.counts.refused_packets == 1)
        async with client(port) as sender:
            await sender.publish("z", b"last", qos=1)
        assert str((await next_message(watcher)).topic) == "z"
    assert "is let go: a topic" in caplog.text


async def test_a_client_that_falls_silent_is_let_go_and_its_will_is_published() -> None:
    async with running() as (broker, port), client(port) as watcher:
        await watcher.subscribe("lab/state")
        flags, will = 0x02 | 0x04, b"\0\x09lab/state\0\7offline"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(packet(0x10, b"\0\4MQTT\4" + bytes([flags]) + b"\0\1" + b"\0\1x" + will))
        assert (await next_message(watcher)).payload == b"offline"
        await until(lambda: broker.counts.refused_packets == 1)
        writer.close()


async def test_a_newcomer_hears_nothing_that_it_has_not_asked_for() -> None:
    async with running() as (_, port), client(port) as other:
        await other.subscribe("#")
        await other.publish("a", b"kept", qos=1, retain=True)
        await other.publish("b", b"kept too", qos=1, retain=True)
        async with client(port) as newcomer:
            await newcomer.subscribe("b")
            await newcomer.publish("b", b"live", qos=1)
            found = [await next_message(newcomer) for _ in range(2)]
    assert [(str(m.topic), m.payload, m.retain) for m in found] == [
        ("b", b"kept too", True),
        ("b", b"live", False),
    ]


async def test_retained_messages_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "MOST_RETAINED", 2)
    monkeypatch.setattr(broker_module, "MOST_RETAINED_BYTES", 1000)
    async with running() as (_, port), client(port) as sender:
        for topic, payload in ("a", b"1"), ("b", bytes(900)), ("c", b"3"), ("a", bytes(200)), ("b", b"2"):
            await sender.publish(topic, payload, qos=1, retain=True)
        async with client(port) as reader:
            await reader.subscribe("#")
            found = [await next_message(reader) for _ in range(2)]
        assert {(str(m.topic), m.payload) for m in found} == {("a", b"1"), ("b", b"2")}
    assert caplog.text.count("refused to retain") == 2


# ---- TLS


def certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(*pem))
    return cert_file, key_file


async def test_tls_carries_messages_and_a_stranger_to_the_certificate_leaves(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    async with running(tls_cert=cert, tls_key=key) as (_, port):
        trusting = ssl.create_default_context(cafile=str(cert))
        async with client(port, tls_context=trusting) as one:
            await one.subscribe("a")
            await one.publish("a", b"secret", qos=1)
            assert (await next_message(one)).payload == b"secret"
        with pytest.raises(aiomqtt.MqttError):
            async with client(port, tls_context=ssl.create_default_context()):
                pass


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    with pytest.raises(UserError, match="needs both --tls-cert FILE and --tls-key FILE"):
        BrokerSettings(tls_cert=cert).check()
    with pytest.raises(UserError, match=r"--tls-key .*missing.*cannot be used"):
        BrokerSettings(tls_cert=cert, tls_key=tmp_path / "missing").tls_context()


# ---- pieces of the wire, whatever comes


async def pieces(data: bytes, limit: int) -> list[Packet]:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while (one := await broker_wire.read_packet(reader, limit)) is not None:
        found.append(one)
    return found


@given(st.lists(st.tuples(st.integers(16, 255), st.binary(max_size=300)), max_size=5), st.integers(0, 40))
def test_packets_are_cut_where_they_end(content: list[tuple[int, bytes]], cut: int) -> None:
    stream = b"".join(packet(first, body) for first, body in content)
    found = asyncio.run(pieces(stream, 300))
    assert [(p.data[0], p.data[p.body :]) for p in found] == content
    assert b"".join(p.data for p in asyncio.run(pieces(stream[: max(0, len(stream) - cut)], 300))) in stream


@given(st.binary(max_size=80))
def test_no_bytes_make_the_door_trip(data: bytes) -> None:
    async def judge() -> None:
        try:
            for one in await pieces(b"\x10" + bytes([len(data)]) + data, 100):
                await broker_wire.read_login(one)
        except PacketRefusedError:
            pass

    asyncio.run(judge())


@given(
    st.text(max_size=20),
    st.one_of(st.none(), st.text(max_size=20)),
    st.one_of(st.none(), st.text(max_size=20)),
)
def test_a_login_is_read_as_it_was_written(name: str, user: str | None, password: str | None) -> None:
    if user is None:
        password = None  # MQTT 3.1.1 has no password without a name
    texts = [None if t is None else t.encode() for t in (name, user, password)]
    (one,) = asyncio.run(pieces(connect_packet(*texts), 1000))  # type: ignore[arg-type]
    login = asyncio.run(broker_wire.read_login(one))
    assert (login.version, login.client, login.user, login.password) == (4, name, user, password)
