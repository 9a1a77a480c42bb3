"""Options of commands that speak MQTT, each defined once, and what they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from firmware_bridge.telemetry.inbox import InboxConfig
    from firmware_bridge.telemetry.mqtt_settings import MqttSettings

Mqtt = Annotated[
    str | None,
    typer.Option("--mqtt", metavar="URL", help="Broker: mqtt://USER@HOST:1883, or mqtts:// for TLS."),
]
Broker = Annotated[
    str | None,
    typer.Option("--broker", "--mqtt", metavar="URL", help="mqtt://USER@HOST:1883, or mqtts:// for TLS."),
]
MqttPatience = Annotated[
    float,
    typer.Option("--mqtt-patience", metavar="S", min=0.0, help="How long the end may wait for the broker."),
]
LabName = Annotated[
    str | None,
    typer.Option("--lab", metavar="NAME", help="Name of this lab in topics; by default this host's."),
]
MqttPasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--mqtt-password-file",
        metavar="FILE",
        help="First line is the password; else it is ASICLAB_MQTT_PASSWORD.",
    ),
]
MqttCa = Annotated[
    Path | None,
    typer.Option("--mqtt-ca", metavar="FILE", help="Trust these authorities (PEM) instead of the system's."),
]
MqttCert = Annotated[
    Path | None,
    typer.Option("--mqtt-cert", metavar="FILE", help="Our own certificate (PEM), where asked for."),
]
MqttKey = Annotated[
    Path | None, typer.Option("--mqtt-key", metavar="FILE", help="Key of our own certificate (PEM).")
]
MqttCommands = Annotated[
    bool,
    typer.Option(
        "--mqtt-commands",
        help="Carry out commands for the devices of --device; refused and logged otherwise.",
    ),
]
MqttBeyondFactory = Annotated[
    bool,
    typer.Option(
        "--mqtt-beyond-factory",
        help="Let commands go beyond the factory's table, never beyond the hard limits.",
    ),
]
MqttCommandPause = Annotated[
    float,
    typer.Option(
        "--mqtt-command-pause", metavar="S", min=0.0, help="Least time between two changes of a miner."
    ),
]
SensorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sensor",
        metavar="SPEC",
        help="Store a topic as telemetry, repeatable: power_w@MINER=TOPIC;path=a.b;factor=1, without @ for the room.",
    ),
]
HomeAssistant = Annotated[
    bool, typer.Option("--home-assistant/--no-home-assistant", help="Announce the miners to Home Assistant.")
]
HomeAssistantPrefix = Annotated[
    str, typer.Option("--home-assistant-prefix", metavar="TOPIC", help="Where Home Assistant listens.")
]


@dataclass(frozen=True)
class Login:
    """Which broker, and how to get in, as the command line has it."""

    url: str | None
    lab: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def needed(self) -> MqttSettings:
        """The connection.

        Raises:
            UserError: if no broker was named, or something cannot be used.
        """
        settings = self.settings()
        if settings is None:
            raise UserError(
                'which broker? give --broker mqtt://HOST, or broker = "…" under [mqtt] in lab.toml; '
                "`asiclab broker` starts one"
            )
        return settings

    def settings(self) -> MqttSettings | None:
        """The connection, or None where no broker was named.

        Raises:
            UserError: if the URL or a file cannot be used.
        """
        if self.url is None:
            return None
        from firmware_bridge.telemetry.mqtt_settings import MqttSettings

        return MqttSettings.from_url(
            self.url,
            lab=self.lab,
            password_file=self.password_file,
            ca_file=self.ca,
            cert_file=self.cert,
            key_file=self.key,
        )


def inbox_config(
    login: Login,
    *,
    commands: bool,
    beyond_factory: bool,
    pause_s: float,
    sensors: Sequence[str],
    sensor_tables: Sequence[tuple[dict[str, Any], str]],
    devices: Sequence[str],
    home_assistant: str | None,
) -> InboxConfig | None:
    """What may come in over MQTT, or None where no broker was named.

    Raises:
        UserError: if something needs a broker or a device and there is none, or a sensor cannot work.
    """
    if login.url is None:
        wanting = {"--mqtt-commands": commands, "--sensor": sensors, "[[sensors]]": sensor_tables}
        if needs := [name for name, given in wanting.items() if given]:
            raise UserError(
                f"{', '.join(needs)} needs a broker: give --mqtt URL, or start one with asiclab broker"
            )
        return None
    if commands and not devices:
        raise UserError("--mqtt-commands needs --device URL: only devices that are polled can be set")
    if beyond_factory and not commands:
        raise UserError("--mqtt-beyond-factory widens what --mqtt-commands allows; give both")
    from firmware_bridge.telemetry.home_assistant import check_prefix
    from firmware_bridge.telemetry.inbox import InboxConfig
    from firmware_bridge.telemetry.sensors import SensorDesk, parse_sensor, sensor_from_table
    from firmware_bridge.trace.provenance import versions

    found = [parse_sensor(text) for text in sensors]
    found += [sensor_from_table(table, place) for table, place in sensor_tables]
    return InboxConfig(
        commands=commands,
        beyond_factory=beyond_factory,
        pause_s=pause_s,
        sensors=SensorDesk(found).sensors,
        home_assistant=None if home_assistant is None else check_prefix(home_assistant),
        version=str(versions().get("asic-reservoir-lab", "0")),
    )
