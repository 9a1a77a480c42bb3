"""How commands speak: JSON lines for programs, rich text for people, never both."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def plain(value: Any) -> Any:
    """What JSON can carry: numpy scalars and arrays become Python's, NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int, bool, type(None))):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def emit(value: Any) -> None:
    """Print one JSON object on one line and flush it."""
    typer.echo(json.dumps(plain(value), allow_nan=False))


def tell(
    told: Callable[[], dict[str, Any]], show: Callable[[], None], plot: Path | None, *, json: bool
) -> None:
    """Print a result and where its plot is: as JSON, or as its command shows it to people.

    Args:
        told: the result as an object of JSON.
        show: prints it for people.
        plot: file that it was drawn into, or None.
        json: which of both.
    """
    if json:
        emit({**told(), **({} if plot is None else {"plot": plot})})
        return
    show()
    if plot is not None:
        console().print(f"Plot: {plot}", markup=False)


def console(*, stderr: bool = False) -> Console:
    """Console for people; plain text where the output is no terminal."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not found.is_terminal:
        found.width = 120
    return found


@contextlib.contextmanager
def bar(what: str, *, shown: bool, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """A progress bar, moved by calling it with what is done and what there is in all; nothing where nobody looks.

    With a unit it counts as well.
    """
    where = console()
    if not shown or not where.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    columns = list(Progress.get_default_columns())
    if unit:
        columns += [TextColumn(unit.replace("[", "\\[")), MofNCompleteColumn()]
    with Progress(*columns, console=where, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers stand right."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", header_style="bold")
    body = [[_cell(cell) for cell in row] for row in rows]
    for number, column in enumerate(columns):
        numeric = bool(body) and all(_is_number(row[number]) for row in body)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        drawn.add_row(*(escape(cell) for cell in row))
    console().print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return text == "–"
    return True
