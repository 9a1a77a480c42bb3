"""``asiclab vbm``: what a Virtual Block Manager can win, by formula and by experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.command import LabCommand, lab_group
from experiments.cli.options import Config, Json, Seed
from experiments.cli.running import stoppable
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from experiments.vbm_result import Plan, VbmResult

Page = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write a report, an HTML page.")]

vbm = lab_group("vbm", "What a Virtual Block Manager can win, by formula and by experiment.")


@vbm.command("model", cls=LabCommand)
def model(json: Json = False, config: Config = None) -> None:
    """Print what taking the network out of the cycle wins, for a miner that waits a round trip after each share.

    For a miner whose firmware queues work it is 0 everywhere.
    """
    from experiments.cli import output
    from experiments.vbm_result import PUBLISHED_GAIN, model_rows
    from firmware_bridge.efficiency import hash_time_for_gain

    rows = model_rows()
    if json:
        output.emit({"rows": rows, "published_gain": PUBLISHED_GAIN})
        return
    output.table(
        "A miner that waits a round trip after each share",
        ("round trip, ms", "time per share, s", "eta", "time lost", "gain of shares"),
        [
            (
                f"{1e3 * (row['round_trip_s'] or 0.0):g}",
                f"{row['t_hash_s']:g}",
                f"{row['eta']:.3f}",
                f"{row['time_won']:.1%}",
                f"{row['gain']:+.1%}",
            )
            for row in rows
        ],
    )
    needed = ", ".join(
        f"{1e3 * hash_time_for_gain(PUBLISHED_GAIN, t):g} ms at {1e3 * t:g} ms" for t in (0.05, 0.2)
    )
    text = f"+{PUBLISHED_GAIN:.0%} needs a share every {needed} round trip. A miner that queues work gains nothing."
    output.console().print(text, markup=False)


@vbm.command("eta", cls=LabCommand)
def measure_eta(
    round_trip: Annotated[
        list[float] | None,
        typer.Option(
            "--round-trip", metavar="MS", min=0.0, help="To the pool, repeatable; 0, 50 and 200 if none."
        ),
    ] = None,
    t_hash: Annotated[
        float, typer.Option("--t-hash", metavar="MS", min=0.1, help="Mean time of a share, in ms.")
    ] = 100.0,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.1, help="How long to mine.")
    ] = 20.0,
    miners: Annotated[int, typer.Option("--miners", min=1, help="Emulated miners per cell.")] = 4,
    out: Page = None,
    seed: Seed = 0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Measure eta of emulated miners that wait or queue, at several distances of the pool, against the formula."""
    import asyncio

    from experiments.cli import output
    from experiments.vbm_eta import ROUND_TRIPS_S, EtaPlan, measure

    trips = tuple(ms / 1e3 for ms in round_trip) if round_trip else ROUND_TRIPS_S
    result = asyncio.run(measure(EtaPlan(trips, t_hash / 1e3, seconds, miners, seed)))
    if out is not None:
        from experiments.report.vbm_eta_page import write_page

        write_page(result, out)
    if json:
        output.emit(result)
        return

    def shown(found: tuple[float, float, float] | None) -> str:
        return "" if found is None else f"{found[0]:.3f}  [{found[1]:.3f}, {found[2]:.3f}]"

    output.table(
        f"{miners} miners per cell, {t_hash:g} ms per share, {seconds:g} s, seed {seed}",
        ("round trip, ms", "firmware", "wait, ms", "shares", "eta by ledger", "eta by shares", "formula"),
        [
            (
                f"{1e3 * cell.round_trip_s:g}",
                cell.firmware,
                f"{1e3 * cell.network_s:.1f}",
                cell.accepted,
                shown(cell.ledger),
                shown(cell.shares),
                f"{cell.formula:.3f}",
            )
            for cell in result.cells
        ],
    )
    output.console().print(result.verdict, markup=False)


