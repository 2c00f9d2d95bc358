"""Two runs side by side: pictures fixed and broken, the paired test, settings, data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from models.bundle.files import read_manifest
from models.bundle.out_of_fold import (
    OUT_OF_FOLD,
    TEST_ANSWERS,
    Answer,
    Comparison,
    compare_answers,
)
from models.errors import BundleError
from models.paired import PairedTest
from studio.problems import BundleGone, NotComparable
from studio.runs.runs import Run, answers_of, picture_ids


def compare_runs(connection: Connection, store: Path, old: Run, new: Run) -> dict[str, Any]:
    """Return what changes from one run to another.

    Raises:
        NotComparable: They have no picture in common that both have answered out of fold.
        BundleGone: The model of one is not in the store any more.
    """
    before, after = _answers(store, old), _answers(store, new)
    try:
        comparison = _compare(store, old.bundle, new.bundle, before, after)
    except BundleError as error:
        raise BundleGone(f"The models cannot be compared: {error}") from error
    if comparison is None:
        raise NotComparable(_no_common_picture(old, new, before, after))
    old_by, new_by = _by_digest(before), _by_digest(after)
    ids = picture_ids(connection, new.project, old_by.keys() | new_by.keys())
    both = [(old_by[digest], answer) for digest, answer in new_by.items() if digest in old_by]
    correct = sum(one.predicted == two.label and two.correct for one, two in both)
    changed = [*comparison.fixed, *comparison.broken]
    return {
        "a": old.id,
        "b": new.id,
        "fixed": _ids(ids, comparison.fixed),
        "broken": _ids(ids, comparison.broken),
        "unchanged": {"correct": correct, "wrong": len(both) - correct - len(changed)},
        "answers": {
            ids[digest]: {
                "a": old_by[digest].predicted,
                "b": new_by[digest].predicted,
                "label": new_by[digest].label,
            }
            for digest in changed
            if digest in ids
        },
        "paired": figures_of(comparison, _compare_tests(store, old, new)),
        "settings": list(_differences(old, new)),
        "dataset": {
            "added": _ids(ids, (d for d in new_by if d not in old_by)),
            "removed": _ids(ids, (d for d in old_by if d not in new_by)),
            "relabelled": [
                {"picture": ids[d], "a": old_by[d].label, "b": new_by[d].label}
                for d in comparison.relabelled
                if d in ids
            ],
        },
    }


def compare_bundles(store: Path, old: str, new: str, name: str = OUT_OF_FOLD) -> Comparison | None:
    """Compare two bundles of a store; None if they have no picture in common.

    Args:
        store: Folder of the models.
        old: Version of the one.
        new: Version of the other.
        name: `OUT_OF_FOLD`, or `TEST_ANSWERS` for the pictures of frozen test sets.

    Raises:
        BundleError: One cannot be read.
    """
    before, after = answers_of(store, old, name), answers_of(store, new, name)
    return None if before is None or after is None else _compare(store, old, new, before, after)


def figures_of(comparison: Comparison, tests: Comparison | None = None) -> dict[str, Any]:
    """Return the figures of a comparison as the page shows them.

    Args:
        comparison: On the pictures that both models were trained on.
        tests: On the pictures of frozen test sets that both were tested on, if there are any.
    """
    test: PairedTest = comparison.test
    answered = comparison.answered
    low, high = test.interval_90
    return {
        "difference": test.difference,
        "low": low,
        "high": high,
        "margin": test.margin,
        "resolution": test.resolution,
        "verdict": test.verdict,
        "sentence": comparison.sentence,
        "answered": {"old": answered.old, "new": answered.new, "fewer": answered.fewer},
        "n": test.pictures,
        "old": test.old,
        "new": test.new,
        "fixed": len(comparison.fixed),
        "broken": len(comparison.broken),
        "relabelled": len(comparison.relabelled),
        "parts": [
            {
                "name": part.name,
                "n": part.pictures,
                "fixed": part.gained,
                "broken": part.lost,
                "p": part.p_value,
                "worse": part.worse,
            }
            for part in test.parts
        ],
        **({} if tests is None else {"tests": figures_of(tests)}),
    }


def mistakes_of(connection: Connection, store: Path, run: Run) -> list[dict[str, Any]]:
    """Return the pictures that a run answered wrongly out of fold, the surest mistakes first.

    Raises:
        BundleGone: Its model is not in the store any more.
    """
    wrong = sorted(
        (answer for answer in _answers(store, run) if not answer.correct),
        key=lambda answer: (-answer.score, answer.file),
    )
    ids = picture_ids(connection, run.project, (answer.sha256 for answer in wrong))
    return [
        {
            "picture": ids[answer.sha256],
            "label": answer.label,
            "predicted": answer.predicted,
            "score": answer.score,
        }
        for answer in wrong
        if answer.sha256 in ids
    ]


def _answers(store: Path, run: Run) -> tuple[Answer, ...]:
    try:
        found = answers_of(store, run.bundle)
    except BundleError as error:
        raise BundleGone(f"The model of run {run.id} cannot be read: {error}") from error
    return found or ()


def _compare(
    store: Path, old: str, new: str, before: Sequence[Answer], after: Sequence[Answer]
) -> Comparison | None:
    old_threshold, new_threshold = (
        read_manifest(store / version).decision.threshold for version in (old, new)
    )
    return compare_answers(before, after, thresholds=(old_threshold, new_threshold))


def _compare_tests(store: Path, old: Run, new: Run) -> Comparison | None:
    try:
        return compare_bundles(store, old.bundle, new.bundle, TEST_ANSWERS)
    except BundleError as error:
        raise BundleGone(f"The answers to test pictures cannot be read: {error}") from error


def _by_digest(answers: tuple[Answer, ...]) -> dict[str, Answer]:
    return {answer.sha256: answer for answer in answers}


def _ids(ids: dict[str, int], digests: Any) -> list[int]:
    """Return the ids of pictures that the project still has."""
    return [ids[digest] for digest in digests if digest in ids]


def _differences(old: Run, new: Run) -> Iterator[dict[str, Any]]:
    for name in sorted(old.settings.keys() | new.settings.keys()):
        a, b = old.settings.get(name), new.settings.get(name)
        if a != b:
            yield {"name": name, "a": a, "b": b}


def _no_common_picture(
    old: Run, new: Run, before: tuple[Answer, ...], after: tuple[Answer, ...]
) -> str:
    for run, answers in ((old, before), (new, after)):
        if not answers:
            return f"The model of run {run.id} was published without its out-of-fold answers."
    if before[0].probabilities.keys() != after[0].probabilities.keys():
        return f"Runs {old.id} and {new.id} know different classes."
    return f"Runs {old.id} and {new.id} have no picture in common."
