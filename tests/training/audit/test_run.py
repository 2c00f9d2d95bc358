"""The audit: every kind of finding is made where it should be, and only there."""

import dataclasses
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

import training.audit.run
from tests.images import encode, photograph
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.__main__ import main
from training.audit import command
from training.audit.command import audit_folder
from training.audit.copies import exact_copies, is_blank, near_copies, together
from training.audit.findings import LEVELS, Finding, lines, worst
from training.audit.label_issues import Suspect, find_suspects, suspects, thresholds
from training.audit.quality import ODDITIES
from training.audit.run import audit
from training.audit.shortcuts import FAMILIES, find_shortcuts
from training.config import FitConfig
from training.data.dataset import Left, Listing
from training.data.image_stats import PictureFacts, measure
from training.data.source import FolderSource
from training.errors import NoWeights, OutputError, TooFewClasses, TooFewPictures, UnknownBackbone
from training.features.extract import Extracted
from training.features.feature_set import Pictures

SIZE = 64


@pytest.fixture(autouse=True)
def keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def drawn(seed: int, edge: int = 96) -> Image.Image:
    """A picture with coarse forms and fine grain, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    forms = photograph(edge, edge, seed)
    grain = random.integers(-24, 25, (edge, edge, 1))
    return Image.fromarray(np.clip(np.asarray(forms) + grain, 0, 255).astype(np.uint8))


def facts_of(*pictures: Image.Image | bytes, size: int = SIZE) -> list[PictureFacts]:
    files = [item if isinstance(item, bytes) else encode(item) for item in pictures]
    return [measure(data, size=size)[1] for data in files]


PLAIN = facts_of(drawn(0))[0]


def fact(number: int, **changes: Any) -> PictureFacts:
    """A sound picture's facts, with a hash that is far from every other number's."""
    random = np.random.default_rng(number)
    hashes = {name: random.bytes(32).hex() for name in ("dhash", "dhash_mirrored")}
    return dataclasses.replace(
        PLAIN,
        **{
            "sha256": f"{number:064x}",
            "width_px": 300,
            "height_px": 300,
            "file_bytes": int(random.integers(10_000, 20_000)),
            "brightness": random.uniform(0.3, 0.7),
            "sharpness": 0.01,
            **hashes,
            **changes,
        },
    )


def pictures(
    facts: Sequence[PictureFacts],
    classes: Sequence[int],
    *,
    labels: tuple[str, ...] = ("cat", "dog"),
    left: tuple[Left, ...] = (),
    unreadable: Sequence[Left] = (),
) -> Pictures:
    names = [f"{labels[k]}/{place}.jpg" for place, k in enumerate(classes)]
    listing = Listing(FolderSource(Path()), labels, tuple(names), tuple(classes), {}, left, {})
    copies = near_copies(facts)
    return Pictures(
        listing,
        names,
        np.array(classes, dtype=np.int64),
        together(names, {}, copies),
        Extracted(
            np.arange(len(facts)),
            np.zeros((len(facts), 0), np.float32),
            list(facts),
            list(unreadable),
            0,
        ),
        copies,
    )


def sound(count: int = 120, classes: int = 2) -> tuple[list[PictureFacts], list[int]]:
    """A data set that nothing is to be said of."""
    return [fact(number) for number in range(count)], [n % classes for n in range(count)]


@pytest.fixture
def no_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what takes half a second and is not what the test is about."""
    monkeypatch.setattr(training.audit.run, "find_shortcuts", lambda *_, **__: [])


def kinds(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.kind: finding.level for finding in findings}


def only(findings: Sequence[Finding], kind: str) -> Finding:
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found


# --- the whole -------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_a_sound_set_has_no_findings(classes: int) -> None:
    facts, given = sound(60 * classes, classes)
    labels = ("cat", "dog", "emu")[:classes]
    assert audit(pictures(facts, given, labels=labels)) == []
    assert lines([]) == ["Nothing to remark."]
    assert worst([]) is None


def test_an_empty_set_does_not_stop_the_audit() -> None:
    found = audit(pictures([], []), fewest=10)
    assert [finding.kind for finding in found] == ["too_few_pictures"] * 2
    assert suspects(np.zeros((0, 2)), np.zeros(0, np.int64)) == []
    assert near_copies([]) == []


