"""Topics of a lab on an MQTT broker: what each is called, and what a topic that came in means.

::

    asiclab/<lab>/state                       online or offline, retained
    asiclab/<lab>/run                         the run's record, retained while it is the live one
    asiclab/<lab>/resend                      a recorder asks for rows again
    asiclab/<lab>/<miner>/state               the miner's row and whether it is there, retained
    asiclab/<lab>/<miner>/telemetry|share|job|setting|event      one row each
    asiclab/<lab>/<miner>/command             what somebody asks of the miner
    asiclab/<lab>/<miner>/answer              what became of it
    asiclab/<lab>/<miner>/tally               counts of its shares, retained

Rows that belong to no miner use ``-`` in the miner's place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from firmware_bridge.errors import UserError

ROOT = "asiclab"
NO_MINER = "-"
LONGEST_LEVEL_BYTES = 64
ROW_LEAVES = {
    "job": "jobs",
    "share": "shares",
    "telemetry": "telemetry",
    "setting": "settings",
    "event": "events",
}
"""Last level of a row's topic, and the table that the row is of."""
LEAF_OF = {table: leaf for leaf, table in ROW_LEAVES.items()}
MINER_LEAVES = (*ROW_LEAVES, "state", "command", "answer", "tally")
LAB_LEAVES = ("state", "run", "resend")
_NUMBERED = re.compile(r"miner-([0-9]+)")


def level_fault(name: str) -> str | None:
    """What keeps a name from being one level of a topic, or None where nothing does.

    Wildcards and slashes change what a topic means, ``$`` begins a broker's own topics, and brokers hang up on control
    characters (MQTT 3.1.1, 1.5.3 and 4.7).
    """
    if not name:
        return "it is empty"
    found = sorted({character for character in name if character in "+#/"})
    if found:
        return f"it contains {' '.join(found)}"
    if name.startswith("$"):
        return "it begins with $"
    if not name.isprintable():
        return "it contains characters that cannot be printed"
    if len(name.encode()) > LONGEST_LEVEL_BYTES:
        return f"it is longer than {LONGEST_LEVEL_BYTES} bytes"
    return None


def numbered(miner: int) -> str:
    """Level of a miner whose name cannot be one, or is another's."""
    return f"miner-{miner}"


def miner_fault(name: str, miner: int) -> str | None:
    """What keeps a miner's name from standing in its topics, or None."""
    if fault := level_fault(name):
        return fault
    if name == NO_MINER:
        return "it stands for rows without a miner"
    if _NUMBERED.fullmatch(name) and name != numbered(miner):
        return "it is the number of another miner"
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """What a topic says.

    Attributes:
        lab: name of the lab.
        miner: level of the miner; None in a topic of the lab itself.
        leaf: last level.
    """

    lab: str
    miner: str | None
    leaf: str

    @property
    def table(self) -> str | None:
        """Table that a row under this topic is of; ``miners`` for a miner's state, None for what is no row."""
        if self.miner is None:
            return None
        return "miners" if self.leaf == "state" else ROW_LEAVES.get(self.leaf)


class Topics:
    """Topics of one lab.

    Args:
        lab: its name.

    Raises:
        UserError: if it cannot be a level of a topic.
    """

    def __init__(self, lab: str) -> None:
        if fault := level_fault(lab):
            raise UserError(f"{lab[:80]!r} cannot name a lab in MQTT topics: {fault}; give another --lab")
        self.lab = lab

    def state(self) -> str:
        """Whether the lab is online (retained)."""
        return f"{ROOT}/{self.lab}/state"

    def run(self) -> str:
        """Record of a run."""
        return f"{ROOT}/{self.lab}/run"

    def resend(self) -> str:
        """Where recorders ask for rows again."""
        return f"{ROOT}/{self.lab}/resend"

    def row(self, table: str, miner: str = NO_MINER) -> str:
        """A row of ``jobs``, ``shares``, ``telemetry``, ``settings`` or ``events``; ``miners`` is the miner's state."""
        return self.miner_state(miner) if table == "miners" else f"{ROOT}/{self.lab}/{miner}/{LEAF_OF[table]}"

    def telemetry(self, miner: str) -> str:
        """Readings of a miner."""
        return self.row("telemetry", miner)

    def share(self, miner: str) -> str:
        """Shares of a miner."""
        return self.row("shares", miner)

    def job(self, miner: str) -> str:
        """Jobs that a miner was sent."""
        return self.row("jobs", miner)

    def setting(self, miner: str) -> str:
        """Changes of a miner's settings."""
        return self.row("settings", miner)

    def event(self, miner: str = NO_MINER) -> str:
        """Events of a miner, or of the run."""
        return self.row("events", miner)

    def miner_state(self, miner: str) -> str:
        """A miner's row, and whether it is there (retained)."""
        return f"{ROOT}/{self.lab}/{miner}/state"

    def command(self, miner: str) -> str:
        """What somebody asks of a miner."""
        return f"{ROOT}/{self.lab}/{miner}/command"

    def answer(self, miner: str) -> str:
        """What became of a command."""
        return f"{ROOT}/{self.lab}/{miner}/answer"

    def tally(self, miner: str) -> str:
        """Counts of a miner's shares (retained)."""
        return f"{ROOT}/{self.lab}/{miner}/tally"


class MinerLevels:
    """Which level each miner of one run has in topics: its name where that can be one and no other miner has it.

    A miner keeps the level that it was given first.
    """

    def __init__(self) -> None:
        self._levels: dict[int, str] = {}
        self._taken: dict[str, int] = {}
        self.refused: list[tuple[int, str, str]] = []
        """Miner, name and why it is not in the topic, since the list was last emptied."""

    def level(self, miner: int | None) -> str:
        """Level of a miner; one whose row was not seen is called by its number."""
        if miner is None:
            return NO_MINER
        return self._levels.get(miner) or numbered(miner)

    def assign(self, miner: int, name: str) -> str:
        """Give a miner its level, and note in ``refused`` why that is not its name."""
        known = self._levels.get(miner)
        if known is not None:
            return known
        fault = miner_fault(name, miner)
        if fault is None and name in self._taken:
            fault = f"miner {self._taken[name]} has it already"
        level = name if fault is None else numbered(miner)
        if fault is not None:
            self.refused.append((miner, name, fault))
        self._levels[miner] = level
        self._taken[level] = miner
        return level


def parse(topic: str) -> Place | None:
    """What a topic says, or None where it is none of ours; the inverse of :class:`Topics`."""
    parts = topic.split("/")
    if not 3 <= len(parts) <= 4 or parts[0] != ROOT or any(level_fault(part) for part in parts[1:]):
        return None
    if len(parts) == 3:
        return Place(parts[1], None, parts[2]) if parts[2] in LAB_LEAVES else None
    return Place(parts[1], parts[2], parts[3]) if parts[3] in MINER_LEAVES else None


def lab_filters(lab: str | None, leaves: tuple[str, ...], miner_leaves: tuple[str, ...]) -> list[str]:
    """Filters to subscribe to: these leaves of a lab and these of all its miners; of every lab where it is None."""
    name = "+" if lab is None else Topics(lab).lab
    own = [f"{ROOT}/{name}/{leaf}" for leaf in leaves]
    return own + [f"{ROOT}/{name}/+/{leaf}" for leaf in miner_leaves]


def matches(topic: str, pattern: str) -> bool:
    """Whether a topic lies under a filter (MQTT 3.1.1, 4.7)."""
    parts, wanted = topic.split("/"), pattern.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(parts) or level not in ("+", parts[index]):
            return False
    return len(parts) == len(wanted)
