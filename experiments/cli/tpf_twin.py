"""``asiclab tpf frontier``, ``energy`` and ``signature``: what SHA-256 itself lets a filter know, and what it saves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import LabCommand
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seed, plot_option
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from tpf.energy import EnergyAccount
    from tpf.frontier import Frontier
    from tpf.header_source import HeaderSource


def parse_number(value: Any) -> Fraction:
    """An exact number written as ``5/64``, ``0.05``, ``5%`` or ``1e-3``.

    Raises:
        typer.BadParameter: if it is none of these.
    """
    text = str(value).strip()
    try:
        return Fraction(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(f"{value!r} is no number; write it as 5/64, 0.05 or 5%") from error


def parse_count(value: Any) -> int:
    """A whole number, also as ``1e7``.

    Raises:
        typer.BadParameter: if it is none, or below 1.
    """
    try:
        number = Fraction(str(value).strip().replace("_", ""))
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(f"{value!r} is no number of hashes; write it as 2000000 or 2e6") from error
    if number.denominator != 1 or number < 1:
        raise typer.BadParameter(f"a number of hashes is whole and at least 1, not {value}")
    return int(number)


Trace = Annotated[
    str | None,
    typer.Option("--trace", metavar="RUN", help="Hash a job of a stored run in place of random headers."),
]
JobId = Annotated[
    str | None, typer.Option("--job", metavar="ID", help="Which job of that run; the first one if left out.")
]
ZeroBits = Annotated[
    int, typer.Option("--zero-bits", min=1, max=8, help="Leading zero bits that make a success.")
]


def frontier(
    hashes: Annotated[
        int, typer.Option("--hashes", metavar="N", parser=parse_count, help="Double hashes, such as 1e7.")
    ] = 2_000_000,
    zero_bits: ZeroBits = 8,
    trace: Trace = None,
    job: JobId = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads; they change no number.")] = 2,
    plot: Annotated[Path | None, plot_option("the frontier")] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Measure what the state of SHA-256 after each round tells about the outcome of a double hash.

    For each round of the last compression the best of a fixed list of scorers, chosen on one half of the hashes, is
    scored on the other.
    """
    from experiments.cli import output
    from experiments.report.light import checked
    from firmware_bridge.trace.provenance import versions
    from tpf.frontier import measure

    if plot is not None:
        checked(plot)
    source = header_source(trace, job, db, seed)
    with output.bar("hashing", shown=not json) as move:
        found = measure(source, hashes, seed=seed, zero_bits=zero_bits, workers=workers, progress=move)
    if plot is not None:
        from experiments.report.tpf_plots import draw_frontier

        draw_frontier(found, plot)
    output.tell(
        lambda: {**found.to_json(), "versions": versions()}, lambda: _print_frontier(found), plot, json=json
    )


def _print_frontier(found: Frontier) -> None:
    from experiments.cli import output

    shown = [r for r in found.rounds if r.k % 8 == 0 or r.k >= found.exact_from_round - 6]
    output.table(
        f"State of the last compression against {found.zero_bits} leading zero bits: {found.hashes} hashes, "
        f"seed {found.seed}",
        ("round", "AUC", "95 %", "bits", "best scorer"),
        [
            (r.k, f"{r.auc:.4f}", f"{r.ci[0]:.4f} to {r.ci[1]:.4f}", f"{r.mi_bits:.6f}", r.scorer)
            for r in shown
        ],
    )
    exact = found.exact
    lines = (
        f"Exact: after {exact.full_rounds} rounds, or {exact.whole_rounds} and {exact.e_rounds} of which only the half "
        f"is computed that gives e; never with {exact.never_with} whole ones. Share of successes kept: "
        f"{found.exact_share_fraction:g}, failures kept: {found.exact_false_keeps}.",
        f"Saved of a double hash of {exact.rounds} rounds: {float(exact.saving()):.2%}; of a miner that hoists "
        f"{exact.free_rounds} rounds out of the nonce loop {float(exact.saving(hoisted=True)):.2%}; of one that also "
        f"stops after round {exact.full_rounds} {float(exact.saving(hoisted=True, early_exit=True)):.2%}.",
        f"Verdict: {found.verdict['code']}. {found.verdict['text']}",
    )
    for line in lines:
        output.console().print(line, markup=False)


def header_source(trace: str | None, job: str | None, db: str, seed: int) -> HeaderSource:
    """Random headers, or those of a job of a stored run.

    Raises:
        UserError: if there is no such run or job.
    """
    from tpf.header_source import JobHeaders, RandomHeaders

    if trace is None:
        if job is not None:
            raise UserError("--job names a job of a run: give --trace RUN as well")
        return RandomHeaders(seed)
    from firmware_bridge.trace.reader import TraceReader
    from firmware_bridge.trace.records import job_from_row

    reader = TraceReader(db)
    names = None
    for row in reader.dicts(reader.resolve(trace), "jobs"):
        if job is None or row["job_id"] == job:
            return JobHeaders(job_from_row(row), seed)
        names = names or row["job_id"]
    raise UserError(
        f"run {trace} has no job{'' if job is None else f' {job!r}'}; "
        + (f"its first is {names!r}" if names else "")
    )