@pytest.mark.usefixtures("no_shortcuts")
def test_findings_come_worst_first_and_fit_into_json() -> None:
    facts, given = sound()
    facts[1] = dataclasses.replace(facts[0])
    facts[2] = fact(2, mode="L")
    facts[3] = fact(3, width_px=20)
    found = audit(pictures(facts, given))
    levels = [LEVELS.index(finding.level) for finding in found]
    assert levels == sorted(levels)
    assert worst(found) == "error"
    again = json.loads(json.dumps([finding.as_dict() for finding in found]))
    assert [row["kind"] for row in again] == [finding.kind for finding in found]
    assert {name for finding in found for name in finding.names} <= set(
        pictures(facts, given).names
    )


# --- files, counts -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shortcuts")
def test_files_that_are_not_read_are_named_with_the_reason() -> None:
    facts, given = sound()
    found = audit(
        pictures(facts, given, unreadable=[Left("cat/x.jpg", "cut")], left=(Left("a.txt", "no"),))
    )
    assert kinds(found) == {"unreadable": "warning", "left_out": "info"}
    assert only(found, "unreadable").details == {"why": {"cat/x.jpg": "cut"}}
    assert "    cat/x.jpg: cut" in lines(found)
    assert "1 file cannot be read" in only(found, "unreadable").message


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize(
    ("cats", "dogs", "wanted"),
    [
        (60, 60, {}),
        (180, 60, {}),
        (181, 60, {"class_imbalance": "warning"}),
        (60, 49, {"few_pictures": "info"}),
        (20, 9, {"too_few_pictures": "error", "few_pictures": "info"}),
        (20, 0, {"too_few_pictures": "error", "few_pictures": "info"}),
    ],
)
def test_classes_are_counted(cats: int, dogs: int, wanted: dict[str, str]) -> None:
    facts, _ = sound(cats + dogs)
    found = audit(pictures(facts, [0] * cats + [1] * dogs))
    assert {k: v for k, v in kinds(found).items() if k not in ("class_imbalance",)} == {
        k: v for k, v in wanted.items() if k != "class_imbalance"
    }
    assert ("class_imbalance" in kinds(found)) == ("class_imbalance" in wanted)


# --- copies ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shortcuts")
def test_the_same_file_is_a_warning_in_one_class_and_an_error_in_two() -> None:
    facts, given = sound()
    facts[2] = facts[4] = facts[0]
    facts[3] = facts[8]
    found = audit(pictures(facts, given))
    assert kinds(found) == {
        "exact_duplicates_across_classes": "error",
        "exact_duplicates": "warning",
    }
    assert only(found, "exact_duplicates").groups == (("cat/0.jpg", "cat/2.jpg", "cat/4.jpg"),)
    assert only(found, "exact_duplicates_across_classes").groups == (("dog/3.jpg", "cat/8.jpg"),)
    assert exact_copies(facts) == [(0, 2, 4), (3, 8)]
    assert "    cat/0.jpg = cat/2.jpg = cat/4.jpg" in lines(found)


