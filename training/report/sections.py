"""Content of each section of the report, ready for the template."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from training.data.tables import EXCLUDE
from training.evaluation.head import pick_evenly
from training.report import slices
from training.report.data import ReportData
from training.report.images import ImageSet
from training.report.thumbnails import Album, activation_uri
from training.summary import FindingSummary, Metrics

MAX_ERRORS: Final = 200
"""Misclassified pictures shown; more would make a page too large for browsers."""

_MAX_LABEL_ISSUES: Final = 60
_MAX_TEST_ERRORS: Final = 60
_MAX_FINDING_IMAGES: Final = 24
_MAX_MATRIX_CELLS: Final = 24  # classes beyond which no confusion matrix can be read
# Pictures of a class in the gallery, and in its diagonal cell of the confusion matrix.
_GALLERY_IMAGES: Final = 144
_GALLERY_IMAGES_PER_CLASS: Final = (6, 60)
_LEVELS: Final = ("error", "warning", "info")
_KINDS: Final = {"suspect_labels": "label issues"}  # titles that are not the kind's own words


def training_images(data: ReportData) -> ImageSet:
    """Return the training pictures with their out-of-fold predictions."""
    large = {error.index for error in data.errors[:MAX_ERRORS]}
    large |= {issue.index for issue in data.label_issues[:_MAX_LABEL_ISSUES]}
    return ImageSet(
        data.labels,
        data.names,
        data.classes,
        data.probabilities,
        Album(data.read, prefix="p", large=large),
    )


def images_per_class(num_classes: int) -> int:
    """Return how many pictures of each class the gallery shows."""
    few, many = _GALLERY_IMAGES_PER_CLASS
    return max(few, min(many, _GALLERY_IMAGES // num_classes))


def gallery(images: ImageSet) -> list[dict[str, Any]]:
    """Return some pictures of each class, spread evenly over its files."""
    max_images = images_per_class(len(images.labels))
    rows = []
    for k, label in enumerate(images.labels):
        indices = np.flatnonzero(images.classes == k)
        rows.append(
            {
                "label": label,
                "count": len(indices),
                "images": [images.image(int(index)) for index in pick_evenly(indices, max_images)],
            }
        )
    return rows


def confusion_matrix(images: ImageSet) -> dict[str, Any]:
    """Return the confusion matrix, or of very many classes its most frequent errors."""
    num_classes = len(images.labels)
    table = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(table, (images.classes, images.predicted), 1)
    shown = set(images.misclassified()[:MAX_ERRORS])

    def cell(i: int, j: int) -> dict[str, Any]:
        """Return a cell; `images` are the first of its `count` pictures."""
        indices = np.flatnonzero((images.classes == i) & (images.predicted == j))
        confidence = images.probabilities[indices, j]
        # Of errors the most confident are worth a look, of correct answers the least confident.
        order = indices[np.argsort(confidence if i == j else -confidence, kind="stable")].tolist()
        if i == j:
            order = order[: images_per_class(num_classes)]
        else:
            order = [index for index in order if index in shown]
        return {
            "id": f"cell-{i}-{j}",
            "true": images.labels[i],
            "predicted": images.labels[j],
            "correct": i == j,
            "count": int(table[i, j]),
            "share": float(table[i, j] / max(1, table[i].sum())),
            "images": [images.image(index) for index in order],
        }

    if num_classes <= _MAX_MATRIX_CELLS:
        every = range(num_classes)
        rows = [[cell(i, j) for j in every] for i in every if table[i].any()]
        return {"rows": rows, "cells": [c for row in rows for c in row if c["count"]]}
    errors = [(-int(table[i, j]), i, j) for i, j in np.argwhere(table).tolist() if i != j]
    cells = [cell(i, j) for _, i, j in sorted(errors)[:_MAX_MATRIX_CELLS]]
    return {"rows": None, "cells": cells}


def error_cases(data: ReportData, images: ImageSet) -> list[dict[str, Any]]:
    """Return the misclassified pictures with activation map and similar training pictures.

    `has_activation` is True if any part of the picture raised the score of the predicted class;
    `box` is the picture's position in a square of 100 x 100, over which the map is laid.
    """
    return [
        {
            "image": images.image(error.index),
            "scores": images.scores(error.index),
            "activation": activation_uri(error.activation),
            "has_activation": bool((error.activation > 0).any()),
            "box": images.album.box(error.index),
            "neighbours": [
                (images.image(index), similarity) for index, similarity in error.neighbours
            ],
        }
        for error in data.errors[:MAX_ERRORS]
    ]


def label_issues(data: ReportData, images: ImageSet) -> list[dict[str, Any]]:
    """Return pictures whose label may be wrong, each with the class suggested."""
    return [
        {
            "image": images.image(issue.index),
            "suggested": data.labels[issue.suggested],
            "given": data.labels[issue.given],
        }
        for issue in data.label_issues[:_MAX_LABEL_ISSUES]
    ]


def decided_rows(data: ReportData) -> list[tuple[str, str]]:
    """Return the rows of the data set's labels.csv, which a saved one must keep."""
    return [(name, EXCLUDE if to is None else to) for name, to in data.decided.items()]


