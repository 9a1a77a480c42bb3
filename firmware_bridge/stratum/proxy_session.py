"""One proxied miner's work: the pool's jobs and those made of them, and the way of its shares to the pool."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from firmware_bridge.clock import Clock
from firmware_bridge.headers import Job
from firmware_bridge.stratum import wire
from firmware_bridge.stratum.dispatch import JobPolicy
from firmware_bridge.stratum.forwards import (
    ACCEPTED,
    REJECTED,
    UNANSWERED,
    Forward,
    reason_of,
)
from firmware_bridge.stratum.jobs import JobFactory
from firmware_bridge.stratum.kernel_time import Stamp
from firmware_bridge.stratum.proxy_config import ProxyConfig
from firmware_bridge.stratum.proxy_handshake import ProxyHandshake, ProxyHost
from firmware_bridge.stratum.shares import Judged
from firmware_bridge.stratum.space import Space
from firmware_bridge.stratum.upstream import error_of
from firmware_bridge.stratum.verify import PreparedJob


class ProxiedJob(PreparedJob):
    """A job of a pool as one miner got it.

    Attributes:
        template: the pool's job.
        part: its number in the proxy's own part of extranonce2.
    """

    __slots__ = ("part", "template")

    def __init__(self, job: Job, template: Template, part: int) -> None:
        super().__init__(job)
        self.template = template
        self.part = part


@dataclass(slots=True)
class Template:
    """A job as a pool sent it.

    Attributes:
        job: with the pool's own id, extranonces and difficulty.
        space: how extranonce2 is shared.
        era: of the conversation; shares go to a pool only in the era of their job.
        made: jobs made of it.
        local_id: name under which the miner knows it, where only one job is made of it.
        told: whether the trace knows that no more can be made.
    """

    job: Job
    space: Space
    era: int
    made: int = 0
    local_id: str | None = None
    told: bool = False


class ProxySession(ProxyHandshake):
    """State of one miner and its work; how shares are answered is up to the two modes."""

    def __init__(
        self, config: ProxyConfig, host: ProxyHost, clock: Clock, factory: JobFactory, policy: JobPolicy
    ) -> None:
        super().__init__(config, host, clock, factory, policy)
        self.template: Template | None = None
        self.going_since_ns: int | None = None  # when the miner last got a job or an answer
        self.wants_work_since_ns: int | None = None  # arrival of a share that used its job up
        self._ahead: tuple[ProxiedJob, bytes] | None = None

    # ---- work --------------------------------------------------------------------------------------------------------

    def _first_job(self) -> None:
        if self.template is not None:
            self._send_job(self.template, clean=True)

    def upstream_job(self, job: Job) -> None:
        """A job of the pool: the miner gets it at once."""
        self.stats.upstream_jobs += 1
        if self._space is None or self._ended:
            return
        before = self.template
        template = Template(job, self._space, self._era)
        other_era = before is not None and before.era != self._era
        if before is not None and _same_work(before, template):
            # sent again: the miner gets another part of it, or knows it by its name; else it would search it twice
            template.made, template.local_id = before.made, before.local_id
            if template.made >= template.space.jobs and template.space.own:
                return
            if not template.space.own:
                template.made = 0
        self.template = template
        self._ahead = None
        if self.started:
            self._send_job(template, clean=job.clean or other_era)

    def upstream_difficulty(self, difficulty: float) -> None:
        """Counts from the pool's next job on; jobs made of the one before keep theirs."""
        self.upstream_event("upstream-difficulty", "info", {"difficulty": difficulty})

    def dispatch(self, clean: bool | None = None, *, response_ns: int | None = None) -> None:
        """A job besides those of the pool, where one can be made."""
        template = self.template
        if self._ended or template is None or not self._makes_jobs:
            return
        if template.made >= template.space.jobs:
            if template.space.own and not template.told:
                template.told = True
                self._host.event("work-exhausted", "info", {"made": template.made})
            return
        self.stats.derived_jobs += 1
        self._send_job(template, clean=bool(clean))

    def _prepare(self, template: Template, clean: bool) -> tuple[ProxiedJob, bytes]:
        """The next job of a template under the terms in force, and its notify."""
        job_id = template.local_id or f"{self.jobs_sent:x}"
        if not template.space.own:
            template.local_id = job_id
        job = template.space.job(template.job, template.made, job_id)
        difficulty = template.job.difficulty
        if self.proxy.difficulty is not None:
            difficulty = min(difficulty, self.proxy.difficulty)
        job = replace(job, difficulty=difficulty, version_mask=self.version_mask, clean=clean)
        return ProxiedJob(job, template, template.made), wire.encode_notify(job)

    def _send_job(self, template: Template, *, clean: bool) -> None:
        if self._ended:
            return
        out = b""
        told = (template.space.extranonce1, template.space.miner_size)
        if told != self._told:
            self._told, self.extranonce1 = told, told[0]
            out, clean = wire.encode_set_extranonce(*told), True
        ahead, self._ahead = self._ahead, None
        fits = (
            ahead is not None
            and ahead[0].template is template
            and ahead[0].part == template.made
            and ahead[0].job.version_mask == self.version_mask
            and ahead[0].job.clean == clean
        )
        prepared, notify = ahead if ahead is not None and fits else self._prepare(template, clean)
        if prepared.job.difficulty != self._announced:
            self._announced = prepared.job.difficulty
            out += wire.encode_set_difficulty(self._announced)
        prepared.sent_wall_ns, prepared.sent_monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        self._host.send(out + notify)
        template.made += 1
        self.jobs_sent += 1
        self._host.sent_job(prepared)
        known = self.desk.jobs.get(prepared.job.job_id)
        if known is not None and not clean:
            prepared.seen = known.seen
        self.desk.add_job(prepared, drop_older=clean)
        self.going_since_ns = prepared.sent_monotonic_ns
        if self.wants_work_since_ns is not None:
            self.stats.work_ns.append(prepared.sent_monotonic_ns - self.wants_work_since_ns)
            self.wants_work_since_ns = None

    # ---- shares ------------------------------------------------------------------------------------------------------

    def _note_arrival(self, judged: Judged, stamp: Stamp) -> None:
        """Count what came, and how long its miner was at work."""
        for row in judged.rows:
            self.stats.stale += row[9] == "stale"
            self.stats.duplicates += row[9] == "duplicate"
        if self.going_since_ns is not None:
            self.stats.hash_ns.append(max(0, stamp.monotonic_ns - self.going_since_ns))
            self.going_since_ns = None
        if judged.current_valid and self.wants_work_since_ns is None:
            self.wants_work_since_ns = stamp.monotonic_ns

    def answered(self, arrived_ns: int) -> None:
        """The answer to a share that came then went out."""
        now = self._clock.monotonic_ns()
        self.stats.answer_ns.append(now - arrived_ns)
        self.going_since_ns = now

    def _can_forward(self, user: str, prepared: ProxiedJob) -> bool:
        """Whether the pool that is connected now knows this worker and this job."""
        return (
            self.upstream is not None
            and prepared.template.era == self._era
            and (self.pool.user or user) in self._authorized
        )

    def _submit_upstream(self, forward: Forward, user: str, prepared: ProxiedJob, answered: Any) -> None:
        """Send a share to the pool; ``answered`` takes (response or None, ns)."""
        assert self.upstream is not None
        extranonce2, ntime, nonce, bits = forward.fields
        whole = prepared.template.space.upstream_extranonce2(extranonce2, prepared.part)
        params = [self.pool.user or user, prepared.template.job.job_id, whole, ntime, nonce]
        if bits is not None:
            params.append(bits)
        self.stats.forwarded += 1
        self.upstream.request("mining.submit", params, answered)

    def _forward_of(self, row: tuple[Any, ...], prepared: ProxiedJob) -> Forward:
        return Forward(
            row[0],
            prepared.number,
            (row[3], row[4], row[5], row[6]),
            prepared.template.job.difficulty,
            self.pool.label,
        )

    def _concluded(self, forward: Forward, response: wire.Response | None, ns: int, valid: bool) -> None:
        """Write down what the pool made of a share."""
        stats, detail = self.stats, forward.detail()
        if response is None:
            stats.unanswered += 1
            self._host.entered(UNANSWERED, "warning", forward.miner, detail)
            return
        detail["round_trip_ns"] = ns
        stats.round_trip_ns.append(ns)
        accepted = response.result is True and response.error is None
        stats.verdicts_differ += accepted != valid
        if accepted:
            stats.upstream_accepted += 1
            stats.accepted_difficulty += forward.difficulty
            self._host.entered(ACCEPTED, "info", forward.miner, detail)
            return
        code, text = error_of(response)
        reason = reason_of(code, text)
        stats.upstream_rejected[reason] += 1
        detail |= {"code": code, "reason": reason, "text": self._safe(text)}
        self._host.entered(REJECTED, "warning", forward.miner, detail)


def _same_work(one: Template, other: Template) -> bool:
    """Whether two jobs of a pool differ in nothing that is hashed, nor in their name."""
    same = replace(one.job, clean=other.job.clean, difficulty=other.job.difficulty)
    return (same, one.space, one.era) == (other.job, other.space, other.era)
