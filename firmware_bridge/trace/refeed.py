"""Feed the recorded bytes of a run through the same parsers again: the same events must come out, bit for bit.

That is how a bug that a user sends is looked at, and how a new firmware becomes a test. Stratum bytes go through the
same session and the same desk as live ones, serial bytes through the same decoder; the jobs come from the run, at the
point of the conversation where their notify was sent. HTTP and the cgminer API are played to the same driver.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

from msgspec import UNSET

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import LabError, UserError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import policy_for
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.shares import Judged, ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import ServerCall, SubmitLine, clean_text, decode_server
from firmware_bridge.trace.player import pieces_of, recorded_device, telemetry
from firmware_bridge.trace.provenance import redact_text
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.recorder import RECEIVED, SENT, RecordedBytes
from firmware_bridge.trace.records import job_from_row
from firmware_bridge.trace.schema import ShareRow

__all__ = ["pieces_of", "recorded_device", "serial_shares", "stratum_shares", "telemetry"]


@dataclass
class _Names:
    """Numbers of workers as the run gave them, by name and user agent: who comes back has the same number."""

    numbers: dict[tuple[str, str | None], list[int]] = field(default_factory=dict)

    def number(self, name: str, agent: str | None, here: set[int]) -> int:
        """The first number of that name that nobody holds now."""
        for shown in (redact_text(clean_text(name)), clean_text(name)):
            for number in self.numbers.get((shown, agent), []):
                if number not in here:
                    return number
        raise UserError(f"the run has no miner {name!r} for this connection; its recording is not complete")


def stratum_shares(reader: TraceReader, run: int) -> list[ShareRow]:
    """Share rows that the recorded bytes of Stratum connections give.

    Raises:
        UserError: if nothing was recorded, or a connection is not recorded from its beginning.
    """
    feeder = _StratumFeeder(reader, run)
    for piece in pieces_of(reader, run):
        if piece.link.startswith("stratum://"):
            feeder.take(piece)
    return feeder.rows


class _StratumFeeder:
    def __init__(self, reader: TraceReader, run: int) -> None:
        self.rows: list[ShareRow] = []
        self.jobs: dict[int | None, deque[PreparedJob]] = {}
        for row in reader.dicts(run, "jobs"):
            prepared = PreparedJob(
                job_from_row(row), row["job"], row["sent_wall_ns"] or 0, row["sent_monotonic_ns"] or 0
            )
            self.jobs.setdefault(row["miner"], deque()).append(prepared)
        self.names = _Names()
        for row in reader.dicts(run, "miners"):
            self.names.numbers.setdefault((row["name"], row["user_agent"]), []).append(row["miner"])
        self.config = _config_of(reader.run(run)["config"].get("bridge", {}))
        self.here: set[int] = set()
        self._links: dict[str, _Link] = {}

    def take(self, piece: RecordedBytes) -> None:
        """One piece of one conversation."""
        link = self._links.get(piece.link)
        if link is None:
            link = self._links[piece.link] = _Link(self)
        if not piece.data:
            if piece.direction == RECEIVED:
                self.here -= {worker.number for worker in link.session.desk.workers.values()}
                self._links.pop(piece.link)
        elif piece.direction == SENT:
            link.sent(piece.data)
        else:
            stamp = Stamp(piece.kernel_ns, piece.monotonic_ns or 0, piece.wall_ns or 0)
            link.session.receive(piece.data, stamp)


def _config_of(stored: dict[str, Any]) -> BridgeConfig:
    """The bridge's settings as the run has them, but without a bound on what waits: nothing waits here."""
    known = {field.name for field in fields(BridgeConfig)} - {"max_in_flight"}
    return BridgeConfig(**{k: v for k, v in stored.items() if k in known}, max_in_flight=1 << 30)


class _NoFactory:
    """In the place of a maker of jobs: those of the run are used."""

    def extranonce1(self) -> str:
        return ""


class _Session(Session):
    """A session whose jobs are those that were sent then."""

    def __init__(self, link: _Link, config: BridgeConfig) -> None:
        factory: Any = _NoFactory()
        super().__init__(config, link, VirtualClock(0), factory, policy_for(config))
        self._link = link

    def dispatch(self, clean: bool | None = None, *, response_ns: int | None = None) -> None:
        """The next job of this miner that was sent."""
        jobs = self._link.jobs()
        if not self._ended and jobs:
            self.sent_then(jobs.popleft())

    def sent_then(self, prepared: PreparedJob) -> None:
        """Take up a job as :meth:`Session.dispatch` does once it is sent."""
        drop_older = self.config.stale_after_clean and prepared.job.clean
        self.desk.add_job(prepared, drop_older=drop_older)


