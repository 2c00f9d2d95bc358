"""Sentences "Read this as": what each figure of the report shows, or that it cannot show it."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.text import percent, span
from training.report.formats import number, plural
from training.report.narrative import has_uneven_classes, weakest_class
from training.summary import DecisionSummary, LearningCurveSummary, Metrics

# Widths of 95 % intervals beyond which a figure shows the chance in few pictures more than the
# model: it is replaced by the sentence.
_MAX_AREA_WIDTH: Final = 0.15
_MAX_ACCURACY_WIDTH: Final = 0.20
_MIN_PICTURES_PER_CURVE: Final = 20

TOO_FEW: Final = "Too few pictures to tell"


def classes(metrics: Metrics) -> str:
    """Return if a class is found less often than another, beyond chance."""
    recall, intervals = metrics["recall"], metrics["recall_interval_95"]
    weakest = min(recall, key=lambda label: (recall[label], label))
    best = max(recall, key=lambda label: (recall[label], label))
    if recall[weakest] == recall[best]:
        return "all classes are found equally often."
    text = f"“{weakest}” is found least often ({percent(recall[weakest])} of its pictures)"
    if len(recall) > 2:
        mean = percent(metrics["balanced_accuracy"])
        if weakest_class(metrics):
            return f"{text}, clearly less often than the classes on average ({mean})."
        return f"{text}, and that may be chance: the lowest of {len(recall)} classes is always low."
    if intervals[weakest][1] < intervals[best][0]:
        return f"{text}, clearly less often than “{best}” ({percent(recall[best])})."
    return f"{text}, and that may be chance: its interval overlaps that of “{best}”."


def confusion(metrics: Metrics) -> str:
    """Return how many pictures lie off the diagonal."""
    table = np.array(metrics["confusion"])
    wrong = int(table.sum() - np.trace(table))
    return (
        f"{number(table.sum() - wrong)} of {plural(metrics['pictures'], 'picture')} lie on the "
        f"diagonal and are right, {number(wrong)} off it and wrong."
    )


def can_show_roc(metrics: Metrics) -> bool:
    """Return True if the pictures, also of the smallest class, are enough for ROC curves."""
    interval = metrics["roc_auc_interval_95"]
    smallest = min(sum(row) for row in metrics["confusion"])
    return (
        interval is not None
        and interval[1] - interval[0] <= _MAX_AREA_WIDTH
        and smallest >= _MIN_PICTURES_PER_CURVE
    )


def roc(metrics: Metrics, labels: Sequence[str]) -> str:
    """Return the area under the curve as a share of pairs."""
    area, interval = metrics["roc_auc"], metrics["roc_auc_interval_95"]
    if area is None or interval is None:
        return f"{TOO_FEW}."
    pair = (
        f"a picture of “{labels[0]}” and one of “{labels[1]}”"
        if len(labels) == 2
        else "a picture of a class and one of another (mean over classes)"
    )
    text = (
        f"of all pairs of {pair}, the model ranks {percent(area)} the right way round "
        f"({span(interval)} with 95% confidence; guessing: 50%)"
    )
    if can_show_roc(metrics):
        return f"{text}."
    return f"{text}. {TOO_FEW} more closely, so that no curve is drawn."


def scores(probabilities: NDArray[np.float64], true: NDArray[np.int64], threshold: float) -> str:
    """Return how many pictures are answered, and how many of the answers are wrong."""
    given = probabilities.max(axis=1) >= threshold
    wrong = int((given & (probabilities.argmax(axis=1) != true)).sum())
    uncertain = int((~given).sum())
    text = f"{number(given.sum())} of {plural(len(true), 'picture')} got an answer, and "
    text += f"{number(wrong)} of these answers {'is' if wrong == 1 else 'are'} wrong"
    if not uncertain:
        return f"{text}."
    verb = "picture lies" if uncertain == 1 else "pictures lie"
    return f"{text}; the other {plural(uncertain, verb, verb)} in the grey band."


def calibration(metrics: Metrics) -> str:
    """Return if the mean confidence agrees with the accuracy."""
    sure, share = metrics["mean_score"], metrics["accuracy"]
    low, high = metrics["accuracy_interval_95"]
    text = (
        f"on average it was {percent(sure)} sure, and {percent(share)} right ({span([low, high])} "
        "with 95% confidence)"
    )
    if sure > high:
        return f"{text}: it is too sure of itself."
    if sure < low:
        return f"{text}: it is more often right than it claims."
    if high - low > _MAX_ACCURACY_WIDTH:
        return f"{text}. {TOO_FEW} if the two agree."
    return f"{text}: nothing shows that the two differ."


def decision(found: DecisionSummary, metrics: Metrics) -> str:
    """Return what the threshold is worth."""
    wrong = percent(found["error_bound"])
    text = f"of the answers that it gives, no more than {wrong} are wrong, with 95% confidence"
    if has_uneven_classes(metrics):
        text += ", in the mix of these pictures: of a rare class more may be"
    if found["reached"]:
        return f"{text}; the target was {percent(found['target_error'])}."
    return f"{text}. {TOO_FEW} if it is no more than {percent(found['target_error'])}."


def can_show_learning_curve(curve: LearningCurveSummary) -> bool:
    """Return True if the pictures are enough for a learning curve."""
    points = curve["points"]
    return bool(points) and points[-1]["high"] - points[-1]["low"] <= _MAX_ACCURACY_WIDTH


def learning(curve: LearningCurveSummary) -> str:
    """Return if the curve still climbs at its end."""
    if not can_show_learning_curve(curve):
        return f"{TOO_FEW} if more would help, so that no curve is drawn."
    if curve["outlook"] == "more":
        return "the line still climbs at its end, by more than chance explains: more would help."
    if curve["outlook"] == "same":
        return "the line is flat at its end: more pictures of the same kind would hardly help."
    return (
        f"{TOO_FEW} if the line climbs at its end: the band, in which the truth may lie anywhere, "
        "leaves both open."
    )
