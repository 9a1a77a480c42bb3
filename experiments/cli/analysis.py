"""``asiclab stats`` and ``asiclab report``: what a run says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, ReportFile, Run, Seed

Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Only this miner, by name or number.")
]


def stats(
    run: Run = "latest",
    db: Db = DEFAULT_DB,
    miner: Miner = None,
    seed: Seed = 0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Print every statistic of a run, and the verdict.

    Each statistic stands with its confidence interval and its surrogates.
    """
    from experiments.analysis import analyse
    from experiments.cli import output

    result = analyse(db, run, miner=miner, seed=seed)
    if json:
        output.emit(result.summary)
    else:
        _print_summary(result.summary)


def report(
    run: Run = "latest",
    db: Db = DEFAULT_DB,
    out: ReportFile = None,
    miner: Miner = None,
    seed: Seed = 0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Write the report of a run, one HTML file complete in itself."""
    from experiments.analysis import analyse
    from experiments.cli import output
    from experiments.report import write_report

    result = analyse(db, run, miner=miner, seed=seed, parts=True)
    path = out or Path(f"report-{result.data.run_id}.html")
    write_report(result, path)
    verdict = result.summary["verdict"]
    if json:
        output.emit({"run": result.data.run_id, "report": str(path), "verdict": verdict})
    else:
        output.console().print(verdict["text"], markup=False)
        output.console().print(f"Report: {path}", markup=False)


def _print_summary(summary: dict[str, Any]) -> None:
    from experiments.cli import output

    verdict = summary["verdict"]
    output.console().print(f"{verdict['code']}: {verdict['text']}\n", markup=False)
    scalars = [(key, value) for key, value in summary.items() if not isinstance(value, (dict, list))]
    output.table("The run", ("quantity", "value"), scalars)
    for name in ("intervals", "first_share"):
        output.table(
            f"Stream {name} (shuffled: 95 % of the shuffles, and p)",
            ("statistic", "value", "p", "95 % interval", "shuffled"),
            _stream_rows(summary.get(name) or {}),
        )
    for name in ("scan", "hashrate"):
        if summary.get(name):
            output.table(name, ("quantity", "value"), list(summary[name].items()))


def _stream_rows(stream: dict[str, Any]) -> list[tuple[str, Any, Any, str | None, str | None]]:
    """One row per statistic; series and fitted models are left to --json and the report."""
    rows: list[tuple[str, Any, Any, str | None, str | None]] = []
    for key, value in stream.items():
        if key.endswith(("_ci", "_surrogate", "_p")) or isinstance(value, list):
            continue
        p, ci = stream.get(f"{key}_p"), stream.get(f"{key}_ci")
        if isinstance(value, dict):
            intervals = ci if isinstance(ci, dict) else {}
            rows += [
                (f"{key} {inner}", item, None, _interval(intervals.get(inner)), None)
                for inner, item in value.items()
                if not isinstance(item, (dict, list))
            ]
        else:
            rows.append((key, value, p, _interval(ci), _shuffled(stream.get(f"{key}_surrogate"))))
    return rows


def _interval(ends: Any) -> str | None:
    if not isinstance(ends, (list, tuple)) or None in ends:
        return None
    return f"{ends[0]:.4g} … {ends[1]:.4g}"


def _shuffled(surrogate: Any) -> str | None:
    if not isinstance(surrogate, dict) or surrogate.get("low") is None:
        return None
    return f"{surrogate['low']:.4g} … {surrogate['high']:.4g} (p {surrogate['p_value']:.2g})"


def register(app: typer.Typer) -> None:
    """Add both commands to the tree."""
    app.command("stats", cls=LabCommand)(stats)
    app.command("report", cls=LabCommand)(report)
