"""Sentences of the report on the accuracy, for readers without knowledge of statistics.

Lay words come first, with the standard term beside them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from scipy.stats import beta, poisson

from models.text import percent, span
from training.report.formats import hundred, number, plural
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
_MAX_CLASS_RATIO: Final = 3.0  # pictures of the largest class per picture of the smallest
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
    return is_uneven([sum(row) for row in metrics["confusion"]])


def is_uneven(pictures: Iterable[int]) -> bool:
    """Return True if a number of pictures is more than three times another; empty classes aside."""
    sizes = [count for count in pictures if count]
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
            f"{text}. So the target is met{mix}, with 95% confidence: no more than {target} are "
            "wrong."
        )
    return (
        f"{text}; there are too few pictures to show with 95% confidence that the target is met: "
        f"no more than {target} wrong."
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
