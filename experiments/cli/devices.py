"""``asiclab devices``: find attached miners, look at them, test them, set them within limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, LabGroup
from experiments.cli.options import Config, Json
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.settings import Applied, OriginalSettings

URL_HELP = (
    "Address: s9://HOST, lv06://HOST, lb-box://HOST, bm1366:///dev/ttyUSB0, http://HOST (asks who it is)."
)
Url = Annotated[str, typer.Argument(metavar="URL|PORT", help=URL_HELP)]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes", "-y", help="Also values outside the factory's table; never outside the hard limits."
    ),
]
Frequencies = Annotated[
    str, typer.Option("--frequency", metavar="MHZ,MHZ,...", help="Frequencies in MHz, in this order.")
]
Voltages = Annotated[
    str, typer.Option("--voltage", metavar="MV,MV,...", help="Core voltages in mV, in this order.")
]

devices = typer.Typer(
    name="devices",
    help="Find attached miners, look at them, test them, set them within hard limits.",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
    found = _run(discovery.scan(subnet, deadline_s=timeout)) if subnet else []
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

    found = _run(_with_device(url, look))
    if json:
        output.emit(found)
        return
    for part in ("identity", "settings", "telemetry"):
        rows = [(name, _shown(value)) for name, value in found[part].items() if name != "raw"]
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

    report = _run(facts.examine(url))
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
        rows = [(f.name, f.status, _shown(f.expected), _shown(f.seen)) for f in report.facts]
        output.table(f"{url}: {report.model}", ("fact", "status", "table", "seen"), rows)
        output.console().print(f"Report with the conversation, secrets replaced: {target}", markup=False)
    if any(f.status == "different" for f in report.facts):
        raise typer.Exit(EXIT_CHECK_FAILED)


@devices.command("set", cls=LabCommand)
def set_point(
    url: Url,
    frequency: Annotated[float | None, typer.Option("--frequency", metavar="MHZ", help="Chip clock.")] = None,
    voltage: Annotated[float | None, typer.Option("--voltage", metavar="MV", help="Core voltage.")] = None,
    fan: Annotated[float | None, typer.Option("--fan", metavar="%", help="Fan.")] = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="NAME", help="Power plan.")] = None,
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="HOST:PORT", help="Mine there: the address of asiclab bridge."),
    ] = None,
    user: Annotated[str, typer.Option("--user", help="Worker name at that pool.")] = "lab",
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep running; bring the old settings back at Ctrl-C.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Set a device, and say whether the setting was measured in force.

    The settings from before are remembered: asiclab devices restore URL brings them back. An error or Ctrl-C while
    setting brings them back at once.
    """
    from experiments.cli import output
    from firmware_bridge.devices.settings import OperatingPoint

    point = OperatingPoint(frequency_mhz=frequency, core_voltage_mv=voltage, fan_percent=fan, power_plan=plan)
    if pool is not None and point.given():
        raise UserError("a pool and an operating point are two changes; set one after the other")
    if pool is not None:
        _run(_with_device(url, _set_pool(pool, user, json)))
        return

    async def change(device: Device) -> Applied:
        try:
            applied = await device.apply(point, beyond_factory=yes)
        except BaseException:
            await device.restore()
            raise
        _say_applied(device.address, applied, json)
        if hold:
            if json:
                output.emit({"ready": True, "url": device.address})
            try:
                while True:
                    await device.sleep(3600.0)
            finally:
                await device.restore()
        return applied

    with stoppable() as stop:
        applied = _run(_with_device(url, change), stop)
    if applied is not None and False in applied.confirmed.values():
        raise typer.Exit(EXIT_CHECK_FAILED)


