"""``asiclab tpf signals``: the signals that the sources read in a miner, each beside the value of noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Miner, Run, Seed, plot_option

if TYPE_CHECKING:
    from tpf.signals.report import SignalReport


def signals(
    run: Run = "latest",
    miner: Miner = None,
    frequency: Annotated[
        float,
        typer.Option("--frequency-hz", metavar="HZ", help="Of the named heartbeat and of the coupling."),
    ] = 2.4,
    draws: Annotated[
        int, typer.Option("--draws", min=39, help="Of noise; a rhythm gets five times as many surrogates.")
    ] = 199,
    plot: Annotated[Path | None, plot_option("the spectrum and all signals")] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Compute coupling, entropy, diffusion, assembly and heartbeat of a run, each beside the value of pure noise."""
    from experiments.cli import output
    from experiments.puf import read_run
    from firmware_bridge.trace.reader import TraceReader
    from tpf.signals.report import signal_report
    from tpf.signals.run_hashes import read_hashes

    reader = TraceReader(db)
    _, data = read_run(reader, run, miner)
    one = data.miner_numbers()
    hashes = read_hashes(reader, reader.resolve(run), one[0]) if len(one) == 1 else None
    report = signal_report(data, hashes, frequency_hz=frequency, seed=seed, draws=draws)
    if plot is not None:
        from experiments.report.signal_plots import draw_signals

        draw_signals(report, plot)
    output.tell(report.to_json, lambda: _print(report), plot, json=json)


def _print(report: SignalReport) -> None:
    from experiments.cli import output

    rows = []
    for signal in report.signals:
        null = signal.nulls[-1]
        rows.append(
            (
                signal.name, f"{signal.value:.5g}", f"{null.mean:.5g}", f"{null.low:.5g} to {null.high:.5g}",
                f"{signal.p_value:.2g}", null.kind,
            )
        )  # fmt: skip
    output.table(
        f"Signals of run {report.run}: {report.intervals} intervals, {report.hashes} hashes, seed {report.seed}",
        ("signal", "value", "of noise", "95 % of noise", "p", "the noise"),
        rows,
    )
    for signal in report.signals:
        output.console().print(f"{signal.name}: claimed: {signal.claim}. {signal.note}.", markup=False)
    output.console().print(f"Verdict: {report.verdict.code}. {report.verdict.text}", markup=False)


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("signals", cls=LabCommand)(signals)
