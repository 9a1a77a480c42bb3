"""From an address to a driver: ``s9://HOST``, ``lv06://HOST``, ``lb-box://HOST``, ``bm1366:///dev/ttyUSB0``, …"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from firmware_bridge.devices.device import Device
from firmware_bridge.errors import UserError

ENTRY_POINTS = "asiclab.devices"
"""Group in which other packages name their drivers: scheme = function of ``(address, parts, **common)``."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A scheme of ours.

    Attributes:
        module: of the driver.
        name: of its class.
        kind: ``network`` (host and port) or ``serial`` (path of a port).
        options: query parameter to the name and type of the driver's argument.
    """

    module: str
    name: str
    kind: str
    options: Mapping[str, tuple[str, Callable[[str], Any]]]


def _scale(text: str) -> float:
    base, sign, exponent = text.partition("^")
    return float(base) ** float(exponent) if sign else float(text)


_PREFIX = "firmware_bridge.devices"
ENTRIES: dict[str, Entry] = {
    "s9": Entry(
        f"{_PREFIX}.antminer_s9",
        "AntminerS9",
        "network",
        {"http": ("http_port", int), "password": ("password", str)},
    ),
    "lv06": Entry(f"{_PREFIX}.lucky_lv06", "LuckyLv06", "network", {}),
    "axeos": Entry(f"{_PREFIX}.lucky_lv06", "LuckyLv06", "network", {}),
    "lb-box": Entry(
        f"{_PREFIX}.goldshell_lb_box",
        "GoldshellLbBox",
        "network",
        {"api": ("api_port", int), "password": ("password", str)},
    ),
    "bm1366": Entry(f"{_PREFIX}.bm1366", "Bm1366", "serial", {"scale": ("scale", _scale)}),
    "pyasic": Entry(f"{_PREFIX}.other", "PyasicMiner", "network", {}),
}
SCHEMES = ", ".join(f"{scheme}://" for scheme in ENTRIES)


def model_of(address: str) -> type[Device] | None:
    """The driver's class, without opening anything; None where the address alone does not tell it."""
    scheme = urlsplit(address).scheme if "://" in address else "bm1366" if address.startswith("/") else ""
    entry = ENTRIES.get(scheme or address.partition(":")[0])
    if entry is None:
        return None
    found: type[Device] = getattr(importlib.import_module(entry.module), entry.name)
    return found


async def open_device(address: str, **common: Any) -> Device:
    """The driver of a device; nothing is sent yet, unless the address is ``http://`` and the model has to be found out.

    Args:
        address: URL, or the path of a serial port.
        **common: for the driver: ``clock``, ``sleep``, ``originals``, ``taps``, ``timeout_s``, ``transport``.

    Raises:
        UserError: if there is no such scheme, or the address is not of its form.
        DeviceError: if the model had to be found out, and nothing that we know answered.
    """
    if "://" not in address:
        if not address.startswith("/") and not address.upper().startswith("COM"):
            raise UserError(
                f"{address!r} is no address of a device; write it as one of {SCHEMES} or http://HOST"
            )
        address = f"bm1366://{address}" if address.startswith("/") else f"bm1366:///{address}"
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        from firmware_bridge.devices.discovery import identify_host

        address = await identify_host(_host(address, parts), parts.port or 80)
        parts = urlsplit(address)
    entry = ENTRIES.get(parts.scheme)
    if entry is None:
        return _foreign(address, parts, common)
    driver = getattr(importlib.import_module(entry.module), entry.name)
    options = _options(address, parts, entry)
    if entry.kind == "serial":
        if not parts.path.strip("/"):
            raise UserError(f"{address}: which port? For example {parts.scheme}:///dev/ttyUSB0")
        path = (
            parts.path if parts.path.startswith("/dev") or "COM" not in parts.path.upper() else parts.path[1:]
        )
        return _made(driver(address, path, **options, **common))
    positional = [_host(address, parts)]
    if (port := _port(address, parts)) is not None:
        options["port"] = port
    return _made(driver(address, *positional, **options, **common))


def _made(device: Any) -> Device:
    assert isinstance(device, Device)
    return device


def _host(address: str, parts: SplitResult) -> str:
    if not parts.hostname:
        raise UserError(f"{address}: which host? For example {parts.scheme}://10.0.0.7")
    return parts.hostname


def _port(address: str, parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise UserError(f"{address}: a port is a number from 1 to 65535") from None


def _options(address: str, parts: SplitResult, entry: Entry) -> dict[str, Any]:
    options = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name not in entry.options:
            known = ", ".join(entry.options) or "none"
            raise UserError(f"{address}: there is no option {name!r} for {parts.scheme}://; there is {known}")
        argument, kind = entry.options[name]
        try:
            options[argument] = kind(text)
        except ValueError:
            raise UserError(f"{address}: option {name} cannot be {text!r}") from None
    return options


def _foreign(address: str, parts: SplitResult, common: Mapping[str, Any]) -> Device:
    """A driver of another package."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if point.name == parts.scheme:
            return _made(point.load()(address, parts, **common))
    raise UserError(f"{address}: there is no driver for {parts.scheme}://; there are {SCHEMES} and http://")
