"""Tables and sentences on slices and on corrupted pictures."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final

from models.text import percent, span
from training.evaluation.slices import MAX_INTERVAL_WIDTH
from training.report import plots
from training.report.formats import plural
from training.report.svg import MAX_SERIES
from training.summary import AttributeSlices, CorruptionSummary, RobustnessSummary

MAX_INTERVAL_POINTS: Final = round(100 * MAX_INTERVAL_WIDTH)
"""Percentage points; a slice with a wider interval is too small to compare."""

_MAX_SLICES: Final = 24  # rows of one table; the worst come first


def slice_tables(attributes: Sequence[AttributeSlices]) -> list[dict[str, Any]]:
    """Return a table of the slices of each attribute, with a sentence on their gap."""
    return [
        {
            "attribute": attribute["attribute"],
            "rows": attribute["slices"][:_MAX_SLICES],
            "num_hidden": max(0, len(attribute["slices"]) - _MAX_SLICES),
            "sentence": gap_sentence(attribute),
        }
        for attribute in attributes
    ]


def gap_sentence(attribute: AttributeSlices) -> str:
    """Return a sentence on the gap between the best and the worst slice of an attribute."""
    gap = attribute["gap"]
    num_small = sum(row["small"] for row in attribute["slices"])
    text = ""
    if num_small:
        text = (
            f"{plural(num_small, 'slice is', 'slices are')} too small to compare: the interval is "
            f"wider than {MAX_INTERVAL_POINTS} points. "
        )
    if gap is None:
        return f"{text}Fewer than two are large enough to be compared."
    low, high = gap["difference_interval_95"]
    text += (
        f"“{gap['worst']}” is {100 * gap['difference']:.1f} points below “{gap['best']}” "
        f"({100 * low:.1f} to {100 * high:.1f} with 95% confidence, allowing for the pair having "
        "been picked as the furthest apart)"
    )
    if low > 0:
        return (
            f"{text}: chance does not explain that. More pictures of the worse kind would help it "
            "most."
        )
    return f"{text}: that may be chance."


def robustness_card(robustness: RobustnessSummary | None) -> dict[str, Any] | None:
    """Return the plots of the corruptions with a sentence; None if none were measured."""
    if robustness is None:
        return None
    labels = list(robustness["pictures"])
    series = labels if len(labels) <= MAX_SERIES else []  # else only the mean is drawn
    return {
        "sentence": robustness_sentence(robustness),
        "series": series,
        "undamaged": robustness["undamaged"],
        "kinds": [
            {
                "name": kind["name"],
                "rows": kind["rows"],
                "svg": plots.corruption(
                    robustness["undamaged"], kind, series, name=f"ladder-{number}"
                ),
            }
            for number, kind in enumerate(robustness["corruptions"])
        ],
    }


def robustness_sentence(robustness: RobustnessSummary) -> str:
    """Return the accuracy on corrupted pictures, and the corruption that costs most."""
    clean = robustness["undamaged"]
    worst = min(robustness["corruptions"], key=_mean_accuracy)
    text = (
        f"Of undamaged pictures {percent(clean['balanced_accuracy'])} are right "
        f"({span(clean['balanced_accuracy_interval_95'])}), of damaged ones "
        f"{percent(robustness['mean'])} (balanced accuracy; of damaged ones the mean over kinds "
        "and steps). "
    )
    text += f"It is hurt most by {worst['name']} ({percent(_mean_accuracy(worst))} over its steps)"
    recall = worst["rows"][-1]["recall"]
    lost = min(recall, key=lambda label: (recall[label], label))
    return f"{text}, at the end of which {percent(recall[lost])} of “{lost}” are still found."


def _mean_accuracy(kind: CorruptionSummary) -> float:
    return fmean(row["balanced_accuracy"] for row in kind["rows"])
