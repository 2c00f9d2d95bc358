"""Result of a run: the published bundle, its figures, and the answers that were wrong."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle.files import REPORT
from models.bundle.load import Bundle
from models.bundle.out_of_fold import Answer
from models.text import percent, span
from training.job.promotion import Promotion
from training.summary import Summary


@dataclass(frozen=True)
class Fitted:
    """Result of a run; its figures are cross-validated.

    Attributes:
        bundle: The published bundle.
        promotion: Whether it was made current, and the comparison with the one before.
        summary: All figures (`summary.json`).
        answers: Out-of-fold answer to each training picture.
    """

    bundle: Bundle
    promotion: Promotion
    summary: Summary = field(repr=False)
    answers: Sequence[Answer] = field(repr=False)

    @property
    def version(self) -> str:
        """The version in the store."""
        return self.bundle.manifest.version

    @property
    def path(self) -> Path:
        """Folder of the bundle."""
        return self.bundle.path

    @property
    def report(self) -> Path:
        """The report, an HTML page."""
        return self.bundle.path / REPORT

    @property
    def labels(self) -> list[str]:
        """The classes."""
        return self.summary["labels"]

    @property
    def accuracy(self) -> float:
        """Share of the pictures that were answered correctly, 0..1."""
        return self.summary["cross_validation"]["accuracy"]

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes of the share answered correctly, 0..1."""
        return self.summary["cross_validation"]["balanced_accuracy"]

    @property
    def balanced_accuracy_interval(self) -> tuple[float, float]:
        """95 % interval of the balanced accuracy."""
        low, high = self.summary["cross_validation"]["balanced_accuracy_interval_95"]
        return low, high

    @property
    def confusion(self) -> dict[str, dict[str, int]]:
        """Number of pictures by their label, then by the answer."""
        rows = self.summary["cross_validation"]["confusion"]
        return {
            label: dict(zip(self.labels, row, strict=True))
            for label, row in zip(self.labels, rows, strict=True)
        }

    @property
    def mistakes(self) -> list[Answer]:
        """The wrong answers, the most confident first: `file`, `label`, `predicted`, `score`."""
        wrong = [answer for answer in self.answers if not answer.correct]
        return sorted(wrong, key=lambda answer: -answer.score)

    def __repr__(self) -> str:
        return (
            f"<Fitted {self.version}: accuracy {percent(self.accuracy)}, balanced "
            f"{percent(self.balanced_accuracy)} ({span(self.balanced_accuracy_interval)}), "
            f"{len(self.mistakes)} of {len(self.answers)} pictures wrong, "
            f"{'current' if self.promotion.promoted else 'not current'}>"
        )

    def _repr_html_(self) -> str:
        """Return the report in a frame, for a notebook."""
        page = html.escape(self.bundle.documents[REPORT].decode(), quote=True)
        return (
            f"<p>{html.escape(repr(self))}</p>"
            f'<iframe srcdoc="{page}" title="Report" style="width:100%;height:720px;border:0">'
            "</iframe>"
        )
