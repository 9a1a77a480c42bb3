"""Whole conversations with a session of the bridge: whatever a miner sends, the answers stay JSON and rows storable."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import LabError
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.dispatch import policy_for
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.session import Session
from firmware_bridge.stratum.shares import Judged, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.trace.schema import ShareRow

SUBSCRIBE = b'{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5.1"]}\n'
AUTHORIZE = b'{"id":2,"method":"mining.authorize","params":["w","x"]}\n'
HELLO = SUBSCRIBE + AUTHORIZE
ROLL = b'{"id":0,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}\n'
SUBMITS = (
    b'{"id":4,"method":"mining.submit","params":["w","JOB_","00000000","TIME_","00000001"]}\n'
    b'{"id":5,"method":"mining.submit","params":["w","JOB_","00000001","TIME_","00000001"]}\n'
    b'{"id":6,"method":"mining.submit","params":["w","JOB_","00000000","TIME_","00000001"]}\n'
)
ROLLED = b'{"id":7,"method":"mining.submit","params":["w","JOB_","00000002","TIME_","0000000f","00002000"]}\n'
CONVERSATIONS = (
    HELLO + SUBMITS,
    ROLL + HELLO + SUBMITS + ROLLED,
    HELLO + b'{"id":3,"method":"mining.suggest_difficulty","params":[1e-10]}\n' + SUBMITS,
    b'{"id":1,"method":"mining.subscribe","params":["x scale=2^-20"]}\n' + AUTHORIZE + SUBMITS,
    HELLO + b'{"id":3,"method":"mining.extranonce.subscribe","params":[]}\n' + ROLLED + HELLO,
)


class FakeHost:
    """A connection without a socket, which checks what it is given; `commit` acknowledges what was stored."""

    def __init__(self) -> None:
        self.session: Session
        self.jobs: list[PreparedJob] = []
        self.sent = 0
        self.stored = 0
        self.dropped = False

    def send(self, data: bytes) -> None:
        self.sent += len(data)
        for line in data.splitlines():
            message = json.loads(line)
            assert isinstance(message, dict)
        assert data.endswith(b"\n")

    def store(self, judged: Judged) -> None:
        for row in judged.rows:
            share = ShareRow._make(row)
            texts = (
                share.job_id,
                share.extranonce2,
                share.ntime,
                share.nonce,
                share.version_bits,
                share.reason,
            )
            assert all(text is None or len(text.encode()) <= 64 for text in texts)
            assert (share.reason is None) == (share.valid is True)
            assert share.difficulty is None or share.difficulty > 0
            assert not share.valid or (share.difficulty is not None and not math.isnan(share.difficulty))
        if judged.answers:
            self.send(judged.answers)
            assert judged.answers.count(b"\n") == judged.answered
        self.stored += judged.answered

    def commit(self) -> None:
        while self.stored:
            stored, self.stored = self.stored, 0
            self.session.intake.answered(stored)

    def enroll(self, session: Session, user: str) -> Worker:
        return Worker(1, user)

    def mask_changed(self, mask: int) -> None:
        assert 0 <= mask < 2**32

    def sent_job(self, prepared: PreparedJob) -> None:
        self.jobs.append(prepared)
        prepared.number = len(self.jobs)

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        assert severity in ("info", "warning", "error")
        assert len(json.dumps(detail)) < 4000

    def drop(self, reason: str) -> None:
        self.dropped = True

    def fail(self, error: LabError) -> None:
        raise AssertionError(f"a miner made the bridge fail: {error}")


def check_conversation(data: bytes) -> None:
    host, clock = FakeHost(), VirtualClock()
    config = BridgeConfig(difficulty=1e-10, mode="swh" if len(data) % 2 else "stream", honour_suggest=True)
    factory = JobFactory(config, np.random.default_rng(0))
    host.session = session = Session(config, host, clock, factory, policy_for(config), None)
    stamp = Stamp(None if len(data) % 3 else clock.wall_ns(), clock.monotonic_ns(), clock.wall_ns())
    half = len(HELLO) + len(data) % 200
    for part in (data[:half], data[half:], b"\n"):
        if host.jobs:
            job = host.jobs[-1].job
            part = part.replace(b"JOB_", job.job_id.encode()).replace(b"TIME_", job.ntime.encode())
        if not host.dropped:
            session.receive(part, stamp)
            assert session.intake.in_flight <= config.max_in_flight
            host.commit()
    assert session.intake.in_flight == 0
    assert not session.intake.blocked or host.dropped
    assert host.sent < 400 * (data.count(b"\n") + 20) + 2_000 * len(host.jobs) + 2 * len(data)
