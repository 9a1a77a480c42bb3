"""What became of shares at the pool: counts, times, and the events that the trace keeps of each one."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.efficiency import eta
from firmware_bridge.stratum.lines import ErrorCode
from firmware_bridge.stratum.server import BridgeStats

TIMES_KEPT = 100_000
"""Newest times of each kind that quantiles are taken of."""

ACCEPTED, REJECTED, NOT_FORWARDED, UNANSWERED = (
    "upstream-accepted",
    "upstream-rejected",
    "share-not-forwarded",
    "upstream-unanswered",
)
"""Kinds of the events that tell what became of a share; a valid share without one was still on its way."""

_REASONS = {
    ErrorCode.STALE: "stale",
    ErrorCode.DUPLICATE: "duplicate",
    ErrorCode.LOW_DIFFICULTY: "low-difficulty",
    ErrorCode.UNAUTHORIZED: "unauthorized",
    ErrorCode.NOT_SUBSCRIBED: "not-subscribed",
}


def reason_of(code: int, text: str) -> str:
    """Kind of a refusal: by its code, or where that is "other" by the words that pools use."""
    known = _REASONS.get(code)  # type: ignore[call-overload] # any number
    if known is not None:
        return str(known)
    words = text.lower()
    for word, reason in (
        *(("duplicate", "duplicate"), ("stale", "stale"), ("job not found", "stale")),
        *(
            ("low diff", "low-difficulty"),
            ("difficulty", "low-difficulty"),
            ("above target", "low-difficulty"),
        ),
        *(
            ("high-hash", "low-difficulty"),
            ("unauthor", "unauthorized"),
            ("ntime", "ntime"),
            ("version", "version"),
        ),
    ):
        if word in words:
            return reason
    return "other"


@dataclass(slots=True)
class Forward:
    """A share on its way to the pool.

    Attributes:
        miner: its number in the run.
        job: number of its job in the run.
        fields: extranonce2, ntime, nonce and version bits as the miner sent them: with the job they name the share.
        difficulty: that the pool asked for.
        pool: its label.
    """

    miner: int
    job: int
    fields: tuple[str, str, str, str | None]
    difficulty: float
    pool: str

    def detail(self) -> dict[str, Any]:
        """What an event says of it."""
        extranonce2, ntime, nonce, bits = self.fields
        named = {
            "job": self.job,
            "extranonce2": extranonce2,
            "ntime": ntime,
            "nonce": nonce,
            "pool": self.pool,
        }
        return named if bits is None else {**named, "version_bits": bits}


@dataclass(slots=True)
class ProxyStats(BridgeStats):
    """Counts since the start, on top of those of the miners' side.

    Attributes:
        forwarded: shares sent to a pool.
        upstream_accepted: of them, accepted.
        upstream_rejected: of them, refused: reason to count.
        unanswered: of them, whose pool was lost before it answered.
        not_forwarded: valid shares that no pool got: why, to count.
        below_upstream: valid shares that met only the local difficulty.
        accepted_difficulty: sum of the pool's difficulties of the accepted ones; on the wire, not scaled.
        stale: shares refused here because a later job had replaced theirs.
        duplicates: shares refused here because they were submitted before.
        verdicts_differ: shares on which pool and proxy do not agree.
        upstream_jobs: jobs that pools sent.
        derived_jobs: of the jobs sent to miners, those made here.
        links: connections to pools.
        reconnects: of them, those after a first one.
        round_trip_ns: of answered forwards: from the pool's socket to its answer.
        answer_ns: from a share's arrival to its answer to the miner.
        work_ns: from the arrival of a share of the current job to the next job sent to its miner.
        hash_ns: from what set a miner going (its newest job or answer) to the arrival of its next share.
    """

    forwarded: int = 0
    upstream_accepted: int = 0
    upstream_rejected: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    not_forwarded: Counter[str] = field(default_factory=Counter)
    below_upstream: int = 0
    accepted_difficulty: float = 0.0
    stale: int = 0
    duplicates: int = 0
    verdicts_differ: int = 0
    upstream_jobs: int = 0
    derived_jobs: int = 0
    links: int = 0
    reconnects: int = 0
    round_trip_ns: deque[int] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    answer_ns: deque[int] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    work_ns: deque[int] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    hash_ns: deque[int] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))

    def summary(self, seconds: float) -> dict[str, Any]:
        """All of it as a record, over a run of so many seconds; rates and times are None where there is nothing.

        ``eta_answer`` and ``eta_work`` are the time efficiency of a miner that does nothing between a share and its
        answer, or between a share and its next job: the proxy cannot see whether a miner does. The time between proxy
        and miner counts as hashing here.
        """
        answered = self.upstream_accepted + sum(self.upstream_rejected.values())
        shares = self.accepted + self.rejected
        trips, answers = _milliseconds(self.round_trip_ns), _milliseconds(self.answer_ns)
        works, hashing = _milliseconds(self.work_ns), _milliseconds(self.hash_ns)
        mean = hashing["mean"]

        def efficiency(wait: float | None) -> float | None:
            return None if mean is None or wait is None else eta(mean, wait)

        return {
            "connections": self.connections,
            "refused": self.refused,
            "miners": self.miners,
            "jobs": self.jobs,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "stale": self.stale,
            "duplicates": self.duplicates,
            "stale_rate": self.stale / shares if shares else None,
            "duplicate_rate": self.duplicates / shares if shares else None,
            "forwarded": self.forwarded,
            "below_upstream": self.below_upstream,
            "upstream_accepted": self.upstream_accepted,
            "upstream_rejected": dict(self.upstream_rejected),
            "upstream_reject_rate": sum(self.upstream_rejected.values()) / answered if answered else None,
            "unanswered": self.unanswered,
            "not_forwarded": dict(self.not_forwarded),
            "verdicts_differ": self.verdicts_differ,
            "upstream_jobs": self.upstream_jobs,
            "derived_jobs": self.derived_jobs,
            "links": self.links,
            "reconnects": self.reconnects,
            "accepted_difficulty": self.accepted_difficulty,
            "accepted_difficulty_per_hour": self.accepted_difficulty * 3600.0 / seconds
            if seconds > 0
            else None,
            "upstream_round_trip_ms": trips,
            "answer_ms": answers,
            "next_work_ms": works,
            "hash_ms": hashing,
            "eta_answer": efficiency(answers["mean"]),
            "eta_work": efficiency(works["mean"]),
        }


def _milliseconds(values: deque[int]) -> dict[str, float | None]:
    """Mean, median, 99th percentile and largest of times in ns, in ms."""
    if not values:
        return dict.fromkeys(("mean", "p50", "p99", "max"))
    ranked = sorted(values)
    last = len(ranked) - 1
    chosen = {
        "mean": sum(ranked) / len(ranked),
        "p50": ranked[round(0.5 * last)],
        "p99": ranked[round(0.99 * last)],
        "max": ranked[-1],
    }
    return {name: value / 1e6 for name, value in chosen.items()}
