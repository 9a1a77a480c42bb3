"""One miner's conversation: what it may say when, and what it is told; no sockets and no event loop.

Order (the quirks are those of real firmware): nothing goes out unasked before subscribe and authorize are answered,
since LV06 firmware reads the answers of subscribe and configure in lock-step; configure may come before or after
subscribe; a second subscribe gets the same extranonce1; set_difficulty goes out before the notify it counts from.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import UNSET

from firmware_bridge.clock import Clock
from firmware_bridge.errors import LabError, UserError
from firmware_bridge.lbry import mines_lbry
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import (
    DispatchContext,
    HearsShares,
    JobPolicy,
    JobSymbol,
    SymbolSource,
    tell_shares,
)
from firmware_bridge.stratum.intake import Intake
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.shares import Judged, ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import (
    EXTRANONCE2_SIZE,
    SCALE_SUBSCRIPTION,
    Authorize,
    ClientMessage,
    ClientPing,
    Configure,
    ErrorCode,
    ExtranonceSubscribe,
    SubmitLine,
    Subscribe,
    SuggestDifficulty,
    Unknown,
    WireError,
    clean_text,
    echoed_id,
    encode_error,
    encode_notify,
    encode_result,
    encode_set_difficulty,
    encode_set_extranonce,
    encode_set_version_mask,
    encode_show_message,
    scale_from_user_agent,
    scale_token,
    version_mask,
)

PROTOCOL_ERRORS_ALLOWED = 16
"""Broken lines after which a connection is closed."""

WORKERS_ALLOWED = 16
"""Worker names that one connection may authorise."""

REDACTED = "***"
"""What stands in the trace for a password."""


class Host(Protocol):
    """What a session needs of the connection that carries it."""

    def send(self, data: bytes) -> None:
        """Send now."""

    def store(self, judged: Judged) -> None:
        """Store rows, and send their answers once they are durable."""

    def enroll(self, session: Session, user: str) -> Worker:
        """Give a worker its number in the run."""

    def mask_changed(self, mask: int) -> None:
        """Note the version bits that the workers of this connection roll from now on."""

    def sent_job(self, prepared: PreparedJob) -> None:
        """Store a job that was just sent (its number is set here), and come back when its time is over."""

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        """Write an event of this connection to the run."""

    def drop(self, reason: str) -> None:
        """Send what waits, then hang up."""

    def fail(self, error: LabError) -> None:
        """Stop the whole bridge: the mistake is not the miner's."""