def audit(findings: Iterable[FindingSummary], images: ImageSet) -> list[dict[str, Any]]:
    """Return the findings, the worst first, with the pictures that they name."""
    index_of = {name: index for index, name in enumerate(images.names)}
    rows = []
    for finding in findings:
        names = finding["names"][:_MAX_FINDING_IMAGES]
        rows.append(
            {
                "level": finding["level"],
                "kind": _KINDS.get(
                    finding["kind"], finding["kind"].replace("_", " ").replace("-", " ")
                ),
                "message": finding["message"],
                "images": [images.image(index_of[name]) for name in names if name in index_of],
                "others": [name for name in names if name not in index_of],
                "num_hidden": len(finding["names"]) - len(names),
                # Label issues have a section of their own.
                "details": {k: v for k, v in finding["details"].items() if k != "suspects"},
            }
        )
    return sorted(rows, key=lambda row: _LEVELS.index(row["level"]))


def class_metrics(metrics: Metrics, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return recall, precision and F1 of each class that has pictures.

    Precision and F1 are None if a class has no pictures, as in a holdout set of one class: every
    prediction of the missing class would be wrong by construction.
    """
    confusion = np.array(metrics["confusion"])
    all_present = bool(confusion.sum(axis=1).all())
    rows = []
    for k, label in enumerate(labels):
        if not confusion[k].any():
            continue
        row = {
            "label": label,
            "pictures": int(confusion[k].sum()),
            "recall": metrics["recall"][label],
            "recall_interval": metrics["recall_interval_95"][label],
            "precision": None,
            "precision_interval": None,
            "f1": None,
        }
        if all_present:
            row |= {
                "precision": metrics["precision"].get(label),
                "precision_interval": metrics["precision_interval_95"].get(label),
                "f1": float(2 * confusion[k, k] / (confusion[k].sum() + confusion[:, k].sum())),
            }
        rows.append(row)
    return rows


def tests(data: ReportData) -> tuple[list[dict[str, Any]], list[Album]]:
    """Return each holdout set with its metrics, slices and errors, and the albums in use."""
    rows: list[dict[str, Any]] = []
    albums: list[Album] = []
    for number, (name, evaluated) in enumerate(data.tests.items()):
        album = Album(evaluated.read, prefix=f"t{number}-")
        images = ImageSet(
            data.labels, evaluated.names, evaluated.classes, evaluated.probabilities, album
        )
        wrong = images.misclassified()
        metrics = data.summary["tests"][name]
        rows.append(
            {
                "name": name,
                "metrics": metrics,
                "classes": class_metrics(metrics, data.labels),
                "slices": slices.slice_tables(metrics["slices"]),
                "errors": frequent_errors(metrics, data.labels),
                "num_errors": len(wrong),
                "images": [images.image(index) for index in wrong[:_MAX_TEST_ERRORS]],
            }
        )
        albums.append(album)
    return rows, albums


def frequent_errors(metrics: Metrics, labels: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (true class, predicted class, pictures) of each kind of error, by frequency."""
    errors = [
        (-count, i, j)
        for i, row in enumerate(metrics["confusion"])
        for j, count in enumerate(row)
        if i != j and count
    ]
    return [(labels[i], labels[j], -count) for count, i, j in sorted(errors)]
