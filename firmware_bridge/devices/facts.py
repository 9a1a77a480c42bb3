"""``asiclab devices test``: hold an attached device against the table of its model, without setting anything.

What the lab believes of a model comes from documents and other people's code. Each belief is a row below, with its
source and whether anybody has seen it on a device; the report says of each: confirmed, different or unknown, and
carries the conversation, so that a user can send it and it becomes a test.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.clock import Clock, SystemClock
from firmware_bridge.devices import cgminer_api
from firmware_bridge.devices.device import Device
from firmware_bridge.devices.journal import without_secrets
from firmware_bridge.devices.registry import open_device
from firmware_bridge.errors import DeviceError, LabError
from firmware_bridge.trace.provenance import HIDDEN, is_secret_name
from firmware_bridge.trace.recorder import RecordedBytes, Recorder

CONFIRMED, DIFFERENT, UNKNOWN = "confirmed", "different", "unknown"


@dataclass(frozen=True, slots=True)
class Belief:
    """One row of a model's table.

    Attributes:
        name: of the fact.
        where: which answer shows it: a key of what :func:`gather` found.
        key: in that answer.
        expected: a value, a type, a tuple of values, a :class:`Between`, ``PRESENT`` or ``ABSENT``.
        source: where the lab has it from.
        seen: whether anybody has seen it on a device; False for what documents mark as unconfirmed.
    """

    name: str
    where: str
    key: str
    expected: Any
    source: str
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """A range of numbers."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} .. {self.high:g}"


PRESENT, ABSENT = "is there", "is not there"

