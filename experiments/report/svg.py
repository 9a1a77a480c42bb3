"""From a matplotlib figure to an SVG inside a page: deterministic, and coloured by the page's own scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# Matplotlib writes fixed colours; these stand for variables of the page, so that one drawing serves light and dark.
INK = "#010101"
MUTED = "#020202"
GRID = "#030303"
DATA = "#040404"
NULL = "#050505"
MODEL = "#060606"
WARN = "#070707"
DATA_SOFT = "#080808"

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    DATA: "var(--data)",
    NULL: "var(--null)",
    MODEL: "var(--model)",
    WARN: "var(--warn)",
    DATA_SOFT: "var(--data-soft)",
}

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "asiclab",
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "path.simplify": False,
}


@contextmanager
def figure(width: float = 7.2, height: float = 3.4) -> Iterator[Figure]:
    """A figure without any global state of matplotlib, closed by going out of scope; sizes in inches."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(drawing)
        yield drawing


def in_order(text: str) -> str:
    """An SVG whose ids count up in place of matplotlib's hashes.

    Those are of coordinates to the last bit, which the solver of the layout does not give the same every time.
    """
    found = dict.fromkeys(re.findall(r'\bid="([a-z]*[0-9a-f]{10})"', text))
    names = {name: f"{name[:-10] or 'o'}{number}" for number, name in enumerate(found)}
    return re.sub(r'(?<=[#"])[a-z]*[0-9a-f]{10}(?=[)"])', lambda m: names.get(m[0], m[0]), text)


def to_svg(drawing: Figure, title: str, prefix: str) -> Markup:
    """The figure as an ``<svg>`` element, its ids made unique by ``prefix``, the same bytes for the same data.

    Args:
        drawing: made under :func:`figure`.
        title: what a screen reader says.
        prefix: a word that no other figure of the page uses.
    """
    import matplotlib as mpl
    from markupsafe import Markup, escape

    out = io.StringIO()
    with mpl.rc_context(_STYLE):
        drawing.savefig(
            out,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = in_order(out.getvalue())
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r' xmlns:(cc|dc|rdf)="[^"]*"', "", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"font: (\S+ )?([\d.]+)px [^;\"]*", r"font: \1\2px var(--font)", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{escape(title)}"', text, count=1
    )
    return Markup(text.strip())
