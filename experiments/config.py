"""``lab.toml``: any option of any command, in a table named like the command.

::

    db = "sqlite:///lab.db"        # for every command that has this option

    [bridge]
    difficulty = 256
    job-period = 30

    [runs.merge]
    json = true

    [mqtt]                         # for every command that speaks MQTT
    broker = "mqtt://lab@box"
    password-file = "broker.password"

    [[sensors]]                    # sensors of asiclab bridge, one table each; see docs/mqtt.md
    topic = "room/temperature"
    column = "ambient_c"

The command line wins over the file, the file wins over the built-in default. A key that no command knows is an error
that names the file and the line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.errors import UserError

FILE_NAME = "lab.toml"
SENSORS = "sensors"
MQTT = "mqtt"
SQLITE_PREFIX = "sqlite:///"

MQTT_KEYS = {
    "broker": "mqtt",
    "lab": "lab",
    "password-file": "mqtt-password-file",
    "ca": "mqtt-ca",
    "cert": "mqtt-cert",
    "key": "mqtt-key",
}
"""Keys of ``[mqtt]``, and the option that each stands for."""

Options = Mapping[str, str]
"""Option as written (without dashes) to the name of its parameter."""


@dataclass(frozen=True)
class LabConfig:
    """A parsed file.

    Attributes:
        path: where it was read.
        text: its text, kept to find the line of a key.
        values: its tables.
    """

    path: Path
    text: str
    values: dict[str, Any]

    def place(self, table: str, key: str) -> str:
        """``file:line`` of a key, or the file alone where the line cannot be told."""
        line = key_line(self.text, table, key)
        return f"{self.path}:{line}" if line else str(self.path)


def database_folder(url: str) -> Path:
    """Folder that ``lab.toml`` is looked for in: beside an SQLite file, else the current one."""
    if url.startswith(SQLITE_PREFIX):
        file = url.removeprefix(SQLITE_PREFIX).split("?")[0]
        if file and file != ":memory:":
            return Path(file).parent
    return Path()


def load(path: Path) -> LabConfig:
    """Read a file.

    Raises:
        UserError: if it cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return LabConfig(path, text, tomllib.loads(text))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give another file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not TOML: {error}") from error


def find(explicit: Path | None, database_url: str) -> LabConfig | None:
    """The file named on the command line, else the one beside the database, else None.

    Raises:
        UserError: if it cannot be read, or the one named does not exist.
    """
    if explicit is not None:
        return load(explicit)
    beside = database_folder(database_url) / FILE_NAME
    return load(beside) if beside.exists() else None  # a folder of that name is refused, not passed over


def check(config: LabConfig, commands: Mapping[str, Options]) -> None:
    """Refuse every table and key that no command knows.

    Args:
        config: the file.
        commands: options of each command, the command's name with dots between its parts.

    Raises:
        UserError: at the first unknown one; the message names file, line and what would be known.
    """
    everywhere = {option for options in commands.values() for option in options}
    for key, value in config.values.items():
        if isinstance(value, dict):
            _check_table(config, key, value, commands)
        elif key == SENSORS and isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            continue  # what stands in them is looked at by the command that uses them
        elif _dashed(key) not in everywhere:
            raise UserError(f"{config.place('', key)}: no command has an option {key!r}")


def _check_table(
    config: LabConfig, name: str, table: dict[str, Any], commands: Mapping[str, Options]
) -> None:
    is_group = any(command.startswith(name + ".") for command in commands)
    if name not in commands and not is_group:
        raise UserError(
            f"{config.place(name, '')}: unknown table [{name}]; the commands are {', '.join(sorted(commands))}"
        )
    own = set(commands.get(name, {}))
    if name == MQTT:
        everywhere = {option for options in commands.values() if MQTT in options for option in options}
        own |= {key for key in MQTT_KEYS if MQTT_KEYS[key] in everywhere}
    for key, value in table.items():
        if isinstance(value, dict):
            _check_table(config, f"{name}.{key}", value, commands)
        elif _dashed(key) not in own:
            known = ", ".join(sorted(own)) or "none"
            raise UserError(f"{config.place(name, key)}: unknown key {key!r} in [{name}]; known: {known}")


def sensor_tables(config: LabConfig | None) -> list[tuple[dict[str, Any], str]]:
    """The ``[[sensors]]`` of a file, each with its ``file:line``."""
    if config is None:
        return []
    header = re.compile(rf"\s*\[\[\s*{SENSORS}\s*\]\]")
    lines = [number for number, line in enumerate(config.text.splitlines(), 1) if header.match(line)]
    tables = config.values.get(SENSORS, [])
    places = [f"{config.path}:{line}" for line in lines] if len(lines) == len(tables) else []
    return [(table, places[i] if places else str(config.path)) for i, table in enumerate(tables)]


def options_for(config: LabConfig, command: str, options: Options) -> dict[str, tuple[Any, str]]:
    """What the file says for one command: parameter name to (value, ``file:line``).

    A key in the command's own table wins over ``[mqtt]``, which wins over the same key at the top of the file.
    """
    table: Any = config.values
    for part in command.split("."):
        table = table.get(part, {}) if isinstance(table, dict) else {}
    found: dict[str, tuple[Any, str]] = {}
    shared = config.values.get(MQTT)
    broker = shared if isinstance(shared, dict) and MQTT in options else {}
    for name, values in (("", config.values), (MQTT, broker), (command, table)):
        for key, value in values.items():
            option = MQTT_KEYS.get(_dashed(key), "") if values is broker else _dashed(key)
            if not isinstance(value, dict) and option in options:
                found[options[option]] = (value, config.place(name, key))
    return found


def key_line(text: str, table: str, key: str) -> int | None:
    """1-based line of a key within a table ("" is the top), or of the table's own header where ``key`` is empty."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            here = re.sub(r"\s*\.\s*", ".", header[1]).replace('"', "")
            if not key and (here == table or here.startswith(table + ".")):
                return number
        elif key and here == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return None


def _dashed(key: str) -> str:
    return key.replace("_", "-")
