"""Commands to a miner as they come over the network: which are taken, and why the others are not. No network here.

A command is JSON: ``{"id": "...", "sent_ns": NS, "set": {"frequency_mhz": 400}}``, or ``"restore": true`` instead of
``"set"``. Whether the values are allowed is the device's own business (``devices.settings.Limits``); nothing in a
message can widen that.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from firmware_bridge.devices.settings import OperatingPoint, Setting

MAX_PAYLOAD = 4096
"""Bytes of a command."""
LARGEST_AGE_NS = 60 * 10**9
"""Of a command, and how far ahead its sender's clock may be."""
REMEMBERED_NS = 2 * LARGEST_AGE_NS + 10**9
"""How long an id is remembered: longer than any command with it could be taken."""
MOST_REMEMBERED = 10_000
PAUSE_S = 10.0
"""Between two changes of one miner."""
LONGEST_ID = 64
FIELDS = ("id", "sent_ns", "set", "restore")


class Reason(StrEnum):
    """Why a command is refused."""

    DISABLED = "commands are off; asiclab bridge --mqtt-commands turns them on"
    RETAINED = "retained: the broker kept it, nobody sends it now"
    TOO_LARGE = f"larger than {MAX_PAYLOAD} bytes"
    MALFORMED = "malformed"
    NO_ID = "without an id"
    UNKNOWN_FIELD = "with an unknown field"
    TOO_OLD = "older than 60 s"
    FROM_THE_FUTURE = "more than 60 s ahead of this clock"
    DUPLICATE = "its id was used before"
    UNKNOWN_MINER = "no device of that name is polled in this run"
    TOO_SOON = "too soon after the last change of this miner"
    BUSY = "the last command to this miner is still being carried out"
    TOO_MANY = "too many commands at once"
    LIMIT = "outside the limits"
    NOT_SUPPORTED = "not possible with this device"
    DEVICE = "the device failed"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is taken.

    Attributes:
        id: its sender's name for it.
        point: what to set, or None to restore what was there before.
    """

    id: str
    point: OperatingPoint | None

    @property
    def reason(self) -> str:
        """What the table of settings says of its cause."""
        return f"mqtt command {self.id}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that is not taken.

    Attributes:
        reason: why.
        id: of the command, where it has a usable one.
        detail: what exactly, cut to what is worth keeping.
    """

    reason: Reason
    id: str | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """As an event and an answer tell it."""
        return {"id": self.id, "reason": self.reason.value, "detail": self.detail}


