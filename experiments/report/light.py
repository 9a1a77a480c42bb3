"""Figures that are files of their own: no page colours them, so they take the light scheme of report.css."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.report import svg
from firmware_bridge.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
INK, MUTED, GRID = "#1b1f24", "#59636e", "#e4e8ec"
DATA, DATA_SOFT, NULL, MODEL = "#1f6feb", "#a9c8f8", "#57606a", "#c2410c"
MODEL_SOFT = "#f9d9c6"
STYLE: dict[Any, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,
}


def checked(file: str | Path) -> Path:
    """The path of a figure.

    Raises:
        UserError: if its name ends in another way than ``SUFFIXES``.
    """
    path = Path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path.name}: a figure is written as {', '.join(SUFFIXES)}")
    return path


@contextmanager
def figure_file(file: str | Path, width: float, height: float) -> Iterator[Figure]:
    """A figure that is written when the block ends, the same bytes for the same data; sizes in inches.

    Raises:
        UserError: if the file is of another kind than ``SUFFIXES``.
    """
    import matplotlib as mpl

    path = checked(file)
    with svg.figure(width, height) as drawing, mpl.rc_context(STYLE):
        yield drawing
        kind = path.suffix.lower().removeprefix(".")
        dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        drawing.savefig(path, format=kind, dpi=150, metadata=dated)
    if kind == "svg":
        path.write_text(svg.in_order(path.read_text(encoding="utf-8")), encoding="utf-8")
