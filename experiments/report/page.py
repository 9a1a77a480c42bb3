"""From an analysis to the page: what stands in each place, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments.analysis import Analysis, Part
from experiments.report import html
from experiments.report.figures import draw
from experiments.report.meanings import HASHRATE, RUN, SCAN, STREAM, Meaning
from experiments.report.words import CODES, MODELS, PLAIN
from firmware_bridge.errors import UserError

KINDS = {
    "live": "recorded live by our bridge",
    "virtual": "an emulation in virtual time: no hardware was involved",
    "recorded": "an imported recording",
    "merged": "made of several runs",
}
METHODS = (
    "Every share was checked by rebuilding its 80-byte header from the job that was sent and hashing it twice with "
    "SHA-256. Shares that do not verify take no part in what is shown here. A share belongs to the job that it names, "
    "not to the newest one; first share of a job means that its job differs from that of the miner's share before.",
    "Confidence intervals come from a circular moving-block bootstrap (blocks of 25 intervals), so that they hold "
    "where neighbouring intervals depend on each other. Entropies stand beside the same statistic of shuffled "
    "intervals, because their absolute value says little. Bins are fixed in advance. p-values of exponentiality are "
    "from Monte-Carlo draws with the rate estimated anew each time.",
    "The verdict does not ask whether shares come as a Poisson process in wall time: no real miner passes that. It "
    "asks whether anything is left once a fair hash is put behind the miner's own mechanics (dead time at each job, "
    "late loads, the order of the scan, reloaded jobs), with every parameter fitted to this very run. The tests were "
    "fixed before any data was looked at, their level is shared among them, and no effect counts that is smaller than "
    "what clock and host resolve.",
)


def write_report(analysis: Analysis, path: Path) -> None:
    """Write the report of a run.

    Raises:
        UserError: if the run has no share that verifies, or the file cannot be written.
    """
    if analysis.data.n == 0:
        raise UserError(
            f"run {analysis.run['run_id']} has no share that verifies, so there is nothing to show"
        )
    html.write(render(analysis), path, "report")


def render(analysis: Analysis) -> str:
    """The report as one HTML text; the same bytes for the same analysis."""
    run = analysis.run
    return html.fill(
        "report.html.j2",
        run=run,
        kind=KINDS.get(run["kind"], run["kind"]),
        started=moment(run["started_wall_ns"]),
        warnings=list(_warnings(analysis)),
        parts=[_part(part, analysis) for part in analysis.parts],
        methods=METHODS,
        provenance=[(name, value) for name, value in _provenance(analysis) if value not in (None, "", "{}")],
        blocks=list(_blocks(run)),
        citation=_citation(analysis),
        version=html.version(),
    )


def _part(part: Part, analysis: Analysis) -> dict[str, Any]:
    info = part.data.miners.get(part.number)
    model = MODELS.get((info.model if info else None) or "", "miner")
    name = info.name if info and info.name else f"number {part.number}"
    summary = part.summary
    verdict = summary["verdict"]
    return {
        "number": part.number,
        "title": f"{model} “{name}”",
        "verdict": verdict,
        "verdict_word": CODES.get(verdict["code"], verdict["code"]),
        "verdict_plain": PLAIN.get(verdict["code"], ""),
        "verdict_lines": list(_verdict_lines(verdict)),
        "tiles": list(_tiles(summary)),
        "plots": draw(part.data, part.number, analysis.seed),
        "intervals": _stream_rows(summary.get("intervals")),
        "first_share": _stream_rows(summary.get("first_share")),
        "models": list(_models(summary.get("intervals") or {})),
        "notes": summary.get("notes") or [],
        "totals": _rows(summary, RUN),
        "scan": _rows(summary.get("scan"), SCAN),
        "hashrate": _rows(summary.get("hashrate"), HASHRATE),
        "tests": _tests(verdict.get("tests") or ()),
    }


def _verdict_lines(verdict: dict[str, Any]) -> Iterable[str]:
    yield f"Held against: {verdict['null']}."
    if verdict.get("explained_by"):
        yield "Explained by: " + "; ".join(str(item) for item in verdict["explained_by"]) + "."
    if verdict.get("p_value") is not None:
        yield f"Smallest p-value of all tests, corrected for their number: {number(verdict['p_value'], 2)}."
    questions = {test["name"]: test["question"] for test in verdict.get("tests") or ()}
    for name, effect in (verdict.get("detectable") or {}).items():
        yield f"{questions.get(name, name)} An effect of {_effect(effect)} would have shown nine times out of ten."


def _effect(effect: dict[str, Any]) -> str:
    n = f" (n = {effect['n']})" if effect.get("n") else ""
    return f"{number(effect.get('effect'), 2)} {effect.get('unit') or ''}".strip() + n


def _tiles(summary: dict[str, Any]) -> Iterable[dict[str, str]]:
    intervals = summary.get("intervals") or {}
    hashrate = summary.get("hashrate") or {}
    candidates = (
        ("shares that verify", summary.get("shares")),
        ("jobs", summary.get("jobs")),
        ("seconds", summary.get("span_s")),
        ("ms between shares", intervals.get("mean_ms")),
        ("CV (chance: 1)", intervals.get("cv")),
        ("TH/s while hashing", hashrate.get("capacity_ths")),
    )
    for label, value in candidates:
        if value is not None:
            yield {"label": label, "value": number(value, 4)}


def _models(stream: dict[str, Any]) -> Iterable[dict[str, str]]:
    for fit in stream.get("models") or ():
        yield {
            "model": fit["model"],
            "delta": number(fit["delta_aic"], 3),
            "parameters": ", ".join(
                f"{name} {number(value, 3)}" for name, value in fit["parameters"].items()
            ),
        }


def _stream_rows(stream: dict[str, Any] | None) -> list[dict[str, str]]:
    return _rows(stream, STREAM)


def _rows(values: dict[str, Any] | None, meanings: Sequence[Meaning]) -> list[dict[str, str]]:
    """One row per known quantity that the summary has."""
    rows = []
    for meaning in meanings:
        value = _entry(values or {}, meaning.key)
        if value is None:
            continue
        rows.append(
            {
                "name": meaning.name,
                "value": number(value),
                "ci": _interval(_entry(values or {}, meaning.key, "_ci")),
                "surrogate": _interval(_entry(values or {}, meaning.key, "_surrogate")),
                "poisson": meaning.poisson or "",
                "text": meaning.text,
            }
        )
    return rows


def _entry(values: dict[str, Any], key: str, suffix: str = "") -> Any:
    name, _, inner = key.partition(".")
    found = values.get(name + suffix)
    return found.get(inner) if inner and isinstance(found, dict) else found


def _interval(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return f"{number(value[0], 3)} … {number(value[1], 3)}"
    if isinstance(value, dict):
        low, high = value.get("low", value.get("min")), value.get("high", value.get("max"))
        if low is not None and high is not None:
            return f"{number(low, 3)} … {number(high, 3)}"
        mean = value.get("mean")
        sd = value.get("sd", value.get("std"))
        if mean is not None:
            return number(mean, 3) + (f" ± {number(sd, 2)}" if sd is not None else "")
    return number(value, 3)


def _tests(tests: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "question": test["question"],
            "n": number(test["n"]),
            "statistic": f"{test.get('statistic_name') or ''} {number(test.get('statistic'), 3)}".strip(),
            "effect": f"{number(test['effect'], 2)} {test.get('unit') or ''}"
            if test.get("effect") is not None
            else "–",
            "detectable": number(test.get("detectable"), 2),
            "p": number(test.get("p_value"), 2),
            "note": test.get("note") or ("" if test.get("counted", True) else "does not count"),
        }
        for test in tests
    ]


def _warnings(analysis: Analysis) -> Iterable[str]:
    run = analysis.run
    if run["kind"] == "virtual":
        yield (
            "These shares were emulated. The page shows what the lab would say of such a miner; it says nothing about "
            "silicon."
        )
    if run["unverified"]:
        yield "Only arrival times were imported: no hash could be checked."
    if run["plants"] and any(run["plants"].values()):
        planted = ", ".join(f"{kind} = {number(strength)}" for kind, strength in run["plants"].items())
        yield f"An effect was planted in this emulation on purpose: {planted}."
    if run["exit_status"] not in ("success", None):
        yield f"The run ended as {run['exit_status']}: {run['exit_reason'] or 'no reason given'}."
    if run["exit_status"] is None:
        yield "The run has no end: it is still going on, or its process was killed. Every acknowledged share is here."
    for reason, count in analysis.left_out.items():
        yield f"{count} shares were refused ({reason}) and take no part."
    for event in analysis.events:
        yield f"{event['kind']}: {_in_words(event['detail']) or event['severity']}"


def _in_words(detail: str | None) -> str:
    """What an event says: its error alone where it has one, else name and value of everything in it."""
    try:
        told = json.loads(detail or "{}")
    except ValueError:
        return detail or ""
    if not isinstance(told, dict):
        return str(told)
    if isinstance(told.get("error"), str):
        return str(told["error"])
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _provenance(analysis: Analysis) -> Iterable[tuple[str, Any]]:
    run = analysis.run
    yield "Run", run["run_id"]
    yield "Kind", f"{run['kind']}, from {run['source']}" + (f", mode {run['mode']}" if run["mode"] else "")
    yield "Started", moment(run["started_wall_ns"])
    yield "Ended", moment(run["ended_wall_ns"]) + (f", {run['exit_status']}" if run["exit_status"] else "")
    yield "Seeds", compact(run["seeds"])
    yield "Seed of this page's statistics", analysis.seed
    yield "Plants in force", compact(run["plants"]) if run["plants"] else "none"
    yield (
        "Time stamps used",
        {
            "kernel": "kernel receive time",
            "monotonic": "user-space monotonic clock",
            "wall": "wall clock",
        }.get(analysis.data.time_source),
    )
    yield "Clock", run["clock_source"]
    yield "Clock tick", f"{run['clock_tick_ns']} ns" if run["clock_tick_ns"] is not None else None
    yield "Jitter floor of the host", compact(run["jitter_floor"])
    for miner, info in sorted(analysis.data.miners.items()):
        scale = f", difficulties scaled by {info.scale:g}" if info.scale != 1.0 else ""
        yield f"Miner {miner}", f"{info.name} ({info.user_agent or info.model or 'unknown'}){scale}"
    yield "Code", compact(run["git"])
    yield "Host", compact(run["host"])
    yield "Tags", ", ".join(run["tags"] or ())
    yield "Notes", run["notes"]


def _blocks(run: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, key in (
        ("Options in force", "config"),
        ("Physics of the emulation", "physics"),
        ("Versions", "versions"),
    ):
        if run[key]:
            yield name, json.dumps(run[key], indent=2, sort_keys=True, default=str)


def _citation(analysis: Analysis) -> str:
    run = analysis.run
    year = moment(run["started_wall_ns"])[:4] if run["started_wall_ns"] else "n.d."
    sha = run["git"].get("sha") or run["git"].get("commit")
    return (
        f"asic-reservoir-lab {html.version()}{f' ({sha[:12]})' if sha else ''}, run {run['run_id']} ({year}), "
        f"{analysis.data.n} verified shares."
    )


def number(value: Any, digits: int = 5) -> str:
    """A value for people: short, exact where it is an integer, never in scientific notation without need."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        # from a thousand on the integer part has digits enough
        return f"{value:.{digits}g}" if abs(value) < 1000 else number(round(value), digits)
    if isinstance(value, (list, tuple)):
        return ", ".join(number(item, digits) for item in value)
    return str(value)


def moment(wall_ns: int | None) -> str:
    """A wall time for people, in UTC."""
    if wall_ns is None:
        return "time unknown"
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def compact(value: Any) -> str:
    """Plain data on one line."""
    if isinstance(value, dict):
        return ", ".join(
            f"{key}: {number(item) if not isinstance(item, dict) else compact(item)}"
            for key, item in value.items()
        )
    return str(value)
