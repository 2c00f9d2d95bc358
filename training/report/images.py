"""Pictures of the report with their true and predicted classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.report.thumbnails import Album

_MAX_SCORES: Final = 4


@dataclass(frozen=True)
class ReportImage:
    """One picture as it is shown.

    Attributes:
        id: Id of its symbol in the page.
        name: File name.
        label: True class.
        predicted: Predicted class.
        score: Probability of the predicted class.
    """

    id: str
    name: str
    label: str
    predicted: str
    score: float

    @property
    def correct(self) -> bool:
        """True if the prediction is the true class."""
        return self.label == self.predicted


@dataclass(frozen=True)
class ImageSet:
    """Pictures of the training data or of a holdout set, and the album that shows them.

    Attributes:
        labels: Class names.
        names: (n) file names.
        classes: int64 (n,) true classes.
        probabilities: float64 (n, K).
        album: Makes the thumbnails.
        predicted: int64 (n,) predicted classes.
    """

    labels: Sequence[str]
    names: Sequence[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    album: Album
    predicted: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "predicted", self.probabilities.argmax(axis=1))

    def image(self, index: int) -> ReportImage:
        """Add a picture to the album, and return it with its prediction."""
        predicted = int(self.predicted[index])
        return ReportImage(
            id=self.album.show(index),
            name=self.names[index],
            label=self.labels[int(self.classes[index])],
            predicted=self.labels[predicted],
            score=float(self.probabilities[index, predicted]),
        )

    def misclassified(self) -> list[int]:
        """Return the indices of the misclassified pictures, most confident first."""
        wrong = np.flatnonzero(self.predicted != self.classes)
        confidence = self.probabilities[wrong].max(axis=1)
        return [int(index) for index in wrong[np.argsort(-confidence, kind="stable")]]

    def scores(self, index: int) -> list[tuple[str, float]]:
        """Return the highest scores by class, and always that of the true class."""
        row = self.probabilities[index]
        order = [int(k) for k in np.argsort(-row, kind="stable")]
        shown = order[:_MAX_SCORES]
        if (true := int(self.classes[index])) not in shown:
            shown.append(true)
        return [(self.labels[k], float(row[k])) for k in shown]
