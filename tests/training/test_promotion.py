"""Promotion of a new model, and the comparison with the one before."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from models.bundle.files import MODEL
from models.bundle.out_of_fold import OUT_OF_FOLD, Answer, format_answers
from models.bundle.publish import publish
from models.bundle.store import CURRENT
from tests.models.tiny_bundle import bundle_facts
from tests.training.fitted import LABELS, make_answers
from training.job import FitOptions
from training.job.promotion import Promotion, decide_promotion

GOOD, BAD = make_answers(wrong=2, pictures=200), make_answers(wrong=30, pictures=200)


def options(store: Path, **given: Any) -> FitOptions:
    return dataclasses.replace(FitOptions(store / "data", store, store / "cache"), **given)


def decide(
    given: FitOptions, answers: list[Answer], accuracy: float, threshold: float = 0.6
) -> Promotion:
    """Decide; the threshold is that of the bundles of `bundle_facts`, if it is not given."""
    return decide_promotion(given, answers, accuracy, threshold)


def make_live(store: Path, model: bytes, answers: list[Answer] | None = GOOD) -> str:
    """Publish a current model with these out-of-fold answers, and return its version."""
    files = {MODEL: model}
    if answers is not None:
        files[OUT_OF_FOLD] = format_answers(answers, LABELS)
    return publish(store, files, bundle_facts(model)).manifest.version


def test_first_model_of_a_store_is_promoted(tmp_path: Path) -> None:
    found = decide(options(tmp_path / "absent"), BAD, 0.6)
    assert (found.promoted, found.cause, found.live, found.comparison) == (
        True, "first", None, None,
    )  # fmt: skip
    assert found.comparison_dict() is None


def test_a_model_that_is_shown_worse_is_kept_back_unless_asked(
    tmp_path: Path, tiny_model: bytes
) -> None:
    live = make_live(tmp_path, tiny_model)
    kept = decide(options(tmp_path), BAD, 0.85)
    assert (kept.promoted, kept.refused, kept.cause, kept.live) == (False, True, "worse", live)
    assert kept.reason.startswith(f"Not made current: shown to be worse than {live}")
    assert "--promote" in kept.reason
    figures = kept.comparison_dict()
    assert figures is not None
    assert (figures["with"], figures["verdict"], figures["broken"]) == (live, "worse", 28)
    forced = decide(options(tmp_path, promotion="always"), BAD, 0.85)
    assert (forced.promoted, forced.refused, forced.cause) == (True, False, "asked")
    assert forced.comparison == kept.comparison


@pytest.mark.parametrize("wrong", [0, 2, 4])
def test_a_model_that_is_not_shown_worse_is_promoted(
    wrong: int, tmp_path: Path, tiny_model: bytes
) -> None:
    make_live(tmp_path, tiny_model)
    found = decide(options(tmp_path), make_answers(wrong=wrong, pictures=200), 0.98)
    assert (found.promoted, found.cause) == (True, "not worse")
    assert found.comparison is not None


def test_a_model_that_answers_many_fewer_pictures_is_kept_back(
    tmp_path: Path, tiny_model: bytes
) -> None:
    live = make_live(tmp_path, tiny_model)
    # Scores fall from 0.9 to 0.88: at 0.89 half of the pictures get a class.
    kept = decide(options(tmp_path), GOOD, 0.98, 0.89)
    assert (kept.promoted, kept.refused, kept.cause) == (False, True, "fewer answers")
    assert kept.reason == (
        f"Not made current: it gives only 50.5% of the pictures a class, and {live} 100% "
        "(--promote for it nevertheless)."
    )
    figures = kept.comparison_dict()
    assert figures is not None
    assert (figures["answered"]["old"], figures["answered"]["new"]) == (1.0, 0.505)
    assert figures["sentence"].endswith(
        'a class, not "uncertain" (100% before: more than 10 points fewer).'
    )
    # A loss that 200 pictures cannot tell from ten points is only said.
    close = decide(options(tmp_path), GOOD, 0.98, 0.8825)
    assert (close.promoted, close.cause) == (True, "not worse")
    assert close.comparison is not None
    assert close.comparison.sentence.endswith('not "uncertain" (100% before).')


def test_no_promote_keeps_a_better_model_back_and_compares_it(
    tmp_path: Path, tiny_model: bytes
) -> None:
    make_live(tmp_path, tiny_model, BAD)
    found = decide(options(tmp_path, promotion="never"), GOOD, 0.99)
    assert (found.promoted, found.refused, found.reason) == (
        False, False, "Not made current: --no-promote.",
    )  # fmt: skip
    assert found.comparison is not None
    assert found.comparison.test.verdict == "better"


@pytest.mark.parametrize("promotion", ["auto", "always", "never"])
def test_min_accuracy_is_stronger_than_every_other_wish(promotion: str, tmp_path: Path) -> None:
    given = options(tmp_path, promotion=promotion, min_accuracy=0.9)
    found = decide(given, BAD, 0.8999)
    assert (found.promoted, found.refused, found.cause) == (False, True, "min_accuracy")
    assert "89.99% < --min-accuracy 0.9" in found.reason
    assert decide(given, BAD, 0.9).promoted is (promotion != "never")


def test_models_that_cannot_be_compared_are_promoted_and_the_reason_is_given(
    tmp_path: Path, tiny_model: bytes
) -> None:
    others = [
        answer._replace(predicted="cow", label="cow", probabilities={"cow": 1, "emu": 0})
        for answer in GOOD
    ]
    store = tmp_path / "store"
    make_live(store, tiny_model)
    found = decide(options(store), others, 0.99)
    assert (found.promoted, found.cause) == (True, "not compared")
    assert "has other classes (cat, dog)" in found.reason
    elsewhere = make_answers(pictures=200, first=1000)
    assert "none of these pictures" in decide(options(store), elsewhere, 0.99).reason
    early = tmp_path / "early"
    make_live(early, tiny_model, None)
    assert "kept no out-of-fold answers" in decide(options(early), GOOD, 0.99).reason
    live = make_live(store, tiny_model)
    (store / live / OUT_OF_FOLD).write_text("changed")
    found = decide(options(store), BAD, 0.99)
    assert found.promoted
    assert "cannot be read" in found.reason


def test_a_broken_pointer_is_no_live_model(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_bytes(b"\0\0")
    found = decide(options(tmp_path), GOOD, 0.99)
    assert (found.promoted, found.cause) == (True, "first")
