"""A connection to an MQTT broker that comes back by itself, around aiomqtt.

aiomqtt knows one connection; this knows that there are many, one after the other: it waits longer and longer between
attempts, subscribes again after each, and tells the publishes that waited for an acknowledgement that it never comes.
Nothing is queued without bound: a publish waits for one of ``inflight`` places, and a message that is too large or
finds no room is dropped and counted, since the protocol above asks again for what it misses.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.errors import LabError, UserError
from firmware_bridge.telemetry.mqtt_settings import MqttSettings, refusal
from firmware_bridge.telemetry.topics import matches

if TYPE_CHECKING:
    import aiomqtt

__all__ = ["LostError", "MqttClient", "MqttSettings", "Received", "TooLargeError", "Will"]

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STEADY_S = 10.0
"""A connection that held so long was a good one: the next pause is the first again."""
INFLIGHT = 20
"""Publishes that wait for the broker's word at once, by default; Mosquitto itself sends 20 at once to a client."""
WAITING_MESSAGES = 20_000
WAITING_BYTES = 32 << 20
"""What may wait here for the handlers."""
UNSPECIFIED = 128
"""paho's reason for a connection that the other side closed."""
ANSWER_S = 10.0
"""Patience with a broker's answers."""


class LostError(LabError):
    """There is no connection, or it broke before the broker acknowledged."""


