"""An MQTT broker within the lab, so that none has to be installed: amqtt behind a door of our own.

The door binds, speaks TLS, looks at every login before the broker knows of the client, and bounds what a client may
send and leave behind. Retained messages live in memory and end with the broker.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from firmware_bridge.errors import UserError
from firmware_bridge.telemetry import passwords
from firmware_bridge.telemetry.broker_wire import (
    PROTOCOL_LEVEL,
    REFUSED_LOGIN,
    REFUSED_VERSION,
    REFUSED_VERSION_311,
    Login,
    PacketReader,
    PacketRefusedError,
    PacketWriter,
    read_login,
    read_packet,
)

log = logging.getLogger(__name__)

PORT = 1883
LISTENER = "default"
LOGIN_PATIENCE_S = 10.0
LOGIN_PAUSE_S = 0.5
"""Before a wrong login is answered, against guessing."""
LOGINS_AT_ONCE = 4
LARGEST_LOGIN = 1 << 17
"""Bytes of a CONNECT; more could not be stored anyway."""
MOST_CLIENTS = 256
MOST_RETAINED = 4096
MOST_RETAINED_BYTES = 64 << 20
MOST_WAITING = 10_000
"""Messages that wait for one client that is away."""
SESSION_EXPIRY_S = 3600


@dataclass(frozen=True)
class BrokerSettings:
    """How the broker is to listen.

    Attributes:
        host: address to bind; anything but loopback needs a password file or ``anonymous``.
        port: 0 takes a free one.
        password_file: who may log in; None lets everybody in, on loopback.
        anonymous: let clients in that give no user name, wherever they are.
        tls_cert: PEM file with the certificate chain; None for no TLS.
        tls_key: PEM file with its private key.
        max_payload: largest message, bytes.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    password_file: Path | None = None
    anonymous: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_payload: int = 1 << 20

    def check(self) -> None:
        """Refuse what would leave the door open, or cannot work.

        Raises:
            UserError: with the option to give instead.
        """
        if not is_loopback(self.host) and self.password_file is None and not self.anonymous:
            raise UserError(
                f"--host {self.host} lets others in, and nobody would be asked for a password; give "
                "--password-file FILE, or --anonymous if that is what you want"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UserError("TLS needs both --tls-cert FILE and --tls-key FILE")
        if not 1 <= self.max_payload <= 256 << 20:
            raise UserError(f"--max-payload {self.max_payload}: from 1 byte to 256 MiB")

    def tls_context(self) -> ssl.SSLContext | None:
        """The server's side of TLS, or None where none was asked for.

        Raises:
            UserError: if the files cannot be used.
        """
        if self.tls_cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key, password="")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, FileNotFoundError) else error
            raise UserError(
                f"--tls-cert {self.tls_cert}, --tls-key {self.tls_key}: cannot be used ({why}); "
                "both are PEM files, and the key has no passphrase"
            ) from error
        return context


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone; a name other than localhost is taken for no."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class BrokerCounts:
    """What happened at the door."""

    clients: int = 0
    refused_logins: int = 0
    refused_packets: int = 0

    def to_json(self) -> dict[str, int]:
        """As plain data."""
        return asdict(self)


class Admitted(BaseAuthPlugin):  # type: ignore[misc] # the library is untyped
    """What the broker asks about a login that the door has let in already."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Let it in; the session of a client without a name ends with its connection."""
        session.is_anonymous = not session.username
        return True

    async def on_broker_retained_message(self, *, client_id: str | None, retained_message: Any) -> None:
        """A message waits for a client that is away: the oldest goes where there are too many."""
        del retained_message
        session = self.context.get_session(client_id) if client_id else None
        if session is not None and session.retained_messages.qsize() > MOST_WAITING:
            session.retained_messages.get_nowait()