def energy(
    keep_rate: Annotated[
        Fraction,
        typer.Option("--keep-rate", metavar="Q", parser=parse_number, help="Part of all candidates kept."),
    ],
    recall: Annotated[
        Fraction, typer.Option("--recall", metavar="R", parser=parse_number, help="Part of the winners kept.")
    ],
    abort_round: Annotated[
        Fraction, typer.Option("--abort-round", metavar="K", parser=parse_number, help="Rounds done before.")
    ],
    rounds: Annotated[
        Fraction, typer.Option("--rounds", metavar="N", parser=parse_number, help="Rounds of a whole hash.")
    ] = Fraction(128),
    static: Annotated[
        Fraction, typer.Option("--static", metavar="S", parser=parse_number, help="Static part of the power.")
    ] = Fraction(0),
    cost: Annotated[
        Fraction,
        typer.Option("--cost", metavar="C", parser=parse_number, help="Of the filter, in double hashes."),
    ] = Fraction(0),
    plot: Annotated[Path | None, plot_option("the energy plane")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what a filter saves: energy per share against no filter, and the recall that it would need.

    Numbers are exact: 5/64, 0.05 and 5% are fractions.
    """
    from experiments.cli import output
    from tpf.energy import account

    try:
        found = account(keep_rate, recall, abort_round, rounds, static, cost)
    except ValueError as error:
        raise UserError(f"{error}; see asiclab tpf energy --help") from None
    if plot is not None:
        from experiments.report.tpf_plots import draw_energy

        draw_energy(found, plot)
    output.tell(found.to_json, lambda: _print_energy(found), plot, json=json)


def _print_energy(found: EnergyAccount) -> None:
    from experiments.cli import output
    from tpf.energy import published_saving

    output.table(
        f"Keeps {_shown(found.keep_rate)} of all and {_shown(found.recall)} of the winners, aborts after "
        f"{_shown(found.abort_round)} of {_shown(found.rounds)} rounds; static {_shown(found.static)}, cost "
        f"{_shown(found.cost)}",
        ("quantity", "relative to no filter", "exact"),
        [
            ("energy per candidate", float(found.work), found.work),
            ("energy per share", float(found.energy_per_share), found.energy_per_share),
            ("shares per time", float(found.share_rate), found.share_rate),
            ("equivalent hash rate", float(found.equivalent_hashrate), found.equivalent_hashrate),
            ("recall to break even", float(found.break_even_recall), found.break_even_recall),
            ("bits to learn of each winner", found.bits_needed, ""),
            (
                "saving by the published rule 1 - k/n",
                float(published_saving(found.abort_round, found.rounds)),
                "",
            ),
        ],
    )
    output.console().print(f"Verdict: {found.verdict['code']}. {found.verdict['text']}", markup=False)


def _shown(number: Fraction | float) -> str:
    return f"{float(number):g}"


def signature(
    hashes: Annotated[
        int,
        typer.Option("--hashes", metavar="N", parser=parse_count, help="Double hashes, half to train on."),
    ] = 400_000,
    noise: Annotated[
        float, typer.Option("--noise", metavar="BITS", min=0.0, help="Noise per round, in bits that change.")
    ] = 4.0,
    zero_bits: ZeroBits = 8,
    permutations: Annotated[int, typer.Option("--permutations", min=1, help="Of the null.")] = 999,
    trace: Trace = None,
    job: JobId = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Ask whether the power of the first rounds predicts success, beside controls with known answers.

    The power is that of a model: bits of the registers that change in each round, or are 1 after it, and noise.
    """
    from experiments.cli import output
    from firmware_bridge.trace.provenance import versions
    from tpf.signature import run

    source = header_source(trace, job, db, seed)
    with output.bar("fitting", shown=not json) as move:
        found = run(
            source,
            hashes,
            noise=noise,
            seed=seed,
            zero_bits=zero_bits,
            permutations=permutations,
            progress=move,
        )
    if json:
        output.emit({**found.to_json(), "versions": versions()})
        return
    output.table(
        f"Power against {zero_bits} leading zero bits: {hashes} hashes, {found.successes} successes scored, "
        f"seed {seed}",
        ("what is seen", "is a", "classifier", "AUC", "95 %", "p, corrected", "energy per share"),
        [
            (
                arm.arm.name,
                arm.arm.role,
                score.classifier,
                f"{score.auc:.4f}",
                f"{score.ci[0]:.4f} to {score.ci[1]:.4f}",
                f"{score.p_corrected:.3g}",
                None if score.filter.energy_per_share is None else f"{score.filter.energy_per_share:.4f}",
            )
            for arm in found.arms
            for score in arm.scores
        ],
    )
    output.console().print(f"Verdict: {found.verdict['code']}. {found.verdict['text']}", markup=False)


def register(group: typer.Typer) -> None:
    """Add the commands to ``asiclab tpf``."""
    for command in (frontier, energy, signature):
        group.command(command.__name__, cls=LabCommand)(command)
