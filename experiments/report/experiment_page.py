"""The page of a run of an experiment: what was found, what it was found in, how, and how to repeat and cite it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import repeat
from experiments.charts import ARMS, AnyChart, holds
from experiments.claim_table import CLAIMS
from experiments.experiment import PLACEBO, SUBJECT, Row
from experiments.repeat import is_emulated, subject_words
from experiments.report import any_charts, html
from experiments.report.chart_svg import draw
from experiments.report.figures import Plot
from experiments.report.page import compact, moment, number
from firmware_bridge.trace.provenance import DISTRIBUTION

if TYPE_CHECKING:
    from experiments.results import Results, StoredRun

WORDS = {
    "evidence": "Evidence",
    "no_evidence": "No evidence",
    "cannot_tell": "Cannot tell",
    None: "Not finished",
}
CLASSES = {"evidence": "deviates", "no_evidence": "consistent"}
PLAIN = {
    "evidence": "What this experiment looks for is there, by the rule that was fixed before the data. Where nothing is "
    "there, one run in twenty says so too: run it again with another seed.",
    "no_evidence": "What this experiment looks for did not show. That says nothing of effects smaller than the one "
    "named below.",
    "cannot_tell": "This run cannot answer the question.",
    None: "The rule is for all cells of the plan; nothing is concluded before they are there.",
}
FEW_CELLS = 12
"""Up to so many rows the table stands open."""
LONGEST_WORD = 24
STYLE = """
td.words { overflow-wrap: anywhere; }
#methods th, #provenance th { white-space: normal; width: 11rem; }
@media print {
  :root { --paper: #ffffff; --card: #f6f8fa; --ink: #1b1f24; --muted: #59636e; --grid: #e4e8ec; --line: #d5dae0;
    --data: #1f6feb; --data-soft: #1f6feb33; --null: #57606a; --model: #c2410c; --warn: #d1242f; --link: #0a58ca;
    --good: #1a7f37; --bad: #cf222e; --open: #9a6700; }
  .drawing, .wide { overflow: visible; } .cells table { font-size: 0.65rem; } h2, h3 { break-after: avoid; }
}
"""


def write_run(results: Results, stored: StoredRun, path: Path) -> None:
    """Write the page of a run.

    Raises:
        UserError: if the file cannot be written.
    """
    html.write(render_run(results, stored), path, "report")


def render_run(results: Results, stored: StoredRun) -> str:
    """The page as one HTML text; the same bytes for the same stored run and the same lab."""
    rows = results.rows(stored.run_id, stored.size)
    said, placebo = _findings(stored)
    words = _words(stored)
    code = None if said is None else said["code"]
    columns, table = cells(rows)
    return html.fill(
        "experiment.html.j2",
        more_css=STYLE,
        run=stored,
        words=words,
        subject=subject_words(stored.plan["subject"]),
        started=moment(stored.started_wall_ns),
        code=code,
        kind=CLASSES.get(code or "", "cannot_tell"),
        word=WORDS.get(code, code),
        plain=PLAIN.get(code, ""),
        finding=said,
        placebo=placebo,
        tiles=list(_tiles(stored, said, placebo)),
        warnings=list(_warnings(stored, rows)),
        plots=plots_of(stored, rows),
        claims=list(_claims(words, said)),
        methods=list(_methods(stored, words, any(row.cell.arm == PLACEBO for row in rows))),
        columns=columns,
        cells=table,
        few_cells=FEW_CELLS,
        provenance=list(_provenance(stored, results)),
        blocks=[("Versions", _block(stored.versions)), ("Plan", _block(_plan(stored)))],
        command=repeat.command(stored),
        repeats=repeat.same_plan(stored, results.url),
        citation=citation(stored),
        bibtex=bibtex(stored),
        version=html.version(),
    )


def _findings(stored: StoredRun) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    if stored.finding is None:
        return None, None
    return stored.finding["finding"], stored.finding["placebo"]


def _words(stored: StoredRun) -> Mapping[str, Any]:
    """What the experiment says of itself: as it was when the plan was made, else as it is today."""
    from experiments.catalogue import catalogue

    kept = stored.plan.get("words")
    if kept:
        return dict(kept) | {"as_planned": True}
    known = catalogue().get(stored.experiment)
    told = {"title": stored.experiment, "claims": []} if known is None else known.to_json()
    return {"source": "", "hypothesis": "", "null": "", "decision": "", "as_planned": False, **told}


def plots_of(stored: StoredRun, rows: Sequence[Row]) -> list[Plot]:
    """Figures of a run: those that its experiment chose, else those that its cells call for."""
    from experiments.catalogue import catalogue

    said, placebo = _findings(stored)
    statistic = "" if said is None else str(said["statistic"])
    known = catalogue().get(stored.experiment)
    chosen: Sequence[AnyChart] = ()
    if rows and known is not None and known.charts is not None:
        try:
            chosen = [chart for chart in known.charts(rows) if holds(chart)]
        except (KeyError, TypeError, ValueError, IndexError, StopIteration):
            chosen = ()  # cells of another version of the experiment hold other values
    if not chosen:
        chosen = any_charts.charts_of(rows, statistic)
        if said is not None:
            chosen = [*any_charts.of_finding(said, placebo), *chosen]
    return draw(chosen, "c")


def span(ci: Sequence[float] | None, digits: int = 4) -> str:
    """A 95 % interval for people."""
    return "" if ci is None else f"{number(float(ci[0]), digits)} to {number(float(ci[1]), digits)}"


def _tiles(
    stored: StoredRun, said: Mapping[str, Any] | None, placebo: Mapping[str, Any] | None
) -> Iterable[dict[str, str]]:
    if said is not None:
        if said["value"] is not None:
            yield {"value": number(said["value"], 4), "label": said["statistic"]}
        if said["ci"] is not None:
            yield {"value": span(said["ci"], 3), "label": "95 % interval of it"}
        if said["p_value"] is not None:
            yield {"value": number(said["p_value"], 3), "label": "p against the null, all tests together"}
        yield {
            "value": "none" if placebo is None else WORDS[placebo["code"]],
            "label": "placebo arm, by the same rule",
        }
    yield {"value": f"{stored.done} of {stored.plan['cells']}", "label": "cells measured"}


def _warnings(stored: StoredRun, rows: Sequence[Row]) -> Iterable[str]:
    told = stored.plan["subject"]
    if is_emulated(told):
        yield (
            "This miner was emulated. The page shows what the experiment says of such a miner; it says nothing about "
            "silicon."
        )
    if told.get("plants"):
        planted = ", ".join(f"{kind} = {number(strength)}" for kind, strength in told["plants"].items())
        yield f"An effect was planted on purpose: {planted}."
    if stored.size != "full":
        yield f"Size {stored.size}: a first look, which finds only effects that are large; --size full is the answer."
    if not stored.finished:
        yield (
            f"{stored.done} of {stored.plan['cells']} cells are there. It still runs, or was stopped or killed; "
            "asiclab run --resume goes on with it."
        )
    if not rows:
        yield "No cell was measured yet."


def _claims(words: Mapping[str, Any], said: Mapping[str, Any] | None) -> Iterable[dict[str, str]]:
    numbers = {} if said is None else said["numbers"]
    for claim in CLAIMS:
        if claim.id not in words["claims"]:
            continue
        ours = numbers.get(claim.id)
        yield {
            "id": claim.id,
            "text": claim.text,
            "source": claim.source,
            "ours": "" if ours is None else number(ours["value"], 4),
            "ci": "" if ours is None else span(ours["ci"]),
            "status": "no number from this run"
            if ours is None
            else ours["status"] or "cannot be told from this run",
            "remark": "" if ours is None else ours["text"],
        }


def _methods(stored: StoredRun, words: Mapping[str, Any], beside: bool) -> Iterable[tuple[str, str]]:
    sample = stored.plan["sample"]
    shares = "" if sample["shares"] is None else f" of {sample['shares']} shares"
    yield "Claimed in", words["source"]
    yield "Hypothesis", words["hypothesis"]
    yield "Null", words["null"]
    yield "Rule, fixed before the data", words["decision"]
    order = ", measured in a random order" if stored.plan["cells"] > 1 else ""
    yield (
        "Sample",
        f"size {stored.size}: cells: {stored.plan['cells']}, {sample['repetitions']} of each kind{shares}{order}",
    )
    yield "What so many can find, with power 0.8", sample["detectable"]
    yield (
        "Placebo arm",
        "an ordinary emulated miner through the same pipeline; where it shows the effect too, the finding is held back"
        if beside
        else "none",
    )
    yield "Plan, SHA-256", f"{stored.digest}, stored before the first sample"


def cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table: conditions, then every value that is one number or word."""
    points = list(dict.fromkeys(key for row in rows for key in row.cell.point))
    names = sorted({k for row in rows for k, v in row.values.items() if _short(v)} - set(points))
    head = ["cell", "arm", "repetition", *points, *names]
    body = [
        [
            str(row.cell.number),
            "placebo" if row.cell.arm != SUBJECT else ARMS[SUBJECT],
            str(row.cell.repetition),
            *(number(row.cell.point.get(key)) for key in points),
            *(number(row.values.get(key)) if _short(row.values.get(key)) else "…" for key in names),
        ]
        for row in rows
    ]
    return head, body


def _short(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or len(str(value)) <= LONGEST_WORD


def _provenance(stored: StoredRun, results: Results) -> Iterable[tuple[str, str]]:
    git = stored.git
    sha = git.get("sha")
    yield "Run", stored.run_id
    yield "Experiment", f"{stored.experiment}, size {stored.size}"
    yield "Subject", subject_words(stored.plan["subject"])
    yield "Seed", str(stored.seed)
    yield "Started", moment(stored.started_wall_ns)
    yield "Ended", moment(stored.ended_wall_ns) if stored.ended_wall_ns else "not ended"
    yield "Time of all cells together", f"{sum(results.seconds(stored.run_id).values()):.1f} s"
    yield "Lab", stored.versions.get(DISTRIBUTION, "(not installed)")
    yield (
        "Code",
        "not from a checkout" if sha is None else sha + (", with changes" if git.get("dirty") else ""),
    )
    yield "Host", compact({k: v for k, v in stored.host.items() if v is not None})


def _plan(stored: StoredRun) -> dict[str, Any]:
    return {key: value for key, value in stored.plan.items() if key != "words"}


def _block(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, default=str)


def _lab(stored: StoredRun) -> str:
    sha = stored.git.get("sha")
    dirty = ", changed" if stored.git.get("dirty") else ""
    return f"{DISTRIBUTION} {stored.versions.get(DISTRIBUTION, '')}".strip() + (
        f" ({sha[:12]}{dirty})" if sha else ""
    )


def citation(stored: StoredRun) -> str:
    """One sentence that names a run for good."""
    said = "not finished" if stored.finding is None else stored.finding["finding"]["code"]
    return (
        f"The asic-reservoir-lab authors ({moment(stored.started_wall_ns)[:4]}). {stored.experiment}, run "
        f"{stored.run_id} on {subject_words(stored.plan['subject'])}, size {stored.size}, seed {stored.seed}; plan "
        f"SHA-256 {stored.digest}; finding: {said}. {_lab(stored)}."
    )


def bibtex(stored: StoredRun) -> str:
    """The same as a BibTeX entry."""
    title = _tex(f"{_words(stored)['title']} Run {stored.run_id} of the experiment {stored.experiment}")
    subject = subject_words(stored.plan["subject"])
    note = _tex(
        f"{_lab(stored)}. On {subject}, size {stored.size}, seed {stored.seed}. Plan SHA-256 {stored.digest}"
    )
    return (
        f"@misc{{asiclab-{stored.run_id},\n"
        "  author       = {{The asic-reservoir-lab authors}},\n"
        f"  title        = {{{title}}},\n"
        f"  year         = {{{moment(stored.started_wall_ns)[:4]}}},\n"
        f"  note         = {{{note}}}\n"
        "}"
    )


def _tex(text: str) -> str:
    told = text.replace("\\", "/")
    for letter in "&%$#_{}":
        told = told.replace(letter, "\\" + letter)
    return told.replace("~", "\\~{}").replace("^", "\\^{}")
