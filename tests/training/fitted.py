"""A result of a run, without the run."""

from pathlib import Path
from typing import Any, cast

from models.bundle.files import MODEL, REPORT
from models.bundle.out_of_fold import OUT_OF_FOLD, Answer, format_answers
from models.bundle.publish import publish
from tests.models.tiny_bundle import bundle_facts
from training.job import Fitted
from training.job.promotion import Cause, Promotion
from training.summary import Summary

LABELS = ("cat", "dog")


def make_answers(*, wrong: int = 3, pictures: int = 40, first: int = 0) -> list[Answer]:
    """Return answers, cats and dogs in turn, of which the first ones are wrong."""
    answers = []
    for number in range(first, first + pictures):
        label, other = LABELS if number % 2 else LABELS[::-1]
        predicted = other if number - first < wrong else label
        score = 0.9 - number / 10_000
        answers.append(
            Answer(
                file=f"{label}/{number}.jpg",
                sha256=f"{number:064x}",
                label=label,
                group=str(number),
                predicted=predicted,
                probabilities={each: score if each == predicted else 1 - score for each in LABELS},
            )
        )
    return answers


def make_fitted(
    store: Path, model: bytes, *, promoted: bool = True, cause: Cause = "first", wrong: int = 3
) -> Fitted:
    """Publish a tiny bundle, and return it as the result of a run."""
    answers = make_answers(wrong=wrong)
    share = 1 - wrong / len(answers)
    metrics: dict[str, Any] = {
        "accuracy": share,
        "balanced_accuracy": share,
        "balanced_accuracy_interval_95": [share - 0.1, min(share + 0.05, 1.0)],
        "confusion": [[20, 0], [wrong, 20 - wrong]],
    }
    files = {
        MODEL: model,
        REPORT: b"<!doctype html><p>The &quot;report&quot;",
        OUT_OF_FOLD: format_answers(answers, LABELS),
    }
    facts = bundle_facts(model) | {"metrics": {"cross_validation": metrics}}
    bundle = publish(store, files, facts, promote=promoted)
    summary = cast(
        Summary,
        {
            "labels": list(LABELS),
            "cross_validation": metrics,
            "decision": {"coverage": 0.9, "threshold": 0.8},
        },
    )
    return Fitted(bundle, Promotion(promoted, "Reason.", cause, None, None), summary, answers)
