"""``asiclab sentinel``: watch a miner, hold its temperature within hard limits, and rehearse every fault beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group, options_in_force
from experiments.cli.options import Config, Json, Seconds, Seed
from experiments.cli.running import run_until_asked, stoppable

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from experiments.rehearsal_outcome import Outcome
    from firmware_bridge.sentinel.config import Action, Happening, SentinelConfig

Db = Annotated[
    str | None,
    typer.Option("--db", metavar="URL", help="Also store telemetry, events and changes in this trace."),
]
Period = Annotated[float, typer.Option("--period", metavar="S", help="Seconds between two readings.")]
Limit = Annotated[
    float | None,
    typer.Option("--limit", metavar="C", help="Tighter limit in °C; by default the model's own hard limit."),
]

sentinel = lab_group(
    "sentinel",
    "Watch attached miners, hold their temperature within hard limits, and rehearse faults beforehand.",
)


@sentinel.command("watch", cls=LabCommand)
def watch(
    ctx: typer.Context,
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Devices: lv06://HOST, s9://HOST, …")],
    limit: Limit = None,
    period: Period = 3.0,
    seconds: Seconds = None,
    db: Db = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Watch devices and say what is wrong. Changes nothing."""
    from firmware_bridge.sentinel.config import SentinelConfig

    settings = SentinelConfig(limit_c=limit, period_s=period, watch_only=True)
    with stoppable() as stop:
        _guard(ctx, urls, settings, seconds, db, stop, json)


