"""``asiclab devices``: find attached miners, look at them, test them; ``device_settings`` changes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group
from experiments.cli.options import Config, Json
from experiments.cli.running import run_until_asked
from firmware_bridge.errors import DeviceError, UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.settings import OriginalSettings

URL_HELP = (
    "Address: s9://HOST, lv06://HOST, lb-box://HOST, bm1366:///dev/ttyUSB0, http://HOST (asks who it is)."
)
Url = Annotated[str, typer.Argument(metavar="URL|PORT", help=URL_HELP)]
devices = lab_group("devices", "Find attached miners, look at them, test them, set them within hard limits.")


@devices.command("scan", cls=LabCommand)
def scan(
    subnet: Annotated[
        list[str] | None,
        typer.Option(
            "--subnet", metavar="CIDR", help="Network or address to look in, repeatable: 10.0.0.0/24."
        ),
    ] = None,
    serial: Annotated[bool, typer.Option("--serial", help="Look at serial ports.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="S", help="For the whole scan of a network.")
    ] = 60.0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Find miners in a network and on serial ports. Without options: the serial ports."""
    from experiments.cli import output
    from firmware_bridge.devices import discovery

    ports = discovery.serial_ports() if serial or not subnet else []
    found = run_work(discovery.scan(subnet, deadline_s=timeout)) if subnet else []
    if json:
        output.emit({"devices": found, "serial": ports})
        return
    if subnet:
        rows = [(d.url or d.address, d.model or "unknown", d.evidence) for d in found]
        output.table(f"Devices in {', '.join(subnet)}", ("address", "model", "why"), rows)
    if serial or not subnet:
        rows = [(p.path, p.description, p.hint) for p in ports]
        output.table("Serial ports", ("port", "what", "hint"), rows)


@devices.command("show", cls=LabCommand)
def show(url: Url, json: Json = False, config: Config = None) -> None:
    """Who a device is, what it can do, and what it measures now. Changes nothing."""
    from experiments.cli import output

    async def look(device: Device) -> dict[str, Any]:
        identity = await device.identify()
        able = await device.capabilities()
        reading = await device.read_telemetry()
        point = await device.read_point()
        return {
            "url": device.address,
            "identity": identity.to_json(),
            "capabilities": able.to_json(),
            "settings": point.to_json(),
            "telemetry": reading.to_json(),
            "limits": {
                str(s): {"low": b.low, "high": b.high, "factory": list(b.factory), "source": b.source}
                for s, b in device.limits.bounds.items()
            },
            "max_temperature_c": device.limits.max_temperature_c,
        }

    found = run_work(with_device(url, look))
    if json:
        output.emit(found)
        return
    for part in ("identity", "settings", "telemetry"):
        for_programs = ("raw", "wall_ns", "monotonic_ns")
        rows = [(name, shown(value)) for name, value in found[part].items() if name not in for_programs]
        output.table(f"{found['url']}: {part}", ("what", "value"), rows)
    able = found["capabilities"]
    settings = [
        (c["setting"], "after a restart" if c["needs_restart"] else "at once", c["measured_by"])
        for c in able["sets"]
    ]
    settings += [(setting, "cannot", why) for setting, why in able["cannot"].items()]
    output.table("Settings of this firmware", ("setting", "takes effect", "shown by"), settings)


@devices.command("test", cls=LabCommand)
def compare_with_table(
    url: Url,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where the report with the conversation goes."),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Hold a device against what its model's table says; read-only. The file is one that you can send us."""
    from experiments.cli import output
    from firmware_bridge.devices import facts

    report = run_work(facts.examine(url))
    target = out or Path(f"{report.model}-facts.json")
    try:
        report.write(target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}); give another file with --out"
        ) from error
    if json:
        output.emit({**report.to_json(), "file": str(target)})
    else:
        rows = [(f.name, f.status, shown(f.expected), shown(f.seen)) for f in report.facts]
        output.table(f"{url}: {report.model}", ("fact", "status", "table", "seen"), rows)
        output.console().print(f"Report with the conversation, secrets replaced: {target}", markup=False)
    if all(f.status == "unknown" for f in report.facts):
        raise DeviceError(
            f"{url}: nothing of the table was seen; the conversation in {target} says what it answered. Is it switched "
            "on, and the address right?"
        )
    if any(f.status == "different" for f in report.facts):
        raise typer.Exit(EXIT_CHECK_FAILED)


async def with_device(url: str, use: Callable[[Device], Awaitable[Any]]) -> Any:
    """Open a device, use it, and close it; whoever changes settings restores them."""
    from firmware_bridge.devices.journal import SettingsJournal
    from firmware_bridge.devices.registry import open_device

    originals: OriginalSettings = SettingsJournal()
    device = await open_device(url, originals=originals)
    try:
        return await use(device)
    finally:
        await device.aclose()


def run_work(work: Coroutine[Any, Any, Any], stop: Stop | None = None) -> Any:
    """Run it; None where a signal ended it."""
    import asyncio

    return asyncio.run(work) if stop is None else run_until_asked(work, stop)


def shown(value: Any) -> Any:
    """A value as it stands in a table."""
    if isinstance(value, dict | list | tuple):
        import json

        from experiments.cli import output

        return json.dumps(output.plain(value)) if value else None
    return value


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(devices)
