"""Sentences of the report, which explain a run to readers without knowledge of statistics.

Lay words come first, with the standard term beside them.
"""

import re
from collections.abc import Sequence
from typing import Final

from scipy.stats import beta, poisson

from training.report.formats import hundred, number, percent, plural, span
from training.summary import (
    DatasetSummary,
    DecisionSummary,
    HoldoutMetrics,
    Metrics,
    Summary,
)

# Differences of two shares from which on a sentence is written.
_MIN_LEAK: Final = 0.02
_MIN_WIDTH: Final = 0.08  # of the interval of the accuracy
_MIN_IMBALANCE: Final = 0.02
_MIN_RECALL_GAP: Final = 0.05  # recall of a class below the mean over classes
_MAX_CLASS_RATIO: Final = 3.0  # pictures of the largest class per picture of the smallest
_MAX_STEPS: Final = 5
_MAX_CHANCE: Final = 0.05  # with which chance makes the largest of several shares as large
_MAX_NEXT_RANGE: Final = 15  # of the next 100 pictures, beyond which no single number is given


def headline(summary: Summary) -> str:
    """Return the expected accuracy and the most frequent error, in two sentences."""
    metrics = summary["cross_validation"]
    expected = _uneven(metrics, summary["labels"]) or (
        f"Of 100 new pictures like these, the model is expected to get {_right(metrics)}."
    )
    return f"{expected} {_most_frequent_error(metrics, summary['labels'])}"


def _right(metrics: Metrics) -> str:
    low, high = metrics["next_100_interval_95"]
    if high - low > _MAX_NEXT_RANGE:  # a number would promise more than is known
        tried = f"{number(round(metrics['accuracy'] * metrics['pictures']))} of "
        tried += f"{plural(metrics['pictures'], 'picture was', 'pictures were')} right when tried"
        return f"between {low} and {high} right, with 95% confidence ({tried})"
    correct = f"{hundred(metrics['accuracy'])} right"
    if metrics["accuracy"] >= 1.0:
        correct = "all or nearly all right"
    return f"{correct} (between {low} and {high}, with 95% confidence)"


def has_uneven_classes(metrics: Metrics) -> bool:
    """Return True if a class has more than three times the pictures of another."""
    sizes = [sum(row) for row in metrics["confusion"] if sum(row)]
    return max(sizes) > _MAX_CLASS_RATIO * min(sizes)


def _uneven(metrics: Metrics, labels: Sequence[str]) -> str:
    """Return the expectation for classes of very different size, "" for others.

    Accuracy alone would flatter: the largest class as the only answer may have nearly as much.
    """
    if not has_uneven_classes(metrics):
        return ""
    sizes = [sum(row) for row in metrics["confusion"]]
    largest = sizes.index(max(sizes))
    low, high = metrics["balanced_accuracy_interval_95"]
    return (
        f"If every class came equally often, {hundred(metrics['balanced_accuracy'])} of 100 would "
        f"be right in the long run (balanced accuracy; between {round(low * 100)} and "
        f"{round(high * 100)}). Of 100 new pictures in the mix of these, the model is expected to "
        f"get {_right(metrics)}; always answering “{labels[largest]}” would get "
        f"{hundred(sizes[largest] / sum(sizes))} right."
    )