@devices.command("sweep", cls=LabCommand)
def sweep_points(
    url: Url,
    frequency: Frequencies = "",
    voltage: Voltages = "",
    dwell: Annotated[
        float, typer.Option("--dwell", metavar="S", min=0.0, help="Seconds at each point.")
    ] = 60.0,
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Walk a device through operating points, measure at each, and bring the old settings back at the end.

    Also after an error, Ctrl-C or SIGTERM.
    """
    from experiments.cli import output
    from experiments.sweep import Step, grid, sweep

    points = grid(_numbers(frequency, "--frequency"), _numbers(voltage, "--voltage"))
    if points == grid((), ()):
        raise UserError("a sweep needs points: --frequency 400,425,450 or --voltage 1100,1150,1200, or both")

    def say(step: Step) -> None:
        if json:
            output.emit(step)
        else:
            _say_applied(url, step.applied, json=False)

    async def walk(device: Device) -> list[Step]:
        return await sweep(device, points, dwell_s=dwell, beyond_factory=yes, on_step=say)

    with stoppable() as stop:
        steps = _run(_with_device(url, walk), stop)
    if json:
        output.emit(
            {"steps": None if steps is None else len(steps), "stopped": stop.reason, "restored": True}
        )
    elif steps is None:
        output.console().print(f"Stopped by {stop.reason}; the settings from before are back", markup=False)
    if any(False in step.applied.confirmed.values() for step in steps or ()):
        raise typer.Exit(EXIT_CHECK_FAILED)


@devices.command("restore", cls=LabCommand)
def restore(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help=URL_HELP)] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Bring back the settings from before the lab changed them; without URL, of every device that is remembered."""
    from experiments.cli import output

    remembered = _journal().addresses()
    wanted = remembered if url is None else [url]
    restored = []
    for address in wanted:

        async def back(device: Device) -> Applied | None:
            return await device.restore()

        applied = _run(_with_device(address, back))
        restored.append(
            {"url": address, "restored": applied is not None, **(applied.to_json() if applied else {})}
        )
    if json:
        output.emit({"devices": restored})
    elif not restored:
        output.console().print("No device is remembered as changed", markup=False)
    for row in restored if not json else ():
        text = f"back at {row['asked']}" if row["restored"] else "was not changed by this lab"
        output.console().print(f"{row['url']}: {text}", markup=False)


def _set_pool(pool: str, user: str, json: bool) -> Callable[[Device], Awaitable[None]]:
    from experiments.cli import output
    from experiments.cli.emulate import parse_pool
    from firmware_bridge.devices.device import PoolSettings

    host, port = parse_pool(pool)

    async def change(device: Device) -> None:
        settings = PoolSettings(host, port, user)
        restarted = await device.set_pool(settings)
        if json:
            output.emit({"url": device.address, "pool": settings.url, "user": user, "restarted": restarted})
        else:
            after = "after a restart" if restarted else "at once"
            output.console().print(
                f"{device.address}: mines for {settings.url} as {user}, {after}", markup=False
            )

    return change


def _journal() -> Any:
    from firmware_bridge.devices.journal import SettingsJournal

    return SettingsJournal()


async def _with_device(url: str, use: Callable[[Device], Awaitable[Any]]) -> Any:
    """Open a device, use it, and close it; whoever changes settings restores them."""
    from firmware_bridge.devices.registry import open_device

    originals: OriginalSettings = _journal()
    device = await open_device(url, originals=originals)
    try:
        return await use(device)
    finally:
        await device.aclose()


def _run(work: Coroutine[Any, Any, Any], stop: Stop | None = None) -> Any:
    """Run it; None where a signal ended it."""
    import asyncio

    async def main() -> Any:
        task = asyncio.ensure_future(work)
        if stop is not None:
            loop = asyncio.get_running_loop()
            stop.call(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            return await task
        except asyncio.CancelledError:
            if stop is None or stop.reason is None:
                raise
            return None

    return asyncio.run(main())


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(
            f"{option} takes numbers with commas between, e.g. 400,425,450, not {text!r}"
        ) from None


def _say_applied(url: str, applied: Applied, json: bool) -> None:
    from experiments.cli import output

    if json:
        output.emit({"url": url, **applied.to_json()})
        return
    words = {True: "measured in force", False: "NOT IN FORCE", None: "not measured"}
    for setting, verdict in applied.confirmed.items():
        reading = applied.measured.get(setting)
        seen = "" if reading is None else f" ({reading.what}: {_shown(reading.value)})"
        asked = applied.asked.given()[setting]
        before = applied.before.given().get(setting)
        text = f"{url}: {setting} {_shown(before)} -> {_shown(asked)}: {words[verdict]}{seen}"
        output.console().print(text, markup=False)


def _shown(value: Any) -> Any:
    if isinstance(value, dict | list | tuple):
        import json

        from experiments.cli import output

        return json.dumps(output.plain(value)) if value else None
    return value


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(devices)
