"""From a rehearsal to its page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.rehearsal_outcome import SCENARIOS, TARGETS
from experiments.report import html
from experiments.report.page import number
from experiments.report.sentinel_plots import traces
from firmware_bridge.emulator.bench import MODELS
from firmware_bridge.errors import UserError
from firmware_bridge.sentinel.models import FACTS

if TYPE_CHECKING:
    from experiments.rehearsal_outcome import Outcome

EVENTS = 25
"""Lines of what it said and did that the page shows of one run; all are in the JSON file beside it."""
TABLE_CSS = """
td.over { color: var(--bad); font-weight: 600; }
table.runs { font-size: 0.8rem; }
main { max-width: 66rem; }
"""


def write_rehearsal(outcomes: Sequence[Outcome], folder: Path, *, seed: int) -> Path:
    """Write ``rehearsal.html`` and ``rehearsal.json``; the path of the page.

    Raises:
        UserError: if the folder cannot be written.
    """
    from experiments.cli.output import plain

    page = folder / "rehearsal.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(render_rehearsal(outcomes, seed=seed), encoding="utf-8")
        found = [{**o.to_json(), "changes": [a.to_json() for a in o.journal.actions]} for o in outcomes]
        text = json.dumps(plain({"seed": seed, "outcomes": found}), indent=1, allow_nan=False)
        (folder / "rehearsal.json").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); give another folder with --out"
        ) from error
    return page


def render_rehearsal(outcomes: Sequence[Outcome], *, seed: int) -> str:
    """The page as one HTML text."""
    failed = [o for o in outcomes if not o.passed]
    names = list(dict.fromkeys(o.model for o in outcomes))
    return html.fill(
        "sentinel.html.j2",
        more_css=TABLE_CSS,
        hours=number(outcomes[0].hours, 3),
        seed=seed,
        passed=not failed,
        headline=_headline(outcomes, failed),
        lines=list(_lines(outcomes, failed)),
        rows=[_row(o) for o in outcomes],
        models=[_model(name, [o for o in outcomes if o.model == name]) for name in names],
        version=html.version(),
    )


def _headline(outcomes: Sequence[Outcome], failed: list[Outcome]) -> str:
    if failed:
        return f"{len(failed)} of {len(outcomes)} runs failed."
    harmful = sum(o.harmful for o in outcomes)
    return (
        f"In none of {len(outcomes)} runs did a chip pass its hard limit. In {harmful} of them it would have without "
        "the Sentinel."
    )


def _lines(outcomes: Sequence[Outcome], failed: list[Outcome]) -> Iterable[str]:
    for outcome in failed:
        yield f"{outcome.model}, {outcome.scenario}: " + "; ".join(outcome.problems)
    closest = min(outcomes, key=lambda o: o.limit_c - o.max_true_c)
    yield (
        f"Nearest to its limit: {closest.model}, {closest.scenario}: {closest.max_true_c:.1f} °C of "
        f"{closest.limit_c:g} °C."
    )
    steps = [o for o in outcomes if o.overshoot_c is not None]
    if steps:
        worst = max(steps, key=lambda o: o.overshoot_c or 0.0)
        yield f"Largest overshoot of a step: {worst.overshoot_c:.2f} °C ({worst.model}, {worst.scenario})."
    quiet = [o for o in outcomes if not SCENARIOS[o.scenario].faults]
    if quiet:
        alarms, hours = sum(o.false_alarms for o in quiet), sum(o.hours for o in quiet)
        trips = sum(1 for o in quiet if o.mode != "hold")
        yield (
            f"In {hours:g} h without a fault: {alarms} false alarms of the detectors, which never act, and {trips} "
            "false safe points."
        )


def _row(o: Outcome) -> dict[str, Any]:
    return {
        "model": o.model,
        "scenario": o.scenario,
        "what": SCENARIOS[o.scenario].title,
        "anchor": f"{o.model}-{o.scenario}",
        "hottest": f"{o.max_true_c:.1f}",
        "limit": number(o.limit_c),
        "alone": _degrees(o.left_alone_c),
        "alone_over": o.left_alone_c is not None and o.left_alone_c > o.limit_c,
        "pid": _degrees(o.pid_alone_c),
        "pid_over": o.pid_alone_c is not None and o.pid_alone_c > o.limit_c,
        "overshoot": "" if o.overshoot_c is None else f"{o.overshoot_c:.2f}",
        "settle": "" if o.settle_s is None else f"{o.settle_s:.0f}",
        "found": "" if o.found_s is None else f"{o.found_s:.0f}",
        "actions": o.actions,
        "false_alarms": o.false_alarms,
        "mode": o.mode,
        "verdict": "passed" if o.passed else "; ".join(o.problems),
    }


def _degrees(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _model(name: str, outcomes: list[Outcome]) -> dict[str, Any]:
    safe = FACTS[name].safe[0].given()
    first = outcomes[0]
    started = next(h for h in first.journal.happenings if h.kind == "sentinel-start")
    return {
        "name": name,
        "title": f"{MODELS[name].make} {MODELS[name].title}",
        "limit": number(first.limit_c),
        "trip": number(first.trip_c),
        "safe": ", ".join(f"{s} {v}" for s, v in safe.items()),
        "target": number(TARGETS[name][0]),
        "moves": " and ".join(started.detail["moves"]),
        "plots": [_plot(o) for o in outcomes],
    }


def _plot(o: Outcome) -> dict[str, Any]:
    events = [
        (
            h.monotonic_ns,
            h.kind.removeprefix("sentinel-"),
            str(h.detail.get("reason") or h.detail.get("text") or ""),
        )
        for h in o.journal.happenings
    ]
    events += [
        (
            a.monotonic_ns,
            "change",
            f"{', '.join(f'{s} {v}' for s, v in a.point.given().items())}: {a.error or a.reason}",
        )
        for a in o.journal.actions
        if a.mode != "hold"
    ]
    events.sort()
    return {
        "anchor": f"{o.model}-{o.scenario}",
        "title": SCENARIOS[o.scenario].title,
        "svg": traces(o, f"{o.model}-{o.scenario}"),
        "caption": _caption(o),
        "events": [{"time": f"{t / 1e9:.0f}", "kind": k, "text": text} for t, k, text in events[:EVENTS]],
        "more": len(events) > EVENTS,
    }


def _caption(o: Outcome) -> str:
    parts = [f"Hottest: {o.max_true_c:.1f} °C."]
    worst = max(c for c in (o.left_alone_c, o.pid_alone_c, -1.0) if c is not None)
    if o.harmful:
        who = "Left alone" if worst == o.left_alone_c else "With the controller alone"
        parts.append(f"{who} it reached {worst:.0f} °C.")
    elif worst > 0 and SCENARIOS[o.scenario].faults:
        parts.append(
            "Without the Sentinel the limit would have held as well: this fault alone does no harm here."
        )
    if o.hashed is not None:
        parts.append(f"{100 * o.hashed:.0f} % of the nominal hashes came out right.")
    parts.append(f"{o.actions} changes; it ended in mode {o.mode}.")
    return " ".join(parts)
