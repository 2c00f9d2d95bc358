"""The report's curves, drawn by matplotlib as SVG that takes its colours from the page.

Class names are never drawn: the page writes its legends, where they are escaped and wrap.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import roc_auc_score, roc_curve

from training.calibrate import reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES: Final = 6
"""Most curves in one plot: as many colours and dashes are told apart."""

_SIZE_IN: Final = (4.6, 3.3)
# Stand-ins that are replaced by the page's own colours, light or dark.
_INK, _MUTED, _GRID, _PAPER = "#010101", "#020202", "#030303", "#050505"
_SERIES_COLOURS: Final = tuple(f"#0400{k:02x}" for k in range(SERIES))
_COLOURS: Final = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _PAPER: "var(--paper)",
} | {colour: f"var(--series-{k})" for k, colour in enumerate(_SERIES_COLOURS)}
_DASHES: Final = ("-", (0, (5, 2)), (0, (2, 2)), (0, (7, 2, 2, 2)), (0, (1, 1)), (0, (9, 3)))
_HISTOGRAM_BINS: Final = 20
_PERCENT: Final = 100.0

Probabilities = NDArray[np.float64]
Classes = NDArray[np.int64]


def roc(
    probabilities: Probabilities, classes: Classes, chosen: Sequence[int], *, name: str
) -> Markup:
    """ROC curves, each of one class against the rest.

    Args:
        probabilities: (n, K).
        classes: (n,).
        chosen: The classes to draw, at most `SERIES`.
        name: Of the plot, once a page.
    """

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        for series, k in enumerate(chosen):
            alarms, found, _ = roc_curve(classes == k, probabilities[:, k])
            axes.plot(alarms, found, **_line(series))
        axes.set_xlabel("share of other pictures wrongly taken for it")
        axes.set_ylabel("share of its pictures found")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        _percent(axes, "x")
        _percent(axes, "y")

    return _svg(draw, name)


def hardest(probabilities: Probabilities, classes: Classes) -> list[int]:
    """The classes whose ROC curves are drawn: of two the second, of many those worst told."""
    present = [k for k in np.unique(classes).tolist() if (classes != k).any()]
    if probabilities.shape[1] == 2:
        return present[-1:]
    areas = {k: float(roc_auc_score(classes == k, probabilities[:, k])) for k in present}
    return sorted(sorted(present, key=lambda k: (areas[k], k))[:SERIES])


def calibration(probabilities: Probabilities, classes: Classes, *, name: str) -> Markup:
    """Reliability diagram: how sure the model was, and how often it was right."""
    rows = reliability(probabilities, classes)
    least = min(row[0] for row in rows)

    def draw(axes: "Axes") -> None:
        start = min(least, 1.0 / probabilities.shape[1])
        axes.plot([start, 1], [start, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        for confidence, right, share in rows:
            pictures = share * len(classes)
            hits = right * pictures
            low, high = beta.ppf([0.025, 0.975], hits + 0.5, pictures - hits + 0.5)
            axes.plot([confidence] * 2, [low, high], color=_SERIES_COLOURS[0], linewidth=1.2)
            axes.plot(
                [confidence],
                [right],
                "o",
                color=_SERIES_COLOURS[0],
                markersize=3 + 9 * float(np.sqrt(share)),
                markeredgecolor=_PAPER,
                markeredgewidth=0.8,
            )
        axes.set_xlabel("how sure the model was")
        axes.set_ylabel("how often it was right")
        axes.set_xlim(start - 0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        _percent(axes, "x")
        _percent(axes, "y")

    return _svg(draw, name)


def histogram(
    probabilities: Probabilities, classes: Classes, *, threshold: float | None, name: str
) -> Markup:
    """Scores: of two classes by true class, of more by right and wrong; one up, one down."""
    if probabilities.shape[1] == 2:
        scores, upper = probabilities[:, 1], classes == 1
        start, label = 0.0, "score"
        unsure = None if threshold is None else (1.0 - threshold, threshold)
    else:
        scores, upper = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
        start, label = 1.0 / probabilities.shape[1], "highest score"
        unsure = None if threshold is None else (start, threshold)
    edges = np.linspace(start, 1.0, _HISTOGRAM_BINS + 1)
    up, _ = np.histogram(scores[upper], np.append(edges[:-1], 1.0 + 1e-9))
    down, _ = np.histogram(scores[~upper], np.append(edges[:-1], 1.0 + 1e-9))

    def draw(axes: "Axes") -> None:
        if unsure is not None and unsure[1] > unsure[0]:
            axes.axvspan(*unsure, color=_MUTED, alpha=0.14, linewidth=0)
        width = edges[1] - edges[0]
        for counts, sign, colour in ((up, 1, _SERIES_COLOURS[0]), (down, -1, _SERIES_COLOURS[1])):
            # Heights grow as the square root, so that a single picture can still be seen.
            axes.bar(
                edges[:-1],
                sign * np.sqrt(counts),
                width=width,
                align="edge",
                color=colour,
                edgecolor=_PAPER,
                linewidth=0.6,
            )
        axes.axhline(0, color=_INK, linewidth=0.8)
        _count_ticks(axes, int(up.max(initial=0)), int(down.max(initial=0)))
        axes.set_xlabel(label)
        axes.set_ylabel("pictures")
        axes.set_xlim(start, 1.0)
        _percent(axes, "x")

    return _svg(draw, name)


def learning(curve: dict[str, Any], total: int, *, name: str) -> Markup:
    """Balanced accuracy against pictures learnt from, and what twice as many promise."""
    points = curve["points"]
    pictures = [point["pictures"] for point in points]

    def draw(axes: "Axes") -> None:
        axes.fill_between(
            pictures,
            [point["low"] for point in points],
            [point["high"] for point in points],
            color=_SERIES_COLOURS[0],
            alpha=0.18,
            linewidth=0,
        )
        means = [point["mean"] for point in points]
        axes.plot(pictures, means, "o-", color=_SERIES_COLOURS[0], linewidth=1.6, markersize=4)
        twice, interval = curve.get("at_twice"), curve.get("interval_95")
        if twice is not None:
            axes.plot(
                [pictures[-1], 2 * total],
                [means[-1], twice],
                color=_SERIES_COLOURS[1],
                linewidth=1.2,
                linestyle=_DASHES[1],
            )
            if interval is not None:
                axes.plot([2 * total] * 2, interval, color=_SERIES_COLOURS[1], linewidth=1.4)
            axes.plot([2 * total], [twice], "D", color=_SERIES_COLOURS[1], markersize=5)
        axes.set_xlabel("pictures learnt from")
        axes.set_ylabel("right, mean over classes")
        axes.set_xlim(left=0)
        _percent(axes, "y")

    return _svg(draw, name)


def epochs(rows: Sequence[dict[str, Any]], what: str, *, name: str) -> Markup:
    """Loss or accuracy of fine-tuning, epoch by epoch, on training and on held-out pictures."""

    def draw(axes: "Axes") -> None:
        for series, part in enumerate(("train", "val")):
            known = [row for row in rows if row.get(f"{part}_{what}") is not None]
            axes.plot(
                [row["epoch"] for row in known],
                [row[f"{part}_{what}"] for row in known],
                **_line(series),
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel({"loss": "loss", "accuracy": "right"}[what])
        if what == "accuracy":
            _percent(axes, "y")

    return _svg(draw, name)


def _line(series: int) -> dict[str, Any]:
    return {
        "color": _SERIES_COLOURS[series],
        "linestyle": _DASHES[series],
        "linewidth": 1.7,
        "solid_joinstyle": "round",
    }


def _percent(axes: "Axes", which: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * _PERCENT:g}%"))


def _count_ticks(axes: "Axes", up: int, down: int) -> None:
    """Ticks at counts on an axis whose heights are square roots."""

    def steps(most: int) -> list[int]:
        # Ticks closer than a seventh of the axis would overlap.
        chosen: list[int] = []
        apart = (np.sqrt(up) + np.sqrt(down)) / 7
        for count in sorted({step * 10**power for power in range(6) for step in (1, 2, 5)}):
            last = np.sqrt(chosen[-1]) if chosen else 0.0
            if count <= most and np.sqrt(count) - last >= apart:
                chosen.append(count)
        return chosen

    counts = [-count for count in reversed(steps(down))] + [0] + steps(up)
    axes.set_yticks(
        [float(np.sign(count) * np.sqrt(abs(count))) for count in counts],
        [str(abs(count)) for count in counts],
    )
    axes.set_ylim(-np.sqrt(down) * 1.08 - 0.2, np.sqrt(up) * 1.08 + 0.2)


def _svg(draw: Callable[["Axes"], None], name: str) -> Markup:
    """Draw one pair of axes, and give the bare `<svg>` element."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.hashsalt": name,  # ids that repeat, and differ from the next plot's
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],  # comes with matplotlib: sizes do not depend on the machine
        "font.size": 9,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": _MUTED,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "text.color": _INK,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
    }
    undated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's matplotlibrc says
        mpl.rcParams.update(style)
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=3)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=undated)
    return Markup(_bare(text.getvalue()))  # noqa: S704  numbers, and words of this module


def _bare(svg: str) -> str:
    """Keep what an HTML page needs: no prologue, no fixed size, no ids that would repeat."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>\s*", "", svg, flags=re.DOTALL)  # would leak to the page
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    svg = f'<svg {box[0] if box else ""} aria-hidden="true" focusable="false">{rest}'
    svg = svg.replace("xlink:href", "href")
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