@vbm.command("ab", cls=LabCommand)
def ab(
    round_trip: Annotated[
        float, typer.Option("--round-trip", metavar="MS", min=0.0, help="To the emulated pool, in ms.")
    ] = 200.0,
    t_hash: Annotated[
        float,
        typer.Option("--t-hash", metavar="MS", min=0.1, help="Emulated miner: mean time of a share, in ms."),
    ] = 200.0,
    firmware: Annotated[
        str,
        typer.Option(
            "--firmware", metavar="waits|queues", help="Emulated miner: what it does after a share."
        ),
    ] = "waits",
    miners: Annotated[
        int, typer.Option("--miners", min=1, help="How many emulated miners mine side by side.")
    ] = 8,
    blocks: Annotated[int, typer.Option("--blocks", min=2, help="How often each arm is run.")] = 10,
    block_seconds: Annotated[
        float, typer.Option("--block-seconds", metavar="S", min=0.1, help="How long each time.")
    ] = 10.0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="URL", help="A real miner; its pool is changed, and set back at the end."
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="HOST:PORT",
            help="A real pool for it, as this host reaches it; else the emulated one.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address of this host that the real miner can reach.")
    ] = None,
    pool_user: Annotated[
        str | None, typer.Option("--pool-user", help="Worker name at the real pool.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option("--settle", metavar="S", min=0.0, help="Real miner: time that a change of pool takes."),
    ] = 90.0,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file",
            metavar="FILE",
            help="Real miner: password of its worker, for all its pools ('x').",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Agree that the pool of the real miner is changed.")
    ] = False,
    out: Page = None,
    seed: Seed = 0,
    json: Json = False,
    config: Config = None,
) -> None:
    """Compare direct, relayed and managed work in randomised blocks.

    Prints the gain of each arm with its 95 % interval; two equal arms show what is noise.
    """
    from experiments.cli.emulate import parse_pool
    from experiments.vbm_result import Plan

    if firmware not in ("waits", "queues"):
        raise UserError(f"--firmware is waits or queues, not {firmware!r}")
    if device is None and pool is not None:
        raise UserError("--pool is for a real miner (--device URL); an emulated one has an emulated pool")
    if device is not None and host is None:
        raise UserError("--device needs --host ADDRESS, where the miner reaches this host")
    if device is not None and not yes:
        raise UserError(
            f"the pool of {device} would be changed for each block and set back at the end; agree with --yes"
        )
    plan = Plan(
        blocks=blocks,
        block_s=block_seconds,
        round_trip_s=None if pool else round_trip / 1e3,
        pool=parse_pool(pool) if pool else None,
        user=pool_user,
        host=host or "127.0.0.1",
        seed=seed,
    )
    with stoppable() as stop:
        import asyncio

        from experiments.live_miners import worker_password

        password = worker_password(password_file)
        result = asyncio.run(
            _run(plan, (device, settle, t_hash / 1e3, firmware == "waits", miners), password, stop, json)
        )
    _tell(result, json)
    if out is not None:
        from experiments.report.vbm_page import write_page

        write_page(result, plan, out)


async def _run(
    plan: Plan, subject: tuple[str | None, float, float, bool, int], password: str, stop: Stop, json: bool
) -> VbmResult:
    import asyncio

    from experiments.cli import output
    from experiments.vbm import run
    from experiments.vbm_result import Block
    from experiments.vbm_subjects import DeviceSubject, EmulatedSubject

    url, settle_s, t_hash_s, waits, miners = subject
    done = 0
    with output.bar("Running blocks", shown=not json) as advance_to:

        def one_more(block: Block, total: int) -> None:
            nonlocal done
            done += 1
            advance_to(done, total)
            if json:  # what is measured is said at once: hours of a real miner may end in a power cut
                output.emit(
                    {
                        "block": block.number,
                        "arm": block.arm,
                        "seconds": block.seconds,
                        "difficulty_per_hour": block.difficulty_per_hour,
                        "shares": block.tally,
                    }
                )

        async def compare() -> VbmResult:
            if url is None:
                return await run(
                    EmulatedSubject(t_hash_s, waits=waits, seed=plan.seed, miners=miners),
                    plan,
                    on_block=one_more,
                )
            from firmware_bridge.devices.registry import open_device

            device = await open_device(url)
            try:
                miner = DeviceSubject(
                    device,
                    user=plan.user,
                    password=password,
                    settle_s=settle_s,
                    on_notice=lambda text: typer.echo(text, err=True),
                )
                return await run(miner, plan, on_block=one_more)
            finally:
                await device.aclose()

        work = asyncio.ensure_future(compare())
        loop = asyncio.get_running_loop()
        stop.call(lambda: loop.call_soon_threadsafe(work.cancel))
        try:
            return await work
        except asyncio.CancelledError:
            if stop.reason is None:
                raise
            typer.echo(f"asiclab: stopped by {stop.reason}; the miner is as it was found", err=True)
            raise typer.Exit(stop.exit_code) from None


def _tell(result: VbmResult, json: bool) -> None:
    from experiments.cli import output

    if json:
        output.emit(result)
        return
    rows = []
    for arm in result.arms:
        gain = (
            "" if arm.gain is None else f"{arm.gain.gain:+.1%}  [{arm.gain.low:+.1%}, {arm.gain.high:+.1%}]"
        )
        seen = "" if arm.eta is None else f"{arm.eta[0]:.3f}  [{arm.eta[1]:.3f}, {arm.eta[2]:.3f}]"
        rows.append(
            (
                arm.arm,
                f"{arm.difficulty_per_hour:,.0f}",
                gain,
                "" if arm.predicted is None else f"{arm.predicted:+.1%}",
                seen,
                "" if arm.eta_formula is None else f"{arm.eta_formula:.3f}",
                f"{arm.stale_rate:.1%}",
                f"{arm.duplicate_rate:.1%}",
            )
        )
    head = ("arm", "difficulty/h", "gain [95 %]", "formula", "eta [95 %]", "formula", "stale", "duplicate")
    output.table(f"{result.subject}, seed {result.seed}", head, rows)
    output.console().print(result.verdict["text"], markup=False)


def register(app: typer.Typer) -> None:
    """Add the group to the tree."""
    app.add_typer(vbm)
