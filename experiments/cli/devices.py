"""``asiclab devices``: find attached miners, look at them, test them, set them within limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group
from experiments.cli.options import Config, Json
from experiments.cli.running import run_until_asked, stoppable
from firmware_bridge.errors import DeviceError, UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.journal import PoolJournal
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
        for_programs = ("raw", "wall_ns", "monotonic_ns")
        rows = [(name, _shown(value)) for name, value in found[part].items() if name not in for_programs]
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
    if all(f.status == "unknown" for f in report.facts):
        raise DeviceError(
            f"{url}: nothing of the table was seen; the conversation in {target} says what it answered. Is it switched "
            "on, and the address right?"
        )
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

    The settings from before, or the pool, are remembered: asiclab devices restore URL brings them back. An error or
    Ctrl-C while setting brings settings back at once.
    """
    from experiments.cli import output
    from firmware_bridge.devices.settings import OperatingPoint

    point = OperatingPoint(frequency_mhz=frequency, core_voltage_mv=voltage, fan_percent=fan, power_plan=plan)
    if pool is not None and point.given():
        raise UserError("a pool and an operating point are two changes; set one after the other")
    if pool is not None:
        _run(_with_device(url, _set_pool(pool, user, json, force=yes)))
        return

    holding = False

    async def change(device: Device) -> Applied:
        nonlocal holding
        try:
            applied = await device.apply(point, beyond_factory=yes)
        except BaseException:
            await device.restore()
            raise
        _say_applied(device.address, applied, json)
        if hold:
            holding = True
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
    if applied is None and not holding:
        typer.echo(f"asiclab: stopped by {stop.reason}; the settings from before are back", err=True)
        raise typer.Exit(stop.exit_code)
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
    if steps is None:
        raise typer.Exit(stop.exit_code)
    if any(False in step.applied.confirmed.values() for step in steps):
        raise typer.Exit(EXIT_CHECK_FAILED)


@devices.command("restore", cls=LabCommand)
def restore(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help=URL_HELP)] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="Password of its worker at its own pool ('x')."),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Bring back settings and pool from before the lab changed them; without URL, of every device that is remembered.

    Its pool too, where asiclab devices set or a run that was killed had changed it.
    """
    from experiments.cli import output
    from experiments.live_miners import worker_password
    from firmware_bridge.devices.journal import PoolJournal

    pools = PoolJournal()
    remembered = sorted({*_journal().addresses(), *pools.addresses()})
    wanted = remembered if url is None else [url]
    password = worker_password(password_file)
    restored, failed = [], False
    for address in wanted:

        async def back(device: Device) -> tuple[Applied | None, str | None, str | None]:
            return await device.restore(), *await _own_pool_again(device, pools, password)

        try:
            applied, pool, other = _run(_with_device(address, back))
        except DeviceError as error:
            if url is not None:
                raise
            failed = True  # the others are to be brought back all the same
            typer.echo(
                f"asiclab: {address}: {error}; it stays remembered: say this again once it answers", err=True
            )
            continue
        restored.append(
            {
                "url": address,
                "restored": applied is not None,
                "pool": pool,
                "other_pool": other,
                **(applied.to_json() if applied else {}),
            }
        )
    if json:
        output.emit({"devices": restored})
    elif not wanted:
        output.console().print("No device is remembered as changed", markup=False)
    for row in restored if not json else ():
        told = [f"back at {row['asked']}"] if row["restored"] else []
        told += [f"mines for {row['pool']} again"] if row["pool"] else []
        told += (
            [f"somebody has set its pool since, to {row['other_pool']}: left as it is"]
            if row["other_pool"]
            else []
        )
        text = ", ".join(told) or "nothing of it is remembered as changed"
        output.console().print(f"{row['url']}: {text}", markup=False)
    if failed:
        raise typer.Exit(EXIT_CHECK_FAILED)


async def _own_pool_again(device: Device, pools: PoolJournal, password: str) -> tuple[str | None, str | None]:
    """Set the pool that a killed run left remembered: its URL, or that of another one which was set since."""
    from firmware_bridge.devices.device import PoolSettings

    own = pools.get(device.address)
    if own is None:
        return None, None
    active = next((p for p in (await device.read_telemetry()).pools if p.active), None)
    lab = own.lab.rpartition("//")[2]
    if active is not None and active.url.rpartition("//")[2] != lab:  # somebody has set it since
        pools.forget(device.address)
        return None, active.url
    pool = PoolSettings(own.host, own.port, own.user, password)
    await device.set_pool(pool)
    pools.forget(device.address)
    return pool.url, None


def _set_pool(pool: str, user: str, json: bool, *, force: bool) -> Callable[[Device], Awaitable[None]]:
    """Remember the pool from before and set another; with ``force`` also where the one from before is lost."""
    from experiments.cli import output
    from experiments.cli.emulate import parse_pool
    from experiments.vbm_subjects import own_pool
    from firmware_bridge.devices.device import PoolSettings
    from firmware_bridge.devices.journal import OwnPool, PoolJournal

    host, port = parse_pool(pool)
    journal = PoolJournal()

    async def change(device: Device) -> None:
        settings = PoolSettings(host, port, user)
        before: OwnPool | PoolSettings | None = None
        try:
            before = await own_pool(device, journal)
        except UserError as error:
            if not force:
                raise UserError(f"{error}; --yes sets it all the same") from None
        if before is not None:
            left = journal.get(device.address)
            if (
                left is not None and left.lab == before.url
            ):  # the pool of an earlier wish is not the one from before
                before = left
            journal.keep(
                device.address, OwnPool(before.host, before.port, before.user, settings.url, wish=True)
            )
        restarted = await device.set_pool(settings)
        if json:
            own = None if before is None else before.url
            told = {"url": device.address, "pool": settings.url, "user": user, "restarted": restarted}
            output.emit({**told, "before": own})
        else:
            after = "after a restart" if restarted else "at once"
            back = "" if before is None else f"; asiclab devices restore brings {before.url} back"
            output.console().print(
                f"{device.address}: mines for {settings.url} as {user}, {after}{back}", markup=False
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

    return asyncio.run(work) if stop is None else run_until_asked(work, stop)


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
