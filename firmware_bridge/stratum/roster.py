"""Who is who in a run: numbers of workers over reconnects, and how many events their mistakes may write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firmware_bridge.stratum.shares import Worker
from firmware_bridge.stratum.wire import WireError, clean_text
from firmware_bridge.trace.provenance import redact_text
from firmware_bridge.trace.schema import MinerRow

if TYPE_CHECKING:
    from firmware_bridge.stratum.session import Session
    from firmware_bridge.trace.run_writer import RunWriter

MINERS_PER_RUN = 65_536
"""Workers that one run numbers; more names than that are an attack."""

EVENTS_AT_ONCE = 100
EVENTS_PER_S = 10.0
"""Events that peers may cause; what is beyond is counted and reported as one event."""

MODELS = (
    ("lv06", "lv06", 256.0),
    ("luckyminer", "lv06", 256.0),
    ("bmminer/2.0.0", "s9", 256.0),
    ("icbtminer", "lb-box", None),
)
"""What a user agent contains, the model it means, and the smallest difficulty that its chips report."""


@dataclass(slots=True)
class _Known:
    number: int
    here: bool


def model_of(agent: str | None) -> tuple[str | None, float | None]:
    """Model and difficulty floor that a user agent tells of, None where it does not."""
    text = (agent or "").lower().replace(" ", "")
    for part, model, floor in MODELS:
        if part in text:
            return model, floor
    return None, None


class Roster:
    """Workers of one run.

    A worker that comes back with the same name, agent and scale is the same miner. Two that are connected at once
    are two miners, whatever they call themselves.
    """

    def __init__(self, run: RunWriter, keep_secrets: bool) -> None:
        self._run = run
        self._keep_secrets = keep_secrets
        self._known: dict[tuple[str, str | None, float], list[_Known]] = {}
        self._here: dict[int, _Known] = {}
        self._names: dict[int, str] = {}
        self._allowance = float(EVENTS_AT_ONCE)
        self._refilled = 0.0
        self._suppressed = 0

    def __len__(self) -> int:
        return len(self._names)

    def name(self, number: int) -> str:
        """Name of a miner as stored."""
        return self._names.get(number, f"miner {number}")

    def names(self) -> dict[int, str]:
        """Number and name of every worker."""
        return dict(self._names)

    def number(self, name: str) -> int | None:
        """Newest miner of that name, one that is connected before one that has left; None where there is none."""
        found = [number for number, known in self._names.items() if known == name]
        return max(found, key=lambda number: (number in self._here, number), default=None)

    def presence(self) -> dict[int, bool]:
        """Whether each worker is here; may be called from any thread."""
        here = set(self._here)
        return {number: number in here for number in list(self._names)}

    def enroll(self, session: Session, address: str, user: str, wall_ns: int) -> Worker:
        """Number a worker and write its row, or bring the row of one that came back up to date.

        Raises:
            WireError: if the run has too many miners.
        """
        name, agent = self._text(user), None if session.agent is None else self._text(session.agent)
        again = self._known.setdefault((user, session.agent, session.scale), [])
        known = next((k for k in again if not k.here), None)
        if known is not None:
            self._run.update_miner(
                known.number,
                address=address,
                extranonce1=session.extranonce1,
                version_mask=session.version_mask,
            )
            known.here = True
        else:
            if len(self._names) >= MINERS_PER_RUN:
                raise WireError(f"this run has {MINERS_PER_RUN} miners already", fatal=True)
            model, floor = model_of(agent)
            number = self._run.miner(
                MinerRow(
                    name=name,
                    user_agent=agent,
                    address=address,
                    model=model,
                    extranonce1=session.extranonce1,
                    version_mask=session.version_mask,
                    scale=session.scale,
                    floor=floor,
                    connected_wall_ns=wall_ns,
                )
            )
            known = _Known(number, True)
            again.append(known)
            self._names[number] = name
        self._here[known.number] = known
        return Worker(known.number, self._names[known.number])

    def _text(self, text: str) -> str:
        return clean_text(text) if self._keep_secrets else redact_text(clean_text(text))

    def leave(self, workers: Iterable[Worker]) -> None:
        """Their connection is over."""
        for worker in workers:
            self._here.pop(worker.number).here = False

    def event(
        self, now_s: float, kind: str, severity: str, detail: dict[str, Any], miner: int | None = None
    ) -> None:
        """Write an event that a peer caused, unless there are too many."""
        earned = (now_s - self._refilled) * EVENTS_PER_S
        self._allowance = min(self._allowance + earned, float(EVENTS_AT_ONCE))
        self._refilled = now_s
        if self._allowance < 1.0:
            self._suppressed += 1
            return
        self._allowance -= 1.0
        self._run.event(kind, severity, detail, miner=miner)

    def report_suppressed(self) -> None:
        """Write how many events were left out since the last report."""
        if self._suppressed:
            self._run.event("events-left-out", "warning", {"events": self._suppressed})
            self._suppressed = 0