class TooLargeError(LabError):
    """A message is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us once we are gone without a word; QoS 1."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass
class MqttCounts:
    """Since the start."""

    connections: int = 0
    published: int = 0
    received: int = 0
    too_large: int = 0
    no_room: int = 0

    def to_json(self) -> dict[str, int]:
        """For ``--json``."""
        return dict(vars(self))


Handler = Callable[[Received], Awaitable[None] | None]


class MqttClient:
    """Keeps a connection, publishes with QoS 1, and hands messages to handlers.

    Everything runs in the event loop in which :meth:`start` is called. A handler that raises is logged; the connection
    goes on.

    Args:
        settings: where and how.
        will: said by the broker when we are gone.
        inflight: publishes that may wait for their acknowledgement at once.
        on_connected: started as a task after each connection, subscriptions made; cancelled when it is lost.
        on_lost: called with the reason: for each connection that was lost, for the first attempt that failed, and when
            the broker begins or ceases to refuse us; not for each attempt.
        rng: of the pauses.

    Attributes:
        counts: what happened so far.
        refused: the latest reason why the broker did not let us in, None while it does.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        will: Will | None = None,
        inflight: int = INFLIGHT,
        on_connected: Callable[[], Awaitable[None]] | None = None,
        on_lost: Callable[[str], None] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.settings = settings
        self.counts = MqttCounts()
        self.refused: str | None = None
        self.inflight = inflight
        self._will = will
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._rng = np.random.default_rng() if rng is None else rng
        self._client_id = settings.client_id or f"asiclab{secrets.token_hex(6)}"
        self._tls = settings.tls_context()
        self._handlers: list[tuple[tuple[str, ...], Handler]] = []
        self._matching = lru_cache(maxsize=4096)(self._match)
        self._link: _Link | None = None
        self._slots = asyncio.Semaphore(inflight)
        self._up = asyncio.Event()
        self._first: asyncio.Future[str | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._link is not None

    def subscribe(self, filters: str | Sequence[str], handler: Handler) -> None:
        """Hand messages under these filters to a handler (QoS 1), from the next connection on: call it before start."""
        self._handlers.append(((filters,) if isinstance(filters, str) else tuple(filters), handler))
        self._matching.cache_clear()

    async def start(self) -> bool:
        """Try to connect, and keep trying in the background.

        Returns:
            Whether the first attempt succeeded.

        Raises:
            UserError: if the broker does not let us in: wrong password, unknown certificate, aiomqtt missing.
        """
        _aiomqtt()
        self._first = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            failure = await asyncio.shield(self._first)
        except BaseException:
            await self.stop()
            raise
        if failure is not None and self.refused is not None:
            await self.stop()
            raise UserError(self.refused)
        return failure is None

    async def stop(self) -> None:
        """Say goodbye and end; the will is not said then. May be called again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_connected(self) -> None:
        """Return as soon as there is a connection."""
        await self._up.wait()

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[None]:
        """Publish with QoS 1 as soon as one of the places is free; messages go out in the order of the calls.

        Returns:
            Done when the broker has acknowledged; fails with :class:`LostError` where that can never be.

        Raises:
            LostError: if there is no connection.
            TooLargeError: if the message is too large.
        """
        if len(payload) > self.settings.max_payload:
            self.counts.too_large += 1
            raise TooLargeError(
                f"a message for {topic} has {len(payload)} bytes, more than {self.settings.max_payload}"
            )
        await self._slots.acquire()
        link = self._link
        if link is None:
            self._slots.release()
            raise LostError(f"{self.settings.address}: not connected")
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(link.publish(topic, payload, retain))
        link.sending.add(task)
        task.add_done_callback(lambda task: self._sent(link, task, acknowledged))
        return acknowledged

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish with QoS 1 and wait for the broker's acknowledgement.

        Raises:
            LostError: if there is no connection, or it is lost before that.
            TooLargeError: if the message is too large.
        """
        await (await self.send(topic, payload, retain=retain))

    def _sent(self, link: _Link, task: asyncio.Task[None], acknowledged: asyncio.Future[None]) -> None:
        link.sending.discard(task)
        self._slots.release()
        error = None if task.cancelled() else task.exception()
        if not task.cancelled() and error is None:
            self.counts.published += 1
        if acknowledged.done():
            return
        if task.cancelled():  # only the end of the connection does that
            acknowledged.set_exception(LostError("the connection was lost before the broker acknowledged"))
        elif error is not None:
            acknowledged.set_exception(error)
        else:
            acknowledged.set_result(None)
        acknowledged.exception()  # whoever does not wait for it is not told either

    # ---- one connection after the other ------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempts, told, refused = 0, False, self.refused
        while True:
            begun = loop.time()
            try:
                was_up, why = await self._connection()
            except Exception as error:  # never end, never spin: a fault here is a lost connection as well
                log.exception("%s: internal error", self.settings.address)
                was_up, why = False, f"internal error: {type(error).__name__}"
            if was_up and loop.time() - begun >= STEADY_S:
                attempts = 0
            if was_up or not told or self.refused != refused:
                told, refused = True, self.refused
                log.warning("%s: %s; trying again", self.settings.address, why)
                if self._on_lost is not None:
                    self._on_lost(why)
            if self._first is not None and not self._first.done():
                self._first.set_result(why)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempts)
            attempts = min(attempts + 1, 10)
            await asyncio.sleep(pause_s * float(self._rng.uniform(0.5, 1.0)))

    async def _connection(self) -> tuple[bool, str]:
        """Connect and serve until the connection ends; whether it was up, and why it ended."""
        aiomqtt = _aiomqtt()
        client = self._client()
        try:
            await client.__aenter__()
        except aiomqtt.MqttError as error:
            _abandon(client)
            self.refused = refusal(self.settings, error)
            return False, self.refused or f"cannot be reached ({error})"
        except BaseException:
            _abandon(client)
            raise
        link = _Link(client)
        self._waiting_bytes = 0
        greeting: asyncio.Task[None] | None = None
        up = False
        try:
            if why := await self._subscribe(client):
                self.refused = why
                return False, why
            self.refused = None
            self._link, up = link, True
            self.counts.connections += 1
            self._up.set()
            log.info("%s: connected", self.settings.address)
            if self._on_connected is not None:
                greeting = asyncio.get_running_loop().create_task(self._greet())
            if self._first is not None and not self._first.done():
                self._first.set_result(None)
            async for message in client.messages:
                self._waiting_bytes -= len(message.payload)
                await self._dispatch(Received(str(message.topic), message.payload, bool(message.retain)))
            return up, "the connection ended"
        except aiomqtt.MqttError as error:
            cause = error.__cause__ or error
            hung_up = getattr(getattr(cause, "rc", None), "value", None) == UNSPECIFIED
            return up, "the broker hung up" if hung_up else f"the connection was lost ({cause})"
        finally:
            self._link = None
            self._up.clear()
            link.end()
            if greeting is not None:
                greeting.cancel()
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await client.__aexit__(None, None, None)
            _abandon(client)

    def _client(self) -> aiomqtt.Client:
        library, settings = _aiomqtt(), self.settings
        will = self._will
        client: aiomqtt.Client = library.Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=settings.password,
            identifier=self._client_id,
            protocol=library.ProtocolVersion.V311,
            clean_session=True,
            keepalive=settings.keepalive_s,
            timeout=ANSWER_S,
            tls_context=self._tls,
            will=None if will is None else library.Will(will.topic, will.payload, 1, will.retain),
            max_inflight_messages=self.inflight,
            max_queued_incoming_messages=WAITING_MESSAGES,
            queue_type=self._queue_type(),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        client.pending_calls_threshold = self.inflight + 10
        return client

    async def _subscribe(self, client: aiomqtt.Client) -> str | None:
        """Subscribe to every filter; why the broker refused one, or None."""
        for filters, _ in self._handlers:
            codes: Any = await client.subscribe([(one, 1) for one in filters])
            for one, code in zip(filters, codes, strict=False):
                if int(getattr(code, "value", code)) >= 128:
                    return f"{self.settings.address}: not allowed to listen to {one}; see the broker's access list"
        return None

    async def _greet(self) -> None:
        assert self._on_connected is not None
        try:
            await self._on_connected()
        except LostError:
            pass  # the next connection greets again
        except Exception:
            log.exception("%s: what was to be done after connecting failed", self.settings.address)

    # ---- messages that come ------------------------------------------------------------------------------------------

    def _queue_type(self) -> type[asyncio.Queue[aiomqtt.Message]]:
        """A queue that turns away what is too large, and everything while too many bytes wait."""
        client = self

        class Bounded(asyncio.Queue):  # type: ignore[type-arg] # aiomqtt makes it
            def put_nowait(self, item: aiomqtt.Message) -> None:
                size = len(item.payload)
                if size > client.settings.max_payload:
                    client.counts.too_large += 1
                    text = "%s: a message of %d bytes for %s was refused; %d are taken"
                    log.warning(text, client.settings.address, size, item.topic, client.settings.max_payload)
                    return
                if client._waiting_bytes + size > WAITING_BYTES or self.full():
                    client.counts.no_room += 1
                    return
                client._waiting_bytes += size
                super().put_nowait(item)

        return Bounded

    async def _dispatch(self, message: Received) -> None:
        self.counts.received += 1
        for handler in self._matching(message.topic):
            try:
                result = handler(message)
                if inspect.isawaitable(result):
                    await result
            except LostError:
                pass
            except LabError as error:
                log.warning("%s: %s", message.topic, error)
            except Exception:
                log.exception("%s: internal error", message.topic)

    def _match(self, topic: str) -> tuple[Handler, ...]:
        return tuple(h for filters, h in self._handlers if any(matches(topic, f) for f in filters))


class _Link:
    """One connection, and the publishes that wait in it."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.sending: set[asyncio.Task[None]] = set()

    async def publish(self, topic: str, payload: bytes, retain: bool) -> None:
        try:
            await self.client.publish(topic, payload, qos=1, retain=retain, timeout=math.inf)
        except (_aiomqtt().MqttError, ValueError) as error:
            raise LostError(f"not published: {error}") from error

    def end(self) -> None:
        """Tell every publish that no acknowledgement comes any more."""
        for task in list(self.sending):
            task.cancel()


def _abandon(client: aiomqtt.Client) -> None:
    """Close the socket of a client that aiomqtt leaves open where a connection was not acknowledged in time."""
    with contextlib.suppress(Exception):
        client._client.disconnect()


def _aiomqtt() -> Any:
    try:
        import aiomqtt
    except ModuleNotFoundError:
        raise UserError("MQTT needs aiomqtt: pip install 'aiomqtt>=2.5,<3'") from None
    return aiomqtt
