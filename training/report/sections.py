"""What each section of the report shows, worked out before any HTML is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.report import slices
from training.report.data import Material, TestCase
from training.report.thumbnails import Album, activation_uri

MOST_ERRORS: Final = 200
"""Misjudged pictures shown; a larger set would make a page that no browser likes."""

_MOST_SUSPECTS: Final = 60
_MOST_TEST_ERRORS: Final = 60
_MOST_NAMED: Final = 24  # pictures of one finding of the audit
_MOST_NEIGHBOURS: Final = 4
_MOST_SCORES: Final = 4
_MOST_CELLS: Final = 24  # classes beyond which no confusion matrix can be read
# Pictures of a class in the gallery, and in its cell of rightly judged ones.
_PICTURES_IN_ALL: Final = 144
_PICTURES_A_CLASS: Final = (6, 60)


@dataclass(frozen=True)
class Shot:
    """One picture as it is shown.

    Attributes:
        id: Of its symbol.
        name: Of its file.
        label: Its class.
        answer: The class that it was taken for.
        score: Probability of that.
    """

    id: str
    name: str
    label: str
    answer: str
    score: float

    @property
    def right(self) -> bool:
        return self.label == self.answer


@dataclass(frozen=True)
class Misjudged:
    """A misjudged picture with what may explain it.

    Attributes:
        shot: The picture.
        scores: The highest scores by class, and that of the true class.
        activation: `data:` address of what spoke for the answer, to lay over the picture.
        lit: Whether anything did.
        box: Where the picture lies in a square of 100 x 100.
        neighbours: Similar pictures that were learnt from, and how similar.
    """

    shot: Shot
    scores: list[tuple[str, float]]
    activation: str
    lit: bool
    box: dict[str, str]
    neighbours: list[tuple[Shot, float]]


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix; `shots` are the first of its `count` pictures."""

    id: str
    true: str
    taken: str
    right: bool
    count: int
    share: float
    shots: list[Shot]


