"""The edges of a verdict on a share, each of which a mutation of the code once slipped over."""

from __future__ import annotations

import json

import numpy as np
import pytest

from firmware_bridge.headers import Job
from firmware_bridge.stratum.config import BridgeConfig
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.shares import Judged, ShareDesk, Worker
from firmware_bridge.stratum.verify import PreparedJob
from firmware_bridge.stratum.wire import decode_submits
from firmware_bridge.trace.schema import ShareRow
from tests.stratum.session_kit import Talk

SENT_NS = 1_763_900_000_000_000_000


class Desk:
    """A desk with one worker and one job that takes every hash."""

    def __init__(self) -> None:
        factory = JobFactory(BridgeConfig(), np.random.default_rng(5))
        self.job: Job = factory.make(
            extranonce1="00c0ffee", difficulty=1e-10, scale=1.0, version_mask=0, wall_ns=SENT_NS
        )
        self.prepared = PreparedJob(self.job, 1, SENT_NS, 1_000)
        self.desk = ShareDesk()
        self.desk.workers["w"] = Worker(1, "w")
        self.desk.add_job(self.prepared)

    def judge(self, *fields: str, stamp: Stamp | None = None) -> Judged:
        line = {"id": 1, "method": "mining.submit", "params": ["w", self.job.job_id, *fields]}
        lines = decode_submits(json.dumps(line).encode())
        assert lines is not None
        return self.desk.judge(lines, stamp or Stamp(SENT_NS + 50, 1_070, SENT_NS + 60))

    def row(self, *fields: str, stamp: Stamp | None = None) -> ShareRow:
        return ShareRow._make(self.judge(*fields, stamp=stamp).rows[0])


def test_a_hash_equal_to_the_target_counts_and_one_above_does_not() -> None:
    value = int.from_bytes(Desk().prepared.hash("00000000", Desk().job.ntime, "00000007", None), "little")
    for target, reason in ((value, None), (value - 1, "low-difficulty")):
        desk = Desk()
        desk.prepared.target = target
        row = desk.row("00000000", desk.job.ntime, "00000007")
        assert (row.valid, row.reason) == (reason is None, reason)


@pytest.mark.parametrize(("nonce", "longer"), [("0000007", "0"), ("000000070", "-"), ("00000007  ", "--")])
def test_a_short_nonce_does_not_borrow_digits_from_ntime(nonce: str, longer: str) -> None:
    desk = Desk()
    ntime = "0" + desk.job.ntime if longer == "0" else desk.job.ntime[len(longer) :]
    row = desk.row("00000000", ntime, nonce)
    assert (row.valid, row.reason) == (False, "malformed")


def test_times_of_a_share_with_a_kernel_stamp_are_the_kernels() -> None:
    desk = Desk()
    first = desk.row("00000000", desk.job.ntime, "00000001", stamp=Stamp(SENT_NS + 50, 1_070, SENT_NS + 60))
    second = desk.row("00000000", desk.job.ntime, "00000002", stamp=Stamp(SENT_NS + 75, 1_099, SENT_NS + 90))
    assert (first.response_ns, first.since_notify_ns, first.interval_ns) == (50, 50, None)
    assert (second.response_ns, second.since_notify_ns, second.interval_ns) == (75, 75, 25)


def test_times_of_a_share_without_a_kernel_stamp_are_monotonic() -> None:
    desk = Desk()
    first = desk.row("00000000", desk.job.ntime, "00000001", stamp=Stamp(None, 1_070, SENT_NS + 60))
    second = desk.row("00000000", desk.job.ntime, "00000002", stamp=Stamp(None, 1_099, SENT_NS + 95))
    assert (first.response_ns, first.since_notify_ns, first.interval_ns) == (70, 70, None)
    assert (second.response_ns, second.since_notify_ns, second.interval_ns) == (99, 99, 29)


def test_an_interval_between_a_stamped_and_an_unstamped_share_is_monotonic() -> None:
    desk = Desk()
    desk.row("00000000", desk.job.ntime, "00000001", stamp=Stamp(SENT_NS + 50, 1_070, SENT_NS + 60))
    row = desk.row("00000000", desk.job.ntime, "00000002", stamp=Stamp(None, 1_101, SENT_NS + 95))
    assert row.interval_ns == 31


def test_a_worker_that_authorised_without_a_subscription_is_told_to_subscribe() -> None:
    talk = Talk()
    talk.tell("mining.authorize", ["w", "x"])
    submit = ["w", "1", "00000001", "00000001", "00000001"]
    assert talk.tell("mining.submit", submit, 4)[0]["error"][0] == 25
    assert talk.host.judged == []
