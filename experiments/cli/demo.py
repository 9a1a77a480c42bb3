"""``asiclab demo``: everything at once, and a verdict at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import Config, Json, Seed
from experiments.cli.running import stoppable

if TYPE_CHECKING:
    from experiments.demo import DemoPlan


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of everything it writes.")] = Path(
        "demo-out"
    ),
    seed: Seed = 1,
    shares: Annotated[
        int, typer.Option("--shares", min=1, hidden=True, help="S9 shares that are enough.")
    ] = 1000,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1.0, hidden=True, help="When to stop gathering.")
    ] = 125.0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show everything at once: bridge, emulated miners, report.

    An emulated S9 and LV06 mine real nonces against the real bridge, and the report says what their timing tells.

    Takes about two minutes and writes lab.db, summary.json and report.html.
    """
    from experiments.cli import output
    from experiments.demo import DemoPlan, run_demo

    plan = DemoPlan(out=out, seed=seed, shares=shares, seconds=seconds)
    with stoppable() as stop:
        asked = lambda: stop.reason is not None  # noqa: E731
        summary = run_demo(plan, on_ready=output.emit, stopped=asked) if json else _with_progress(plan, asked)
    if summary is None:
        if json:
            output.emit({"stopped": stop.reason, "database": str(plan.out / "lab.db")})
        else:
            output.console().print(
                f"Stopped by {stop.reason}; the trace is in {plan.out / 'lab.db'}", markup=False
            )
        raise typer.Exit(stop.exit_code)
    if json:
        verdict = summary["verdict"]
        keys = ("run", "shares", "seconds", "database", "report", "summary")
        output.emit({key: summary[key] for key in keys} | {"verdict": verdict})
        return
    from experiments.report.words import CODES, MODELS, PLAIN

    console = output.console()
    for name, miner in summary["miners"].items():
        title = f"{MODELS.get(miner['model'], 'Miner')} “{name}”, {miner['shares']} shares"
        console.print(f"\n[bold]{_escape(title)}[/bold]\n{_escape(miner['statistics']['verdict']['text'])}")
    code = summary["verdict"]["code"]
    console.print(f"\n[bold]Verdict: {CODES[code].lower()}.[/bold] {PLAIN[code]}")
    console.print(f"Report: {_escape(summary['report'])}  (after {summary['seconds']:.0f} s)")


def _with_progress(plan: DemoPlan, asked: Callable[[], bool]) -> dict[str, Any] | None:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from experiments.cli import output
    from experiments.demo import Progress, run_demo

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=output.console(), refresh_per_second=4) as bars:
        s9 = bars.add_task("Antminer S9 shares", total=plan.shares)
        lv06 = bars.add_task("LV06 shares", total=None)
        last = ""

        def show(progress: Progress) -> None:
            nonlocal last
            if progress.step != last:
                last = progress.step
                bars.console.print(f"{progress.elapsed_s:5.0f} s  {last}")
            bars.update(s9, completed=min(progress.shares.get("s9", 0), plan.shares))
            bars.update(lv06, completed=progress.shares.get("lv06", 0))

        def ready(line: dict[str, Any]) -> None:
            bars.console.print(f"        bridge listens on {line['host']}:{line['port']}, run {line['run']}")

        return run_demo(plan, on_ready=ready, on_progress=show, stopped=asked)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(str(text))


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("demo", cls=LabCommand)(demo)
