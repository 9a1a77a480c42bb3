"""``asiclab proxy``: between miners and a real pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.command import EXIT_CHECK_FAILED, LabCommand, options_in_force
from experiments.cli.options import DEFAULT_DB, Config, Db, Json, Seconds, Seed, Shares, TcpPort, parse_hex
from experiments.cli.running import stoppable
from experiments.cli.serving_options import DevicePeriod, Devices, Host, MaxClients, Record, Synchronous
from firmware_bridge.password_file import read_password

if TYPE_CHECKING:
    from experiments.cli.attached import Attached
    from experiments.cli.running import Stop
    from firmware_bridge.stratum.proxy import ProxyConfig
    from firmware_bridge.trace.schema import RunRecord

PASSWORD_VARIABLE = "ASICLAB_UPSTREAM_PASSWORD"


def proxy(
    ctx: typer.Context,
    upstream: Annotated[
        list[str],
        typer.Option(
            "--upstream",
            metavar="URL",
            help="Pool, repeatable in order of preference: stratum+tcp://[user[:password]@]host:port. Without a user "
            "the miner's own is handed through.",
        ),
    ],
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="vbm|relay",
            help="vbm: answer shares here, have the next work ready. relay: the pool's answers, the pool's jobs.",
        ),
    ] = "vbm",
    host: Host = "127.0.0.1",
    port: TcpPort = 3334,
    work: Annotated[
        str,
        typer.Option(
            "--work",
            metavar="share|period|upstream",
            help="Mode vbm: the next job at each valid share, on a period, or only when the pool sends one.",
        ),
    ] = "share",
    job_period: Annotated[
        float, typer.Option("--job-period", metavar="S", help="With --work period: seconds between jobs.")
    ] = 30.0,
    share_timeout: Annotated[
        float,
        typer.Option(
            "--share-timeout",
            metavar="S",
            help="With --work share: replace an unanswered job after this long.",
        ),
    ] = 30.0,
    difficulty: Annotated[
        float | None,
        typer.Option(
            "--difficulty",
            metavar="D",
            help="Mode vbm: share difficulty below the pool's, for more shares to time; the pool gets those it wants.",
        ),
    ] = None,
    own_bytes: Annotated[
        int | None,
        typer.Option(
            "--own-bytes",
            min=0,
            max=8,
            help="Mode vbm: bytes of extranonce2 that the proxy keeps to make jobs; by default what suits the pool.",
        ),
    ] = None,
    upstream_password_file: Annotated[
        Path | None,
        typer.Option(
            "--upstream-password-file",
            metavar="FILE",
            help=f"First line: password of pools whose URL names a user and no password. Or set {PASSWORD_VARIABLE}.",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option("--retries", min=1, help="Failed attempts at a pool before the next one.")
    ] = 3,
    hold: Annotated[
        float, typer.Option("--hold", metavar="S", help="Keep miners this long without any pool.")
    ] = 60.0,
    return_after: Annotated[
        float,
        typer.Option(
            "--return-after",
            metavar="S",
            help="Go back to the first pool once it was well for so long; a negative number: never.",
        ),
    ] = 120.0,
    seconds: Seconds = None,
    shares: Shares = None,
    synchronous: Synchronous = "normal",
    max_clients: MaxClients = 1024,
    version_mask: Annotated[
        str, typer.Option("--version-mask", metavar="HEX", help="Version bits that miners may roll at most.")
    ] = "1fffe000",
    device: Devices = None,
    device_period: DevicePeriod = 3.0,
    record: Record = False,
    keep_secrets: Annotated[
        bool,
        typer.Option("--keep-secrets", help="Store miners' passwords as they come instead of a placeholder."),
    ] = False,
    seed: Seed = 0,
    db: Db = DEFAULT_DB,
    json: Json = False,
    config: Config = None,
) -> None:
    """Stand between Stratum V1 miners and a pool.

    Every share is verified, stamped and stored before it is answered; what the pool made of it is stored too.
    """
    with stoppable() as stop:
        import asyncio

        from experiments.cli.attached import Attached
        from firmware_bridge.stratum.proxy import ProxyConfig, Upstream
        from firmware_bridge.trace.schema import RunRecord

        secret = _password(upstream_password_file)
        pools = [Upstream.parse(url) for url in upstream]
        settings = ProxyConfig(
            tuple(
                Upstream(
                    p.host,
                    p.port,
                    p.user,
                    secret if p.user is not None and p.password is None else p.password,
                )
                for p in pools
            ),
            mode=mode,  # type: ignore[arg-type] # checked by the record itself
            host=host,
            port=port,
            work=work,  # type: ignore[arg-type] # checked by the record itself
            difficulty=difficulty,
            own_bytes=own_bytes,
            job_period_s=job_period,
            share_timeout_s=share_timeout,
            version_mask=parse_hex(version_mask, "--version-mask"),
            retries=retries,
            hold_s=hold,
            return_after_s=None if return_after < 0 else return_after,
            max_clients=max_clients,
            keep_secrets=keep_secrets,
            record=record,
        )
        options = options_in_force(ctx)
        options["options"]["upstream"] = [pool.label for pool in pools]  # a URL may hold a password
        run_record = RunRecord(kind="live", source="proxy", seeds={"pauses": seed}, config={"cli": options})
        attached = Attached((), None, tuple(device or ()), device_period)
        status = asyncio.run(
            _serve(settings, attached, db, synchronous, run_record, (seconds, shares), stop, json)
        )
    if status != "success":
        raise typer.Exit(EXIT_CHECK_FAILED)


def _password(file: Path | None) -> str | None:
    """Password of pools from a file or from the environment, never from an option that others can read."""
    import os

    if file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    return read_password(file)


async def _serve(
    settings: ProxyConfig,
    attached: Attached,
    db: str,
    synchronous: str,
    record: RunRecord,
    limits: tuple[float | None, int | None],
    stop: Stop,
    json: bool,
) -> str:
    """Make the proxy, and run it."""
    from functools import partial

    import numpy as np

    from experiments.cli.serving import Words, serve_run
    from firmware_bridge.stratum.proxy import Proxy
    from firmware_bridge.trace.writer import TraceWriter

    open_writer = partial(TraceWriter, db, synchronous=synchronous)
    server = Proxy(settings, open_writer, np.random.default_rng(record.seeds["pauses"]), record=record)
    pools = [pool.label for pool in settings.upstreams]

    def now() -> str:
        at = server.stats
        return (
            f"{at.miners} miners, {at.accepted} shares, {at.rejected} refused here, {at.upstream_accepted} taken by "
            f"the pool, {sum(at.upstream_rejected.values())} refused"
        )

    words = Words(
        lambda address: f"{settings.mode} on {address} for {', then '.join(pools)}",
        {"upstreams": pools},
        now,
        lambda seconds: server.stats.summary(seconds),
        _last_line,
    )
    return await serve_run(server, settings.bridge(), attached, db, limits, stop, words, json=json)


def _last_line(counts: dict[str, Any], seconds: float) -> str:
    refused = sum(counts["upstream_rejected"].values())
    trip = counts["upstream_round_trip_ms"]["p50"]
    text = (
        f"{counts['accepted']} shares of {counts['miners']} miners, {counts['rejected']} refused here; "
        f"the pool took {counts['upstream_accepted']}, refused {refused}, left {counts['unanswered']} unanswered"
    )
    if trip is not None:
        text += f"; round trip {trip:.3g} ms, answered in {counts['answer_ms']['p50'] or 0.0:.3g} ms"
    return f"{text}; {seconds:.0f} s"


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    app.command("proxy", cls=LabCommand)(proxy)
