"""Input of the report: the run's metrics, and the pictures to show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.audit.label_issues import LabelIssue
from training.evaluation.errors import Misclassified
from training.evaluation.holdout import EvaluatedSet
from training.summary import Summary


@dataclass(frozen=True)
class ReportData:
    """All that the report and the model card show.

    Attributes:
        summary: The metrics, as in summary.json.
        names: (n) file names of the training pictures.
        classes: int64 (n,) classes as trained on.
        probabilities: float64 (n, K), calibrated, out of fold.
        read: Returns the encoded file of the i-th picture.
        errors: Misclassified pictures, most confident first.
        label_issues: Likely wrong labels, likeliest first.
        tests: Holdout sets by name.
        decided: Label by picture as labels.csv gives it, None for an excluded one.
    """

    summary: Summary
    names: list[str]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    read: Callable[[int], bytes]
    errors: list[Misclassified]
    label_issues: list[LabelIssue]
    tests: Mapping[str, EvaluatedSet]
    decided: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Class names."""
        return self.summary["labels"]
