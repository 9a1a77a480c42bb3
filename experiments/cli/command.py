"""What every command shares: options from ``lab.toml``, and errors that become exit codes without a traceback."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from experiments import config as lab_config
from experiments.cli.options import DEFAULT_DB
from firmware_bridge.errors import LabError, UnreachableError, UserError

EXIT_CHECK_FAILED = 1
EXIT_USER_ERROR = 2
UNREACHABLE = (
    "; is it switched on, and the address right? asiclab devices scan --subnet 10.0.0.0/24 finds miners"
)
SIGNALLED = 128
"""With the number of the signal: how shells say that it ended something. 130 is SIGINT, 143 is SIGTERM."""


def fail(error: BaseException) -> typer.Exit:
    """Print an error for people on stderr and give the exit that goes with it (2 for a user error, else 1)."""
    hint = UNREACHABLE if isinstance(error, UnreachableError) else ""
    typer.echo(f"asiclab: {error}{hint}", err=True)
    return typer.Exit(EXIT_USER_ERROR if isinstance(error, UserError) else EXIT_CHECK_FAILED)


def interrupted(error: KeyboardInterrupt, text: str = "interrupted") -> typer.Exit:
    """Say so on stderr, and give the exit of the signal that the error carries, SIGINT if none."""
    typer.echo(f"asiclab: {text}", err=True)
    number = next((told for told in error.args if isinstance(told, signal.Signals)), signal.SIGINT)
    return typer.Exit(SIGNALLED + number)


class LabCommand(TyperCommand):
    """A command whose defaults may stand in ``lab.toml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put what the configuration file says under the options that the command line leaves open."""
        try:
            found = _from_file(self, ctx, args)
        except UserError as error:
            raise fail(error) from None
        ctx.default_map = {name: value for name, (value, _) in found.items()}
        ctx.meta["asiclab.file"] = {name: place for name, (_, place) in found.items()}
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            name = getattr(error.param, "name", None)
            if name in found and _given(args, error.param) is None:
                error.message = f"{found[name][1]}: {error.message}"
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error of the lab ends it with a message, a full pipe ends it quietly."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise fail(error) from None
        except KeyboardInterrupt as error:
            raise interrupted(error) from None


class LabGroup(TyperGroup):
    """A group of commands; the ones that do something of their own take ``lab.toml`` like any command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As :meth:`LabCommand.parse_args`, for a group that is a command as well."""
        if self.invoke_without_command:
            try:
                ctx.default_map = {name: value for name, (value, _) in _from_file(self, ctx, args).items()}
            except UserError as error:
                raise fail(error) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it; an error of the lab ends it with a message."""
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise fail(error) from None
        except KeyboardInterrupt as error:
            raise interrupted(error) from None


def lab_group(name: str, words: str) -> typer.Typer:
    """A group of commands, with ``words`` as its help; without a command it prints that."""
    return typer.Typer(name=name, help=words, cls=LabGroup, no_args_is_help=True, rich_markup_mode=None)


def options_in_force(ctx: typer.Context) -> dict[str, Any]:
    """Every option of the running command as it is in force, and the configuration file they came from, for the run."""
    options = {name: _plain(value) for name, value in ctx.params.items() if name not in ("json", "config")}
    sources = sorted({place.rsplit(":", 1)[0] for place in ctx.meta.get("asiclab.file", {}).values()})
    return {"command": command_name(ctx), "options": options, "files": sources}


def command_name(ctx: Any) -> str:
    """Dotted name of a command: ``runs.merge``."""
    parts = []
    while ctx.parent is not None:
        parts.append(ctx.info_name)
        ctx = ctx.parent
    return ".".join(reversed(parts))


def _from_file(command: Any, ctx: Any, args: list[str]) -> dict[str, tuple[Any, str]]:
    options = {
        flag.lstrip("-"): param for param in command.params for flag in param.opts if flag.startswith("--")
    }
    explicit = _given(args, options.get("config"))
    database = _given(args, options.get("db"))
    if database is None and "out" in options and "db" not in options:
        # a command that makes its own database in a folder: the file stands beside it
        out = _given(args, options["out"])
        database = f"sqlite:///{out}/lab.db" if out else None
    config = lab_config.find(Path(explicit) if explicit else None, database or DEFAULT_DB)
    if config is None:
        return {}
    lab_config.check(config, _registry(ctx.find_root().command))
    ctx.meta["asiclab.config"] = config
    return lab_config.options_for(config, command_name(ctx), _settable(command))


def _given(args: list[str], param: Any) -> str | None:
    """Value of an option on the command line, in either spelling."""
    for flag in param.opts if param is not None else ():
        for number, arg in enumerate(args):
            if arg == "--":
                break
            if arg == flag and number + 1 < len(args):
                return args[number + 1]
            if arg.startswith(flag + "="):
                return arg[len(flag) + 1 :]
    return None


def _settable(command: Any) -> dict[str, str]:
    return {
        flag.removeprefix("--"): param.name
        for param in command.params
        for flag in param.opts
        if flag.startswith("--") and flag not in ("--help", "--config")
    }


def _registry(group: Any, prefix: str = "") -> dict[str, dict[str, str]]:
    commands: dict[str, dict[str, str]] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            commands |= _registry(command, f"{prefix}{name}.")
            if command.invoke_without_command:
                commands[prefix + name] = _settable(command)
        else:
            commands[prefix + name] = _settable(command)
    return commands


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