def worst_cell(confusion: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """Return (true class, predicted class) of the most frequent error; a larger share wins ties."""
    cells = [
        (count, count / sum(row), -i, -j)
        for i, row in enumerate(confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    if not cells:
        return None
    _, _, i, j = max(cells)
    return -i, -j


def stands_out(count: int, total: int, kinds: int) -> bool:
    """Return True if one kind of error is more frequent than chance makes the largest of all."""
    alone = float(poisson.sf(count - 1, total / kinds))
    return 1 - (1 - alone) ** kinds < _MAX_CHANCE


def weakest_class(metrics: Metrics) -> str | None:
    """Return the class that is found less often than the others beyond chance, if one is.

    Binomial test of its recall against the mean over classes, with Bonferroni's correction for
    having picked the lowest; pictures count by groups.
    """
    recall, labels = metrics["recall"], list(metrics["recall"])  # of the classes with pictures
    weakest = min(labels, key=lambda label: (recall[label], label))
    rows = [row for row in metrics["confusion"] if sum(row)]
    pictures = sum(rows[labels.index(weakest)]) * metrics["groups"] / metrics["pictures"]
    hits = recall[weakest] * pictures
    if pictures - hits < 1e-9:
        return None
    chance = float(beta.cdf(1 - metrics["balanced_accuracy"], pictures - hits, hits + 1))
    return weakest if chance * len(labels) < _MAX_CHANCE else None


def _most_frequent_error(metrics: Metrics, labels: Sequence[str]) -> str:
    confusion = metrics["confusion"]
    cell = worst_cell(confusion)
    if cell is None:
        return (
            f"When it was tried, it misclassified none of {number(metrics['pictures'])} pictures, "
            "which is not a promise that it never will."
        )
    true, predicted = cell
    if len(labels) == 2:
        (_, first), (second, _) = confusion
        sizes = [number(sum(row)) for row in confusion]
        return (
            f"When it was tried, it took {number(first)} of {sizes[0]} “{labels[0]}” pictures for "
            f"“{labels[1]}”, and {number(second)} of {sizes[1]} “{labels[1]}” pictures for "
            f"“{labels[0]}”."
        )
    wrong = metrics["pictures"] - round(metrics["accuracy"] * metrics["pictures"])
    if not stands_out(confusion[true][predicted], wrong, len(labels) * (len(labels) - 1)):
        return (
            f"Its {plural(wrong, 'mistake')} when it was tried {'is' if wrong == 1 else 'are'} too "
            "few to say which classes it confuses."
        )
    return (
        f"It is most often wrong about “{labels[true]}” pictures that it takes for "
        f"“{labels[predicted]}” ({confusion[true][predicted]} of {number(sum(confusion[true]))})."
    )


def caveats(summary: Summary) -> list[str]:
    """Return the limits of the headline: interval, leakage, imbalance, holdout results."""
    metrics = summary["cross_validation"]
    sentences = [
        _wide_interval(metrics),
        _leakage(metrics, summary["naive_split"]),
        _corrected_labels(summary["dataset"]),
        _class_imbalance(metrics),
        _uncertain_share(summary["decision"], metrics),
        *(_holdout_accuracy(name, test, metrics) for name, test in summary["tests"].items()),
    ]
    if not summary["tests"]:
        sentences.append(
            "“Like these” means from the same source: the same kind of camera, light and "
            "surroundings. A model is usually less accurate on pictures from elsewhere, and how "
            "much has not been measured."
        )
    return [sentence for sentence in sentences if sentence]


def _wide_interval(metrics: Metrics) -> str:
    low, high = metrics["accuracy_interval_95"]
    if high - low < _MIN_WIDTH:
        return ""
    return (
        f"The range is wide because only {plural(metrics['pictures'], 'picture')} in "
        f"{plural(metrics['groups'], 'independent group')} could be tried: the real figure may "
        "lie anywhere in it."
    )


def _leakage(metrics: Metrics, naive: Metrics) -> str:
    if naive["balanced_accuracy"] - metrics["balanced_accuracy"] < _MIN_LEAK:
        return ""
    return (
        f"A plain random split would have promised a balanced accuracy of "
        f"{percent(naive['balanced_accuracy'])} instead of "
        f"{percent(metrics['balanced_accuracy'])}, because near-duplicates of a picture, or "
        "pictures of one group, would have been both trained and tested on (data leakage). The "
        "lower figure is the honest one."
    )


def _corrected_labels(dataset: DatasetSummary) -> str:
    changed = dataset["corrected"] + dataset["left_out"]
    if not changed:
        return ""
    return (
        f"labels.csv changes or leaves out {plural(changed, 'picture')}. As far as that followed a "
        "model's own list of label issues, these figures are flattered: its answers became the "
        "truth that it is measured by. Only a separate test set, labelled without the model, is "
        "free of that."
    )


def _class_imbalance(metrics: Metrics) -> str:
    balanced = metrics["balanced_accuracy"]
    if abs(metrics["accuracy"] - balanced) < _MIN_IMBALANCE or has_uneven_classes(metrics):
        return ""
    return (
        "The classes are of different size, and the large ones count more. If every class came "
        f"equally often, {hundred(balanced)} of 100 would be right (balanced accuracy)."
    )


def _uncertain_share(decision: DecisionSummary, metrics: Metrics) -> str:
    uncertain = 1.0 - decision["coverage"]
    text = (
        f"It answers “uncertain” rather than guess for {hundred(uncertain)} of 100 pictures."
        if uncertain
        else "It was sure enough of every picture to give an answer."
    )
    text += f" Of the answers that it gave, {percent(decision['error'])} were wrong"
    text += f" (at most {percent(decision['error_bound'])}, with 95% confidence)"
    target = percent(decision["target_error"])
    if decision["reached"]:
        mix = " in the mix of these pictures" if has_uneven_classes(metrics) else ""
        return (
            f"{text}. So no more than {target} are wrong{mix}, with 95% confidence, as was asked "
            "for."
        )
    return (
        f"{text}; that no more than {target} are wrong, as was asked for, cannot be shown with 95% "
        "confidence from so few pictures."
    )


def _holdout_accuracy(name: str, test: HoldoutMetrics, metrics: Metrics) -> str:
    interval = test["accuracy_interval_95"]
    wrong = test["pictures"] - round(test["accuracy"] * test["pictures"])
    copies = test.get("training_copies")
    unseen = ", which it had never seen," if copies is not None else ""
    text = (
        f"On the {plural(test['pictures'], 'picture')} of “{name}”{unseen} "
        f"{percent(test['accuracy'])} were right ({wrong} wrong; {span(interval)} with 95% "
        "confidence)"
    )
    if copies:
        were = plural(copies, "picture was", "pictures were")
        text += f"; {were} left out there: training pictures, copies of them, or of their groups"
    if interval[1] < metrics["accuracy_interval_95"][0]:
        return f"{text}: clearly worse than on pictures like the training pictures."
    return f"{text}."


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
            "model on: too few are there to show an error of "
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
    if max(pictures.values()) > _MAX_CLASS_RATIO * min(pictures.values()):
        least = min(pictures, key=lambda label: (pictures[label], label))
        return [
            f"Add pictures of “{least}”: it has {number(pictures[least])}, the largest class "
            f"{number(max(pictures.values()))}."
        ]
    return []
