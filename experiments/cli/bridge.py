"""``asiclab bridge``: the pool that miners connect to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Scale, Seconds, Shares
from experiments.cli.running import stoppable

if TYPE_CHECKING:
    from experiments.cli.running import Stop
    from firmware_bridge.stratum.config import BridgeConfig


def bridge(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets real miners in.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="TCP port; 0 takes a free one.")
    ] = 3333,
    difficulty: Annotated[
        float, typer.Option("--difficulty", metavar="D", help="Share difficulty, any positive number.")
    ] = 256.0,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="stream|swh",
            help="stream: new work on a period. swh: one job, one share, the next job.",
        ),
    ] = "stream",
    job_period: Annotated[
        float, typer.Option("--job-period", metavar="S", help="Stream mode: seconds between jobs.")
    ] = 30.0,
    swh_timeout: Annotated[
        float,
        typer.Option(
            "--swh-timeout", metavar="S", help="Handshake mode: replace an unanswered job after this long."
        ),
    ] = 30.0,
    seconds: Seconds = None,
    shares: Shares = None,
    scale: Scale = None,
    synchronous: Annotated[
        str,
        typer.Option(
            "--synchronous",
            metavar="off|normal|full",
            help="full survives a power cut and is slower; see docs/bridge.md.",
        ),
    ] = "normal",
    max_clients: Annotated[int, typer.Option("--max-clients", min=1, help="Connections at once.")] = 1024,
    base_version: Annotated[
        str, typer.Option("--base-version", metavar="HEX", help="Version of the jobs.")
    ] = "20000000",
    version_mask: Annotated[
        str, typer.Option("--version-mask", metavar="HEX", help="Version bits that miners may roll (BIP310).")
    ] = "1fffe000",
    keep_secrets: Annotated[
        bool, typer.Option("--keep-secrets", help="Store passwords as they come instead of a placeholder.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of the synthetic jobs; by default from the system."),
    ] = None,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Be the pool of Stratum V1 miners: verify, timestamp and store every share before it is acknowledged."""
    with stoppable() as stop:
        import asyncio
        import secrets

        from firmware_bridge.errors import UserError
        from firmware_bridge.stratum.config import BridgeConfig

        try:
            mask = int(version_mask, 16)
        except ValueError as error:
            raise UserError(f"--version-mask is up to 8 hex digits, not {version_mask!r}") from error
        settings = BridgeConfig(
            host=host,
            port=port,
            difficulty=difficulty,
            mode=mode,  # type: ignore[arg-type] # checked by the record itself
            job_period_s=job_period,
            swh_timeout_s=swh_timeout,
            scale=scale,
            base_version=base_version,
            version_mask=mask,
            max_clients=max_clients,
            keep_secrets=keep_secrets,
        )
        used_seed = secrets.randbits(63) if seed is None else seed
        snapshot = {"bridge": settings.snapshot(), **options_in_force(ctx)}
        end = asyncio.run(_serve(settings, db, synchronous, used_seed, snapshot, seconds, shares, stop, json))
    if end["status"] == "fail":
        raise typer.Exit(EXIT_CHECK_FAILED)


async def _serve(
    settings: BridgeConfig,
    db: str,
    synchronous: str,
    seed: int,
    snapshot: dict[str, Any],
    seconds: float | None,
    shares: int | None,
    stop: Stop,
    json: bool,
) -> dict[str, Any]:
    raise NotImplementedError


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("bridge", cls=LabCommand)(bridge)
