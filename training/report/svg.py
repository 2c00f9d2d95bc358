"""Drawing with matplotlib as SVG in the page's own colours.

Class names are never drawn: the page writes its legends, where they are escaped and wrap.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SERIES: Final = 6
"""Curves in one plot: more colours and dashes cannot be distinguished."""

_SIZE_IN: Final = (4.6, 3.3)  # inches
# Placeholders that are replaced by the page's own colours, light or dark.
INK, MUTED, _GRID, PAPER = "#010101", "#020202", "#030303", "#050505"
SERIES_COLOURS: Final = tuple(f"#0400{k:02x}" for k in range(MAX_SERIES))
_COLOURS: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    _GRID: "var(--line)",
    PAPER: "var(--paper)",
} | {colour: f"var(--series-{k})" for k, colour in enumerate(SERIES_COLOURS)}
DASHES: Final = ("-", (0, (5, 2)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (1, 1)), (0, (9, 3)))


def svg(
    draw: Callable[["Axes"], None], name: str, *, size_in: tuple[float, float] = _SIZE_IN
) -> Markup:
    """Draw one pair of axes, and return the bare `<svg>` element.

    Args:
        draw: Draws on the axes.
        name: Name of the plot, unique in the page.
        size_in: Width and height in inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.hashsalt": name,  # equal ids in every run, other ids than the next plot
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],  # comes with matplotlib: sizes do not depend on the machine
        "font.size": 9,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context():
        mpl.rcdefaults()  # overrides the user's matplotlibrc
        mpl.rcParams.update(style)
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=undated)
    return Markup(_bare(text.getvalue()))  # noqa: S704  numbers, and words of this module


def _bare(svg: str) -> str:
    """Drop the prologue, the fixed size, and ids that would repeat in the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>\s*", "", svg, flags=re.DOTALL)  # would leak to the page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    svg = f'<svg {box[0] if box else ""} aria-hidden="true" focusable="false">{rest}'
    svg = svg.replace("xlink:href", "href")
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def line_style(series: int) -> dict[str, Any]:
    """Return the colour and the dashes of the curve of a series."""
    return {
        "color": SERIES_COLOURS[series],
        "linestyle": DASHES[series],
        "linewidth": 1.7,
        "solid_joinstyle": "round",
    }


def percent_axis(axes: "Axes", which: str) -> None:
    """Label an axis of shares in percent."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g}%"))
