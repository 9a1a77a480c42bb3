"""The page of runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.charts import LINE, NULL, PUBLISHED, AnyChart, Chart, Ladder, Mark, Rung, Series, survival
from experiments.compared_findings import Findings
from experiments.compared_recordings import LAW_NULL, Timings
from experiments.differences import Difference
from experiments.experiment import PLACEBO, SUBJECT
from experiments.report import html
from experiments.report.chart_svg import draw
from experiments.report.experiment_page import STYLE, WORDS, span
from experiments.report.page import number

ROLES = (SUBJECT, PUBLISHED, PLACEBO, NULL)
"""Colours of the curves, in this order; from the fifth on they are dashed."""


def write_comparison(compared: Findings | Timings, path: Path) -> None:
    """Write the page.

    Raises:
        UserError: if the file cannot be written.
    """
    html.write(render_comparison(compared), path, "comparison")


def render_comparison(compared: Findings | Timings) -> str:
    """The page as one HTML text; the same bytes for the same runs."""
    tables = tables_of(compared)
    charts = _of_findings(compared) if isinstance(compared, Findings) else _of_timings(compared)
    return html.fill(
        "comparison.html.j2",
        more_css=STYLE,
        title=" and ".join(dict.fromkeys(run.experiment for run in compared.runs))
        if isinstance(compared, Findings)
        else "The timing of recordings",
        runs=[run.run for run in compared.runs],
        plots=draw(charts, "v"),
        tables=tables,
        null="" if isinstance(compared, Findings) else LAW_NULL,
        version=html.version(),
    )


Table = tuple[str, Sequence[str], list[list[str]]]


def tables_of(compared: Findings | Timings) -> list[Table]:
    """Every table of a comparison: title, head, body; the same on the terminal and on the page."""
    return _finding_tables(compared) if isinstance(compared, Findings) else _timing_tables(compared)


def _finding_tables(compared: Findings) -> list[Table]:
    head = (
        "run",
        "experiment",
        "finding",
        "statistic",
        "value",
        "95 % interval",
        "p",
        "would have found",
        "placebo",
    )
    body = [
        [
            short(run.run),
            run.experiment,
            WORDS[run.code],
            run.statistic or "–",
            number(run.value, 4),
            span(run.ci) or "–",
            number(run.p_value, 3),
            run.detectable or "–",
            WORDS[run.placebo] if run.placebo else "–",
        ]
        for run in compared.runs
    ]
    tables: list[Table] = [("Findings", head, body), _difference_table(compared.differences)]
    claims = sorted({name for run in compared.runs for name in run.numbers})
    if claims:
        tables.append(
            (
                "Numbers of the claims",
                ("claim", *(short(run.run) for run in compared.runs)),
                [[name, *(_number(run.numbers.get(name)) for run in compared.runs)] for name in claims],
            )
        )
    if compared.differs:
        tables.append(
            (
                "What differs between them",
                ("", *(short(run.run) for run in compared.runs)),
                [[name, *told] for name, told in compared.differs.items()],
            )
        )
    return tables


def _number(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "–"
    interval = f" ({span(told['ci'])})" if told["ci"] else ""
    return f"{number(told['value'], 4)}{interval}" + (f", {told['status']}" if told["status"] else "")


def _difference_table(differences: Sequence[Difference]) -> Table:
    return (
        "Differences",
        ("run", "less run", "of", "difference", "95 % interval", "remark"),
        [
            [short(d.run), short(d.to), d.what, number(d.difference, 4), span(d.ci) or "–", d.note]
            for d in differences
        ],
    )


def _timing_tables(compared: Timings) -> list[Table]:
    runs = [
        [
            short(run.run),
            run.source,
            number(run.moments.n),
            number(run.moments.mean_ms, 4),
            span(run.moments.mean_ci) or "–",
            number(run.moments.cv, 4),
            span(run.moments.cv_ci) or "–",
            run.verdict.replace("_", " "),
        ]
        for run in compared.runs
    ]
    laws = [
        [
            short(law.run),
            "–" if law.law is None else f"{law.law.distance:.4f}",
            "–" if law.law is None else number(law.law.p_value, 3),
            "–" if law.shape is None else f"{law.shape.distance:.4f}",
            "–" if law.shape is None else number(law.shape.p_value, 3),
            law.note,
        ]
        for law in compared.laws
    ]
    return [
        (
            "Recordings",
            ("run", "source", "intervals", "mean, ms", "95 % interval", "CV", "95 % interval", "verdict"),
            runs,
        ),
        _difference_table(compared.differences),
        (
            "One distribution of intervals with the first?",
            ("run", "distance", "p", "distance, means made equal", "p", "together"),
            laws,
        ),
    ]


def _of_findings(compared: Findings) -> list[AnyChart]:
    found: list[AnyChart] = []
    for name in dict.fromkeys((run.experiment, run.statistic) for run in compared.runs):
        some = [
            run for run in compared.runs if (run.experiment, run.statistic) == name and run.value is not None
        ]
        if some:
            rungs = [
                Rung(f"{short(run.run)}, {run.subject}, seed {run.seed}", run.value, run.ci) for run in some
            ]
            caption = f"Of {name[0]}; bars: 95 % intervals where the statistic has one."
            found.append(Ladder(_big(str(name[1])), caption, str(name[1]), rungs))
    told = [d for d in compared.differences if d.difference is not None]
    for what in dict.fromkeys(d.what for d in told):
        rungs = [
            Rung(f"{short(d.run)} less {short(d.to)}", d.difference, d.ci) for d in told if d.what == what
        ]
        found.append(
            Ladder(
                "How far apart are they?",
                f"Difference of the {what}. Where the interval holds 0, no difference is shown.",
                "difference",
                rungs,
                [Mark(0.0, "no difference")],
            )
        )
    return found


def _of_timings(compared: Timings) -> list[AnyChart]:
    curves, scaled = [], []
    for place, (run, x) in enumerate(zip(compared.runs, compared.intervals_ms, strict=True)):
        kept = survival(x, 200)
        role, second = ROLES[place % len(ROLES)], place >= len(ROLES)
        curves.append(Series(short(run.run), kept["at"], kept["above"], role=role, form=LINE, second=second))
        mean = float(x.mean())
        at = [value / mean for value in kept["at"]]
        scaled.append(Series(short(run.run), at, kept["above"], role=role, form=LINE, second=second))
    of = [
        Rung(
            f"{short(run.run)}, {run.source}",
            run.moments.cv,
            run.moments.cv_ci,
            role=ROLES[place % len(ROLES)],
        )
        for place, run in enumerate(compared.runs)
    ]
    about = "Part of the intervals that are longer than a time, on a logarithmic scale: a Poisson process is straight."
    return [
        Chart(
            "How long between two shares?", about, "interval, ms", "part that is longer", curves, log_y=True
        ),
        Chart(
            "And with the means made equal?",
            "The same in units of each run's own mean: what is left is shape.",
            "interval / its mean",
            "part that is longer",
            scaled,
            log_y=True,
        ),
        Ladder("How widely are they spread?", "CV with its 95 % interval by the block bootstrap.", "CV", of),
    ]


def short(run: str) -> str:
    """The part of an id that chance gave."""
    return run.partition("-")[0]


def _big(text: str) -> str:
    return text[:1].upper() + text[1:]