BELIEFS: Mapping[str, tuple[Belief, ...]] = {
    "s9": (
        Belief("type", "version", "Type", "Antminer S9", "hardware.md §3.3", seen=True),
        Belief("software", "version", "BMMiner", str, "hardware.md §3.2", seen=True),
        Belief("GHS 5s is a string", "summary", "GHS 5s", str, "hardware.md §3.2", seen=True),
        Belief("stats is no valid JSON", "stats", "#repaired", True, "hardware.md §3.2", seen=True),
        Belief("frequency is a string", "stats", "frequency", str, "hardware.md §3.2"),
        Belief("chips of chain 6", "stats", "chain_acn6", 63, "hardware.md §2", seen=True),
        Belief("fan 3 turns", "stats", "fan3", Between(500, 10000), "hardware.md §3.2"),
        Belief("fan 6 turns", "stats", "fan6", Between(500, 10000), "hardware.md §3.2"),
        Belief(
            "temp2_6 is the chip", "stats", "#temp2_is_chip", True, "hardware.md §3.2, contradicted by pyasic"
        ),
        Belief("no voltage", "stats", "voltage", ABSENT, "hardware.md §3.2"),
        Belief("devdetails is refused", "devdetails", "#code", 45, "hardware.md §3.1"),
    ),
    "lv06": (
        Belief("chip", "info", "ASICModel", "BM1366", "hardware.md §4.4", seen=True),
        Belief("minerModel", "info", "minerModel", "LV06", "hardware.md §4.4: LV07 and LV08 were seen"),
        Belief("version", "info", "version", str, "hardware.md §4.4", seen=True),
        Belief("initMiner", "info", "initMiner", "lucky", "hardware.md §4.4: seen on LV07, LV08"),
        Belief("fanSpeed in rpm", "info", "fanSpeed", Between(500, 15000), "hardware.md §4.2: before v2.1.4"),
        Belief("no fanrpm", "info", "fanrpm", ABSENT, "hardware.md §4.4"),
        Belief("core voltage set", "info", "coreVoltage", Between(900, 1400), "hardware.md §4.2", seen=True),
        Belief("core voltage measured", "info", "coreVoltageActual", Between(850, 1400), "hardware.md §4.2"),
        Belief("no volts", "info", "volts", ABSENT, "hardware.md §4.4: a third-party note"),
        Belief("no vrTemp", "info", "vrTemp", ABSENT, "hardware.md §4.4"),
        Belief("password in clear", "info", "stratumPassword", PRESENT, "hardware.md §4.4"),
        Belief("bestDiff is a string", "info", "bestDiff", str, "hardware.md §4.2", seen=True),
        Belief("autofanspeed is a number", "info", "autofanspeed", int, "hardware.md §4.2"),
        Belief("index page", "page", "#text", "Lucky miner", "hardware.md §4.4"),
        Belief("no /api/pool", "/api/pool", "#status", 404, "hardware.md §4.4: a third-party note"),
        Belief("no /api/system/asic", "/api/system/asic", "#status", 404, "hardware.md §4.4"),
    ),
    "lb-box": (
        Belief("model", "status", "model", "Goldshell-LBBox", "hardware.md §5.1"),
        Belief("firmware", "status", "firmware", str, "hardware.md §5.1"),
        Belief("power plans", "setting", "powerplans", list, "hardware.md §5.1"),
        Belief("select is an index", "setting", "select", int, "hardware.md §5.1"),
        Belief("name is the MAC", "setting", "name", str, "hardware.md §5.1"),
        Belief("pools with dragid", "pools", "dragid", PRESENT, "hardware.md §5.1"),
        Belief("MHS 20s", "devs", "MHS 20s", PRESENT, "hardware.md §5.1"),
        Belief("tstemp-1", "devs", "tstemp-1", PRESENT, "hardware.md §5.1"),
    ),
    "bm1366": (
        Belief("chip id", "registers", "00", 0x1366, "hardware.md §1.5", seen=True),
        Belief("PLL0 after power-on", "registers", "08", int, "hardware.md §8: not known"),
        Belief("misc control after power-on", "registers", "18", int, "hardware.md §8: not known"),
        Belief("fast UART after power-on", "registers", "28", 0x01301A00, "hardware.md §1.1"),
        Belief("version rolling after power-on", "registers", "A4", int, "hardware.md §8: not known"),
        Belief("error counter", "registers", "4C", int, "hardware.md §1.5"),
        Belief("hash counter", "registers", "8C", int, "hardware.md §1.5"),
    ),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """What became of a belief."""

    name: str
    status: str
    expected: Any
    seen: Any
    source: str
    seen_before: bool

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class FactsReport:
    """What a device showed.

    Attributes:
        url: of the device.
        model: of its driver.
        identity: who it says it is.
        facts: one per row of the model's table.
        problems: questions that it did not answer.
        conversation: every byte both ways, secrets replaced.
        wall_ns: when.
    """

    url: str
    model: str
    identity: dict[str, Any] | None
    facts: tuple[Fact, ...]
    problems: tuple[str, ...]
    conversation: tuple[RecordedBytes, ...]
    wall_ns: int

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the conversation."""
        counts = {s: sum(f.status == s for f in self.facts) for s in (CONFIRMED, DIFFERENT, UNKNOWN)}
        return {
            "url": without_secrets(self.url),
            "model": self.model,
            "identity": self.identity,
            "counts": counts,
            "facts": [f.to_json() for f in self.facts],
            "problems": list(self.problems),
            "wall_ns": self.wall_ns,
        }

    def write(self, path: Path) -> None:
        """Write the file that a user can send."""
        pieces = [{**piece._asdict(), "data": piece.data.decode("latin-1")} for piece in self.conversation]
        about = {
            "form": "asiclab device facts 1",
            "python": platform.python_version(),
            "data_encoding": "latin-1",
        }
        path.write_text(json.dumps({**about, **self.to_json(), "conversation": pieces}, indent=1) + "\n")


def compare(belief: Belief, answers: Mapping[str, Mapping[str, Any] | None]) -> Fact:
    """Hold one belief against what a device answered."""
    answer = answers.get(belief.where)
    expected = belief.expected
    shown = expected.__name__ if isinstance(expected, type) else expected
    shown = str(shown) if isinstance(shown, Between) else shown
    if answer is None:
        return Fact(belief.name, UNKNOWN, shown, None, belief.source, belief.seen)
    there = belief.key in answer
    value = answer.get(belief.key)
    if expected is ABSENT or expected is PRESENT:
        right = there is (expected is PRESENT)
    elif not there:
        right = False
    elif isinstance(expected, type):
        right = isinstance(value, expected) and not (expected is int and isinstance(value, bool))
    elif isinstance(expected, Between):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = number and expected.low <= float(value or 0) <= expected.high
    elif belief.key == "#text":
        right = str(expected) in str(value)
        value = str(value)[:80]
    else:
        right = value == expected
    status = CONFIRMED if right else DIFFERENT
    if is_secret_name(belief.key) and value is not None:
        value = HIDDEN  # the report is one that a user sends
    return Fact(belief.name, status, shown, value if there else "(missing)", belief.source, belief.seen)


async def examine(url: str, *, clock: Clock | None = None, **common: Any) -> FactsReport:
    """Ask a device everything that its model's table speaks of, changing nothing.

    Args:
        url: of the device.
        clock: for the stamps of the conversation.
        **common: for the driver.

    Raises:
        UserError: if the address is none.
        DeviceError: if the model has to be found out and nothing known answers.
    """
    now = clock or SystemClock()
    conversation: list[RecordedBytes] = []
    device = await open_device(url, clock=now, taps=Recorder(conversation.append, now), **common)
    problems: list[str] = []
    identity = None
    try:
        try:
            identity = (await device.identify()).to_json()
        except DeviceError as error:
            problems.append(str(error))
        answers = await gather(device, problems)
    finally:
        await device.aclose()
    beliefs = BELIEFS.get(device.name, ())
    facts = tuple(compare(belief, answers) for belief in beliefs)
    return FactsReport(
        device.address, device.name, identity, facts, tuple(problems), tuple(conversation), now.wall_ns()
    )


Answers = dict[str, Mapping[str, Any] | None]


async def gather(device: Device, problems: list[str]) -> Answers:
    """Every answer that the table of a model speaks of; None where there was none."""
    collect: Callable[[Any, list[str]], Any] | None = {
        "s9": _gather_s9,
        "lv06": _gather_axeos,
        "lb-box": _gather_goldshell,
        "bm1366": _gather_registers,
    }.get(device.name)
    answers: Answers = {} if collect is None else await collect(device, problems)
    return answers


async def _gather_s9(device: Any, problems: list[str]) -> Answers:
    answers: Answers = {}
    sections = {"version": "VERSION", "summary": "SUMMARY", "stats": "STATS", "devdetails": "DEVDETAILS"}
    for command, section in sections.items():
        try:
            answer: cgminer_api.Answer = await device.api.ask(command)
        except LabError as error:
            problems.append(str(error))
            answers[command] = None
            continue
        row: dict[str, Any] = {}
        for part in answer.rows(section):
            row |= part
        row["#repaired"] = answer.repaired
        row["#code"] = answer.status.code if answer.status else None
        board, chip = row.get("temp6"), row.get("temp2_6")
        if isinstance(board, int | float) and isinstance(chip, int | float) and chip != board:
            row["#temp2_is_chip"] = chip > board
        answers[command] = row
    return answers


async def _web(device: Any, target: str, problems: list[str]) -> Mapping[str, Any] | None:
    try:
        reply = await device.web.request("GET", target)
    except LabError as error:
        problems.append(str(error))
        return None
    row: dict[str, Any] = {"#status": reply.status, "#text": reply.body.decode("utf-8", "replace")}
    try:
        body = json.loads(reply.body)
    except ValueError:
        return row
    return row | body if isinstance(body, dict) else row


async def _gather_axeos(device: Any, problems: list[str]) -> Answers:
    info = await _web(device, "/api/system/info", problems)
    if info is None or info.get("#status") != 200:
        return {"info": None}
    answers: Answers = {"info": info, "page": await _web(device, "/", problems)}
    for target in ("/api/pool", "/api/system/asic"):
        answers[target] = await _web(device, target, problems)
    return answers


async def _gather_goldshell(device: Any, problems: list[str]) -> Answers:
    answers: Answers = {}
    for name in ("status", "setting", "pools", "devs"):
        try:
            value = await device.page(name)
        except LabError as error:
            problems.append(str(error))
            answers[name] = None
            continue
        answers[name] = (
            value if isinstance(value, dict) else next((v for v in value if isinstance(v, dict)), {})
        )
    return answers


async def _gather_registers(device: Any, problems: list[str]) -> Answers:
    try:
        return {"registers": await device.read_registers()}
    except LabError as error:
        problems.append(str(error))
        return {"registers": None}
