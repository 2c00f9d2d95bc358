"""Out-of-fold answers of a bundle, and the comparison of two models by them."""

from pathlib import Path

import pytest

from models.bundle.files import MODEL
from models.bundle.out_of_fold import (
    OUT_OF_FOLD,
    Answer,
    compare_answers,
    format_answers,
    parse_answers,
    read_answers,
)
from models.bundle.publish import publish
from models.errors import BundleIncomplete
from tests.models.tiny_bundle import bundle_facts

LABELS = ("cat", "dog")


def answer(number: int, *, label: str = "cat", predicted: str = "cat", p: float = 0.9) -> Answer:
    other = "dog" if predicted == "cat" else "cat"
    return Answer(
        file=f"{label}/{number}, ü.jpg",
        sha256=f"{number:064x}",
        label=label,
        group=str(number),
        predicted=predicted,
        probabilities={predicted: p, other: 1 - p},
    )


def test_answers_survive_a_file() -> None:
    answers = [answer(1), answer(2, label="dog", p=1 - 1e-9)]
    data = format_answers(answers, LABELS)
    assert data.decode().splitlines()[0] == (
        "file,sha256,label,group,predicted,score,probability:cat,probability:dog"
    )
    back = parse_answers(data)
    assert [(each.file, each.sha256, each.label, each.group, each.predicted) for each in back] == [
        (each.file, each.sha256, each.label, each.group, each.predicted) for each in answers
    ]
    assert back[0].probabilities == pytest.approx(answers[0].probabilities)
    assert [each.correct for each in back] == [True, False]
    assert back[0].score == pytest.approx(0.9)
    assert back[0].preference("cat") == pytest.approx(2.197, abs=0.001)
    assert back[0].preference("dog") == pytest.approx(-2.197, abs=0.001)


def test_slices_survive_a_file_and_enter_the_comparison() -> None:
    light = [{"light": "dark"} if number < 30 else {} for number in range(100)]
    old, new = (
        [answer(n, predicted=to if n < 30 else "cat")._replace(slices=light[n]) for n in range(100)]
        for to in ("cat", "dog")
    )
    data = format_answers(new, LABELS)
    assert data.decode().splitlines()[0].endswith("probability:dog,slice:light")
    back = parse_answers(data)
    assert [each.slices for each in back] == light
    found = compare_answers(old, back, thresholds=(0.5, 0.5))
    assert found is not None
    assert [part.name for part in found.test.worse_parts] == ["class cat", "light: dark"]
    assert found.as_dict()["parts"][1]["lost"] == 30


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"file,sha256\na,b\n",
        b"file,sha256,label,group,predicted,score,probability:cat\na,b,cat,1,cow,1,1\n",
        b"file,sha256,label,group,predicted,score,probability:cat\na,b,cat,1,cat,1,x\n",
        b"file,sha256,label,group,predicted,score,probability:cat\na,b,cat\n",
    ],
)
def test_another_file_is_refused(data: bytes) -> None:
    with pytest.raises(BundleIncomplete, match=r"out_of_fold\.csv cannot be read"):
        parse_answers(data)


def test_bundle_keeps_its_answers_and_their_checksum(tmp_path: Path, tiny_model: bytes) -> None:
    facts = bundle_facts(tiny_model)
    answers = [answer(1)]
    files = {MODEL: tiny_model, OUT_OF_FOLD: format_answers(answers, LABELS)}
    bundle = publish(tmp_path, files, facts)
    assert OUT_OF_FOLD not in bundle.documents  # a service needs no megabytes of it
    found = read_answers(bundle.path)
    assert found is not None
    assert found[0].file == answers[0].file
    (bundle.path / OUT_OF_FOLD).write_bytes(b"changed")
    with pytest.raises(BundleIncomplete, match="checksum"):
        read_answers(bundle.path)
    assert read_answers(publish(tmp_path, {MODEL: tiny_model}, facts).path) is None


def test_models_are_compared_on_the_pictures_that_both_have() -> None:
    old = [answer(n, predicted="dog" if n < 3 else "cat") for n in range(100)]
    new = [answer(n, predicted="dog" if n in (0, 50) else "cat") for n in range(20, 130)]
    new += [answer(2), answer(1)]
    found = compare_answers(old, new, thresholds=(0.5, 0.5))
    assert found is not None
    assert found.test.pictures == 82
    assert set(found.fixed) == {old[1].sha256, old[2].sha256}
    assert found.broken == (old[50].sha256,)
    assert (found.only_old, found.only_new, found.relabelled) == (18, 30, ())
    assert (found.test.gained, found.test.lost) == (2, 1)
    figures = found.as_dict()
    assert (figures["fixed"], figures["broken"], figures["verdict"]) == (2, 1, "not shown")


def test_corrected_labels_count_for_both_models() -> None:
    old = [answer(n) for n in range(40)]
    new = [answer(n, label="dog" if n == 0 else "cat", predicted="cat") for n in range(40)]
    found = compare_answers(old, new, thresholds=(0.5, 0.5))
    assert found is not None
    assert found.relabelled == (old[0].sha256,)
    assert (found.fixed, found.broken) == ((), ())


def test_answers_above_each_models_own_threshold_are_counted() -> None:
    old = [answer(n, p=0.9) for n in range(200)]
    new = [answer(n, p=0.9 if n < 120 else 0.7) for n in range(200)]
    found = compare_answers(old, new, thresholds=(0.8, 0.8))
    assert found is not None
    assert (found.answered.old, found.answered.new, found.answered.fewer) == (1.0, 0.6, True)
    assert found.test.verdict == "not worse"
    assert found.sentence.startswith(found.test.sentence)
    back = compare_answers(new, old, thresholds=(0.8, 0.8))
    assert back is not None
    assert not back.answered.fewer
    lower = compare_answers(old, new, thresholds=(0.8, 0.7))
    assert lower is not None
    assert (lower.answered.new, lower.answered.fewer) == (1.0, False)


def test_the_picture_at_the_threshold_is_answered_after_a_file_has_rounded_it() -> None:
    threshold = 0.8765432114
    back = parse_answers(format_answers([answer(1, p=threshold)], LABELS))
    assert back[0].score < threshold
    found = compare_answers(back, back, thresholds=(threshold, threshold))
    assert found is not None
    assert found.answered.old == 1.0


def test_models_without_common_pictures_or_labels_are_not_compared() -> None:
    assert compare_answers([answer(1)], [answer(2)], thresholds=(0.5, 0.5)) is None
    assert compare_answers([], [answer(2)], thresholds=(0.5, 0.5)) is None
    other = Answer("a", "b", "cat", "1", "cat", {"cat": 0.5, "cow": 0.5})
    assert compare_answers([answer(1)], [other], thresholds=(0.5, 0.5)) is None
