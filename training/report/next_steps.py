"""Sentences of the report on what would improve the model, most urgent first."""

import re
from typing import Final

from models.text import percent
from training.report.formats import number, plural
from training.report.narrative import is_uneven, weakest_class
from training.summary import Summary

_MAX_STEPS: Final = 5
_MIN_RECALL_GAP: Final = 0.05  # recall of a class below the mean over classes


def next_steps(summary: Summary, num_label_issues: int) -> list[str]:
    """Return steps that would improve the model, most urgent first.

    Args:
        summary: The metrics.
        num_label_issues: Pictures whose label the model disagrees with.
    """
    steps = [
        f"Mend this first: {_sentence(finding['message'])}"
        for finding in summary["audit"]
        if finding["level"] == "error"
    ][:2]
    if num_label_issues:
        steps.append(
            f"Look at the {plural(num_label_issues, 'picture')} whose label the model disagrees "
            "with (label issues, below). Correct in labels.csv only what you can see to be wrong "
            "yourself: a model that is corrected by its own answers looks better than it is."
        )
    steps += [*_from_tests(summary), *_from_curve(summary)]
    steps += _from_classes(summary)
    if not summary["decision"]["reached"]:
        steps.append(
            "Before relying on answers without a second look, collect more pictures to try the "
            "model on: there are too few to show an error of "
            f"{percent(summary['decision']['target_error'])} or less."
        )
    if not summary["tests"]:
        steps.append(
            "Photograph some pictures where the model will be used, sort them into the same "
            "folders, and give them as a separate test set: that is the best forecast there is."
        )
    if len(steps) < 2:
        steps.append(
            "Look through the misclassified pictures below for what they share (a pose, a light, "
            "a camera), and add pictures of that kind with the right label."
        )
    if len(steps) < 2:
        steps.append("When it is in use, keep what it was unsure of, label it, and train again.")
    return steps[:_MAX_STEPS]


def _sentence(text: str) -> str:
    text = text.strip()
    return text if re.search(r"[.!?]$", text) else f"{text}."


def _from_tests(summary: Summary) -> list[str]:
    low = summary["cross_validation"]["accuracy_interval_95"][0]
    worse = [
        (test["accuracy"], name, test)
        for name, test in summary["tests"].items()
        if test["accuracy_interval_95"][1] < low
    ]
    if not worse:
        return []
    _, name, test = min(worse, key=lambda row: row[:2])
    slices = [row for attribute in test["slices"] for row in attribute["slices"]]
    worst = min(slices, key=lambda row: (row["accuracy"], -row["pictures"]), default=None)
    above_all = ""
    if worst and worst["right"] < worst["pictures"]:
        count = f"{worst['right']} of {worst['pictures']} right"
        above_all = f", above all of “{worst['name']}” ({count})"
    return [
        f"Add pictures like those of “{name}” to the training folders{above_all}: there it is "
        "clearly worse than on its own kind of pictures. Keep some aside to try it on."
    ]


def _from_curve(summary: Summary) -> list[str]:
    curve = summary["learning_curve"]
    if curve["at_twice"] is None:
        return []
    now, twice = summary["cross_validation"]["balanced_accuracy"], curve["at_twice"]
    if curve["outlook"] == "more":
        return [
            f"Collect more pictures of every class: with twice as many, a balanced accuracy of "
            f"{percent(twice)} may be expected instead of {percent(now)}."
        ]
    if curve["outlook"] == "same":
        return [
            "More pictures of the same kind would hardly help. Collect other kinds: other places, "
            "cameras and light, and the borderline cases that you care about."
        ]
    return [
        "The learning curve does not show if more pictures of the same kind would help. Other "
        "kinds are the safer choice: other places, cameras and light, and borderline cases."
    ]


def _from_classes(summary: Summary) -> list[str]:
    metrics = summary["cross_validation"]
    recall = metrics["recall"]
    weakest = weakest_class(metrics)
    if weakest and recall[weakest] < metrics["balanced_accuracy"] - _MIN_RECALL_GAP:
        return [
            f"Add pictures of “{weakest}”, the class with the lowest recall "
            f"({percent(recall[weakest])} of its pictures are found), in all the ways it can look."
        ]
    pictures = {label: count for label, count in summary["dataset"]["pictures"].items() if count}
    if is_uneven(pictures.values()):
        least = min(pictures, key=lambda label: (pictures[label], label))
        return [
            f"Add pictures of “{least}”: it has {number(pictures[least])}, the largest class "
            f"{number(max(pictures.values()))}."
        ]
    return []
