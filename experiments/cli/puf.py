"""``asiclab puf``: is a miner's timing a fingerprint of the device?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, lab_group
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Miner, Seed, plot_option
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from tpf.enrolment import Fingerprint
    from tpf.puf_population import Evaluation

puf = lab_group("puf", "Physical unclonable function: is the timing of a miner a fingerprint of the device?")

Runs = Annotated[
    list[str] | None, typer.Argument(metavar="[DEVICE=]RUN...", help="Runs: id, prefix or latest.")
]
Emulate = Annotated[
    str | None, typer.Option("--emulate", metavar="s9|lv06", help="Emulated devices instead of stored runs.")
]
Variation = Annotated[
    float,
    typer.Option("--variation", min=0.0, metavar="MS", help="Planted: sd of the delays of a device's chips."),
]
ShareCount = Annotated[int, typer.Option("--shares", min=1, help="Of each emulated run.")]
Device = Annotated[int, typer.Option("--device", min=0, metavar="N", help="Which emulated device.")]
Bits = Annotated[int, typer.Option("--bits", min=8, help="Pairs of chips that a challenge compares.")]
ChallengeSeed = Annotated[
    int, typer.Option("--challenge", min=0, metavar="SEED", help="Seed that draws the pairs.")
]


@puf.command("enroll", cls=LabCommand)
def enroll(
    runs: Runs = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the enrolment.")] = Path(
        "device.puf.json"
    ),
    name: Annotated[
        str | None, typer.Option("--name", help="Of the device; what the run calls it if left out.")
    ] = None,
    far: Annotated[
        float, typer.Option("--far", metavar="P", help="False acceptance rate that a verification may have.")
    ] = 0.01,
    bits: Bits = 256,
    challenge: ChallengeSeed = 0,
    emulate: Emulate = None,
    device: Device = 0,
    variation: Variation = 0.0,
    shares: ShareCount = 2588,
    miner: Miner = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Keep what the timing of a device shows, to know it again: from one or several of its runs."""
    from experiments.cli import output
    from experiments.puf import provenance
    from tpf.enrolment import enrol

    plants = {"variation": variation} if emulate and variation else {}
    found = _prints(runs, emulate, device, variation, shares, seed, db, miner)
    if len(found) > 1:
        raise UserError(f"these runs are of several devices ({', '.join(found)}); enroll one at a time")
    (called, prints), *_ = found.items()
    enrolment = enrol(
        name or called, prints, challenge_seed=challenge, bits=bits, far=far, provenance=provenance(plants)
    )
    enrolment.save(out)
    if json:
        output.emit({**enrolment.to_json(), "file": out})
        return
    output.console().print(
        f"Enrolled {enrolment.device}: {enrolment.shares} shares of {len(enrolment.runs)} run(s), "
        f"{enrolment.signal_ms:.3g} ms between its {enrolment.part}s beyond {enrolment.error_ms:.3g} ms of error; a "
        f"run as long should repeat {enrolment.expected_reliability:.0%} of {enrolment.bits} bits. File: {out}",
        markup=False,
    )