def copy(image: Image.Image, how: str) -> bytes:
    match how:
        case "quality":
            return encode(image, "JPEG", quality=30)
        case "smaller":
            return encode(image.resize((40, 40), Image.Resampling.LANCZOS), "JPEG", quality=85)
        case "mirrored":
            mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return encode(mirrored, "JPEG", quality=80)
        case _:
            return encode(image.point(lambda v: v * 3 // 4))


@pytest.mark.parametrize("how", ["quality", "smaller", "mirrored", "darker"])
def test_a_copy_saved_anew_is_found(how: str) -> None:
    images = [photograph(160, 120, seed) for seed in range(12)]
    facts = facts_of(*images, copy(images[3], how))
    assert near_copies(facts) == [(3, 12)]


@pytest.mark.usefixtures("no_shortcuts")
def test_near_copies_are_a_warning_in_one_class_and_an_error_in_two() -> None:
    facts, given = sound()

    def alike(place: int, other: int) -> PictureFacts:
        first = facts[other]
        hashes = {"dhash": first.dhash, "dhash_mirrored": first.dhash_mirrored}
        return fact(place, **hashes, brightness=first.brightness)

    facts[5], facts[6], facts[9] = alike(5, 0), alike(6, 0), alike(9, 3)
    found = audit(pictures(facts, given))
    assert kinds(found) == {
        "near_duplicates_across_classes": "error",
        "near_duplicates": "warning",
    }
    assert only(found, "near_duplicates").groups == (("dog/3.jpg", "dog/9.jpg"),)
    across = only(found, "near_duplicates_across_classes")
    assert across.groups == (("cat/0.jpg", "dog/5.jpg", "cat/6.jpg"),)
    assert across.details["labels"] == [["cat", "dog"]]


def test_hashes_that_differ_more_count_only_where_light_agrees() -> None:
    first = fact(0)
    changed = f"{int(first.dhash, 16) ^ 0xFFF:064x}"  # 12 bits
    other = {"dhash": changed, "dhash_mirrored": fact(1).dhash_mirrored}
    assert near_copies([first, fact(1, **other, brightness=first.brightness)]) == [(0, 1)]
    assert near_copies([first, fact(1, **other, brightness=first.brightness + 0.1)]) == []
    light = {"brightness": first.brightness, "contrast": first.contrast + 0.1}
    assert near_copies([first, fact(1, **other, **light)]) == []


def test_copies_are_found_among_many() -> None:
    facts = [fact(number) for number in range(1200)]
    facts[1100] = dataclasses.replace(facts[7], sha256="x")
    assert near_copies(facts) == [(7, 1100)]


@pytest.mark.usefixtures("no_shortcuts")
def test_blank_pictures_are_no_copies_of_each_other() -> None:
    black, grey = Image.new("RGB", (80, 80)), Image.new("RGB", (80, 80), (9, 9, 9))
    dotted = black.copy()
    dotted.putpixel((5, 5), (255, 255, 255))
    facts, given = sound()
    facts[:3] = facts_of(black, grey, dotted)
    assert all(is_blank(one) for one in facts[:3])
    assert not is_blank(PLAIN)
    assert kinds(audit(pictures(facts, given))) == {"blank": "warning"}


def test_groups_join_names_and_copies() -> None:
    named = {"a": "anna", "c": "anna", "d": "bert"}
    numbers = together(["a", "b", "c", "d"], named, [(1, 3)])
    assert numbers.tolist() == [0, 1, 0, 1]


# --- single pictures -------------------------------------------------------------------------


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize(
    ("kind", "level", "odd", "fine"),
    [
        ("tiny", "warning", {"width_px": 63, "height_px": 90}, {"width_px": 64, "height_px": 90}),
        (
            "huge",
            "info",
            {"width_px": 6000, "height_px": 5000},
            {"width_px": 5000, "height_px": 5000},
        ),
        ("odd_aspect", "warning", {"width_px": 910}, {"width_px": 900}),
        (
            "dark",
            "warning",
            {"brightness": 0.05, "lightest": 0.2},
            {"brightness": 0.05, "lightest": 0.9},
        ),
        (
            "bright",
            "warning",
            {"brightness": 0.95, "darkest": 0.8},
            {"brightness": 0.95, "darkest": 0.1},
        ),
        (
            "blurred",
            "warning",
            {"sharpness": 1e-6},
            {"sharpness": 1e-6, "width_px": 150, "height_px": 150},
        ),
        ("not_rgb", "info", {"mode": "CMYK"}, {"mode": "RGB"}),
        ("blank", "warning", {"contrast": 0.01}, {"contrast": 0.1}),
    ],
)
def test_an_odd_picture_is_named_and_its_like_is_not(
    kind: str, level: str, odd: dict[str, Any], fine: dict[str, Any]
) -> None:
    facts, given = sound()
    facts[4], facts[5] = fact(4, **odd), fact(5, **fine)
    found = audit(pictures(facts, given))
    assert kinds(found) == {kind: level}
    assert found[0].names == ("cat/4.jpg",)
    assert found[0].message.startswith("1 picture is ")


def test_every_oddity_is_tried_above() -> None:
    mark = test_an_odd_picture_is_named_and_its_like_is_not.pytestmark[0]
    assert {row[0] for row in mark.args[1]} == {oddity.kind for oddity in ODDITIES}


@pytest.mark.usefixtures("no_shortcuts")
def test_what_most_of_a_set_has_is_its_nature() -> None:
    facts = [fact(n, width_px=32, height_px=32) for n in range(120)]
    found = audit(pictures(facts, [n % 2 for n in range(120)]))
    assert kinds(found) == {"tiny": "info"}
    assert "it may just be how this set is" in found[0].message


def test_a_blurred_photograph_is_told_from_a_sharp_one() -> None:
    sharp = drawn(1, edge=256)
    blurred = sharp.filter(ImageFilter.GaussianBlur(6))
    test = next(oddity.test for oddity in ODDITIES if oddity.kind == "blurred")
    assert [test(one) for one in facts_of(sharp, blurred, size=224)] == [False, True]


def test_enlarging_lowers_fineness() -> None:
    picture = drawn(1)
    enlarged = picture.resize((48, 48)).resize((96, 96), Image.Resampling.BICUBIC)
    native, coarse = facts_of(picture, enlarged, size=96)
    assert coarse.fineness < native.fineness / 3
    assert 0 <= native.darkest < native.lightest <= 1


@pytest.mark.usefixtures("no_shortcuts")
def test_long_lists_are_cut_with_their_rest_counted() -> None:
    facts = [fact(n, **({"mode": "L"} if n < 13 else {})) for n in range(120)]
    found = audit(pictures(facts, [n % 2 for n in range(120)]))
    text = lines(found)
    assert text[0] == "info:"
    assert text[-1] == "    and 3 more"
    assert len(text) == 13
    assert found[0].details == {"modes": {"L": 13}}


# --- shortcuts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("size", {"width_px": 250}),
        ("file", {"format": "JPEG"}),
        ("sharpness", {"fineness": 0.01}),
        ("light", {"lightest": 0.7}),
        ("colour", {"blue": 0.9}),
    ],
)
def test_a_fact_that_tells_the_class_is_questioned(family: str, change: dict[str, Any]) -> None:
    facts, given = sound()
    facts = [
        fact(n, **change) if k else one for n, (one, k) in enumerate(zip(facts, given, strict=True))
    ]
    found = audit(pictures(facts, given))
    shortcut = only(found, f"shortcut_{family}")
    assert shortcut.level == "warning"
    assert " 'cat' from 'dog' in 100% of pictures" in shortcut.message
    assert "?" in shortcut.message
    low, high = shortcut.details["balanced_accuracy_interval_95"]
    assert 0.9 < low < high <= 1.0
    assert shortcut.names == ()
    related = {"size": {"sharpness", "file"}}.get(family, set())
    assert {f.kind for f in found} <= {f"shortcut_{name}" for name in {family} | related}


