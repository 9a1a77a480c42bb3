"""The part of ``asiclab emulate`` that runs in wall time: devices in the network, and chains behind a serial port."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

from firmware_bridge.errors import LabError, UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.emulator.appliance import ApplianceConfig
    from firmware_bridge.emulator.wall_config import WallSummary


def parse_faults(items: Iterable[str]) -> dict[str, Any]:
    """``NAME`` or ``NAME=VALUE`` as options of a device: switches, numbers or words."""
    options: dict[str, Any] = {}
    for item in items:
        name, sign, text = item.partition("=")
        words = {"on": True, "true": True, "off": False, "false": False}
        value: Any = words.get(text.lower(), text) if sign else True
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = text
        options[name.replace("-", "_")] = value
    return options


def neighbours(settings: ApplianceConfig, count: int) -> list[ApplianceConfig]:
    """So many miners, each on the next address, with seed and user of its own.

    Raises:
        UserError: if there are not so many addresses.
    """
    import ipaddress
    from dataclasses import replace

    from firmware_bridge.emulator.model import get_model

    if count == 1:
        return [settings]
    try:
        first = ipaddress.ip_address(settings.bind)
        addresses = [str(first + n) for n in range(count)]
    except ValueError as error:
        raise UserError(
            f"--count {count} needs an address to count from: --bind 127.0.0.2 ({error})"
        ) from None
    user = settings.wall.user or get_model(settings.wall.model).user
    return [
        replace(
            settings,
            bind=address,
            wall=replace(settings.wall, seed=settings.wall.seed + 1000 * n, user=f"{user}.{n + 1}"),
        )
        for n, address in enumerate(addresses)
    ]


def mine_in_network(settings: list[ApplianceConfig], stop: Stop, json: bool) -> None:
    """Mine in wall time."""
    import asyncio

    from experiments.cli import output

    warn = lambda text: typer.echo(f"asiclab: {text}", err=True)  # noqa: E731
    summaries = asyncio.run(_mine(settings, stop, warn, json))
    for summary in summaries:
        if json:
            continue
        refused = sum(summary.rejected.values())
        text = f"{summary.agent}: {summary.accepted} shares accepted, {refused} refused in {summary.seconds:.0f} s"
        output.console().print(f"{text} ({summary.reason})", markup=False)
    if json:
        output.emit(summaries[0] if len(summaries) == 1 else {"miners": summaries})
    alone = [one.pool for one, summary in zip(settings, summaries, strict=True) if summary.connections == 0]
    if alone and stop.reason is None:
        places = {"its own" if pool is None else f"{pool[0]}:{pool[1]}" for pool in alone}
        raise LabError(
            f"no pool let it mine at {', '.join(sorted(places))}; see that one listens there, such as asiclab bridge"
        )


async def _mine(
    settings: list[ApplianceConfig], stop: Stop, on_warning: Callable[[str], None], json: bool
) -> list[WallSummary]:
    import asyncio

    from experiments.cli import output
    from firmware_bridge.emulator.appliance import Appliance

    appliances = [Appliance(one, on_warning) for one in settings]
    started: list[Appliance] = []
    try:
        for appliance in appliances:
            ready = await appliance.start()
            started.append(appliance)
            if json:
                output.emit(ready)
            else:
                ports = ", ".join(f"{name} {ready['host']}:{port}" for name, port in ready["ports"].items())
                text = f"{ready['model']}: {ports or 'no servers'}; mines for {ready['pool']}; Ctrl-C stops"
                output.console().print(text, markup=False)
    except BaseException:
        for appliance in started:
            await appliance.close()
        raise
    for appliance in appliances:
        stop.call(lambda a=appliance: a.request_stop(f"stopped by {stop.reason}"))  # type: ignore[misc]
    tasks = [asyncio.ensure_future(appliance.serve()) for appliance in appliances]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    if any(task.exception() is not None for task in done):
        for appliance in appliances:
            appliance.request_stop("another one failed")
    return list(await asyncio.gather(*tasks))


def serve_chain(
    chips: int,
    scale: float | None,
    seed: int,
    faults: Iterable[str],
    seconds: float | None,
    stop: Stop,
    json: bool,
) -> None:
    """An emulated chain behind a pseudo-terminal."""
    import threading
    from dataclasses import fields

    from experiments.cli import output
    from firmware_bridge.emulator.bm1366 import Bm1366, Bm1366Config
    from firmware_bridge.emulator.wall_config import DEFAULT_SCALE

    options = parse_faults(faults)
    known = {f.name for f in fields(Bm1366Config)} - {"chips", "scale", "seed"}
    if unknown := sorted(options.keys() - known):
        raise UserError(f"--fault {unknown[0]}: an emulated bm1366 has {', '.join(sorted(known))}")
    used = DEFAULT_SCALE if scale is None else scale
    chain = Bm1366(Bm1366Config(chips=chips, scale=used, seed=seed, **options))
    ended = threading.Event()
    path = chain.start()
    stop.call(ended.set)
    url = f"bm1366://{path}?scale={used!r}"
    if json:
        output.emit(
            {"ready": True, "model": "bm1366", "path": path, "chips": chips, "scale": used, "url": url}
        )
    else:
        output.console().print(
            f"{chips} BM1366 at {path}, difficulty scale {used!r}; Ctrl-C stops", markup=False
        )
    ended.wait(seconds)
    summary = chain.stop(f"stopped by {stop.reason}" if stop.reason else f"{seconds:g} s are over")
    if json:
        output.emit(summary)
    else:
        output.console().print(
            f"{summary.jobs} jobs, {summary.nonces} nonces ({summary.reason})", markup=False
        )
