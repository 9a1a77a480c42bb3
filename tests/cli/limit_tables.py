"""Tables of the limits in force, as the pages on attaching a miner show them: ``python -m tests.cli.limit_tables``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from firmware_bridge.devices.registry import ENTRIES
from firmware_bridge.devices.settings import OperatingPoint, Setting
from firmware_bridge.sentinel.models import FACTS

PROJECT = Path(__file__).resolve().parents[2]
PAGES = {
    "s9": PROJECT / "docs" / "attach" / "antminer-s9.md",
    "lv06": PROJECT / "docs" / "attach" / "lucky-miner-lv06.md",
    "lb-box": PROJECT / "docs" / "attach" / "goldshell-lb-box.md",
    "bm1366": PROJECT / "docs" / "attach" / "bm1366.md",
}
NAMES: Mapping[Setting, tuple[str, str]] = {
    Setting.FREQUENCY: ("clock", "MHz"),
    Setting.CORE_VOLTAGE: ("core voltage", "mV"),
    Setting.FAN: ("fan", "%"),
}
BLOCK = re.compile(r"(<!-- limits of [\w-]+, written by: [^>]+ -->\n)(.*?)(<!-- end of limits -->)", re.S)


def rendered(model: str) -> str:
    """The table of one model, from the tables that the driver and the Sentinel obey."""
    entry = ENTRIES[model]
    limits = getattr(import_module(entry.module), entry.name).limits
    guard = FACTS[model]
    rows = [("what", "hard limit, which no option moves", "the factory's menu; else `--yes`"), ("---",) * 3]
    for setting, (name, unit) in NAMES.items():
        bound = limits.bounds.get(setting)
        if bound is None:
            rows.append((name, "never set", "–"))
        else:
            rows.append(
                (name, f"{bound.low:g} to {bound.high:g} {unit}", f"{_numbers(bound.factory)} {unit}")
            )
    plans = ", ".join(f"`{plan}`" for plan in limits.plans)
    rows.append(("power plan", f"only {plans}" if plans else "never set", "–"))
    rows.append(
        ("chip temperature", f"from {limits.max_temperature_c:g} °C on nothing is set that heats", "–")
    )
    safe = ", else ".join(_point(point) for point in guard.safe)
    trip = f"trips at {guard.trip_c:g} °C, cool again below {guard.clear_c:g} °C"
    rows.append(("the Sentinel", trip, f"safe point: {safe}"))
    return "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n"


def _numbers(values: tuple[float, ...]) -> str:
    steps = {b - a for a, b in pairwise(values)}
    if len(values) > 20 and len(steps) == 1:
        return f"{values[0]:g} to {values[-1]:g} in steps of {steps.pop():g}"
    return ", ".join(f"{value:g}" for value in values)


def _point(point: OperatingPoint) -> str:
    units = {setting: unit for setting, (_, unit) in NAMES.items()}
    parts = [f"`{v}`" if isinstance(v, str) else f"{v:g} {units[s]}" for s, v in point.given().items()]
    return ", ".join(parts)


def written(model: str, text: str) -> str:
    """A page with its table made anew."""
    return BLOCK.sub(lambda m: m[1] + rendered(model) + m[3], text)


if __name__ == "__main__":
    for name, page in PAGES.items():
        page.write_text(written(name, page.read_text(encoding="utf-8")), encoding="utf-8")
