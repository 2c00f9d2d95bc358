"""The report: what it says is what was measured, and nothing in it can do harm."""

import dataclasses
import functools
import io
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.images import draw_class, encode, photograph
from training import report
from training.config import FitConfig
from training.evaluation import cross_validation
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.corruptions import LADDER
from training.evaluation.head import softmax
from training.evaluation.holdout import Judged, figures
from training.evaluation.slices import by_slice
from training.report import (
    ErrorCase,
    Material,
    SuspectCase,
    narrative,
    plots,
    render,
    render_card,
    render_report,
    sections,
    slices,
)
from training.report.svg import SERIES
from training.report.thumbnails import Album, activation_uri, shrink


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Small pictures only wait for torch's other threads where cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


CONFIG = dataclasses.replace(FitConfig(), draws=2000)
SHAPES = ("bar", "disc", "triangle")
VOID = {"meta", "link", "br", "hr", "img", "input", "wbr", "image", "use", "path", "rect"}


def measured(*arguments: Any) -> dict[str, Any]:
    """`cross_validation.summarise`, with a bootstrap that does not take its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "_AUC_DRAWS", 2)
        return cross_validation.summarise(*arguments, config=CONFIG)


def measured_test(judged: Judged, labels: list[str]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "_AUC_DRAWS", 2)
        return figures(judged, labels, threshold=0.6, config=CONFIG)


def sliced(right: Any, classes: Any, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Figures by slice where every other picture was taken at dusk."""
    light = ["dusk" if place % 2 else "noon" for place in range(len(classes))]
    return by_slice(
        right, classes, np.arange(len(classes)), labels, {"light": light}, config=CONFIG
    )


def damaged(labels: tuple[str, ...], each: int) -> dict[str, Any]:
    """A robustness card on which the last class is lost step by step."""

    def row(lost: float) -> dict[str, Any]:
        recall = dict.fromkeys(labels, 1.0) | {labels[-1]: 1.0 - lost}
        mean = sum(recall.values()) / len(recall)
        return {
            "balanced_accuracy": mean,
            "balanced_accuracy_interval_95": [mean - 0.05, min(1.0, mean + 0.05)],
            "recall": recall,
            "recall_interval_95": {label: [0.0, 1.0] for label in labels},
        }

    return {
        "judged": "test set away",
        "pictures": dict.fromkeys(labels, each),
        "undamaged": row(0.0),
        "corruptions": [
            {
                "name": kind.name,
                "unit": kind.unit,
                "rows": [
                    {"step": step} | row(0.15 * (at + 1) if kind.name == "blur" else 0.0)
                    for at, step in enumerate(kind.steps)
                ],
            }
            for kind in LADDER
        ],
        "mean": 0.97,
    }


