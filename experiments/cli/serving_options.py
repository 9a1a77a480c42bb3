"""Options of the commands that miners connect to, ``asiclab bridge`` and ``asiclab proxy``, each defined once."""

from __future__ import annotations

from typing import Annotated

import typer

Host = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets real miners in.")]
Synchronous = Annotated[
    str,
    typer.Option(
        "--synchronous",
        metavar="off|normal|full",
        help="full survives a power cut and is slower; see docs/bridge.md.",
    ),
]
MaxClients = Annotated[int, typer.Option("--max-clients", min=1, help="Connections at once.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device", metavar="URL", help="Store this device's telemetry too, repeatable: lv06://HOST."
    ),
]
DevicePeriod = Annotated[
    float, typer.Option("--device-period", metavar="S", min=0.1, help="Between two readings of a device.")
]
Record = Annotated[
    bool, typer.Option("--record", help="Keep the bytes of every link in the run, secrets replaced.")
]