class _Link:
    """One conversation; the ``Host`` of its session."""

    def __init__(self, feeder: _StratumFeeder) -> None:
        self._feeder = feeder
        self._rest = b""
        self.session = _Session(self, feeder.config)

    def jobs(self) -> deque[PreparedJob]:
        """Jobs of this miner that were not yet sent."""
        miner = next((worker.number for worker in self.session.desk.workers.values()), None)
        return self._feeder.jobs.get(miner, deque())

    def sent(self, data: bytes) -> None:
        """What the bridge said; a job that the session did not call for was due by time."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            call = decode_server(line) if b'"mining.notify"' in line else None
            if isinstance(call, ServerCall) and call.method == "mining.notify":
                self._notify(str(call.params[0]))

    def _notify(self, job_id: str) -> None:
        jobs = self.jobs()
        if any(prepared.job.job_id == job_id for prepared in jobs):
            while (prepared := jobs.popleft()).job.job_id != job_id:
                pass  # of a connection that is not recorded to its end
            self.session.sent_then(prepared)

    def send(self, data: bytes) -> None:
        """Nobody listens."""

    def store(self, judged: Judged) -> None:
        """Keep the rows."""
        self._feeder.rows += (ShareRow(*row) for row in judged.rows)

    def enroll(self, session: Session, user: str) -> Worker:
        """The number that the run gave."""
        agent = None if session.agent is None else redact_text(session.agent)
        number = self._feeder.names.number(user, agent, self._feeder.here)
        self._feeder.here.add(number)
        return Worker(number, user)

    def mask_changed(self, mask: int) -> None:
        """The run has it."""

    def sent_job(self, prepared: PreparedJob) -> None:
        """The run has it."""

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        """The run has it."""

    def drop(self, reason: str) -> None:
        """The session takes nothing more by itself."""

    def fail(self, error: LabError) -> None:
        """There is no source of symbols that could fail."""
        raise error


def serial_shares(reader: TraceReader, run: int, link: str) -> list[ShareRow]:
    """Share rows that the recorded bytes of a chain of BM1366 give.

    Args:
        reader: of the trace.
        run: number of the run.
        link: name of the conversation: ``serial:///dev/ttyUSB0``.

    Raises:
        UserError: if nothing was recorded, or the run has no such chain.
    """
    feeder = _SerialFeeder(reader, run, link.removeprefix("serial://"))
    for piece in pieces_of(reader, run):
        if piece.link == link and piece.data:
            feeder.take(piece)
    return feeder.rows


class _SerialFeeder:
    def __init__(self, reader: TraceReader, run: int, path: str) -> None:
        from firmware_bridge.bm13xx.decoder import AnswerDecoder, CommandDecoder

        self.rows: list[ShareRow] = []
        row = next((m for m in reader.dicts(run, "miners") if m["address"] == path), None)
        if row is None:
            raise UserError(f"the run has no chain at {path}")
        self._name = row["name"]
        self._extranonces = 0
        self._desk = ShareDesk()
        self._desk.workers[self._name] = Worker(row["miner"], self._name)
        self._prepared = [
            PreparedJob(job_from_row(j), j["job"], j["sent_wall_ns"] or 0, j["sent_monotonic_ns"] or 0)
            for j in reader.dicts(run, "jobs")
            if j["miner"] == row["miner"]
        ]
        self._sent = 0
        self._in_flight: dict[int, tuple[PreparedJob, str]] = {}
        self._answers, self._commands = AnswerDecoder(), CommandDecoder()

    def take(self, piece: RecordedBytes) -> None:
        """One piece of the conversation."""
        from firmware_bridge.bm13xx.frames import JobFrame, NonceAnswer

        if piece.direction == SENT:
            for command in self._commands.feed(piece.data):
                if isinstance(command, JobFrame):
                    self._job(command.job_id, command.prevhash)
            return
        stamp = Stamp(piece.kernel_ns, piece.monotonic_ns or 0, piece.wall_ns or 0)
        for answer in self._answers.feed(piece.data):
            if isinstance(answer, NonceAnswer):
                self._nonce(answer, stamp)

    def _job(self, job_id: int, prevhash: bytes) -> None:
        """A job went to the chain: the next one of the run, or the one before with another extranonce2."""
        from firmware_bridge.bm13xx.nonces import JOBS_IN_FLIGHT, prevhash_field

        current = self._desk.current
        if current is not None and prevhash_field(current.job.prevhash) == prevhash:
            self._extranonces += 1
        elif self._sent < len(self._prepared):
            current, self._extranonces = self._prepared[self._sent], 0
            self._sent += 1
            self._desk.add_job(current)
        if current is None:
            return
        text = self._extranonces.to_bytes(current.job.extranonce2_size, "little").hex()
        self._in_flight.pop(job_id, None)
        self._in_flight[job_id] = (current, text)
        while len(self._in_flight) > JOBS_IN_FLIGHT:
            del self._in_flight[next(iter(self._in_flight))]

    def _nonce(self, answer: Any, stamp: Stamp) -> None:
        from firmware_bridge.bm13xx.nonces import JOB_ID_MASK, share_fields

        nonce, bits = share_fields(answer)
        job_id = answer.result & JOB_ID_MASK
        work = self._in_flight.get(job_id)
        if work is None:
            params = [self._name, f"chip-{job_id:02x}", "", "", nonce, bits]
        else:
            prepared, extranonce2 = work
            params = [self._name, prepared.job.job_id, extranonce2, prepared.job.ntime, nonce, bits]
        self.rows += (ShareRow(*row) for row in self._desk.judge([SubmitLine(params, UNSET)], stamp).rows)
