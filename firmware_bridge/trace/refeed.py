"""Feed the recorded bytes of a run through the same parsers again: the same events must come out, bit for bit.

That is how a bug that a user sends is looked at, and how a new firmware becomes a test. Stratum bytes go through the
same intake and the same desk as live ones, serial bytes through the same decoder; the jobs come from the run, at the
point of the conversation where their notify was sent. HTTP and the cgminer API are played to the same driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
from msgspec import UNSET

from firmware_bridge.clock import VirtualClock
from firmware_bridge.devices.http import decode_reply
from firmware_bridge.errors import DeviceError, UserError
from firmware_bridge.stratum.intake import Intake
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.shares import ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import (
    Authorize,
    ClientMessage,
    ServerCall,
    SubmitLine,
    Subscribe,
    WireError,
    clean_text,
    decode_server,
)
from firmware_bridge.trace.provenance import redact_text
from firmware_bridge.trace.reader import TraceReader
from firmware_bridge.trace.recorder import RECEIVED, SENT, RecordedBytes
from firmware_bridge.trace.records import job_from_row
from firmware_bridge.trace.schema import ShareRow


@dataclass(slots=True)
class _Link:
    """One conversation."""

    intake: Intake
    desk: ShareDesk
    rest: bytes = b""
    subscribed: bool = False
    agent: str | None = None


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


def pieces_of(reader: TraceReader, run: int) -> Iterator[RecordedBytes]:
    """The recorded bytes of a run, in the order in which they passed.

    Raises:
        UserError: if nothing was recorded.
    """
    empty = True
    for row in reader.rows(run, "recorded_bytes"):
        empty = False
        yield RecordedBytes(*row)
    if empty:
        raise UserError("this run has no recorded bytes; record one with asiclab bridge --record")


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
        self._prepared: dict[tuple[int | None, str], PreparedJob] = {}
        for row in reader.dicts(run, "jobs"):
            prepared = PreparedJob(
                job_from_row(row), row["job"], row["sent_wall_ns"] or 0, row["sent_monotonic_ns"] or 0
            )
            self._prepared[row["miner"], row["job_id"]] = prepared
        self._names = _Names()
        for row in reader.dicts(run, "miners"):
            self._names.numbers.setdefault((row["name"], row["user_agent"]), []).append(row["miner"])
        config = reader.run(run)["config"].get("bridge", {})
        self._drop_older = bool(config.get("stale_after_clean", False))
        self._here: set[int] = set()
        self._links: dict[str, _Link] = {}

    def take(self, piece: RecordedBytes) -> None:
        """One piece of one conversation."""
        link = self._links.get(piece.link)
        if link is None:
            link = self._links[piece.link] = self._open(piece.link)
        if not piece.data:
            if piece.direction == RECEIVED:
                self._here -= {worker.number for worker in link.desk.workers.values()}
                self._links.pop(piece.link)
            return
        if piece.direction == SENT:
            self._sent(link, piece.data)
            return
        stamp = Stamp(piece.kernel_ns, piece.monotonic_ns or 0, piece.wall_ns or 0)
        try:
            link.intake.receive(piece.data, stamp)
        except WireError:
            return  # the bridge hung up there as well

    def _open(self, name: str) -> _Link:
        desk = ShareDesk()

        def submit(lines: list[SubmitLine], stamp: Stamp) -> int:
            link = self._links[name]
            if link.subscribed and desk.workers:
                quiet = [SubmitLine(line.params, UNSET) for line in lines]
                self.rows += (ShareRow(*row) for row in desk.judge(quiet, stamp).rows)
            return 0

        def other(message: ClientMessage | WireError) -> None:
            link = self._links[name]
            if isinstance(message, Subscribe):
                link.subscribed = True
                link.agent = None if message.agent is None else redact_text(clean_text(message.agent))
            elif isinstance(message, Authorize) and message.user and message.user not in desk.workers:
                number = self._names.number(message.user, link.agent, self._here)
                self._here.add(number)
                desk.workers[message.user] = Worker(number, message.user)

        return _Link(Intake(1 << 30, submit, other), desk)

    def _sent(self, link: _Link, data: bytes) -> None:
        *lines, link.rest = (link.rest + data).split(b"\n")
        miner = next((worker.number for worker in link.desk.workers.values()), None)
        for line in lines:
            if b'"mining.notify"' not in line:
                continue
            call = decode_server(line)
            if isinstance(call, ServerCall):
                prepared = self._prepared.get((miner, str(call.params[0])))
                if prepared is not None:
                    link.desk.add_job(prepared, drop_older=self._drop_older and prepared.job.clean)


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


# ---- devices ---------------------------------------------------------------------------------------------------------


class RecordedHttp(httpx2.AsyncBaseTransport):
    """Answers requests with what a device answered when they were recorded, in that order.

    Args:
        pieces: of one link ``http://HOST``.
    """

    def __init__(self, pieces: list[RecordedBytes]) -> None:
        self._replies = [decode_reply(p.data) for p in pieces if p.direction == RECEIVED and p.data]
        self.played = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The next recorded answer."""
        if self.played >= len(self._replies):
            raise httpx2.ConnectError("the recording ends here", request=request)
        reply = self._replies[self.played]
        self.played += 1
        headers = {n: v for n, v in reply.headers.items() if n != "content-length"}
        return httpx2.Response(reply.status, headers=headers, content=reply.body, request=request)


class RecordedApi:
    """Answers cgminer requests with what a device answered when they were recorded, in that order.

    Args:
        pieces: of one link ``cgminer://HOST:4028``.
    """

    def __init__(self, pieces: list[RecordedBytes]) -> None:
        self._answers: list[bytes] = []
        part = b""
        for piece in pieces:
            if piece.direction == SENT:
                continue
            part += piece.data
            if not piece.data and part:
                self._answers.append(part)
                part = b""

    async def exchange(self, request: bytes, what: str) -> bytes:
        """The next recorded answer.

        Raises:
            DeviceError: if the recording ends here.
        """
        await asyncio.sleep(0)
        if not self._answers:
            raise DeviceError(f"{what}: the recording ends here")
        return self._answers.pop(0)


async def recorded_device(reader: TraceReader, run: int, address: str) -> Any:
    """A driver whose links play what was recorded: ask it what was asked then, and it reads the same telemetry.

    Args:
        reader: of the trace.
        run: number of the run.
        address: URL of the device, as it was then.

    Raises:
        UserError: if nothing was recorded, or there is no such driver.
    """
    from firmware_bridge.devices.registry import open_device

    links: dict[str, list[RecordedBytes]] = {}
    for piece in pieces_of(reader, run):
        links.setdefault(piece.link, []).append(piece)
    device: Any = await open_device(address, clock=VirtualClock(0))
    web, api = getattr(device, "web", None), getattr(device, "api", None)
    if web is not None:
        pieces = links.get(web.base_url, [])
        await web.aclose()
        device.web = type(web)(web.base_url, transport=RecordedHttp(pieces))
    if api is not None:
        api.exchange = RecordedApi(links.get(api.name, [])).exchange
    return device
