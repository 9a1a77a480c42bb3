"""Whatever a pool says: the miner gets whole lines of JSON, shares keep their verdicts, only ProtocolError ends it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from firmware_bridge.clock import VirtualClock
from firmware_bridge.errors import ProtocolError
from firmware_bridge.stratum.dispatch import policy_for
from firmware_bridge.stratum.forwards import ProxyStats
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.proxy import ProxyConfig, Upstream
from firmware_bridge.stratum.proxy_modes import RelayJudged, RelaySession, VbmSession
from firmware_bridge.stratum.shares import Judged
from firmware_bridge.stratum.upstream import ERRORS_ALLOWED, UpstreamSession
from tests.fuzz.sessions import HELLO, ROLL, SUBMITS, FakeHost

ANSWERS = (
    b'{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}\n'
    b'{"id":2,"result":[[["mining.notify","session"]],"0a0b0c0d",4],"error":null}\n'
    b'{"id":3,"result":true,"error":null}\n'
)
NOTIFY = (
    b'{"id":null,"method":"mining.set_difficulty","params":[1e-10]}\n'
    b'{"id":null,"method":"mining.notify","params":["5f","' + b"ab" * 32 + b'","0102","0304",["' + b"11" * 32
    + b'"],"20000000","1d00ffff","69637392",true]}\n'
)  # fmt: skip
VERDICTS = (
    b'{"id":4,"result":true,"error":null}\n{"id":5,"result":null,"error":[22,"duplicate",null]}\n'
    b'{"id":"6","result":false,"error":{"code":21,"message":"stale"}}\n'
)
CALLS = (
    b'{"id":null,"method":"mining.set_extranonce","params":["c0ffee",8]}\n'
    b'{"id":null,"method":"mining.set_version_mask","params":["000fe000"]}\n'
    b'{"id":null,"method":"client.reconnect","params":["pool",3333,1]}\n'
    b'{"id":7,"method":"client.get_version","params":[]}\n{"id":8,"method":"mining.ping","params":[]}\n'
    b'{"id":null,"method":"client.show_message","params":["hello"]}\n'
)
CORPUS = (
    ANSWERS + NOTIFY + VERDICTS,
    ANSWERS + NOTIFY + CALLS + NOTIFY + VERDICTS,
    NOTIFY + ANSWERS + NOTIFY,
    ANSWERS + NOTIFY + NOTIFY + NOTIFY.replace(b"true]", b"false]"),
)


class ProxyFakeHost(FakeHost):
    """A miner's connection without a socket, for a proxied session."""

    def __init__(self) -> None:
        super().__init__()
        self.stats = ProxyStats()
        self.relayed: list[RelayJudged] = []

    def store(self, judged: Judged) -> None:
        super().store(judged)
        if isinstance(judged, RelayJudged):
            self.relayed.append(judged)

    def acknowledge(self, answers: bytes, count: int) -> None:
        self.send(answers)
        self.session.intake.answered(count)

    def entered(self, kind: str, severity: str, miner: int, detail: dict[str, Any]) -> None:
        self.event(kind, severity, detail)


class FakeLink:
    """A link that does nothing but remember that it was given up."""

    def __init__(self) -> None:
        self.over = False

    def start(self) -> None:
        pass

    def established(self) -> None:
        pass

    def refused(self, reason: str) -> bool:
        assert len(reason) < 5000
        return False

    def redirect(self, host: str | None, port: int | None, wait_s: float) -> None:
        assert port is None or 0 < port < 65536
        assert 0 <= wait_s <= 3600
        self.over = True


def check_pool(data: bytes) -> None:
    host, link, clock = ProxyFakeHost(), FakeLink(), VirtualClock()
    mode, kind = ("relay", RelaySession) if len(data) % 2 else ("vbm", VbmSession)
    config = ProxyConfig((Upstream("pool", 1),), mode=mode)  # type: ignore[arg-type]
    settings = config.bridge()
    factory = JobFactory(settings, np.random.default_rng(0))
    session = kind(config, host, clock, factory, policy_for(settings))
    session.link, host.session = link, session
    stamp = Stamp(None, clock.monotonic_ns(), clock.wall_ns())
    said: list[bytes] = []
    upstream = UpstreamSession(session, said.append, clock)
    session.receive(ROLL + HELLO, stamp)
    session.link_up(upstream, config.upstreams[0])
    step = 1 + len(data) % 300
    try:
        for at in range(0, len(data), step):
            upstream.receive(data[at : at + step])
            if host.jobs and not host.dropped and not at % 3:
                job = host.jobs[-1].job
                size = b"00" * job.extranonce2_size
                lines = SUBMITS.replace(b"JOB_", job.job_id.encode()).replace(b"TIME_", job.ntime.encode())
                session.receive(lines.replace(b"00000000", size), stamp)
                host.commit()
    except ProtocolError:
        pass
    upstream.end()
    session.link_down("over")
    for judged in host.relayed:
        session.committed(judged)  # type: ignore[union-attr]
    assert session.intake.in_flight == 0
    assert upstream.errors <= ERRORS_ALLOWED
    assert upstream.waiting == 0
    for line in b"".join(said).splitlines():
        assert isinstance(json.loads(line), dict)
    stats = host.stats
    assert (
        stats.forwarded == stats.upstream_accepted + sum(stats.upstream_rejected.values()) + stats.unanswered
    )


UPSTREAM = [("pool", CORPUS, check_pool, 0.1)]