class Session:
    """State of one connection.

    Args:
        config: settings of the bridge.
        host: the connection.
        clock: for the send stamps of jobs.
        factory: makes jobs.
        policy: when a job is replaced.
        source: what jobs carry; None for nothing.
        keep_jobs: whether judged rows name their jobs (someone listens to the shares).
    """

    def __init__(
        self,
        config: BridgeConfig,
        host: Host,
        clock: Clock,
        factory: JobFactory,
        policy: JobPolicy,
        source: SymbolSource | None = None,
        *,
        keep_jobs: bool = False,
    ) -> None:
        self.config, self.policy = config, policy
        self._host, self._clock, self._factory, self._source = host, clock, factory, source
        self.desk = ShareDesk(keep_jobs=keep_jobs, jobs_kept=config.jobs_kept)
        self.extranonce1 = factory.extranonce1()
        self.agent: str | None = None
        self.scale = 1.0 if config.scale is None else config.scale
        self.version_mask = 0
        self.lbry = config.algorithm == "lbry"
        self.difficulty = config.difficulty
        self.subscribed = False
        self.extranonce_subscribed = False
        self.started = False
        self.jobs_sent = 0
        self._tells = isinstance(policy, HearsShares)
        self._announced: float | None = None
        self._errors = 0
        self._ended = False
        self.intake = Intake(config.max_in_flight, self._submit, self._handle)

    def receive(self, data: bytes, stamp: Stamp) -> None:
        """Take bytes that arrived together."""
        try:
            self.intake.receive(data, stamp)
        except WireError as error:
            self._host.event("bad-line", "warning", {"error": error.text})
            self._host.send(encode_error(error.id, error.code, error.text))
            self._end(error.text)

    def _handle(self, message: ClientMessage | WireError) -> None:
        if isinstance(message, WireError):
            self._protocol_error(message)
            return
        try:
            match message:
                case Subscribe():
                    self._subscribe(message)
                case Configure():
                    self._configure(message)
                case Authorize():
                    self._authorize(message)
                case SuggestDifficulty():
                    self._suggest(message)
                case ExtranonceSubscribe():
                    self.extranonce_subscribed = True
                    self._answer(message.id, True)
                case ClientPing():
                    self._answer(message.id, "pong")
                case Unknown():
                    self._unknown(message)
                case _:  # pongs and answers to requests of ours
                    pass
        except WireError as error:
            error.id = message.id or b"null"
            self._protocol_error(error)

    def _protocol_error(self, error: WireError) -> None:
        self._errors += 1
        self._host.send(encode_error(error.id, error.code, error.text))
        self._host.event("bad-message", "warning", {"error": error.text})
        if error.fatal or self._errors >= PROTOCOL_ERRORS_ALLOWED:
            self._end(
                error.text if error.fatal else f"{self._errors} broken messages, the last: {error.text}"
            )

    def _unknown(self, message: Unknown) -> None:
        self._errors += 1
        if self._errors <= PROTOCOL_ERRORS_ALLOWED:
            known_family = message.method.startswith(("mining.", "client.")) and len(message.method) <= 48
            self._host.event(
                "unknown-method",
                "warning",
                {"method": clean_text(message.method) if known_family else "(other)"},
            )
        if message.id is not None:
            self._host.send(
                encode_error(message.id, ErrorCode.OTHER, "this bridge does not know that method")
            )

    def _answer(self, id: bytes | None, result: object) -> None:
        if id is not None:
            self._host.send(encode_result(id, result))

    def _end(self, reason: str) -> None:
        self._ended = True
        self.intake.close()
        self._host.drop(reason)

    # ---- handshake ---------------------------------------------------------------------------------------------------

    def _subscribe(self, message: Subscribe) -> None:
        named = scale_from_user_agent(message.agent)
        if named is not None:
            fixed = self.scale if self.started or self.config.scale is not None else None
            if fixed is not None and named != fixed:
                raise WireError(
                    f"this miner works at {scale_token(named)}, the bridge at {scale_token(fixed)}: "
                    f"give both the same --scale, or none to the bridge",
                    fatal=True,
                )
            self.scale = named
        self.agent = None if message.agent is None else clean_text(message.agent)
        if self.config.algorithm == "auto" and not self.started:
            self.lbry = mines_lbry(message.agent)
        taken_back = self.lbry and self.version_mask != 0  # granted before the agent was known
        self.subscribed = True
        subscriptions = [["mining.set_difficulty", self.extranonce1], ["mining.notify", self.extranonce1]]
        if named is not None:  # only who names a scale is told that it was taken up
            subscriptions.append([SCALE_SUBSCRIPTION, scale_token(named)])
        self._answer(message.id, [subscriptions, self.extranonce1, EXTRANONCE2_SIZE])
        if taken_back:  # LBRY's version is not rolled
            self.version_mask = 0
            self._host.send(encode_set_version_mask(0))
            self._host.mask_changed(0)
        self._start()

    def _configure(self, message: Configure) -> None:
        result: dict[str, Any] = {}
        mask = self.version_mask
        for extension in message.extensions:
            if extension == "version-rolling" and self.lbry:
                result[extension] = False
            elif extension == "version-rolling":
                mask = self.config.version_mask & version_mask(
                    message.options.get("version-rolling.mask", "ffffffff")
                )
                result[extension] = True
                result["version-rolling.mask"] = f"{mask:08x}"
            elif extension == "subscribe-extranonce":
                self.extranonce_subscribed = result[extension] = True
            elif extension == "minimum-difficulty" and self.config.honour_suggest:
                least = message.options.get("minimum-difficulty.value")
                usable = isinstance(least, int | float) and not isinstance(least, bool) and 0 < least < 1e300
                result[extension] = usable
                if usable:
                    self.difficulty = max(self.difficulty, float(least or 0.0))
            else:
                result[clean_text(extension, 64)] = False
        self._answer(message.id, result)
        changed, self.version_mask = mask != self.version_mask, mask
        if changed:
            self._host.mask_changed(mask)
            if self.started:
                self.dispatch()

    def _authorize(self, message: Authorize) -> None:
        desk = self.desk
        if not message.user:
            text = "unauthorized worker: the user name is empty"
            self._host.send(encode_error(message.id or b"null", ErrorCode.UNAUTHORIZED, text))
            return
        if message.user not in desk.workers:
            if len(desk.workers) >= WORKERS_ALLOWED:
                text = f"unauthorized worker: one connection carries at most {WORKERS_ALLOWED}"
                self._host.send(encode_error(message.id or b"null", ErrorCode.UNAUTHORIZED, text))
                return
            self._welcome(message.user, message.password)
        self._answer(message.id, True)
        self._start()

    def _welcome(self, user: str, password: str | None) -> None:
        """Take a worker in, and write that down."""
        self.desk.workers[user] = self._host.enroll(self, user)
        detail: dict[str, Any] = {"worker": clean_text(user)}
        if password is not None:
            if self.config.keep_secrets:
                detail["as_sent"] = clean_text(password)  # a key that the store does not blank
            else:
                detail["password"] = REDACTED
        self._host.event("authorized", detail=detail)

    def _suggest(self, message: SuggestDifficulty) -> None:
        self._answer(message.id, True)
        if self.config.honour_suggest:
            self.difficulty = message.difficulty
        self._announced = None  # the next notify is preceded by set_difficulty, as the suggestion asks

    def _start(self) -> None:
        if self.subscribed and self.desk.workers and not self.started:
            self.started = True
            self.dispatch(clean=True)

    # ---- work --------------------------------------------------------------------------------------------------------

    def dispatch(self, clean: bool | None = None, *, response_ns: int | None = None) -> None:
        """Send the next job; ``response_ns`` is that of the share that calls for it, if one does."""
        if self._ended:
            return
        worker = next(iter(self.desk.workers.values()))
        symbol: JobSymbol | None = None
        wall_ns = self._clock.wall_ns()
        if self._source is not None:
            current = self.desk.current
            context = DispatchContext(
                miner=worker.number,
                miner_name=worker.name,
                index=self.jobs_sent,
                wall_ns=wall_ns,
                monotonic_ns=self._clock.monotonic_ns(),
                answered=None if current is None else current.answered,
                version_mask=self.version_mask,
                extranonce_subscribed=self.extranonce_subscribed,
                response_ns=response_ns,
            )
            try:
                symbol = self._source.next(context)
            except Exception as error:  # a caller's code: whatever it raises ends the run, with its cause
                failure = (
                    error
                    if isinstance(error, LabError)
                    else UserError(f"the symbol source failed: {error!r}")
                )
                failure.__cause__ = None if failure is error else error
                self._host.fail(failure)
                return
            if symbol is not None and (problem := self._cannot_carry(symbol)):
                self._host.event("symbol-refused", "error", {"error": problem})
                self._host.send(encode_show_message(problem))
                self._end(problem)
                return
        out = b""
        if symbol is not None and symbol.extranonce1 is not None and symbol.extranonce1 != self.extranonce1:
            self.extranonce1 = symbol.extranonce1
            out = encode_set_extranonce(self.extranonce1, EXTRANONCE2_SIZE)
            clean = True
        difficulty = self.difficulty if symbol is None or symbol.difficulty is None else symbol.difficulty
        if difficulty != self._announced:
            out += encode_set_difficulty(difficulty)
            self._announced = difficulty
        job = self._factory.make(
            extranonce1=self.extranonce1,
            difficulty=difficulty,
            scale=self.scale,
            version_mask=self.version_mask,
            wall_ns=wall_ns,
            symbol=symbol,
            label=self._source is None,
            clean=clean,
            lbry=self.lbry,
        )
        out += encode_notify(job)
        prepared = PreparedJob(job)
        prepared.sent_wall_ns, prepared.sent_monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        self._host.send(out)
        self.jobs_sent += 1
        self._host.sent_job(prepared)
        self.desk.add_job(prepared, drop_older=self.config.stale_after_clean and job.clean)

    def keep_alive(self) -> None:
        """Send a line that changes nothing: cgminer gives up after 90 s without one, ESP-Miner after 180 s."""
        if self._announced is not None:
            self._host.send(encode_set_difficulty(self._announced))

    def _cannot_carry(self, symbol: JobSymbol) -> str | None:
        """Why this miner cannot get this symbol, None if it can."""
        if symbol.extranonce1 is not None and not self.extranonce_subscribed:
            return (
                "the symbol is to go into extranonce1, but this miner did not send mining.extranonce.subscribe, so it "
                "would ignore mining.set_extranonce; carry it in the coinbase, version bits, ntime or difficulty"
            )
        if symbol.version_bits is not None and symbol.version_bits & self.version_mask:
            return (
                f"the symbol sets version bits {symbol.version_bits:08x}, but this miner rolls "
                f"{self.version_mask:08x}: use bits outside, or start the bridge with a smaller version mask"
            )
        return None

    def _submit(self, lines: list[SubmitLine], stamp: Stamp) -> int:
        """Judge submits that arrived together; how many answers will follow from the commit."""
        desk = self.desk
        if not self.subscribed or not desk.workers:
            self._refuse_early(lines)
            return 0
        return self._take(desk.judge(lines, stamp))

    def _take(self, judged: Judged) -> int:
        """Store what was judged, and send the next job where it calls for one."""
        if judged.valid and self._tells:
            tell_shares(self.policy, judged.rows)
        if self.policy.replace_on_share(current=judged.current_valid, valid=judged.valid > 0):
            self.dispatch(response_ns=judged.current_response_ns)
        self._host.store(judged)
        mismatch = self.desk.mismatch
        if mismatch is not None and not self._ended:
            self._host.event("scale-mismatch", "error", {"error": mismatch})
            self._host.send(encode_show_message(mismatch))
            self._end(mismatch)
        return judged.answered

    def _refuse_early(self, lines: list[SubmitLine]) -> None:
        """Submits before the handshake: no miner to store them under, so they become one event."""
        if not self.subscribed:
            code, text = ErrorCode.NOT_SUBSCRIBED, "not subscribed: send mining.subscribe first"
        else:
            code, text = ErrorCode.UNAUTHORIZED, "unauthorized worker: send mining.authorize first"
        self._errors += len(lines)
        self._host.event("early-submit", "warning", {"error": text, "submits": len(lines)})
        for line in lines:
            if line.id is not UNSET:
                self._host.send(encode_error(echoed_id(bytes(line.id)), code, text))
        if self._errors >= PROTOCOL_ERRORS_ALLOWED:
            self._end(f"{self._errors} messages out of turn, the last: {text}")
