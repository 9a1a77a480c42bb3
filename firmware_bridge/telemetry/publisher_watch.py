"""What a publisher keeps an eye on: who asks how often, how long rows have waited, and where events go."""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

from firmware_bridge.telemetry.messages import Resend

log = logging.getLogger(__name__)

BEHIND_S = 60.0
"""Rows that wait longer than this are an event."""
REQUEST_EVERY_S = 0.5
"""Least time between two equal requests of one recorder."""
REQUESTS_AT_ONCE = 64
REQUESTS_PER_S = 32.0
REMEMBERED_REQUESTS = 4096
BUSY = 0.4
"""Cores that the rest of the process uses from which on it is given way to."""
PAUSE_PER_WORK = 9.0
"""Seconds of pause then, per second of processor time that was used here."""


class Tell(Protocol):
    """Where events go."""

    def __call__(self, kind: str, severity: str, detail: dict[str, Any], miner: int | None = None) -> None:
        """Keep one; must not raise."""


def nobody(kind: str, severity: str, detail: dict[str, Any], miner: int | None = None) -> None:
    """Log an event instead of storing it."""
    log.log(logging.INFO if severity == "info" else logging.WARNING, "%s %s", kind, detail)


class RequestGate:
    """Lets through as many requests of recorders as can be answered; those that are not come again by themselves."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str | None, str | None], float] = {}
        self._allowance = float(REQUESTS_AT_ONCE)
        self._refilled_s = 0.0

    def allows(self, request: Resend, now_s: float) -> bool:
        """Whether to answer this one."""
        key = (request.recorder, request.run, request.table)
        earned = (now_s - self._refilled_s) * REQUESTS_PER_S
        self._allowance = min(float(REQUESTS_AT_ONCE), self._allowance + earned)
        self._refilled_s = now_s
        if now_s - self._seen.get(key, -REQUEST_EVERY_S) < REQUEST_EVERY_S or self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        if len(self._seen) >= REMEMBERED_REQUESTS:
            self._seen.clear()
        self._seen[key] = now_s
        return True


class Backlog:
    """How long rows have waited for the broker.

    Args:
        behind_s: how long they may before that is news.
    """

    def __init__(self, behind_s: float = BEHIND_S) -> None:
        self._behind_s = behind_s
        self._since_s: float | None = None
        self._told = False

    def look(self, now_s: float, up_to_date: bool) -> tuple[str, str, float] | None:
        """Kind and severity of an event and the seconds waited, once when it is too long and once when it is over."""
        since, told = self._since_s, self._told
        if up_to_date:
            self._since_s, self._told = None, False
            return ("mqtt-caught-up", "info", now_s - since) if told and since is not None else None
        if since is None:
            self._since_s = now_s
        elif not told and now_s - since > self._behind_s:
            self._told = True
            return ("mqtt-behind", "warning", now_s - since)
        return None


class Load:
    """How busy this process is, from the time on that this is made: the bridge lives in it, and comes first."""

    def __init__(self) -> None:
        self._wall_s, self._mine_s, self._all_s = time.perf_counter(), time.thread_time(), time.process_time()

    def pause_s(self) -> float:
        """How long to leave the processor to the others, so that what is behind catches up in what they leave."""
        wall_s = time.perf_counter() - self._wall_s
        mine_s = time.thread_time() - self._mine_s
        others_s = time.process_time() - self._all_s - mine_s
        return PAUSE_PER_WORK * mine_s if others_s > BUSY * wall_s else 0.0