def test_every_family_is_tried_above() -> None:
    (mark,) = test_a_fact_that_tells_the_class_is_questioned.pytestmark
    assert {row[0] for row in mark.args[1]} == set(FAMILIES)


def test_one_class_of_three_that_stands_out_is_found() -> None:
    facts, given = sound(180, 3)
    facts = [fact(n, format="PNG" if k == 1 else "JPEG") for n, k in enumerate(given)]
    found = audit(pictures(facts, given, labels=("cat", "dog", "emu")))
    assert [finding.details["class"] for finding in found] == ["dog"]
    assert "'dog' from the rest" in found[0].message


def test_a_weak_difference_is_no_shortcut() -> None:
    random = np.random.default_rng(0)
    facts, given = sound()
    facts = [
        dataclasses.replace(one, brightness=0.5 + 0.05 * k + random.normal(0, 0.1))
        for one, k in zip(facts, given, strict=True)
    ]
    assert audit(pictures(facts, given)) == []


def test_too_few_pictures_or_groups_are_not_judged() -> None:
    facts = [fact(n, format=("PNG", "JPEG")[n % 2]) for n in range(60)]
    classes = np.arange(60) % 2
    few = find_shortcuts(facts[:30], classes[:30], np.arange(30), count=2)
    one_group_a_class = find_shortcuts(facts, classes, classes, count=2)
    assert few == one_group_a_class == []
    assert find_shortcuts(facts, classes, np.arange(60), count=2)[1].is_warning


def test_groups_that_leave_no_fold_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise TooFewPictures("The groups are too large.")

    monkeypatch.setattr(training.audit.run, "find_shortcuts", refuses)
    assert audit(pictures(*sound())) == []


# --- labels ------------------------------------------------------------------------------------