@sentinel.command("hold", cls=LabCommand)
def hold(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Device: lv06://HOST, s9://HOST, lb-box://HOST.")],
    target: Annotated[float, typer.Option("--target", metavar="C", help="Chip temperature to hold, °C.")],
    knob: Annotated[
        str,
        typer.Option(
            "--knob",
            metavar="auto|fan|frequency|voltage|plan",
            help="What to move; auto: the fan where it can be set, then the clock; else power plans.",
        ),
    ] = "auto",
    limit: Limit = None,
    ceiling: Annotated[
        float | None,
        typer.Option("--ceiling", metavar="MHZ", help="Fastest clock to use; by default the present one."),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Also clocks slower than the vendor's menu, to hold the target."),
    ] = False,
    period: Period = 3.0,
    seconds: Seconds = None,
    db: Db = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Hold the chip temperature, within hard limits, until Ctrl-C; then the settings from before come back.

    They do not where that would be dangerous: then the device stays at its safe point, and the command says so.
    """
    from firmware_bridge.sentinel.config import SentinelConfig

    settings = SentinelConfig(target, knob, limit, period, ceiling_mhz=ceiling, beyond_factory=yes)
    with stoppable() as stop:
        left_safe = _guard(ctx, [url], settings, seconds, db, stop, json)
    if left_safe:
        raise typer.Exit(EXIT_CHECK_FAILED)


@sentinel.command("rehearse", cls=LabCommand)
def rehearse(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME", help="lv06, s9, lb-box or bm1366, repeatable; by default all."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME|all",
            help="Scenario, repeatable: fan-failed, sensor-stuck, …; by default all.",
        ),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", metavar="H", help="Virtual hours of each.")] = 24.0,
    seed: Seed = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the report with the traces goes.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Run the very same Sentinel on the emulator in virtual time, with every fault, and report what the chip did.

    Beside it stand the device left alone, and the controller without its guards. Exit code 1 if anything failed.
    """
    from experiments.cli import output
    from experiments.rehearsal import rehearse
    from experiments.rehearsal_outcome import SCENARIOS
    from firmware_bridge.emulator.bench import MODELS

    models = list(model or MODELS)
    names = list(SCENARIOS) if not fault or "all" in fault else list(fault)
    done = 0
    with output.bar("Rehearsing", shown=not json) as moved:

        def count(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            moved(done, len(models) * len(names))

        outcomes = rehearse(models, names, hours=hours, seed=seed, on_outcome=count)
    page = None
    if out is not None:
        from experiments.report.sentinel_page import write_rehearsal

        page = write_rehearsal(outcomes, out, seed=seed)
    if json:
        shown = [o.to_json() for o in outcomes]
        output.emit({"passed": all(o.passed for o in outcomes), "report": page, "outcomes": shown})
    else:
        _show(outcomes, page)
    if not all(o.passed for o in outcomes):
        raise typer.Exit(EXIT_CHECK_FAILED)


def _show(outcomes: list[Outcome], page: Path | None) -> None:
    from experiments.cli import output

    rows = [
        (
            o.model,
            o.scenario,
            f"{o.max_true_c:.1f} / {o.limit_c:g}",
            None if o.left_alone_c is None else f"{o.left_alone_c:.0f}",
            None if o.pid_alone_c is None else f"{o.pid_alone_c:.0f}",
            None if o.overshoot_c is None else f"{o.overshoot_c:.2f}",
            None if o.settle_s is None else f"{o.settle_s:.0f}",
            o.actions,
            o.false_alarms,
            "; ".join(o.problems) or "passed",
        )
        for o in outcomes
    ]
    columns = (
        "model", "fault", "hottest °C / limit", "left alone", "PID alone", "overshoot °C", "settles s", "changes",
        "false alarms", "verdict",
    )  # fmt: skip
    output.table("Rehearsal of the Sentinel", columns, rows)
    if page is not None:
        output.console().print(f"Report: {page}", markup=False)


class _Said:
    """A journal that prints; it knows whether a device was left at its safe point."""

    def __init__(self, url: str, json: bool) -> None:
        self.url, self.json = url, json
        self.left_safe = False

    def happened(self, happening: Happening) -> None:
        from experiments.cli import output

        self.left_safe |= happening.kind == "sentinel-left-safe"
        if self.json:
            output.emit({"url": self.url, **happening.to_json()})
            return
        detail = happening.detail
        words = detail.get("reason") or detail.get("text") or ", ".join(
            f"{k} {v}" for k, v in detail.items() if k in ("mode", "limit_c", "trip_c", "target_c", "moves", "finding")
        )  # fmt: skip
        remedy = f"; {detail['remedy']}" if "remedy" in detail else ""
        text = f"{self.url}: {happening.kind.removeprefix('sentinel-')}: {words}{remedy}"
        output.console().print(text, markup=False)

    def acted(self, action: Action) -> None:
        from experiments.cli import output

        if self.json:
            output.emit({"url": self.url, "action": action.to_json()})
            return
        point = ", ".join(f"{s} {v}" for s, v in action.point.given().items())
        outcome = "" if action.error is None else f" FAILED: {action.error}"
        output.console().print(f"{self.url}: {point} ({action.reason}){outcome}", markup=False)


def _guard(
    ctx: typer.Context,
    urls: list[str],
    settings: SentinelConfig,
    seconds: float | None,
    db: str | None,
    stop: Stop,
    json: bool,
) -> bool:
    """Guard devices until a signal or for some time; whether one was left at its safe point."""
    said = [_Said(url, json) for url in urls]
    run_until_asked(_guard_all(ctx, said, settings, seconds, db), stop)
    return any(one.left_safe for one in said)


async def _guard_all(
    ctx: typer.Context, said: list[_Said], settings: SentinelConfig, seconds: float | None, db: str | None
) -> None:
    import asyncio

    from firmware_bridge.devices.device import Device
    from firmware_bridge.devices.journal import RunSettings, SettingsJournal
    from firmware_bridge.devices.registry import open_device
    from firmware_bridge.sentinel.companion import RunJournal, guard_alone
    from firmware_bridge.sentinel.sentinel import Journal, Sentinel

    devices: list[Device] = []
    async with _run_of(ctx, db) as run:
        try:
            work = []
            for one in said:
                timeout_s = max(1.0, settings.period_s)
                device = await open_device(
                    one.url, originals=RunSettings(SettingsJournal()), timeout_s=timeout_s
                )
                devices.append(device)
                journal: Journal = one
                store: Any = None
                if run is not None:
                    miner = _enrol(run, device)
                    journal = RunJournal(run, device.address, lambda m=miner: m, one)  # type: ignore[misc]
                    store = lambda reading, m=miner: run.telemetry(reading.to_row(m))  # noqa: E731
                guard = Sentinel(device, settings, journal)
                extra = {} if store is None else {"on_reading": store}
                work.append(guard_alone(guard, seconds=seconds, **extra))
            await _together(work)
        finally:
            await asyncio.gather(*(device.aclose() for device in devices), return_exceptions=True)


async def _together(work: list[Any]) -> None:
    """All of them; where one fails the others end first, each in its own order, so that their settings come back."""
    import asyncio

    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _enrol(run: Any, device: Any) -> int:
    from firmware_bridge.devices.journal import without_secrets
    from firmware_bridge.trace.schema import MinerRow

    number: int = run.miner(MinerRow(without_secrets(device.address), None, None, device.name))
    return number


class _run_of:  # noqa: N801 # reads as a function
    """A run of a trace as a context, or None where no trace is asked for."""

    def __init__(self, ctx: typer.Context, db: str | None) -> None:
        self._ctx, self._db = ctx, db
        self._writer: Any = None
        self._run: Any = None

    async def __aenter__(self) -> Any:
        if self._db is None:
            return None
        from firmware_bridge.trace.schema import RunRecord
        from firmware_bridge.trace.writer import TraceWriter

        self._writer = TraceWriter(self._db)
        record = RunRecord(kind="live", source="sentinel", config={"cli": options_in_force(self._ctx)})
        self._run = self._writer.begin_run(record)
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        import asyncio

        if self._writer is None:
            return
        try:
            failed = error is not None and not isinstance(error, asyncio.CancelledError)
            self._run.end("fail" if failed else "success", str(error) if failed else "ended")
        finally:
            self._writer.close()


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(sentinel)