@puf.command("verify", cls=LabCommand)
def verify(
    enrolment: Annotated[Path, typer.Argument(metavar="FILE", help="An enrolment.")],
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Id of the run that claims to be that device.")
    ] = None,
    emulate: Emulate = None,
    device: Device = 0,
    variation: Variation = 0.0,
    shares: ShareCount = 2588,
    miner: Miner = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Hold a run against an enrolment; exit code 1 if it is not accepted."""
    from experiments.cli import output
    from tpf.enrolment import load_enrolment
    from tpf.enrolment import verify as hold

    enrolled = load_enrolment(enrolment)
    named = [run] if run is not None else [] if emulate else ["latest"]
    (prints,) = _prints(named, emulate, device, variation, shares, seed, db, miner).values()
    result = hold(enrolled, prints[0], seed=seed)
    if json:
        output.emit(result)
    else:
        output.console().print(result.verdict.text, markup=False)
    if not result.accepted:
        raise typer.Exit(EXIT_CHECK_FAILED)


@puf.command("evaluate", cls=LabCommand)
def evaluate(
    runs: Runs = None,
    emulate: Emulate = None,
    devices: Annotated[int, typer.Option("--devices", min=1, metavar="N", help="Emulated devices.")] = 8,
    repeats: Annotated[int, typer.Option("--repeats", min=1, metavar="R", help="Runs of each of them.")] = 4,
    variation: Variation = 0.0,
    shares: ShareCount = 2588,
    split: Annotated[
        int, typer.Option("--split", min=1, metavar="K", help="Take each stored run as K responses.")
    ] = 1,
    bits: Bits = 256,
    challenge: ChallengeSeed = 0,
    miner: Miner = None,
    plot: Annotated[Path | None, plot_option("distances, error rates, aliasing")] = None,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Uniqueness, reliability, aliasing and error rates of several devices; one device is refused (exit code 1)."""
    from experiments.cli import output
    from experiments.puf import EmulatedPopulation, stored_prints
    from experiments.subjects import check_virtual
    from tpf.puf_population import evaluate as figures

    if bool(runs) == bool(emulate):
        raise UserError("name stored runs (DEVICE=RUN ...) or emulate devices with --emulate: one of the two")
    if emulate:
        check_virtual(emulate)
        population = EmulatedPopulation(emulate, devices, repeats, variation, shares, seed)
        with output.bar("Emulating devices", shown=not json) as advance:
            prints = population.prints(advance)
    else:
        from firmware_bridge.trace.reader import TraceReader

        prints = stored_prints(TraceReader(db), runs or (), split=split, miner=miner)
    result = figures(prints, challenge_seed=challenge, bits=bits, seed=seed)
    drawn = plot if result.population is not None else None
    if drawn is not None:
        from experiments.report.puf_plots import draw_population

        draw_population(result, drawn)
    planted: dict[str, Any] = {"plants": {"variation": variation} if variation else {}} if emulate else {}
    output.tell(lambda: {**result.to_json(), **planted}, lambda: _print(result), drawn, json=json)
    if result.verdict.code == "cannot_tell":
        raise typer.Exit(EXIT_CHECK_FAILED)


def _prints(
    runs: list[str] | None,
    model: str | None,
    device: int,
    variation: float,
    shares: int,
    seed: int,
    db: str,
    miner: str | None,
) -> dict[str, list[Fingerprint]]:
    """Fingerprints of stored runs, or of one run of an emulated device."""
    if bool(runs) and model is not None:
        raise UserError("name a stored run or emulate a device with --emulate: one of the two")
    if model is None:
        from experiments.puf import stored_prints
        from firmware_bridge.trace.reader import TraceReader

        return stored_prints(TraceReader(db), runs or ["latest"], miner=miner)
    from experiments.subjects import check_virtual
    from firmware_bridge.emulator.virtual import simulate
    from firmware_bridge.emulator.virtual_config import VirtualConfig
    from tpf.enrolment import fingerprints

    check_virtual(model)
    config = VirtualConfig(model=model, shares=shares, seed=seed, variation_ms=variation, device=device)
    name = f"{model}-{device}"
    prints = fingerprints(simulate(config).to_run_data())
    return {name: [replace(one, run=f"{name} of seed {seed}") for one in prints]}


def _print(result: Evaluation) -> None:
    from experiments.cli import output

    output.table(
        f"Each device ({result.parts} {result.part}s, {result.bits} bits of challenge {result.challenge_seed})",
        ("device", "responses", "uniformity", "reliability", "steadiness", "of coins", "signal, ms", "error, ms"),
        [
            (
                one.device, one.repeats, one.uniformity, one.reliability, one.steadiness, one.steadiness_of_coins,
                one.signal_ms, one.error_ms,
            )
            for one in result.each
        ],
    )  # fmt: skip
    found = result.population
    if found is not None:
        rows: list[tuple[str, float, str, str]] = [
            (name, interval.value, f"{interval.low:.4f} to {interval.high:.4f}", noise)
            for name, interval, noise in (
                ("uniqueness", found.uniqueness, "0.5"),
                ("reliability", found.reliability, "0.5"),
                ("uniformity", found.uniformity, "0.5"),
                ("steadiness", found.steadiness, f"{found.steadiness_of_coins:.4f}"),
                ("equal error rate", found.eer, "0.5"),
            )
        ]
        rows.append(
            ("sd of bit-aliasing", float(found.aliasing.std()), "", f"{0.5 / found.devices**0.5:.4f}")
        )
        output.table(
            f"Population of {found.devices} devices, seed {result.seed}",
            ("figure", "value", "95 %, over devices", "of noise"),
            rows,
        )
    output.console().print(f"Verdict: {result.verdict.code}. {result.verdict.text}", markup=False)


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(puf)
