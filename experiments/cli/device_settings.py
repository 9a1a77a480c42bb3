"""``asiclab devices set``, ``sweep`` and ``restore``: change a device within limits, and bring it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand
from experiments.cli.devices import URL_HELP, Url, devices, run_work, shown, with_device
from experiments.cli.options import Config, Json
from experiments.cli.running import stoppable
from firmware_bridge.errors import DeviceError, UserError

if TYPE_CHECKING:
    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.journal import PoolJournal
    from firmware_bridge.devices.settings import Applied

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
        run_work(with_device(url, _set_pool(pool, user, json, force=yes)))
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
        applied = run_work(with_device(url, change), stop)
    if applied is None and not holding:
        typer.echo(f"asiclab: stopped by {stop.reason}; the settings from before are back", err=True)
        raise typer.Exit(stop.exit_code)
    if applied is not None and False in applied.confirmed.values():
        raise typer.Exit(EXIT_CHECK_FAILED)


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
        steps = run_work(with_device(url, walk), stop)
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
    from firmware_bridge.devices.journal import PoolJournal, SettingsJournal

    pools = PoolJournal()
    remembered = sorted({*SettingsJournal().addresses(), *pools.addresses()})
    wanted = remembered if url is None else [url]
    password = worker_password(password_file)
    restored, failed = [], False
    for address in wanted:

        async def back(device: Device) -> tuple[Applied | None, str | None, str | None]:
            return await device.restore(), *await _own_pool_again(device, pools, password)

        try:
            applied, pool, other = run_work(with_device(address, back))
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
        seen = "" if reading is None else f" ({reading.what}: {shown(reading.value)})"
        asked = applied.asked.given()[setting]
        before = applied.before.given().get(setting)
        text = f"{url}: {setting} {shown(before)} -> {shown(asked)}: {words[verdict]}{seen}"
        output.console().print(text, markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    devices.command("set", cls=LabCommand)(set_point)
    devices.command("sweep", cls=LabCommand)(sweep_points)
    devices.command("restore", cls=LabCommand)(restore)
