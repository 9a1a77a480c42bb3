"""A session of the bridge without sockets or time: its host notes what it asks for."""

from __future__ import annotations

import json
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

EVERY_HASH = 1e-10


class FakeHost:
    """Notes what a session asks for; commits only when told to."""

    def __init__(self) -> None:
        self.out = b""
        self.judged: list[Judged] = []
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.jobs: list[PreparedJob] = []
        self.dropped: list[str] = []
        self.failures: list[LabError] = []
        self.workers = 0
        self.masks: list[int] = []

    def send(self, data: bytes) -> None:
        self.out += data

    def store(self, judged: Judged) -> None:
        self.judged.append(judged)

    def enroll(self, session: Session, user: str) -> Worker:
        self.workers += 1
        return Worker(self.workers, user)

    def mask_changed(self, mask: int) -> None:
        self.masks.append(mask)

    def sent_job(self, prepared: PreparedJob) -> None:
        self.jobs.append(prepared)
        prepared.number = len(self.jobs)

    def event(self, kind: str, severity: str = "info", detail: dict[str, Any] | None = None) -> None:
        self.events.append((kind, severity, detail or {}))

    def drop(self, reason: str) -> None:
        self.dropped.append(reason)

    def fail(self, error: LabError) -> None:
        self.failures.append(error)


class Talk:
    """A session with its fake host; `tell` returns the lines that went out because of it."""

    def __init__(self, source: Any = None, **options: Any) -> None:
        self.clock = VirtualClock()
        self.host = FakeHost()
        config = BridgeConfig(**{"difficulty": EVERY_HASH, **options})
        factory = JobFactory(config, np.random.default_rng(7))
        self.session = Session(config, self.host, self.clock, factory, policy_for(config), source)

    def out(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.host.out.splitlines()]
        self.host.out = b""
        return lines

    def raw(self, data: bytes) -> list[dict[str, Any]]:
        wall, monotonic = self.clock.wall_ns(), self.clock.monotonic_ns()
        self.session.receive(data, Stamp(wall, monotonic, wall))
        return self.out()

    def tell(self, method: str, params: list[Any], id: Any = 1) -> list[dict[str, Any]]:
        return self.raw(json.dumps({"id": id, "method": method, "params": params}).encode() + b"\n")

    def commit(self) -> list[dict[str, Any]]:
        """Acknowledge everything judged so far."""
        judged, self.host.judged = self.host.judged, []
        for one in judged:
            self.host.out += one.answers
            self.session.intake.answered(one.answered)
        return self.out()

    def ready(self, agent: str = "test/1", user: str = "w") -> list[Any]:
        self.tell("mining.subscribe", [agent])
        lines = self.tell("mining.authorize", [user, "x"])
        return next(line["params"] for line in lines if line.get("method") == "mining.notify")

    def submit(
        self, job: list[Any], nonce: str = "00000001", *rest: str, user: str = "w", id: Any = 5
    ) -> dict[str, Any]:
        self.tell("mining.submit", [user, job[0], "00000001", job[7], nonce, *rest], id)
        answers = [line for line in self.commit() if line.get("id") == id and "method" not in line]
        assert len(answers) == 1
        return answers[0]


def methods(lines: list[dict[str, Any]]) -> list[Any]:
    return [line.get("method", line["id"]) for line in lines]