class CommandDesk:
    """Judges commands; it remembers ids and times, and nothing of a device.

    Args:
        enabled: whether commands are taken at all.
        pause_s: between two changes of one miner.
    """

    def __init__(self, *, enabled: bool, pause_s: float = PAUSE_S) -> None:
        self.enabled = enabled
        self._pause_ns = round(pause_s * 1e9)
        self._ids: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._changed_ns: dict[str, int] = {}
        self._busy: set[str] = set()

    def judge(
        self, miner: str, payload: bytes, *, retained: bool, known: bool, wall_ns: int, monotonic_ns: int
    ) -> Command | Refused:
        """Whether a command is taken; its id counts as used from its first proper telling on.

        Args:
            miner: whom it is for, by the name in its topic.
            payload: of the message.
            retained: whether the broker had kept it.
            known: whether this run polls a device of that name.
            wall_ns: now.
            monotonic_ns: now.
        """
        if len(payload) > MAX_PAYLOAD:
            return Refused(Reason.TOO_LARGE, None, f"{len(payload)} bytes")
        parsed = parse(payload)
        name = None if isinstance(parsed, Refused) else parsed.id
        if not self.enabled:
            return Refused(Reason.DISABLED, name)
        if retained:
            return Refused(Reason.RETAINED, name)
        if isinstance(parsed, Refused):
            return parsed
        age_ns = wall_ns - parsed.sent_ns
        if age_ns > LARGEST_AGE_NS:
            return Refused(Reason.TOO_OLD, name, f"{age_ns / 1e9:.0f} s")
        if -age_ns > LARGEST_AGE_NS:
            return Refused(Reason.FROM_THE_FUTURE, name, f"{-age_ns / 1e9:.0f} s")
        if not known:
            return Refused(Reason.UNKNOWN_MINER, name, miner[:80])
        self._forget(monotonic_ns)
        if (miner, parsed.id) in self._ids:
            return Refused(Reason.DUPLICATE, name)
        if len(self._ids) >= MOST_REMEMBERED:
            return Refused(Reason.TOO_MANY, name)
        self._ids[miner, parsed.id] = monotonic_ns
        if miner in self._busy:
            return Refused(Reason.BUSY, name)
        changed_ns = self._changed_ns.get(miner)
        if parsed.point is not None and changed_ns is not None and monotonic_ns - changed_ns < self._pause_ns:
            left_s = (self._pause_ns - monotonic_ns + changed_ns) / 1e9
            return Refused(Reason.TOO_SOON, name, f"{left_s:.1f} s to go")
        return Command(parsed.id, parsed.point)

    def begin(self, miner: str) -> None:
        """A command is being carried out."""
        self._busy.add(miner)

    def end(self, miner: str, monotonic_ns: int, *, changed: bool) -> None:
        """A command is over.

        Args:
            miner: whose.
            monotonic_ns: now; the pause before the next change counts from here.
            changed: whether the device may have been touched; a refusal by its limits does not count.
        """
        self._busy.discard(miner)
        if changed:
            self._changed_ns[miner] = monotonic_ns

    def _forget(self, monotonic_ns: int) -> None:
        while self._ids and monotonic_ns - next(iter(self._ids.values())) > REMEMBERED_NS:
            self._ids.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A well-formed command, in time or not."""

    id: str
    sent_ns: int
    point: OperatingPoint | None


def parse(payload: bytes) -> Parsed | Refused:
    """A command from the bytes of its message."""
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refused(Reason.MALFORMED, None, str(error)[:80])
    if not isinstance(content, dict):
        return Refused(Reason.MALFORMED, None, "no JSON object")
    name = content.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_ID or not name.isprintable():
        return Refused(Reason.NO_ID, None, f"an id is a text of 1 to {LONGEST_ID} printable characters")
    if unknown := [key for key in content if key not in FIELDS]:
        return Refused(Reason.UNKNOWN_FIELD, name, str(unknown[0])[:40])
    sent_ns = content.get("sent_ns")
    if not isinstance(sent_ns, int) or isinstance(sent_ns, bool) or not 0 <= sent_ns < 2**63:
        return Refused(Reason.MALFORMED, name, "sent_ns is the time of sending, integer ns since the epoch")
    if ("set" in content) == ("restore" in content):
        return Refused(Reason.MALFORMED, name, 'either "set" or "restore"')
    if "restore" in content:
        if content["restore"] is not True:
            return Refused(Reason.MALFORMED, name, '"restore" is true or is not there')
        return Parsed(name, sent_ns, None)
    return _point(name, sent_ns, content["set"])


def _point(name: str, sent_ns: int, asked: object) -> Parsed | Refused:
    if not isinstance(asked, Mapping) or not asked:
        return Refused(Reason.MALFORMED, name, f'"set" is an object with some of {", ".join(Setting)}')
    values: dict[str, Any] = {}
    for key, value in asked.items():
        if key not in tuple(Setting):
            return Refused(Reason.UNKNOWN_FIELD, name, f"set.{key}"[:40])
        if key == Setting.POWER_PLAN:
            good = isinstance(value, str) and 0 < len(value) <= 40 and value.isprintable()
        else:
            good = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
        if not good:
            return Refused(Reason.MALFORMED, name, f"set.{key} is {str(value)[:40]!r}")
        values[key] = value if isinstance(value, str) else float(value)
    return Parsed(name, sent_ns, OperatingPoint(**values))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond what a float holds
        return False