@dataclass(frozen=True)
class Judgement:
    """Pictures, true classes and answers, of the training data or of a test set."""

    labels: Sequence[str]
    names: Sequence[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    album: Album
    answers: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", self.probabilities.argmax(axis=1))

    def shot(self, place: int) -> Shot:
        answer = int(self.answers[place])
        return Shot(
            id=self.album.show(place),
            name=self.names[place],
            label=self.labels[int(self.classes[place])],
            answer=self.labels[answer],
            score=float(self.probabilities[place, answer]),
        )

    def misjudged(self) -> list[int]:
        """Places of the misjudged pictures, surest first."""
        wrong = np.flatnonzero(self.answers != self.classes)
        sure = self.probabilities[wrong].max(axis=1)
        return [int(place) for place in wrong[np.argsort(-sure, kind="stable")]]

    def scores(self, place: int) -> list[tuple[str, float]]:
        """The highest scores, and always that of the true class."""
        row = self.probabilities[place]
        order = [int(k) for k in np.argsort(-row, kind="stable")]
        chosen = order[:_MOST_SCORES]
        if (true := int(self.classes[place])) not in chosen:
            chosen.append(true)
        return [(self.labels[k], float(row[k])) for k in chosen]


def judgement_of(material: Material) -> Judgement:
    """The training pictures, judged out of fold."""
    large = {case.place for case in material.errors[:MOST_ERRORS]}
    large |= {case.place for case in material.suspects[:_MOST_SUSPECTS]}
    return Judgement(
        material.labels,
        material.names,
        material.classes,
        material.probabilities,
        Album(material.picture, prefix="p", large=large),
    )


def judgement_of_test(test: TestCase, labels: Sequence[str], number: int) -> Judgement:
    """A test set."""
    judged = test.judged
    return Judgement(
        labels,
        judged.names,
        judged.classes,
        judged.probabilities,
        Album(test.picture, prefix=f"t{number}-"),
    )


def most_a_class(classes: int) -> int:
    """Pictures of each class that the gallery shows."""
    few, many = _PICTURES_A_CLASS
    return max(few, min(many, _PICTURES_IN_ALL // classes))


def gallery(judged: Judgement) -> list[dict[str, Any]]:
    """Some pictures of each class, spread evenly over its files."""
    most = most_a_class(len(judged.labels))
    rows = []
    for k, label in enumerate(judged.labels):
        places = np.flatnonzero(judged.classes == k)
        if len(places) > most:
            spread = np.linspace(0, len(places) - 1, most).round().astype(int)
            shown = places[spread]
        else:
            shown = places
        shots = [judged.shot(int(place)) for place in shown]
        rows.append({"label": label, "count": len(places), "shots": shots})
    return rows


def confusion(judged: Judgement, *, prefix: str) -> dict[str, Any]:
    """The confusion matrix, or of very many classes the most frequent mistakes."""
    count = len(judged.labels)
    table = np.zeros((count, count), dtype=int)
    np.add.at(table, (judged.classes, judged.answers), 1)
    shown = set(judged.misjudged()[:MOST_ERRORS])
    full = count <= _MOST_CELLS

    def cell(i: int, j: int) -> Cell:
        places = np.flatnonzero((judged.classes == i) & (judged.answers == j))
        sure = judged.probabilities[places, j]
        # Of mistakes the surest are worth a look, of right answers the least sure.
        order = places[np.argsort(sure if i == j else -sure, kind="stable")].tolist()
        order = order[: most_a_class(count)] if i == j else [p for p in order if p in shown]
        return Cell(
            id=f"{prefix}{i}-{j}",
            true=judged.labels[i],
            taken=judged.labels[j],
            right=i == j,
            count=int(table[i, j]),
            share=float(table[i, j] / max(1, table[i].sum())),
            shots=[judged.shot(place) for place in order],
        )

    if full:
        rows = [[cell(i, j) for j in range(count)] for i in range(count) if table[i].any()]
        return {"rows": rows, "cells": [c for row in rows for c in row if c.count]}
    pairs = [(-int(table[i, j]), i, j) for i, j in np.argwhere(table).tolist() if i != j]
    return {"rows": None, "cells": [cell(i, j) for _, i, j in sorted(pairs)[:_MOST_CELLS]]}


def misjudged(material: Material, judged: Judgement) -> list[Misjudged]:
    """The misjudged pictures that are shown, each with its map and its like."""
    return [
        Misjudged(
            shot=judged.shot(case.place),
            scores=judged.scores(case.place),
            activation=activation_uri(case.activation),
            lit=bool((case.activation > 0).any()),
            box=judged.album.box(case.place),
            neighbours=[
                (judged.shot(place), similarity)
                for place, similarity in case.neighbours[:_MOST_NEIGHBOURS]
            ],
        )
        for case in material.errors[:MOST_ERRORS]
    ]


def suspects(material: Material, judged: Judgement) -> list[tuple[Shot, str]]:
    """Pictures whose label may be wrong, and the class that each may have."""
    return [
        (judged.shot(case.place), material.labels[case.suggested])
        for case in material.suspects[:_MOST_SUSPECTS]
    ]


def audit(findings: Iterable[Mapping[str, Any]], judged: Judgement) -> list[dict[str, Any]]:
    """Findings, the gravest first, with the pictures that they name."""
    order = ["error", "warning", "info"]
    place_of = {name: place for place, name in enumerate(judged.names)}
    rows = []
    for finding in findings:
        names = [str(name) for name in finding.get("names") or []]
        level = finding.get("level")
        rows.append(
            {
                "level": level if level in order else "info",
                "kind": str(finding.get("kind") or "").replace("_", " ").replace("-", " "),
                "message": str(finding.get("message") or ""),
                "shots": [judged.shot(place_of[n]) for n in names[:_MOST_NAMED] if n in place_of],
                "others": [name for name in names[:_MOST_NAMED] if name not in place_of],
                "more": max(0, len(names) - _MOST_NAMED),
                "details": finding.get("details") or {},
            }
        )
    return sorted(rows, key=lambda row: order.index(row["level"]))


def per_class(figures: Mapping[str, Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Recall and precision of each class that has pictures, with intervals.

    Where a class has none, as in a test set of one class, precision would tell nothing: every
    answer that names the missing class is wrong.
    """
    confusion = figures.get("confusion")
    rows: list[dict[str, Any]] = []
    for k, label in enumerate(labels):
        row: dict[str, Any] = {"label": label, "pictures": sum(confusion[k]) if confusion else None}
        for what in ("recall", "precision"):
            value = (figures.get(what) or {}).get(label)
            ends = (figures.get(f"{what}_interval_95") or {}).get(label)
            row[what] = None if value is None else {"value": value, "interval": ends}
        rows.append(row)
    present = [row for row in rows if row["recall"]]
    return present if len(present) == len(rows) else [row | {"precision": None} for row in present]


def tests(material: Material) -> tuple[list[dict[str, Any]], list[Album]]:
    """Each separate test set: figures, slices, confusion, and what was misjudged."""
    figures_of = material.summary.get("tests") or {}
    cases = {case.name: case for case in material.tests}
    rows: list[dict[str, Any]] = []
    albums: list[Album] = []
    for number, name in enumerate(dict.fromkeys([*figures_of, *cases])):
        figures = figures_of.get(name) or {}
        row: dict[str, Any] = {
            "name": name,
            "figures": figures,
            "classes": per_class(figures, material.labels),
            "slices": slices.slices(figures.get("slices")),
        }
        if case := cases.get(name):
            judged = judgement_of_test(case, material.labels, number)
            wrong = judged.misjudged()
            shown = wrong[:_MOST_TEST_ERRORS]
            row |= {
                "matrix": confusion_counts(judged),
                "wrong": len(wrong),
                "shots": [judged.shot(place) for place in shown],
            }
            albums.append(judged.album)
        rows.append(row)
    return rows, albums


def confusion_counts(judged: Judgement) -> list[tuple[str, str, int]]:
    """(true class, taken for, pictures) of every kind of mistake, most frequent first."""
    pairs: dict[tuple[int, int], int] = {}
    for place in judged.misjudged():
        key = (int(judged.classes[place]), int(judged.answers[place]))
        pairs[key] = pairs.get(key, 0) + 1
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [(judged.labels[i], judged.labels[j], count) for (i, j), count in ordered]