def test_the_thresholds_are_the_classes_mean_self_confidence() -> None:
    chances = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    assert thresholds(chances, np.array([0, 0, 1])).tolist() == pytest.approx([0.8, 0.6])
    assert thresholds(chances, np.array([0, 0, 0]))[1] == 1.0


def test_a_confident_other_answer_is_a_suspect_and_a_hesitant_one_is_not() -> None:
    chances = np.array([[0.9, 0.1]] * 5 + [[0.1, 0.9]] * 5 + [[0.05, 0.95], [0.45, 0.55]])
    classes = np.array([0] * 5 + [1] * 5 + [0, 0])
    (found,) = suspects(chances, classes)
    assert found == Suspect(10, 0, 1, 0.05, 0.95)
    assert found.as_dict()["suggested"] == 1


def test_the_most_doubtful_comes_first() -> None:
    chances = np.array([[0.9, 0.1]] * 8 + [[0.1, 0.9]] * 8 + [[0.2, 0.8], [0.05, 0.95]])
    classes = np.array([0] * 8 + [1] * 8 + [0, 0])
    assert [suspect.place for suspect in suspects(chances, classes)] == [17, 16]


def blobs(count: int, classes: int) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    given = np.arange(count) % classes
    centres = np.eye(classes, 8) * 4
    return (centres[given] + random.normal(0, 0.7, (count, 8))).astype(np.float32), given


@pytest.mark.parametrize("classes", [2, 3])
def test_swapped_labels_are_found(classes: int) -> None:
    features, true = blobs(150, classes)
    given = true.copy()
    swapped = [3, 31, 62, 77, 100]
    given[swapped] = (true[swapped] + 1) % classes
    found = find_suspects(features, given, np.arange(150), count=classes, folds=5, seed=0)
    assert sorted(suspect.place for suspect in found) == swapped
    assert all(suspect.suggested == true[suspect.place] for suspect in found)
    assert find_suspects(features, true, np.arange(150), count=classes, folds=5, seed=0) == []


def test_a_class_that_is_all_in_doubt_is_still_learnt_from() -> None:
    features, true = blobs(60, 2)
    given = true.copy()
    given[true == 1] = 0
    given[[0, 2, 4, 6]] = 1  # every label 1 is wrong
    found = find_suspects(features, given, np.arange(60), count=2, folds=2, seed=0)
    assert {suspect.given for suspect in found} <= {0, 1}


@pytest.mark.usefixtures("no_shortcuts")
def test_a_suspect_is_told_with_its_classes() -> None:
    facts, given = sound()
    found = audit(pictures(facts, given), suspects=[Suspect(1, 1, 0, 0.02, 0.98)])
    assert kinds(found) == {"suspect_labels": "warning"}
    assert lines(found)[-1] == "    dog/1.jpg: cat? (98%)"
    assert found[0].details["suspects"][0]["suggested"] == "cat"


# --- a folder, and the command line ------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, a copy in two of them, a broken picture, a text."""
    root = tmp_path_factory.mktemp("audit") / "data"
    for k, label in enumerate(("cat", "dog", "emu")):
        (root / label).mkdir(parents=True)
        for number in range(10):
            path = root / label / f"{number}.png"
            path.write_bytes(encode(drawn(100 * k + number)))
    (root / "dog" / "9.png").write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "emu" / "broken.png").write_bytes((root / "cat" / "1.png").read_bytes()[:500])
    (root / "emu" / "note.txt").write_text("text")
    return root


