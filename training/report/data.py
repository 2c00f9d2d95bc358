"""What a report is made of: the run's figures, and the pictures that it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.holdout import Judged


@dataclass(frozen=True)
class ErrorCase:
    """One picture that was judged wrongly by a head that had not seen it.

    Attributes:
        place: Index of the picture.
        activation: float32 (h, w): the class-activation map of the class it was taken for.
        neighbours: The most similar pictures that the head was fitted on, and their cosine
            similarity of features, most similar first.
    """

    place: int
    activation: NDArray[np.float32]
    neighbours: list[tuple[int, float]]


@dataclass(frozen=True)
class SuspectCase:
    """A picture whose label may be wrong.

    Attributes:
        place: Index of the picture.
        suggested: Class index that it probably has.
    """

    place: int
    suggested: int


@dataclass(frozen=True)
class TestCase:
    """A separate test set as it was judged.

    Attributes:
        name: As given on the command line.
        judged: Names, true classes and probabilities.
        picture: The encoded file of the i-th judged picture.
    """

    __test__ = False  # pytest would take it for a class of tests

    name: str
    judged: Judged
    picture: Callable[[int], bytes]


@dataclass(frozen=True)
class Material:
    """Everything that the report and the model card show.

    Attributes:
        summary: The figures, as in `summary.json`; see `training.job.summary_of`.
        labels: Class names.
        names: (n) file names.
        classes: int64 (n,) classes as trained on.
        probabilities: float64 (n, K), calibrated, out of fold.
        picture: The encoded file of the i-th picture.
        errors: Every misjudged picture, surest first.
        suspects: Likely wrong labels, likeliest first.
        tests: Separate test sets.
    """

    summary: dict[str, Any]
    labels: tuple[str, ...]
    names: list[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    picture: Callable[[int], bytes]
    errors: list[ErrorCase]
    suspects: list[SuspectCase]
    tests: list[TestCase]
