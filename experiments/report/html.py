"""What every page shares: its resources, its template filled in, and its file written."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from firmware_bridge.errors import UserError


@lru_cache
def resource(name: str) -> str:
    """Text of a file beside this one."""
    return resources.files("experiments.report").joinpath(name).read_text(encoding="utf-8")


def version() -> str:
    """Of the lab."""
    try:
        return metadata.version("asic-reservoir-lab")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def fill(template: str, *, more_css: str = "", **values: Any) -> str:
    """A template with the style of all pages and its values; the same bytes for the same values."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    # everything in a run that a miner chose is hostile until escaped
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = Markup(resource("report.css") + more_css)
    return environment.from_string(resource(template)).render(css=css, **values)


def write(text: str, path: Path, what: str) -> None:
    """Write a page, with the folders above it.

    Raises:
        UserError: if the file cannot be written; ``what`` names the page in it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: the {what} cannot be written ({error.strerror}); give another place with --out"
        ) from error