def test_a_folder_is_audited_without_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_backbone", lambda *_, **__: pytest.fail("was loaded"))
    seen = []
    found = audit_folder(
        folder,
        FitConfig(),
        cache=tmp_path,
        model=False,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert kinds(found) == {
        "exact_duplicates_across_classes": "error",
        "unreadable": "warning",
        "left_out": "info",
        "few_pictures": "info",
    }
    assert sum(done for done, _ in seen) == seen[0][1] == 31
    assert only(found, "unreadable").names == ("emu/broken.png",)
    # The second time from the cache, and alike.
    assert audit_folder(folder, FitConfig(), cache=tmp_path, model=False) == found


def test_with_a_model_labels_are_doubted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def find(features: Any, classes: Any, groups: Any, **options: Any) -> list[Suspect]:
        asked.update(options, shape=features.shape, groups=len(np.unique(groups)))
        return [Suspect(0, 0, 1, 0.1, 0.9)]

    monkeypatch.setattr(command, "load_backbone", lambda *_, **__: tiny_backbone())
    monkeypatch.setattr(command, "find_suspects", find)
    found = audit_folder(folder, FitConfig(), cache=tmp_path)
    assert only(found, "suspect_labels").names == ("cat/0.png",)
    assert asked["shape"] == (30, TINY_POOLED)
    assert asked["groups"] == 29
    assert asked["count"] == 3


def test_without_weights_the_rest_is_audited(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NoWeights("no weights here.")

    monkeypatch.setattr(command, "load_backbone", fails)
    said: list[str] = []
    found = audit_folder(folder, FitConfig(), cache=tmp_path, say=said.append)
    assert "unreadable" in kinds(found)
    assert said == ["Labels are not checked with a model: no weights here."]


def test_one_group_a_class_cannot_be_checked_with_a_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_backbone", lambda *_, **__: tiny_backbone())
    said: list[str] = []
    audit_folder(
        folder, FitConfig(), cache=tmp_path, group_pattern="(cat|dog|emu)", say=said.append
    )
    assert said[0].startswith("Labels were not checked with a model: ")


def test_bad_input_is_an_error_of_its_own(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBackbone):
        audit_folder(
            folder, dataclasses.replace(FitConfig(), backbone="x"), cache=tmp_path, model=False
        )
    with pytest.raises(TooFewClasses):
        audit_folder(folder / "cat", FitConfig(), cache=tmp_path, model=False)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 0),
        (["--fail-on", "error"], 7),
        (["--fail-on", "warning"], 7),
        (["--fail-on", "info"], 7),
    ],
)
def test_the_command_s_status(
    folder: Path, options: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(folder), "--no-model", *options]) == status
    out = capsys.readouterr().out
    assert out.startswith("1 error:\n  exact_duplicates_across_classes: 1 case of the same file")
    assert "    cat/0.png = dog/9.png\n" in out
    assert "1 warning:\n  unreadable: 1 file" in out


@pytest.mark.parametrize(
    ("level", "fail_on", "status"),
    [
        ("warning", "error", 0),
        ("warning", "warning", 7),
        ("info", "warning", 0),
        ("info", "info", 7),
        (None, "info", 0),
    ],
)
def test_only_the_level_asked_for_fails(
    level: str | None,
    fail_on: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [Finding(level, "kind", "Message.")] if level else []
    monkeypatch.setattr(command, "audit_folder", lambda *_, **__: found)
    assert main(["audit", "data", "--fail-on", fail_on]) == status
    assert ("kind: Message." in capsys.readouterr().out) == bool(found)


def test_the_command_writes_json(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    assert main(["audit", str(folder), "--no-model", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["levels"] == {"error": 1, "warning": 1, "info": 4}
    assert content["findings"][0]["groups"] == [["cat/0.png", "dog/9.png"]]
    assert main(["audit", str(folder), "--no-model", "--json", str(tmp_path / "no" / "f")]) == (
        OutputError.exit_status
    )


def test_options_reach_the_audit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def run(data: Path, config: FitConfig, **options: Any) -> list[Finding]:
        seen.update(options, data=data, config=config)
        options["progress"](1, 2)
        options["say"]("a line")
        return []

    monkeypatch.setattr(command, "audit_folder", run)
    given = {"backbone": "resnet18", "weights": "w", "groups": "g", "cache": "c", "seed": "3"}
    flags = [text for name, value in given.items() for text in (f"--{name}", value)]
    assert main(["audit", "d", "--group-pattern", "(p)", "--no-model", *flags]) == 0
    assert (seen["data"], seen["weights"], seen["groups"]) == (Path("d"), Path("w"), Path("g"))
    assert (seen["group_pattern"], seen["model"], seen["cache"]) == ("(p)", False, Path("c"))
    assert (seen["config"].backbone, seen["config"].seed) == ("resnet18", 3)


def test_a_missing_folder_is_exit_3(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["audit", str(tmp_path / "absent"), "--no-model", "--fail-on", "info"]) == 3
    assert "absent does not exist" in capsys.readouterr().err
