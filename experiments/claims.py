"""The ledger: every claim with its status and our number, from runs that are stored, never typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from experiments.claim_table import CLAIMS, Claim
from experiments.repeat import is_emulated
from experiments.results import StoredRun

NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Entry:
    """A claim as it stands.

    Attributes:
        id: of the claim.
        text: what is claimed.
        source: where.
        experiment: that tests it, if one does.
        status: ``reproduced``, ``not reproduced``, ``arithmetic identity``, ``cannot be tested without …``, or
            ``not run yet``.
        value: our number.
        ci: its 95 % interval.
        remark: what was compared with what.
        run: that gave the number.
        subject: what that was made on.
    """

    id: str
    text: str
    source: str
    experiment: str | None
    status: str
    value: float | None = None
    ci: tuple[float, float] | None = None
    remark: str = ""
    run: str | None = None
    subject: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def ledger(runs: Sequence[StoredRun], claims: Sequence[Claim] = CLAIMS) -> list[Entry]:
    """Every claim with what the newest finished run of its experiment says.

    A run on hardware or on a recording comes before one on an emulator, however old: an emulated miner can only say
    what a claim would look like if nothing was there.
    """
    return [_entry(claim, _best(claim, runs)) for claim in claims]


def _best(claim: Claim, runs: Sequence[StoredRun]) -> StoredRun | None:
    fits = [
        run
        for run in runs
        if run.experiment == claim.experiment
        and run.finding is not None
        and claim.id in run.finding["finding"]["numbers"]
        and not run.plan["subject"].get("plants")  # what was planted says nothing of the papers
    ]
    return max(
        fits, key=lambda run: (not is_emulated(run.plan["subject"]), run.started_wall_ns), default=None
    )


def _entry(claim: Claim, run: StoredRun | None) -> Entry:
    known = partial(Entry, claim.id, claim.text, claim.source, claim.experiment)
    if claim.arithmetic is not None:
        redone = claim.arithmetic()
        return known(status=redone.status, value=redone.value, remark=redone.text)
    if claim.needs is not None:
        return known(status=f"cannot be tested without {claim.needs}")
    if run is None or run.finding is None:
        return known(status=NOT_RUN)
    number: Mapping[str, Any] = run.finding["finding"]["numbers"][claim.id]
    ci = number["ci"]
    return known(
        status=number["status"] or "cannot be told from this run",
        value=number["value"],
        ci=None if ci is None else (ci[0], ci[1]),
        remark=number["text"],
        run=run.run_id,
        subject=_subject(run),
    )


def _subject(run: StoredRun) -> str:
    told = run.plan["subject"]
    kind = "emulated " if is_emulated(told) else ""
    if told["kind"] == "trace":
        return f"recording of an {kind}{told['model']}, {run.size}"
    return f"{kind + told['model'] if kind else told['kind']}, {run.size}"


def markdown(entries: Sequence[Entry]) -> str:
    """The page docs/claims.md."""
    counts = {status: sum(e.status.startswith(status) for e in entries) for status in _ORDER}
    lines = [
        "# The claims, one by one",
        "",
        "Written by `asiclab claims --write docs/claims.md` from stored runs and from arithmetic that is redone each "
        "time; nothing here is typed. A run on an emulated miner says what the experiment gives where nothing is "
        "planted, so *not reproduced* there means: the number does not need silicon, or does not follow from it. Run "
        "the experiment on a miner of your own and write the page again.",
        "",
        ", ".join(f"{count} {status}" for status, count in counts.items() if count) + ".",
        "",
        "| claim | what is said | where | tested by | status | our number | on |",
        "|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        page = "" if e.experiment is None else f"`{e.experiment}`"
        lines.append(
            f"| {e.id} | {e.text} | {e.source} | {page or 'arithmetic' if e.value is not None else page} | "
            f"{e.status} | {_number(e)} | {e.subject} |"
        )
    lines += ["", "## What was compared", ""]
    lines += [f"- **{e.id}**: {e.remark}." for e in entries if e.remark]
    return "\n".join(lines) + "\n"


_ORDER = (
    "reproduced",
    "not reproduced",
    "arithmetic identity",
    "cannot be tested without",
    "cannot be told from this run",
    NOT_RUN,
)


def _number(e: Entry) -> str:
    if e.value is None:
        return ""
    interval = "" if e.ci is None else f" ({e.ci[0]:.4g} to {e.ci[1]:.4g})"
    return f"{e.value:.4g}{interval}"
