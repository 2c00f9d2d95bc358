"""Kinds of pictures: how good the model is on each slice, and on damaged ones."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final

from training.evaluation.slices import TOO_WIDE
from training.report import plots
from training.report.narrative import percent, plural, span
from training.report.svg import SERIES

WIDE_POINTS: Final = round(100 * TOO_WIDE)
"""Of an interval: `slices.TOO_WIDE` as it is written."""

_MOST_SLICES: Final = 24  # rows of one table; the worst come first

Found = Mapping[str, Any]


def slices(attributes: Sequence[Found] | None) -> list[dict[str, Any]]:
    """A table of each attribute's slices, and what the gap between them says."""
    return [
        {
            "attribute": found["attribute"],
            "rows": found["slices"][:_MOST_SLICES],
            "more": max(0, len(found["slices"]) - _MOST_SLICES),
            "sentence": gap_sentence(found),
        }
        for found in attributes or []
    ]


def gap_sentence(found: Found) -> str:
    """Whether the slices of an attribute are judged alike."""
    rows, gap = found["slices"], found["gap"]
    small = [row for row in rows if row["small"]]
    text = ""
    if small:
        text = (
            f"{plural(len(small), 'slice is', 'slices are')} too small to tell: the interval is "
            f"wider than {WIDE_POINTS} points. "
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
        return f"{text}: that is no chance. More pictures of the worse kind would help it most."
    return f"{text}: that may be chance."


def robustness(found: Found | None) -> dict[str, Any] | None:
    """The curves and the table of the robustness card, and what they say."""
    if not found:
        return None
    # Beyond so many classes only the mean is drawn.
    labels = list(found["pictures"])
    series = labels if len(labels) <= SERIES else []
    return {
        "sentence": robustness_sentence(found),
        "series": series,
        "undamaged": found["undamaged"],
        "kinds": [
            kind | {"svg": plots.ladder(found["undamaged"], kind, series, name=f"ladder-{number}")}
            for number, kind in enumerate(found["corruptions"])
        ],
    }


def robustness_sentence(found: Found) -> str:
    """What the card says in a few words."""
    whole = found["undamaged"]
    worst = min(found["corruptions"], key=mean_of)
    text = (
        f"Of undamaged pictures {percent(whole['balanced_accuracy'])} are right "
        f"({span(whole['balanced_accuracy_interval_95'])}), of damaged ones "
        f"{percent(found['mean'])}, as the mean over classes, kinds and steps. "
    )
    text += f"It is hurt most by {worst['name']} ({percent(mean_of(worst))} over its steps)"
    recall = worst["rows"][-1]["recall"]
    lost = min(recall, key=lambda label: (recall[label], label))
    return f"{text}, at the end of which {percent(recall[lost])} of “{lost}” are still found."


def mean_of(kind: Found) -> float:
    """Balanced accuracy over the steps of one kind of damage."""
    return fmean(row["balanced_accuracy"] for row in kind["rows"])
