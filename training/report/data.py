"""Input of the report: the run's metrics, and the pictures to show."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from training.audit.label_issues import LabelIssue
from training.evaluation.errors import Misclassified
from training.evaluation.holdout import EvaluatedSet
from training.report.formats import label_texts
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

    def with_label_texts(self) -> Self:
        """Return the same with class names as people read them, "no mask" for no_mask."""
        texts = label_texts(self.labels)
        summary = _renamed(self.summary, texts)
        for finding in summary["audit"]:
            finding["message"] = _renamed_words(finding["message"], texts)
        return replace(self, summary=cast(Summary, summary))


def _renamed_words(message: str, texts: Mapping[str, str]) -> str:
    """Replace class names in a sentence, but not in the names of files."""
    for label, text in texts.items():
        word = rf"(?<![\w/.]){re.escape(label)}(?![\w/])"
        message = re.sub(word, text.replace("\\", r"\\"), message)
    return message


def _renamed(value: Any, texts: Mapping[str, str]) -> Any:
    """Replace keys and whole strings that are class names, in all of a summary."""
    if isinstance(value, Mapping):
        return {texts.get(key, key): _renamed(part, texts) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(part, texts) for part in value]
    return texts.get(value, value) if isinstance(value, str) else value
