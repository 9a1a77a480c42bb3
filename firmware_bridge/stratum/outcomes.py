"""What became of the shares of a proxied run, read back from its trace: also after the proxy was killed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from firmware_bridge.stratum.forwards import ACCEPTED, NOT_FORWARDED, REJECTED, UNANSWERED

if TYPE_CHECKING:
    from firmware_bridge.trace.reader import TraceReader

_Key = tuple[int, str | None, str | None, str | None, str | None]


@dataclass(slots=True)
class Outcomes:
    """Counts over the stored shares of a run.

    Attributes:
        accepted: the pool took them.
        rejected: the pool refused them: reason to count.
        unanswered: sent, and the pool was lost before it answered.
        not_forwarded: never sent: why, to count.
        open: valid shares of which the trace says nothing more: their way to the pool was cut off by the end of the
            proxy. Each as job number, extranonce2, ntime, nonce and version bits.
    """

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    not_forwarded: Counter[str] = field(default_factory=Counter)
    open: list[_Key] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a record."""
        return {
            "accepted": self.accepted,
            "rejected": dict(self.rejected),
            "unanswered": self.unanswered,
            "not_forwarded": dict(self.not_forwarded),
            "open": [list(key) for key in self.open],
        }


def outcomes_of(reader: TraceReader, run: int) -> Outcomes:
    """What became of the shares of a run.

    Args:
        reader: of the trace.
        run: number of the run; one that was not proxied has only open shares.
    """
    outcomes, told = Outcomes(), Counter[_Key]()
    for row in reader.dicts(run, "events"):
        kind = row["kind"]
        if kind not in (ACCEPTED, REJECTED, UNANSWERED, NOT_FORWARDED):
            continue
        detail = json.loads(row["detail"])
        told[_key(detail["job"], detail)] += 1
        if kind == ACCEPTED:
            outcomes.accepted += 1
        elif kind == REJECTED:
            outcomes.rejected[detail["reason"]] += 1
        elif kind == UNANSWERED:
            outcomes.unanswered += 1
        else:
            outcomes.not_forwarded[detail["why"]] += 1
    for row in reader.dicts(run, "shares"):
        if row["valid"]:
            key = _key(row["job"], row)
            if told[key] > 0:
                told[key] -= 1
            else:
                outcomes.open.append(key)
    return outcomes


def _key(job: int, fields: dict[str, Any]) -> _Key:
    names = ("extranonce2", "ntime", "nonce", "version_bits")
    extranonce2, ntime, nonce, bits = (fields.get(name) for name in names)
    return job, extranonce2, ntime, nonce, bits
