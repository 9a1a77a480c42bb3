"""Judge the submits of one connection: find each one's job, hash it, make its row and its answer.

This is the hot path: one call handles all submits of one read, whose arrival stamps they share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from firmware_bridge.headers import difficulty_unit
from firmware_bridge.stratum.config import JOBS_KEPT
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.verify import PreparedJob, Reason, Rejected
from firmware_bridge.stratum.wire import OK_TAIL, ErrorCode, SubmitLine, echoed_id, error_tail, scale_token

RETIRED_KEPT = 64
"""Older jobs still known by name, so that a late share is told ``stale`` and stored with its job."""

RANDOM_BELOW = 2.0**-30
"""Bitcoin difficulty below which the smallest of a few shares lies only by chance: a random hash reaches 2^-32."""

_RANDOM = (
    "the hashes of this miner look random: it builds another header than this bridge (byte order of prevhash, coinbase "
    "or merkle root), or it hashes LBRY and its user agent is not known for it: then start the bridge with "
    "--algorithm lbry"
)
_RANDOM_LBRY = (
    "the hashes of this miner look random: it builds another header than this bridge (byte order of prevhash, claim "
    "trie root, coinbase or merkle root), or it hashes Bitcoin: then start the bridge with --algorithm sha256d"
)

_HEAD = b'{"id":'
_DROPPED_TAIL = error_tail(ErrorCode.STALE, "stale: a later job asked to drop this one")
_UNKNOWN_TAIL = error_tail(ErrorCode.STALE, "job not found: this connection was never sent that job id")
_DUPLICATE_TAIL = error_tail(ErrorCode.DUPLICATE, "duplicate share: this header was submitted before")
_UNAUTHORIZED_TAIL = error_tail(ErrorCode.UNAUTHORIZED, "unauthorized worker: send mining.authorize first")
_COUNT_TAIL = error_tail(
    ErrorCode.OTHER,
    "mining.submit takes [user, job id, extranonce2, ntime, nonce] and optionally version bits",
)
_from_bytes = int.from_bytes


@dataclass(slots=True)
class Worker:
    """A worker name authorised on a connection, and when its last share came."""

    number: int
    name: str
    last_kernel_ns: int | None = None
    last_monotonic_ns: int | None = None


@dataclass(slots=True)
class Judged:
    """What one block of submits gave.

    Attributes:
        rows: tuples in the order of ``ShareRow``.
        jobs: of each row, the job or None; only filled where someone listens.
        answers: bytes to send once the rows are durable.
        answered: how many answers that is.
        valid: how many shares are valid.
        current_valid: whether a valid share of the newest job is among them.
        current_response_ns: response of the first of those; None without one.
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    jobs: list[PreparedJob | None] = field(default_factory=list)
    answers: bytes = b""
    answered: int = 0
    valid: int = 0
    current_valid: bool = False
    current_response_ns: int | None = None


class ScaleSuspicion:
    """Tell a miner that hashes at another difficulty scale from one that is unlucky.

    Hashes that pass a threshold r times the asked one have ratios found / asked that are Pareto from r on, so their
    smallest one lies just above r. Nothing is concluded once a share was accepted.
    """

    def __init__(self) -> None:
        self._rejected = 0
        self._smallest = math.inf
        self._accepted = False

    def accepted(self) -> None:
        """A share met its job's difficulty: the scales agree."""
        self._accepted = True

    def rejected(self, ratio: float) -> int | None:
        """Note a share at ``ratio`` of its job's difficulty; the power of two that explains them all, if one does.

        At a ratio of 2^-k a share is accepted by luck with probability 2^-k, so 14 * 2^k rejections in a row have
        a chance of 1e-6 in an honest miner that only ignores the difficulty; 8 are asked for at least.
        """
        self._rejected += 1
        self._smallest = min(self._smallest, ratio)
        if self._accepted or not 0.0 < self._smallest < 0.5:
            return None
        power = math.floor(math.log2(self._smallest))
        needed = 8 if power <= -7 else 14 * 2**-power
        return power if self._rejected >= needed else None


