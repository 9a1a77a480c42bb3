"""The part of a proxied conversation in which miner and pool come to terms, and what a pool says besides jobs.

The order towards the miner is that of :class:`Session`: requests are answered once the pool has answered them, and
nothing goes out unasked before subscribe, configure and authorize are answered. What the miner asked for is kept, and
said again to each further pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from firmware_bridge.clock import Clock
from firmware_bridge.errors import ProtocolError
from firmware_bridge.lbry import mines_lbry
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.dispatch import JobPolicy
from firmware_bridge.stratum.forwards import ProxyStats
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.proxy_config import HIDDEN, ProxyConfig, Upstream
from firmware_bridge.stratum.session import WORKERS_ALLOWED, Host, Session
from firmware_bridge.stratum.space import COMFORTABLE, SMALLEST_LEFT, Space, own_bytes
from firmware_bridge.stratum.upstream import UpstreamSession, error_of
from firmware_bridge.stratum.wire import (
    SCALE_SUBSCRIPTION,
    Authorize,
    ClientMessage,
    Configure,
    ErrorCode,
    ExtranonceSubscribe,
    Subscribe,
    SuggestDifficulty,
    WireError,
    clean_text,
    scale_from_user_agent,
    scale_token,
)

AGENT = "asiclab-proxy"
"""User agent for a miner that names none."""

CONFIGURE_PATIENCE_S = 5.0
"""How long a pool may take to answer ``mining.configure``: some never answer what they do not know."""

SECRET_LENGTH = 4
"""Shortest password that is looked for in texts of a pool: a shorter one is no secret and would blank half of them."""


@dataclass(slots=True)
class Wish:
    """A request of the miner, kept to be said again to another pool.

    Attributes:
        message: as it came.
        waiting: ids of the miner's requests that wait for the answer.
        number: id of the request at the pool, where one is out.
        sent_ns: when it was sent, monotonic.
    """

    message: Subscribe | Configure | Authorize | SuggestDifficulty | ExtranonceSubscribe
    waiting: list[bytes] = field(default_factory=list)
    number: int | None = None
    sent_ns: int = 0


class Uplink(Protocol):
    """What a session needs of its :class:`~firmware_bridge.stratum.link.Link`."""

    def start(self) -> None:
        """Look for a pool, if that has not begun."""

    def established(self) -> None:
        """The pool took the miner in."""

    def refused(self, reason: str) -> bool:
        """The pool refused the miner: whether another one is tried."""

    def redirect(self, host: str | None, port: int | None, wait_s: float) -> None:
        """Follow ``client.reconnect``."""


class ProxyHost(Host, Protocol):
    """What a proxied session needs of the connection that carries it."""

    stats: ProxyStats

    def entered(self, kind: str, severity: str, miner: int, detail: dict[str, Any]) -> None:
        """Write what became of a share into the run."""


class ProxyHandshake(Session):
    """State of one miner and of its terms with the pool.

    Args:
        config: settings of the proxy.
        host: the connection.
        clock: for stamps and round trips.
        factory: of the bridge; makes no jobs here.
        policy: when a miner gets a job besides those of the pool.
    """

    link: Uplink
    _host: ProxyHost

    def __init__(
        self, config: ProxyConfig, host: ProxyHost, clock: Clock, factory: JobFactory, policy: JobPolicy
    ) -> None:
        super().__init__(config.bridge(), host, clock, factory, policy, keep_jobs=True)
        self.proxy = config
        self.stats = host.stats
        self.upstream: UpstreamSession | None = None
        self.pool: Upstream = config.upstreams[0]
        self.without_pool_since_ns: int | None = clock.monotonic_ns()
        self._wishes: list[Wish] = []
        self._space: Space | None = None
        self._told: tuple[str, int] | None = None  # extranonces that the miner knows
        self._last_place: tuple[str, int] | None = None
        self._resume: tuple[str, str] | None = None
        self._era = 0  # of the conversation with a pool: shares of an older one go nowhere
        self._mask_asked: int | None = None
        self._mask_granted = False
        self._authorized: set[str] = set()  # users that this pool took in

    # ---- the miner's requests ----------------------------------------------------------------------------------------

    def _handle(self, message: ClientMessage | WireError) -> None:
        if isinstance(message, ExtranonceSubscribe):
            self._say(Wish(message))
        super()._handle(message)

    def _say(self, wish: Wish) -> None:
        """Keep a request in the place of an older one of its kind, and tell the pool if there is one."""
        kind, user = type(wish.message), getattr(wish.message, "user", None)
        for place, old in enumerate(self._wishes):
            if type(old.message) is kind and getattr(old.message, "user", None) == user:
                wish.waiting[:0] = old.waiting
                if old.number is not None and self.upstream is not None:
                    self.upstream.abandon(old.number)
                self._wishes[place] = wish
                break
        else:
            self._wishes.append(wish)
        if self.upstream is not None:
            self._forward(wish, self.upstream)
        self.link.start()  # not before a miner speaks: who only connects costs a pool nothing

    @property
    def waits_for_pool(self) -> bool:
        """Whether the miner waits for an answer that only a pool can give."""
        return any(wish.waiting for wish in self._wishes)

    def _forward(self, wish: Wish, upstream: UpstreamSession) -> None:
        def ask(method: str, params: list[Any], answered: Any, *, owed: bool = True) -> None:
            wish.sent_ns = self._clock.monotonic_ns()
            wish.number = upstream.request(method, params, partial(answered, wish, upstream), owed=owed)

        match wish.message:
            case Subscribe():
                params: list[Any] = [self.agent or AGENT]
                if self._resume is not None and self._resume[0] == self.pool.label:
                    params.append(self._resume[1])
                ask("mining.subscribe", params, self._subscribed)
            case Configure(extensions=extensions, options=options):
                if self._mask_asked is not None:
                    options = {**options, "version-rolling.mask": f"{self._mask_asked:08x}"}
                ask("mining.configure", [extensions, options], self._configured, owed=False)
            case Authorize() as message:
                user, password = self._credentials(message)
                if user in self._authorized:  # several workers of the miner are one at the pool
                    self._let_in(wish)
                else:
                    ask("mining.authorize", [user, password], self._admitted)
            case SuggestDifficulty(difficulty=difficulty):
                ask("mining.suggest_difficulty", [wire.plain_number(difficulty)], self._ignored, owed=False)
            case ExtranonceSubscribe():
                ask("mining.extranonce.subscribe", [], self._ignored, owed=False)

    def _ignored(
        self, wish: Wish, upstream: UpstreamSession, response: wire.Response | None, ns: int
    ) -> None:
        wish.number = None

    def _credentials(self, message: Authorize) -> tuple[str, str]:
        pool = self.pool
        user = message.user if pool.user is None else pool.user
        if pool.password is not None:
            return user, pool.password
        return user, "x" if pool.user is not None else message.password or ""

    def _subscribe(self, message: Subscribe) -> None:
        scale_from_user_agent(message.agent)  # raises where it is nonsense
        if self.subscribed and self.upstream is not None and self.upstream.subscribed:
            self._answer_subscribe(message.id)  # Goldshell asks twice
            return
        self.agent = None if message.agent is None else clean_text(message.agent)
        self.lbry = mines_lbry(message.agent)
        self._say(Wish(message, [] if message.id is None else [message.id]))

    def _subscribed(
        self, wish: Wish, upstream: UpstreamSession, response: wire.Response | None, ns: int
    ) -> None:
        if upstream is not self.upstream or response is None:
            return
        wish.number = None
        if response.error is not None or response.result in (None, False):
            self._resume = None
            raise ProtocolError(f"the pool refused mining.subscribe: {self._safe(error_of(response)[1])}")
        try:
            subscriptions = upstream.take_subscription(response.result)
        except WireError as error:
            raise ProtocolError(error.text) from None
        named = scale_from_user_agent(self.agent)
        confirmed = named is not None and [SCALE_SUBSCRIPTION, scale_token(named)] in subscriptions
        scale = named if named is not None and confirmed else 1.0
        if self.subscribed and scale != self.scale:
            self._end(f"another pool, which does not confirm the difficulty {scale_token(self.scale)}")
            return
        self.scale = upstream.scale = scale
        resume = None if upstream.session_id is None else (self.pool.label, upstream.session_id)
        place = (upstream.extranonce1, upstream.extranonce2_size)
        if resume is None or (resume, place) != (self._resume, self._last_place):
            self._new_era()
        self._resume, self._last_place = resume, place
        self._take_extranonces(upstream)
        self.subscribed = True
        for id in self._waiting(wish):
            self._answer_subscribe(id)
        self._start()

    def _answer_subscribe(self, id: bytes | None) -> None:
        assert self._told is not None
        extranonce1, size = self._told
        subscriptions = [["mining.set_difficulty", extranonce1], ["mining.notify", extranonce1]]
        if self.scale != 1.0:
            subscriptions.append([SCALE_SUBSCRIPTION, scale_token(self.scale)])
        self._answer(id, [subscriptions, extranonce1, size])

    def _new_era(self) -> None:
        """What was found for the pool before is worth nothing to this one."""
        self._era += 1

    def _take_extranonces(self, upstream: UpstreamSession) -> None:
        """Share extranonce2, and see whether the miner can go on with what it was told before."""
        left = COMFORTABLE if self.lbry else SMALLEST_LEFT
        own = own_bytes(upstream.extranonce2_size, self.proxy.own_bytes, left) if self._makes_jobs else 0
        space = Space(upstream.extranonce1, upstream.extranonce2_size, own)
        told = (space.extranonce1, space.miner_size)
        if self._told is not None and told != self._told and not self.extranonce_subscribed:
            self._end(
                "the pool gave another extranonce1, and this miner did not send mining.extranonce.subscribe: it has to "
                "subscribe again"
            )
            return
        if self._told is None:
            self._told, self.extranonce1 = told, space.extranonce1
        self._space = space

    @property
    def _makes_jobs(self) -> bool:
        """Whether a part of extranonce2 is kept."""
        return False

    def _configure(self, message: Configure) -> None:
        if "version-rolling" in message.extensions:
            asked = wire.version_mask(message.options.get("version-rolling.mask", "ffffffff"))
            self._mask_asked = asked & self.config.version_mask
        if "subscribe-extranonce" in message.extensions:
            self.extranonce_subscribed = True
        self._say(Wish(message, [] if message.id is None else [message.id]))

    def _configured(
        self, wish: Wish, upstream: UpstreamSession, response: wire.Response | None, ns: int
    ) -> None:
        if upstream is not self.upstream or response is None:
            return
        self._conclude_configure(wish, response.result if isinstance(response.result, dict) else {})

    def _conclude_configure(self, wish: Wish, granted: dict[str, Any]) -> None:
        wish.number = None
        assert isinstance(wish.message, Configure)
        result: dict[str, Any] = {}
        mask = self.version_mask
        for extension in wish.message.extensions:
            name = clean_text(extension, 64)
            value = granted.get(extension)
            if extension == "version-rolling":
                mask = 0
                self._mask_granted = value is True
                result[name] = self._mask_granted
                if self._mask_granted:
                    mask = self._mask_of(granted.get("version-rolling.mask", "ffffffff"))
                    result["version-rolling.mask"] = f"{mask:08x}"
            elif extension == "subscribe-extranonce":
                result[name] = True
            else:
                fine = isinstance(value, bool) or (isinstance(value, str) and len(value) <= 64)
                result[name] = value if fine else False
        waiting = self._waiting(wish)
        for id in waiting:
            self._answer(id, result)
        self._take_mask(mask, told=bool(waiting))
        self._start()

    def _mask_of(self, text: Any) -> int:
        try:
            return (self._mask_asked or 0) & wire.version_mask(text)
        except WireError as error:
            raise ProtocolError(f"the pool granted a broken mask: {error.text}") from None

    def _take_mask(self, mask: int, *, told: bool) -> None:
        if mask == self.version_mask:
            return
        self.version_mask = mask
        self._host.mask_changed(mask)
        if not told:
            self._host.send(wire.encode_set_version_mask(mask))
        if self.started:
            self.dispatch(clean=True)

    def _authorize(self, message: Authorize) -> None:
        id = message.id or b"null"
        known = [w for w in self._wishes if isinstance(w.message, Authorize)]
        if not message.user:
            text = "unauthorized worker: the user name is empty"
            self._host.send(wire.encode_error(id, ErrorCode.UNAUTHORIZED, text))
        elif message.user in self.desk.workers:
            self._answer(message.id, True)
        elif len(known) >= WORKERS_ALLOWED and all(w.message.user != message.user for w in known):  # type: ignore[union-attr]
            text = f"unauthorized worker: one connection carries at most {WORKERS_ALLOWED}"
            self._host.send(wire.encode_error(id, ErrorCode.UNAUTHORIZED, text))
        else:
            self._say(Wish(message, [] if message.id is None else [message.id]))

    def _admitted(
        self, wish: Wish, upstream: UpstreamSession, response: wire.Response | None, ns: int
    ) -> None:
        if upstream is not self.upstream or response is None:
            return
        wish.number = None
        assert isinstance(wish.message, Authorize)
        if response.result is True and response.error is None:
            self._authorized.add(self._credentials(wish.message)[0])
            self.link.established()
            self.without_pool_since_ns = None
            self._let_in(wish)
            self._pool_is_back()
            return
        code, text = error_of(response)
        text = self._safe(text)
        if self.link.refused(f"the pool refused mining.authorize: {text}"):
            return
        self._host.event("upstream-refused", "error", {"pool": self.pool.label, "error": text})
        self._wishes.remove(wish)
        for id in self._waiting(wish):
            self._host.send(wire.encode_error(id, code, text))
        if wish.message.user in self.desk.workers:
            self._end(f"the pool does not take this worker in any more: {text}")

    def _let_in(self, wish: Wish) -> None:
        assert isinstance(wish.message, Authorize)
        if wish.message.user not in self.desk.workers:
            self._welcome(wish.message.user, wish.message.password)
        for id in self._waiting(wish):
            self._answer(id, True)
        self._start()

    def _pool_is_back(self) -> None:
        """A pool takes shares again."""

    def _suggest(self, message: SuggestDifficulty) -> None:
        super()._suggest(message)
        self._say(Wish(message))

    @staticmethod
    def _waiting(wish: Wish) -> list[bytes]:
        waiting, wish.waiting = wish.waiting, []
        return waiting

    def _start(self) -> None:
        configuring = any(isinstance(w.message, Configure) and w.waiting for w in self._wishes)
        if self.subscribed and self.desk.workers and not configuring and not self.started:
            self.started = True
            self._first_job()

    def _first_job(self) -> None:
        """The miner may have its first job, if there is one."""

    def sweep(self) -> None:
        """Go on without a pool's answer to configure; called about once a second."""
        if self.upstream is None:
            return
        for wish in self._wishes:
            late = self._clock.monotonic_ns() - wish.sent_ns > CONFIGURE_PATIENCE_S * 1e9
            if isinstance(wish.message, Configure) and wish.number is not None and late:
                self.upstream.abandon(wish.number)
                self.upstream_event(
                    "upstream-no-configure", "warning", {"error": "mining.configure was not answered"}
                )
                self._conclude_configure(wish, {})

    def _secrets(self) -> list[str]:
        known = [pool.password for pool in self.proxy.upstreams]
        known += [w.message.password for w in self._wishes if isinstance(w.message, Authorize)]
        if self.config.keep_secrets:
            return []
        return [secret for secret in known if secret is not None and len(secret) >= SECRET_LENGTH]

    def _safe(self, text: str) -> str:
        """A text of the pool without the passwords that it was told."""
        for secret in self._secrets():
            text = text.replace(secret, HIDDEN)
        return text

    def safe_bytes(self, data: bytes) -> bytes:
        """Lines of the pool without them."""
        for secret in self._secrets():
            data = data.replace(secret.encode("utf-8", "surrogatepass"), HIDDEN.encode())
        return data

    def leave(self) -> None:
        """The miner is gone: it gets nothing more, but answers to its shares are still noted."""
        self._ended = True
        self.intake.close()

    # ---- what the link and the pool say ------------------------------------------------------------------------------

    def link_up(self, upstream: UpstreamSession, pool: Upstream) -> None:
        """A pool is connected: say to it what the miner said."""
        self.upstream, self.pool = upstream, pool
        self._authorized = set()
        self.stats.links += 1
        self.stats.reconnects += self._last_place is not None
        self.upstream_event("upstream-connected", "info", {})
        for wish in list(self._wishes):
            self._forward(wish, upstream)

    def link_down(self, reason: str) -> None:
        """It is lost."""
        self.upstream = None
        for wish in self._wishes:
            wish.number = None
        if self.without_pool_since_ns is None:
            self.without_pool_since_ns = self._clock.monotonic_ns()

    def upstream_extranonce(self, extranonce1: str, size: int) -> None:
        """Counts from the pool's next job on."""
        if self.upstream is not None:
            self._take_extranonces(self.upstream)
            self._last_place = (extranonce1, size)

    def upstream_mask(self, mask: int) -> None:
        """Counts at once."""
        if self._mask_asked is not None and self._mask_granted:
            self._take_mask(self._mask_asked & mask, told=False)

    def upstream_reconnect(self, host: str | None, port: int | None, wait_s: float) -> None:
        """The pool asks to be left."""
        self.link.redirect(host, port, wait_s)

    def upstream_agent(self) -> str:
        """The miner's own user agent."""
        return self.agent or AGENT

    def upstream_message(self, text: str) -> None:
        """Something for people: the miner may show it."""
        text = self._safe(text)
        self.upstream_event("upstream-message", "info", {"text": text})
        if self.started:
            self._host.send(wire.encode_show_message(text))

    def upstream_event(self, kind: str, severity: str, detail: dict[str, Any]) -> None:
        """Something for the trace."""
        safe = {
            name: self._safe(value) if isinstance(value, str) else value for name, value in detail.items()
        }
        self._host.event(kind, severity, {"pool": self.pool.label, **safe})
