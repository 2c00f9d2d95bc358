"""Plots of the report: ROC, calibration, scores, learning, corruptions and epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from training.evaluation.calibration import reliability
from training.evaluation.intervals import share_interval
from training.report.svg import (
    DASHES,
    INK,
    MAX_SERIES,
    MUTED,
    PAPER,
    SERIES_COLOURS,
    line_style,
    percent_axis,
    svg,
)
from training.summary import CorruptionSummary, LearningCurveSummary, RobustnessMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HISTOGRAM_BINS: Final = 20
_MIN_PICTURES_PER_BIN: Final = 15  # independent ones, of a point of the reliability diagram
_MIN_LEARNING_SPAN: Final = 0.2  # of the axis: on a shorter one noise looks like a trend
_SMALL_SIZE_IN: Final = (3.4, 2.4)  # inches; for many plots beside each other

Probabilities = NDArray[np.float64]
Classes = NDArray[np.int64]


def roc(
    probabilities: Probabilities, classes: Classes, shown: Sequence[int], *, name: str
) -> Markup:
    """Plot ROC curves, each of one class against the rest.

    Args:
        probabilities: (n, K).
        classes: (n,).
        shown: The classes to draw, at most `MAX_SERIES`.
        name: Name of the plot, unique in the page.
    """

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for series, k in enumerate(shown):
            false_positive_rate, recall, _ = roc_curve(classes == k, probabilities[:, k])
            axes.plot(false_positive_rate, recall, **line_style(series))
        axes.set_xlabel("others wrongly taken for it (false positive rate)")
        axes.set_ylabel("its pictures found (recall)")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        percent_axis(axes, "x")
        percent_axis(axes, "y")

    return svg(draw, name)


def hardest_classes(probabilities: Probabilities, classes: Classes) -> list[int]:
    """Return the classes to draw ROC curves of: the second of two, else those of least area."""
    present: list[int] = np.unique(classes).tolist()
    if probabilities.shape[1] == 2:
        return present[-1:]
    areas = {k: float(roc_auc_score(classes == k, probabilities[:, k])) for k in present}
    return sorted(sorted(present, key=lambda k: (areas[k], k))[:MAX_SERIES])


def merged_reliability(
    probabilities: Probabilities, classes: Classes, *, weight: float
) -> list[tuple[float, float, float]]:
    """Return (mean confidence, accuracy, independent pictures) of bins that are large enough.

    Neighbouring bins are merged until each has 15 independent pictures, the rest with the last.
    The result is empty if not even two can be made: too few pictures to tell.

    Args:
        probabilities: (n, K).
        classes: (n,).
        weight: Independent pictures per picture.
    """
    sums = [np.zeros(3)]  # of confidence, correct answers, independent pictures
    for confidence, accuracy, share in reversed(reliability(probabilities, classes)):
        if sums[-1][2] >= _MIN_PICTURES_PER_BIN:
            sums.append(np.zeros(3))
        sums[-1] += share * len(classes) * weight * np.array([confidence, accuracy, 1.0])
    if len(sums) > 1 and sums[-1][2] < _MIN_PICTURES_PER_BIN:
        rest = sums.pop()
        sums[-1] += rest
    if len(sums) < 2:
        return []
    return [(float(sure / n), float(hits / n), float(n)) for sure, hits, n in sums]


def calibration(
    bins: Sequence[tuple[float, float, float]], *, num_classes: int, name: str
) -> Markup:
    """Plot the reliability diagram: accuracy against confidence.

    Args:
        bins: As `merged_reliability`.
        num_classes: K.
        name: Name of the plot, unique in the page.
    """
    total = sum(pictures for _, _, pictures in bins)

    def draw(axes: "Axes") -> None:
        start = min(1.0 / num_classes, *(confidence for confidence, _, _ in bins))
        axes.plot([start, 1], [start, 1], color=MUTED, linewidth=0.8, linestyle=":")
        for confidence, accuracy, pictures in bins:
            low, high = share_interval(accuracy, pictures)
            axes.plot([confidence] * 2, [low, high], color=SERIES_COLOURS[0], linewidth=1.2)
            axes.plot(
                [confidence],
                [accuracy],
                "o",
                color=SERIES_COLOURS[0],
                markersize=3 + 9 * float(np.sqrt(pictures / total)),
                markeredgecolor=PAPER,
                markeredgewidth=0.8,
            )
        axes.set_xlabel("how sure the model was (confidence)")
        axes.set_ylabel("how often it was right (accuracy)")
        axes.set_xlim(start - 0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        percent_axis(axes, "x")
        percent_axis(axes, "y")

    return svg(draw, name)


def histogram(
    probabilities: Probabilities, classes: Classes, *, threshold: float, name: str
) -> Markup:
    """Plot a histogram of scores: by true class for two classes, else by correct and wrong."""
    if probabilities.shape[1] == 2:
        scores, upper = probabilities[:, 1], classes == 1
        start, label = 0.0, "score"
        uncertain = (1.0 - threshold, threshold)
    else:
        scores, upper = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
        start, label = 1.0 / probabilities.shape[1], "highest score"
        uncertain = (start, threshold)
    edges = np.linspace(start, 1.0, _HISTOGRAM_BINS + 1)
    up, _ = np.histogram(scores[upper], np.append(edges[:-1], 1.0 + 1e-9))
    down, _ = np.histogram(scores[~upper], np.append(edges[:-1], 1.0 + 1e-9))

    def draw(axes: "Axes") -> None:
        if uncertain[1] > uncertain[0]:
            axes.axvspan(*uncertain, color=MUTED, alpha=0.14, linewidth=0)
        width = edges[1] - edges[0]
        for counts, sign, colour in ((up, 1, SERIES_COLOURS[0]), (down, -1, SERIES_COLOURS[1])):
            # Heights grow as the square root, so that a single picture can still be seen.
            axes.bar(
                edges[:-1],
                sign * np.sqrt(counts),
                width=width,
                align="edge",
                color=colour,
                edgecolor=PAPER,
                linewidth=0.6,
            )
        axes.axhline(0, color=INK, linewidth=0.8)
        _count_ticks(axes, int(up.max(initial=0)), int(down.max(initial=0)))
        axes.set_xlabel(label)
        axes.set_ylabel("pictures")
        axes.set_xlim(start, 1.0)
        percent_axis(axes, "x")

    return svg(draw, name)


def learning_curve(curve: LearningCurveSummary, total: int, *, name: str) -> Markup:
    """Plot balanced accuracy against training pictures, extrapolated to twice as many."""
    points = curve["points"]
    pictures = [point["pictures"] for point in points]

    def draw(axes: "Axes") -> None:
        axes.fill_between(
            pictures,
            [point["low"] for point in points],
            [point["high"] for point in points],
            color=SERIES_COLOURS[0],
            alpha=0.18,
            linewidth=0,
        )
        means = [point["mean"] for point in points]
        axes.plot(pictures, means, "o-", color=SERIES_COLOURS[0], linewidth=1.6, markersize=4)
        twice, interval = curve["at_twice"], curve["interval_95"]
        if twice is not None:
            axes.plot(
                [pictures[-1], 2 * total],
                [means[-1], twice],
                color=SERIES_COLOURS[1],
                linewidth=1.2,
                linestyle=DASHES[1],
            )
            if interval is not None:
                axes.plot([2 * total] * 2, interval, color=SERIES_COLOURS[1], linewidth=1.4)
            axes.plot([2 * total], [twice], "D", color=SERIES_COLOURS[1], markersize=5)
        axes.set_xlabel("training pictures")
        axes.set_ylabel("right, mean over classes (balanced accuracy)")
        axes.set_xlim(left=0)
        lowest = min(point["low"] for point in points)
        axes.set_ylim(min(lowest - 0.02, 1.0 - _MIN_LEARNING_SPAN), 1.01)
        percent_axis(axes, "y")

    return svg(draw, name)


def corruption(
    clean: RobustnessMetrics, kind: CorruptionSummary, labels: Sequence[str], *, name: str
) -> Markup:
    """Plot recall against the severity of one corruption: a curve per class, and their mean."""
    rows: list[RobustnessMetrics] = [clean, *kind["rows"]]
    steps = range(len(rows))

    def draw(axes: "Axes") -> None:
        ends = [row["balanced_accuracy_interval_95"] for row in rows]
        low, high = zip(*ends, strict=True)
        axes.fill_between(steps, low, high, color=MUTED, alpha=0.18, linewidth=0)
        axes.plot(steps, [row["balanced_accuracy"] for row in rows], color=INK, linewidth=1.2)
        for series, label in enumerate(labels):
            axes.plot(steps, [row["recall"][label] for row in rows], **line_style(series))
        axes.set_xlabel(kind["unit"])
        axes.set_xticks(steps, ["none", *(f"{row['step']:g}" for row in kind["rows"])])
        axes.set_ylim(-0.04, 1.04)
        percent_axis(axes, "y")

    return svg(draw, name, size_in=_SMALL_SIZE_IN)


def epochs(rows: Sequence[dict[str, Any]], metric: str, *, name: str) -> Markup:
    """Plot loss or accuracy of fine-tuning by epoch, on training and on held-out pictures."""

    def draw(axes: "Axes") -> None:
        for series, part in enumerate(("train", "val")):
            known = [row for row in rows if row.get(f"{part}_{metric}") is not None]
            axes.plot(
                [row["epoch"] for row in known],
                [row[f"{part}_{metric}"] for row in known],
                **line_style(series),
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        if metric == "accuracy":
            percent_axis(axes, "y")

    return svg(draw, name)


def _count_ticks(axes: "Axes", up: int, down: int) -> None:
    """Set ticks at counts on an axis whose heights are square roots."""

    def steps(max_count: int) -> list[int]:
        # Ticks closer than a seventh of the axis would overlap.
        chosen: list[int] = []
        apart = (np.sqrt(up) + np.sqrt(down)) / 7
        for count in sorted({step * 10**power for power in range(6) for step in (1, 2, 5)}):
            last = np.sqrt(chosen[-1]) if chosen else 0.0
            if count <= max_count and np.sqrt(count) - last >= apart:
                chosen.append(count)
        return chosen

    counts = [-count for count in reversed(steps(down))] + [0] + steps(up)
    axes.set_yticks(
        [float(np.sign(count) * np.sqrt(abs(count))) for count in counts],
        [str(abs(count)) for count in counts],
    )
    axes.set_ylim(-np.sqrt(down) * 1.08 - 0.2, np.sqrt(up) * 1.08 + 0.2)