class _Core(Broker):  # type: ignore[misc] # the library is untyped
    """amqtt's broker with a bound on what it keeps."""

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        kept = self.retained_messages
        if data and topic_name is not None:
            room = MOST_RETAINED_BYTES - sum(len(m.data) for t, m in kept.items() if t != topic_name)
            if len(data) > room or (topic_name not in kept and len(kept) >= MOST_RETAINED):
                log.warning("refused to retain a message on %.80r: too many are retained already", topic_name)
                return
        await super().retain_message(source_session, topic_name, data, qos)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only to those who subscribed: the library offers a newcomer what anybody at all has subscribed to."""
        subscribed = self.subscriptions.get(subscription[0], [])
        if any(other.client_id == session.client_id for other, _ in subscribed):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class EmbeddedBroker:
    """A broker to start and stop.

    Args:
        settings: how to listen.

    Raises:
        UserError: if the settings leave the door open or their files cannot be used.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        settings.check()
        self.settings = settings
        self.counts = BrokerCounts()
        self._tls = settings.tls_context()
        self._passwords = None if settings.password_file is None else passwords.load(settings.password_file)
        self._logins = asyncio.Semaphore(LOGINS_AT_ONCE)
        self._core: _Core | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> tuple[str, int]:
        """Listen; gives the address and the port.

        Raises:
            UserError: if the address cannot be bound.
        """
        config: dict[str, Any] = {
            "listeners": {LISTENER: {"type": "external"}},
            "plugins": {f"{__name__}.{Admitted.__name__}": {}},
            "session_expiry_interval": SESSION_EXPIRY_S,
        }
        logging.getLogger("amqtt").setLevel(logging.ERROR)  # the door says itself whom it refuses, and why
        logging.getLogger("transitions").setLevel(logging.ERROR)
        self._core = _Core(config)
        await self._core.start()
        host, port = self.settings.host, self.settings.port
        try:
            self._server = await asyncio.start_server(self._connected, host, port, ssl=self._tls)
        except OSError as error:
            await self._core.shutdown()
            raise UserError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); "
                "--port 0 takes a free port"
            ) from error
        if self._passwords is not None and self._tls is None and not is_loopback(host):
            log.warning("passwords cross the network in the clear: give --tls-cert and --tls-key")
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self) -> None:
        """Let go of every client and stop listening."""
        if self._server is not None:
            self._server.close()
        if self._core is not None:
            await self._core.shutdown()
            self._core = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = writer.get_extra_info("peername") or ("?", 0)
        try:
            await self._serve(reader, writer, f"{peer[0]}:{peer[1]}")
        except (OSError, TimeoutError) as error:
            log.info("%s: %s", peer, error)
        except Exception:  # a fault within the library ends one connection, not the broker
            log.exception("%s: internal error", peer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        if len(self._tasks) > MOST_CLIENTS:
            self._refuse_login(peer, f"more than {MOST_CLIENTS} connections")
            return
        try:
            async with asyncio.timeout(LOGIN_PATIENCE_S):
                first = await read_packet(reader, LARGEST_LOGIN)
                if first is None:
                    return
                login = await read_login(first)
        except TimeoutError:
            self._refuse_login(peer, "no login within ten seconds")
            return
        except PacketRefusedError as error:
            self._refuse_login(peer, str(error))
            return
        why, answer = await self._judge(login)
        if why is not None:
            self._refuse_login(peer, why)
            writer.write(answer)
            await writer.drain()
            return
        core = self._core
        if core is None:
            return
        self.counts.clients += 1
        log.info("%s: client %.60r of user %.60r", peer, login.client, login.user)

        def refuse(reason: str) -> None:
            self.counts.refused_packets += 1
            log.warning("client %.60r at %s is let go: %s", login.client, peer, reason)

        packets = PacketReader(
            reader,
            first,
            max_payload=self.settings.max_payload,
            keep_alive_s=login.keep_alive_s,
            refuse=refuse,
        )
        try:
            await core.external_connected(packets, PacketWriter(writer), LISTENER)
        finally:
            packets.close()

    async def _judge(self, login: Login) -> tuple[str | None, bytes]:
        """Why a login is refused, if it is, and the answer to it."""
        if login.version != PROTOCOL_LEVEL:
            answer = REFUSED_VERSION.get(login.version, REFUSED_VERSION_311)
            return f"protocol level {login.version}; this broker speaks MQTT 3.1.1 (level 4)", answer
        known = self._passwords
        if known is None or (login.user is None and self.settings.anonymous):
            return None, b""
        if login.user is None:
            return "no user name, and this broker has a password file", REFUSED_LOGIN
        async with self._logins:
            if await asyncio.to_thread(known.verify, login.user, login.password or ""):
                return None, b""
            await asyncio.sleep(LOGIN_PAUSE_S)
        return f"wrong user name or password (user {login.user[:60]!r})", REFUSED_LOGIN

    def _refuse_login(self, peer: str, why: str) -> None:
        self.counts.refused_logins += 1
        log.warning("login from %s refused: %s", peer, why)