class ShareDesk:
    """Jobs and workers of one connection, and the verdict on its submits."""

    def __init__(self, *, keep_jobs: bool = False, jobs_kept: int = JOBS_KEPT) -> None:
        self.jobs: dict[str, PreparedJob] = {}
        self.current: PreparedJob | None = None
        self.workers: dict[str, Worker] = {}
        self.remembered = 0  # digests held in the jobs' duplicate sets
        self.mismatch: str | None = None  # set once: why no share of this miner can be accepted
        self._retired: dict[str, tuple[PreparedJob, bytes]] = {}
        self._suspicion = ScaleSuspicion()
        self._keep_jobs = keep_jobs
        self._jobs_kept = jobs_kept
        self._stale_tail = error_tail(ErrorCode.STALE, f"stale: this job is more than {jobs_kept} jobs old")

    def add_job(self, prepared: PreparedJob, *, drop_older: bool = False) -> None:
        """Make a job that was just sent the current one; the oldest beyond those kept turn stale."""
        if drop_older:
            for job_id in list(self.jobs):
                self._retire(job_id, _DROPPED_TAIL)
        self.jobs[prepared.job.job_id] = prepared
        self.current = prepared
        while len(self.jobs) > self._jobs_kept:
            self.retire_oldest()

    def retire_oldest(self) -> int:
        """Let the oldest job go stale; how many digests that frees."""
        return self._retire(next(iter(self.jobs)), self._stale_tail)

    def _retire(self, job_id: str, tail: bytes) -> int:
        prepared = self.jobs.pop(job_id)
        freed = len(prepared.seen)
        self.remembered -= freed
        prepared.seen = set()
        self._retired[job_id] = (prepared, tail)
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]
        return freed

    def _since_notify(self, stamp: Stamp) -> int | None:
        """ns from the newest notify that was out when these bytes arrived."""
        for prepared in reversed(self.jobs.values()):
            since = _since(prepared, stamp)
            if since >= 0:
                return since
        return None

    def judge(self, lines: list[SubmitLine], stamp: Stamp) -> Judged:
        """Judge submits that arrived together; needs at least one authorised worker."""
        judged = Judged()
        kernel, monotonic, wall = stamp
        rows, row_jobs = judged.rows, judged.jobs
        answers: list[bytes] = []
        jobs, workers, current, keep_jobs = self.jobs, self.workers, self.current, self._keep_jobs
        primary = next(iter(workers.values()))
        since_notify = self._since_notify(stamp)
        for line in lines:
            params = line.params
            bits: str | None = None
            well_formed = True
            if len(params) == 5:
                user, job_id, extranonce2, ntime, nonce = params
            elif len(params) == 6:
                user, job_id, extranonce2, ntime, nonce, bits = params
            else:
                user, job_id, extranonce2, ntime, nonce = params[0] if params else "", "", "", "", ""
                well_formed = False
            worker = workers.get(user)
            prepared: PreparedJob | None = None
            reason: Reason | None = None
            tail = OK_TAIL
            number: int | None = None
            response: int | None = None
            difficulty: float | None = None
            if worker is None:
                reason, tail = Reason.UNAUTHORIZED, _UNAUTHORIZED_TAIL
            elif not well_formed:
                reason, tail = Reason.MALFORMED, _COUNT_TAIL
            elif (prepared := jobs.get(job_id)) is None:
                prepared, reason, tail = self._late(job_id)
                if prepared is not None:
                    number, response = prepared.number, _since(prepared, stamp)
            else:
                number = prepared.number
                response = (
                    monotonic - prepared.sent_monotonic_ns
                    if kernel is None
                    else kernel - prepared.sent_wall_ns
                )
                try:
                    digest = prepared.hash(extranonce2, ntime, nonce, bits)
                except Rejected as rejected:
                    reason, tail = rejected.reason, error_tail(ErrorCode.OTHER, rejected.text)
                else:
                    value = _from_bytes(digest, "little")
                    difficulty = prepared.difficulty(value)
                    if value > prepared.target:
                        reason, tail = Reason.LOW_DIFFICULTY, self._low(prepared, difficulty)
                    elif digest in prepared.seen:
                        reason, tail = Reason.DUPLICATE, _DUPLICATE_TAIL
                    else:
                        prepared.seen.add(digest)
                        prepared.answered = True
                        judged.valid += 1
                        if prepared is current and not judged.current_valid:
                            judged.current_valid, judged.current_response_ns = True, response
            interval: int | None = None
            if worker is not None:
                if kernel is not None and worker.last_kernel_ns is not None:
                    interval = kernel - worker.last_kernel_ns
                elif worker.last_monotonic_ns is not None:
                    interval = monotonic - worker.last_monotonic_ns
                worker.last_kernel_ns, worker.last_monotonic_ns = kernel, monotonic
            named: str | None = job_id
            if difficulty is None:  # not hashed, so any field may hold anything, a password too
                named = job_id if number is not None else _hex_or_none(job_id)
                fields = map(_hex_or_none, (extranonce2, ntime, nonce, bits))
            else:
                fields = (extranonce2, ntime, nonce, bits)  # type: ignore[assignment]
            rows.append(
                (
                    (worker or primary).number, number, named, *fields, difficulty,
                    reason is None, reason and reason.value, kernel, monotonic, wall, interval, response, since_notify,
                )
            )  # fmt: skip
            if keep_jobs:
                row_jobs.append(prepared)
            if line.id is UNSET:
                continue
            id = bytes(line.id)
            if not id.isdigit() or len(id) > 20:
                id = echoed_id(id)
            answers += (_HEAD, id, tail)
        judged.answered = len(answers) // 3
        judged.answers = b"".join(answers)
        self.remembered += judged.valid
        if judged.valid:
            self._suspicion.accepted()
        return judged

    def _late(self, job_id: str) -> tuple[PreparedJob | None, Reason, bytes]:
        """Verdict on a share whose job is not among the last ones: the job where it was sent once, and the answer."""
        known = self._retired.get(job_id)
        if known is None:
            return None, Reason.UNKNOWN_JOB, _UNKNOWN_TAIL
        return known[0], Reason.STALE, known[1]

    def _low(self, prepared: PreparedJob, difficulty: float) -> bytes:
        """Answer to a share below its job's difficulty; says so where the scale would explain it."""
        ratio = difficulty / prepared.job.difficulty
        power = self._suspicion.rejected(ratio)
        text = f"low difficulty: {difficulty:.6g} of {prepared.job.difficulty:.6g}"
        if power is not None:
            self.mismatch = (
                f"every share of this miner lies between 2^{power} of the job's difficulty and all of it: it works at "
                f"another difficulty scale, or ignores mining.set_difficulty. This connection is verified at "
                f"{scale_token(prepared.job.scale)}; start the bridge with --scale {prepared.job.scale * 2.0**power!r},"
                f" or let the miner name its scale in its user agent"
            )
            job, unit = prepared.job, difficulty_unit(prepared.job)
            if job.difficulty * job.scale / unit * 2.0**power < RANDOM_BELOW:
                self.mismatch = _RANDOM_LBRY if unit > 1 else _RANDOM
            text = self.mismatch
        elif ratio < 2**-7:
            text += f"; a miner at 2^{math.floor(math.log2(ratio))} of this bridge's difficulty scale would send that"
        return error_tail(ErrorCode.LOW_DIFFICULTY, text)


def _since(prepared: PreparedJob, stamp: Stamp) -> int:
    """ns from a job's notify to an arrival, on the kernel's clock where it gave a stamp."""
    if stamp.kernel_ns is None:
        return stamp.monotonic_ns - prepared.sent_monotonic_ns
    return stamp.kernel_ns - prepared.sent_wall_ns


def _hex_or_none(text: str | None) -> str | None:
    """A field that was never hashed: kept only if it is short hex, so that nothing else gets into the store."""
    return text if text and len(text) <= 16 and not text.strip("0123456789abcdefABCDEF") else None
