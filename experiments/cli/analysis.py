"""``asiclab stats`` and ``asiclab report``: what a run says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Run, Seed

Miner = Annotated[
    str | None, typer.Option("--miner", metavar="NAME", help="Only this miner, by name or number.")
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Where to write it; report-RUN.html by default.")
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
    out: Out = None,
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
        stream = summary.get(name) or {}
        rows = [
            (key, value, _range(stream.get(f"{key}_ci")), _range(stream.get(f"{key}_surrogate")))
            for key, value in _flat(stream)
            if not key.endswith(("_ci", "_surrogate"))
        ]
        output.table(f"Stream {name}", ("statistic", "value", "confidence interval", "surrogates"), rows)
    for name in ("scan", "hashrate"):
        if summary.get(name):
            output.table(name, ("quantity", "value"), _flat(summary[name]))


def _flat(values: dict[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict) and not key.endswith(("_ci", "_surrogate")):
            rows += [
                (f"{key}[{inner}]", item)
                for inner, item in value.items()
                if not isinstance(item, (dict, list))
            ]
        else:
            rows.append((key, value))
    return rows


def _range(value: Any) -> str | None:
    if (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(v, (int, float)) for v in value)
    ):
        return f"{value[0]:.4g} … {value[1]:.4g}"
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {item:.4g}" if isinstance(item, float) else f"{key} {item}" for key, item in value.items()
        )
    return None if value is None else str(value)


def register(app: typer.Typer) -> None:
    """Add both commands to the tree."""
    app.command("stats", cls=LabCommand)(stats)
    app.command("report", cls=LabCommand)(report)
