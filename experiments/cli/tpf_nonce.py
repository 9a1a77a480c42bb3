"""``asiclab tpf nonce``: which chip and core found each share, and whether the timing goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Miner, Run, Seed

if TYPE_CHECKING:
    from tpf.scan import NonceReport


def nonce(
    run: Run = "latest",
    miner: Miner = None,
    permutations: Annotated[
        int, typer.Option("--permutations", min=99, help="Of the chips within blocks of time.")
    ] = 999,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Decode the nonces of a run, explain its timing by the scan, and ask whether the rest goes with the chip."""
    from experiments.cli import output
    from experiments.puf import read_run
    from firmware_bridge.trace.reader import TraceReader
    from tpf.scan import nonce_report

    _, data = read_run(TraceReader(db), run, miner)
    report = nonce_report(data, seed=seed, permutations=permutations)
    if json:
        output.emit(report)
        return
    _print(report)


def _print(report: NonceReport) -> None:
    from experiments.cli import output

    even = [(e.part, e.seen, e.n, f"{e.fewest} to {e.most}", e.chi2, e.p_value) for e in report.evenness]
    output.table(
        f"Who found the shares of run {report.run} (layout {report.layout})",
        ("part", "seen", "shares", "of each", "chi2 of equal chances", "p"),
        even,
    )
    scan: dict[str, Any] = report.scan or {}
    names = {
        "counter_max": "largest scan counter",
        "intercept_ms": "dead time, ms",
        "slope_ms": "ms per extranonce2",
        "counter_ms": "ms per counter span",
        "r2": "R² of clean first shares",
        "duty": "hash rate over capacity",
    }
    rows: list[tuple[str, Any]] = [
        (text, scan[key]) for key, text in names.items() if scan.get(key) is not None
    ]
    rows += [
        ("shares loaded on time", report.on_time),
        ("R² of those", report.r2),
        ("sd of the rest, ms", report.residual_sd_ms),
    ]
    output.table("What the scan explains", ("quantity", "value"), rows)
    output.table(
        f"Does the rest go with the silicon? ({report.tests[0].permutations if report.tests else 0} permutations "
        f"within blocks of time, seed {report.seed})",
        ("part", "groups", "sd between, ms", "95 %", "detectable, ms", "rank p", "ANOVA p", "halves agree, r"),
        [
            (
                t.part, t.groups, t.sd_ms, f"{t.sd_ci[0]:.3g} to {t.sd_ci[1]:.3g}", t.detectable_ms, t.kruskal_p,
                t.anova_p, t.replication,
            )
            for t in report.tests
        ],
    )  # fmt: skip
    output.console().print(f"Verdict: {report.verdict.code}. {report.verdict.text}", markup=False)


def register(group: typer.Typer) -> None:
    """Add the command to the group."""
    group.command("nonce", cls=LabCommand)(nonce)