class Page(HTMLParser):
    """A page's elements, text, ids and the text inside each popover; complains of bad nesting."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.inside: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append((tag, found.get("id") if "popover" in found else None))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open
            assert self._open.pop()[0] == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self._open]
        if "style" in tags:
            return
        self.text += data
        for _, name in self._open:
            if name is not None:
                self.inside[name] = self.inside.get(name, "") + data

    def attributes(self, name: str) -> list[str]:
        return [found[name] for _, found in self.elements if name in found]


def make_material(
    count: int = 2,
    each: int = 14,
    *,
    labels: tuple[str, ...] | None = None,
    wrong: int = 3,
    names: list[str] | None = None,
    keys: bool = True,
    tests: bool = True,
) -> Material:
    """A run on drawn shapes, of which the head misjudges the first `wrong`."""
    labels = labels or SHAPES[:count]
    random = np.random.default_rng(count)
    classes = np.repeat(np.arange(count), each).astype(np.int64)
    names = names or [f"{labels[k]}/{place:03}.jpg" for place, k in enumerate(classes)]
    files = [encode(draw_class(SHAPES[k % 3], random), "JPEG", quality=80) for k in classes]
    logits = np.eye(count)[classes] * 4 + random.normal(size=(len(classes), count))
    step = max(1, len(classes) // max(1, wrong))
    for place in range(0, step * wrong, step):
        logits[place] = np.eye(count)[(classes[place] + 1) % count] * (3 + place / 50)
    calibration = calibrate(logits, classes)
    probabilities = softmax(logits / calibration.temperature)
    groups = np.arange(len(classes))
    missed = np.flatnonzero(probabilities.argmax(axis=1) != classes)
    missed = missed[np.argsort(-probabilities[missed].max(axis=1), kind="stable")]
    errors = [
        ErrorCase(
            int(place),
            random.normal(size=(3, 3)).astype(np.float32),
            [(int((place + 1) % len(classes)), 0.93), (int((place + 2) % len(classes)), 0.9)],
        )
        for place in missed
    ]
    cases = []
    if tests:
        judged = Judged(
            [f"away/{name}" for name in names],
            classes,
            np.roll(probabilities, each // 2, axis=0),
            {"light": ["dusk" if place % 2 else "" for place in range(len(classes))]},
            [],
        )
        cases.append(report.TestCase("away", judged, lambda place: files[place]))
    summary: dict[str, Any] = {
        "labels": list(labels),
        "cross_validation": measured(probabilities, classes, groups, labels),
    }
    if keys:
        summary |= {
            "headline": None,
            "dataset": {
                "fingerprint": "ab" * 32,
                "pictures": dict.fromkeys(labels, each),
                "groups": len(classes),
                "skipped": 1,
                "corrected": 2,
                "left_out": 3,
            },
            "audit": [
                {"level": "info", "kind": "size", "message": "All are small.", "names": []},
                {
                    "level": "error",
                    "kind": "two_places",
                    "message": "One picture lies in two folders",
                    "names": [names[0], "gone.jpg"],
                    "details": {"distance": 0.5, "pairs": [["a", "b"]]},
                },
            ],
            "naive_split": measured(np.eye(count)[classes], classes, groups, labels),
            "calibration": calibration.as_dict(),
            "decision": choose_threshold(probabilities, classes, target_error=0.01).as_dict(),
            "learning_curve": {
                "points": [
                    {"pictures": 6.0, "mean": 0.7, "low": 0.6, "high": 0.8},
                    {"pictures": 22.0, "mean": 0.85, "low": 0.8, "high": 0.9},
                ],
                "at_twice": 0.93,
                "outlook": "more",
                "interval_95": [0.9, 0.96],
                "sentence": "More pictures should help.",
            },
            "slices": sliced(probabilities.argmax(axis=1) == classes, classes, labels),
            "robustness": damaged(labels, each),
            "tests": {case.name: measured_test(case.judged, list(labels)) for case in cases},
            "backbone": {"name": "tiny", "source": "drawn", "licence": "MIT"},
            "config": {"seed": 0, "penalties": [0.01, 3.0], "nested": {"deep": True}},
            "packages": {"python": "3.11.7", "numpy": "2.4.6"},
            "command": "python -m training shapes",
            "seconds": {"features": 1.25},
            "precision": None,
            "finetuning": None,
        }
    return Material(
        summary=summary,
        labels=labels,
        names=names,
        classes=classes,
        probabilities=probabilities,
        picture=lambda place: files[place],
        errors=errors,
        suspects=[SuspectCase(int(missed[0]), int(probabilities[missed[0]].argmax()))]
        if len(missed)
        else [],
        tests=cases,
    )


VARIANTS: dict[str, Callable[[], Material]] = {
    "two": lambda: make_material(2),
    "three": lambda: make_material(3),
    "many": lambda: make_material(26, 2, labels=tuple(f"class {k}" for k in range(26)), wrong=8),
    "flawless": lambda: make_material(2, wrong=0),
    "bare": lambda: make_material(2, keys=False, tests=False),
    "unknown": lambda: dataclasses.replace(make_material(2, tests=False), summary={}),
}


@functools.cache
def material_of(name: str) -> Material:
    return VARIANTS[name]()


@functools.cache
def page_of(name: str) -> str:
    return render_report(material_of(name))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_page_is_sound_and_loads_nothing(name: str) -> None:
    html = page_of(name)
    page = Page(html)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for what in ("src", "href"):
        for target in page.attributes(what):
            assert target.startswith(("data:image/webp;base64,", "#")), target
            if target.startswith("#"):
                assert target[1:] in ids, target
    for reference in page.attributes("aria-labelledby") + page.attributes("popovertarget"):
        assert reference in ids
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "link", "base", "form"}
    assert not [key for _, found in page.elements for key in found if key.startswith("on")]
    assert "url(http" not in html
    assert "@import" not in html
    policy = next(found for tag, found in page.elements if tag == "meta" and "content" in found)
    assert policy["content"].startswith("default-src 'none'")
    assert "None" not in page.text
    assert "Undefined" not in page.text


@pytest.mark.parametrize("name", VARIANTS)
def test_headings_do_not_skip_a_level_and_pictures_have_a_text(name: str) -> None:
    page = Page(page_of(name))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    for tag, found in page.elements:
        if tag == "svg":
            assert found.get("aria-hidden") == "true" or found.get("aria-label")
        if tag == "th":
            assert found.get("scope")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_material_gives_the_same_bytes(name: str) -> None:
    assert render_report(material_of(name)) == page_of(name)
    assert render_card(material_of(name)) == render_card(material_of(name))


@pytest.mark.parametrize("name", ["two", "three", "many", "bare"])
def test_every_misjudged_picture_is_shown_with_its_classes(name: str) -> None:
    material, page = material_of(name), Page(page_of(name))
    assert material.errors
    for case in material.errors:
        assert material.names[case.place] in page.text
        answer = material.labels[int(material.probabilities[case.place].argmax())]
        assert f"Is {material.labels[material.classes[case.place]]}, was taken for {answer}" in (
            page.text
        )


@pytest.mark.parametrize("name", ["two", "three", "flawless", "bare"])
def test_a_cell_of_the_confusion_matrix_opens_its_pictures(name: str) -> None:
    material, page = material_of(name), Page(page_of(name))
    answers = material.probabilities.argmax(axis=1)
    opened = set(page.attributes("popovertarget"))
    for i in range(len(material.labels)):
        for j in range(len(material.labels)):
            places = np.flatnonzero((material.classes == i) & (answers == j))
            assert (f"cell-{i}-{j}" in opened) == (len(places) > 0)
            for place, picture in enumerate(material.names):
                if len(places):
                    assert (picture in page.inside[f"cell-{i}-{j}"]) == (place in places)


@pytest.mark.parametrize("name", ["two", "three", "many", "bare", "flawless"])
def test_the_headline_says_what_was_measured(name: str) -> None:
    found = material_of(name).summary["cross_validation"]
    line = narrative.headline(material_of(name).summary)
    assert line in Page(page_of(name)).text
    low, high = found["accuracy_interval_95"]
    assert f"(between {round(low * 100)} and {round(high * 100)})" in line
    if found["accuracy"] < 1:
        assert f"about {round(found['accuracy'] * 100)} right" in line
        i, j = narrative.worst_cell(found["confusion"]) or (0, 0)
        assert f"({found['confusion'][i][j]} of {sum(found['confusion'][i])})" in line
    else:
        assert "misjudged none of 28 pictures" in line


def test_a_headline_that_is_given_is_taken() -> None:
    material = material_of("two")
    given = dataclasses.replace(
        material, summary=material.summary | {"headline": "It tells <em>shapes</em>."}
    )
    assert "It tells &lt;em&gt;shapes&lt;/em&gt;." in render_report(given)


HOSTILE = ('<script>alert("1")</script>', "$x_{2}$ & `code` | _y_")
NASTY = ['"><img src=x onerror=alert(2)>.jpg', "a\ud800\x07b\u202e.jpg", "'{{ 7 * 7 }}'.jpg"]


def test_hostile_names_are_only_text() -> None:
    plain = make_material(2)
    names = NASTY + plain.names[len(NASTY) :]
    made = make_material(2, labels=HOSTILE, names=names, wrong=4)
    made.errors.insert(0, ErrorCase(1, np.ones((2, 2), np.float32), [(0, 0.9), (2, 0.8)]))
    made.summary["command"] = "train '</code><script>' ```\n# x"
    html = render_report(made)
    page = Page(html)
    html.encode()
    assert not [tag for tag, _ in page.elements if tag in ("script", "img", "em")]
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert NASTY[0] in page.text
    assert NASTY[2] in page.text
    assert "a\ufffd\ufffdb\u202e.jpg" in page.text
    card = render_card(made)
    card.encode()
    assert "<script>alert" not in card
    assert "\\$x\\_{2}\\$ &amp; \\`code\\` \\| \\_y\\_" in card
    assert "````\ntrain" in card


def test_pictures_are_embedded_once() -> None:
    page = Page(page_of("two"))
    embedded = [found["href"] for tag, found in page.elements if tag == "image"]
    symbols = [found["id"] for tag, found in page.elements if tag == "symbol"]
    used = [found["href"][1:] for tag, found in page.elements if tag == "use"]
    assert len(symbols) < len(used)
    material = material_of("two")
    wrong = sum(case.judged.classes.size for case in material.tests)
    assert len(embedded) <= len(material.names) + wrong + len(material.errors)


def test_a_full_report_is_small() -> None:
    large = make_material(2, 180, wrong=24)
    noise = [encode(photograph(256, 200, seed), "JPEG", quality=90) for seed in range(20)]
    html = render_report(dataclasses.replace(large, picture=lambda place: noise[place % 20]))
    assert len(html.encode()) < 3_000_000
    assert "120 more pictures of this class are not shown." in Page(html).text


def test_of_very_many_mistakes_the_surest_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MOST_ERRORS", 5)
    many = make_material(2, 20, wrong=0, keys=False, tests=False)
    flipped = many.probabilities[:, ::-1].copy()
    errors = [ErrorCase(k, np.ones((1, 1), np.float32), []) for k in range(len(many.names))]
    page = Page(render_report(dataclasses.replace(many, probabilities=flipped, errors=errors)))
    assert "40 pictures were misjudged" in page.text
    assert "Only the 5 surest are shown" in page.text
    assert len([found for _, found in page.elements if found.get("class") == "case"]) == 5
    surest = int(flipped.max(axis=1).argmax())
    cell = f"cell-{many.classes[surest]}-{1 - many.classes[surest]}"
    assert many.names[surest] in page.inside[cell]


def test_what_is_missing_is_left_out() -> None:
    bare, full = Page(page_of("bare")).text, Page(page_of("two")).text
    for words_of_section in ("Separate test sets", "Would more pictures help?", "pip install"):
        assert words_of_section in full
        assert words_of_section not in bare
    assert "has not been measured" in Page(page_of("unknown")).text


def test_any_key_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_plots", lambda material: {})  # they take the time
    monkeypatch.setattr(Album, "show", lambda album, place: f"p{place}")
    monkeypatch.setattr(Album, "box", lambda album, place: {})
    material = material_of("two")
    for key in material.summary:
        part = {name: value for name, value in material.summary.items() if name != key}
        for summary in (part, part | {key: None}):
            without = dataclasses.replace(material, summary=summary)
            assert "Model card" in render_card(without)
            Page(render_report(without))


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ("finetuned", "the learning curve are those of the head alone"),
        ("head_only", "The model that is published is the head alone."),
    ],
)
def test_fine_tuning_is_shown(published: str, said: str) -> None:
    material = material_of("two")
    figures_of = material.summary["cross_validation"]
    rows = [
        {"epoch": k, "train_loss": 1 / k, "val_loss": 0.5, "train_accuracy": 0.9, "val_accuracy": k}
        for k in (1, 2, 3)
    ]
    tuned = {
        "epochs": rows,
        "verdict": "It did not pay.",
        "head_only": figures_of,
        "finetuned": figures_of,
        "published": published,
    }
    summary = material.summary | {"finetuning": tuned, "precision": {"verdict": "int8 it is."}}
    made = dataclasses.replace(material, summary=summary)
    text = Page(render_report(made)).text
    for expected in ("It did not pay.", "Loss by epoch", "Share right by epoch", "Head only", said):
        assert expected in text
    assert "It did not pay." in render_card(made)
    assert "int8 it is." in text
    assert "int8 it is." in render_card(made)


def test_slices_are_told_apart_the_worst_first() -> None:
    found = material_of("two").summary["slices"]
    page = Page(page_of("two"))
    assert "Is it as good for every kind of picture?" in page.text
    assert slices.gap_sentence(found[0]) in page.text
    assert "2 slices are too small to tell" in page.text  # 14 pictures each, three wrong
    table = page.text[page.text.index("By light") :]
    names = [row["name"] for row in found[0]["slices"]]
    assert table.index(names[0]) < table.index(names[1])
    assert found[0]["slices"][0]["accuracy"] < found[0]["slices"][1]["accuracy"]
    assert f"By light: {slices.gap_sentence(found[0])}" in render_card(material_of("two"))
    without = dataclasses.replace(
        material_of("two"), summary=material_of("two").summary | {"slices": []}, tests=[]
    )
    assert "every kind of picture" not in render_report(without)


@pytest.mark.parametrize(
    ("low", "said"), [(0.04, "that is no chance"), (-0.01, "that may be chance")]
)
def test_a_gap_is_only_called_one_if_chance_does_not_explain_it(low: float, said: str) -> None:
    gap = {"worst": "dusk", "best": "noon", "difference": 0.1}
    found = {"slices": [], "gap": gap | {"difference_interval_95": [low, 0.2]}}
    sentence = slices.gap_sentence(found)
    assert "“dusk” is 10.0 points below “noon”" in sentence
    assert said in sentence


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_robustness_card_shows_each_kind_and_names_the_worst(name: str) -> None:
    material = material_of(name)
    page = Page(page_of(name))
    last = material.labels[-1]
    assert "It is hurt most by blur" in page.text
    assert f"25.0% of “{last}” are still found" in page.text
    assert "test set away" in page.text
    assert sum(identity.startswith("h-damage-") for identity in page.attributes("id")) == 8
    assert "hurt most by blur" in render_card(material)
    assert "Hendrycks and Dietterich 2019" in render_card(material)


def test_of_more_classes_than_colours_the_card_draws_the_mean_alone() -> None:
    found = material_of("many").summary["robustness"]
    shown = slices.robustness(found)
    assert shown is not None
    assert shown["series"] == []
    assert slices.robustness(material_of("two").summary["robustness"])["series"] == ["bar", "disc"]  # type: ignore[index]
    assert slices.robustness(None) is None


def test_a_picture_that_is_gone_leaves_a_gap() -> None:
    def gone(_: int) -> bytes:
        raise FileNotFoundError

    page = Page(render_report(dataclasses.replace(material_of("bare"), picture=gone)))
    assert "path" in {tag for tag, _ in page.elements}
    assert not any(
        found["href"].startswith("data:") and found.get("width") == "112"
        for tag, found in page.elements
        if tag == "image"
    )


# --- pictures ------------------------------------------------------------------------------


def test_thumbnails_stand_upright_and_keep_their_aspect() -> None:
    upright = photograph(80, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right to be seen upright
    turned = encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    small = shrink(turned, 32)
    assert small.size == (32, 16)
    expected = np.asarray(upright.resize((32, 16), Image.Resampling.BOX), dtype=float)
    assert np.abs(np.asarray(small, dtype=float) - expected).mean() < 12


def test_an_album_says_where_a_picture_lies_in_its_square() -> None:
    album = Album(lambda place: encode(photograph(60, 30)), prefix="x")
    assert album.box(4) == {"x": "0.00", "y": "25.00", "width": "100.00", "height": "50.00"}
    assert [thumbnail.id for thumbnail in album.thumbnails] == ["x4"]


def test_an_activation_map_glows_where_it_is_highest() -> None:
    import base64

    def alpha(values: list[list[float]]) -> Any:
        data = base64.b64decode(activation_uri(np.array(values, np.float32)).split(",")[1])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3]

    lit = alpha([[0.0, 0.0], [0.0, 5.0]])
    assert lit[-1, -1] > 150 > lit[0, 0]
    assert alpha([[-1.0, -2.0], [-3.0, -0.5]]).max() == 0


# --- plots ---------------------------------------------------------------------------------


def test_plots_leave_matplotlib_as_it_was() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    material = material_of("three")
    chosen = plots.hardest(material.probabilities, material.classes)
    svg = plots.roc(material.probabilities, material.classes, chosen, name="x")
    assert dict(mpl.rcParams) == before
    assert "var(--series-2)" in svg
    assert "#0" not in svg.replace('"#', "")


def test_no_more_curves_than_colours() -> None:
    material = material_of("many")
    assert len(plots.hardest(material.probabilities, material.classes)) == SERIES


# --- words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100%"),
        (0.9999, ">99.9%"),
        (0.0, "0%"),
        (1e-6, "<0.1%"),
        (0.956, "95.6%"),
        (None, "–"),
    ],
)
def test_shares_are_never_rounded_to_all_or_none(share: float | None, text: str) -> None:
    assert narrative.percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "all"),
        (0.997, "more than 99"),
        (0.0, "none"),
        (0.001, "fewer than 1"),
        (0.5, "about 50"),
    ],
)
def test_shares_of_a_hundred(share: float, text: str) -> None:
    assert narrative.hundred(share) == text


def test_caveats_name_what_is_wrong() -> None:
    good = material_of("two").summary
    away = good["tests"]["away"] | {"accuracy": 0.3, "accuracy_interval_95": [0.2, 0.4]}
    summary = good | {"tests": {"away": away}}
    text = " ".join(narrative.caveats(summary))
    for expected in ("range is wide", "plain random split", "clearly worse", "uncertain"):
        assert expected in text
    assert "how much worse has not been measured" in " ".join(
        narrative.caveats(good | {"tests": {}})
    )
    uneven = good["cross_validation"] | {"accuracy": 0.95, "balanced_accuracy": 0.8}
    assert "every class came equally often" in " ".join(
        narrative.caveats(good | {"cross_validation": uneven})
    )


def test_what_to_do_next_follows_from_the_findings() -> None:
    good = material_of("two").summary
    steps = narrative.next_steps(good, suspects=2)
    assert steps[0] == "Mend this first: One picture lies in two folders."
    assert "2 pictures whose label may be wrong" in steps[1]
    assert any("Collect more pictures of every class" in step for step in steps)
    assert 2 <= len(narrative.next_steps({}, suspects=0)) <= len(steps) <= 5
    flat = good["learning_curve"] | {"outlook": "same"}
    assert any(
        "would hardly help" in step for step in narrative.next_steps({"learning_curve": flat}, 0)
    )
    open_end = flat | {"outlook": "unknown"}
    assert any(
        "cannot be told" in step for step in narrative.next_steps({"learning_curve": open_end}, 0)
    )
    lopsided = {"dataset": {"pictures": {"a": 100, "b": 10}}, "cross_validation": {"recall": {}}}
    assert any("“b”: it has 10" in step for step in narrative.next_steps(lopsided, 0))
    weak = {"recall": {"a": 0.99, "b": 0.6}, "balanced_accuracy": 0.8}
    assert any(
        "Add pictures of “b”" in step
        for step in narrative.next_steps({"cross_validation": weak}, 0)
    )
    away = good["tests"]["away"] | {
        "accuracy": 0.3,
        "accuracy_interval_95": [0.2, 0.4],
        "slices": [
            {
                "attribute": "light",
                "slices": [
                    {"name": "dusk", "pictures": 4, "right": 1, "accuracy": 0.25},
                    {"name": "noon", "pictures": 3, "right": 3, "accuracy": 1.0},
                ],
            }
        ],
    }
    worse = narrative.next_steps(good | {"tests": {"away": away}, "audit": None}, 0)
    assert "above all of “dusk” (1 of 4 right)" in worse[0]


# --- card ----------------------------------------------------------------------------------

HEADINGS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_card_has_the_usual_headings(name: str) -> None:
    card = render_card(material_of(name))
    assert tuple(re.findall("^## (.+)$", card, re.MULTILINE)) == HEADINGS
    assert "None" not in card
    assert "Undefined" not in card
    assert card.endswith("\n")
    for row in re.findall(r"^\|.*$", card, re.MULTILINE):
        assert row.endswith("|")


def test_the_card_s_figures_are_those_measured() -> None:
    material = material_of("three")
    card, found = render_card(material), material.summary["cross_validation"]
    for label in material.labels:
        assert f"| {label} | 14 | {narrative.percent(found['recall'][label])} |" in card
    assert f"- Accuracy: {narrative.percent(found['accuracy'])} (" in card
    wrong = int((material.probabilities.argmax(axis=1) != material.classes).sum())
    assert f"- Misjudged: {wrong} of 42" in card


def test_the_templates_travel_with_the_package() -> None:
    folder = Path(plots.__file__).parent
    assert {path.name for path in folder.iterdir()} >= {
        "report.html.j2",
        "report.css",
        "card.md.j2",
    }
