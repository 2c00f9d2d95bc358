"""The report shows what was measured, and nothing in it can do harm."""

import base64
import dataclasses
import functools
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from models.bundle.report_policy import REPORT_POLICY, SCRIPT_HASH
from models.text import percent
from tests.images import draw_class, encode, photograph
from training.audit.label_issues import LabelIssue
from training.config import FitConfig
from training.evaluation.calibration import calibrate, choose_threshold
from training.evaluation.errors import Misclassified
from training.evaluation.head import softmax
from training.evaluation.holdout import EvaluatedSet, holdout_metrics
from training.evaluation.metrics import classification_metrics
from training.evaluation.robustness.corruptions import CORRUPTIONS
from training.evaluation.slices import slice_metrics
from training.report import (
    ReportData,
    formats,
    narrative,
    plots,
    readings,
    render_card,
    render_report,
    sections,
    slices,
)
from training.report.next_steps import next_steps
from training.report.svg import MAX_SERIES
from training.report.thumbnails import Album, activation_uri, shrink
from training.summary import Summary


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


def measured_test(evaluated: EvaluatedSet, labels: list[str]) -> dict[str, Any]:
    return dict(holdout_metrics(evaluated, labels, threshold=0.6, config=CONFIG))


def sliced(correct: Any, classes: Any, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Metrics by slice where every other picture was taken at dusk."""
    light = ["dusk" if index % 2 else "noon" for index in range(len(classes))]
    return slice_metrics(
        correct, classes, np.arange(len(classes)), labels, {"light": light}, config=CONFIG
    )


def damaged(labels: tuple[str, ...], each: int) -> dict[str, Any]:
    """Robustness figures in which blur costs the last class step by step."""

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
            for kind in CORRUPTIONS
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
        if {"style", "script", "template"} & set(tags):
            return
        self.text += data
        for _, name in self._open:
            if name is not None:
                self.inside[name] = self.inside.get(name, "") + data

    def attributes(self, name: str) -> list[str]:
        return [found[name] for _, found in self.elements if name in found]


def make_data(
    count: int = 2,
    each: int = 14,
    *,
    labels: tuple[str, ...] | None = None,
    wrong: int = 3,
    names: list[str] | None = None,
    tests: bool = True,
) -> ReportData:
    """A run on drawn shapes, of which the head misclassifies `wrong`."""
    labels = labels or SHAPES[:count]
    random = np.random.default_rng(count)
    classes = np.repeat(np.arange(count), each).astype(np.int64)
    names = names or [f"{labels[k]}/{index:03}.jpg" for index, k in enumerate(classes)]
    files = [encode(draw_class(SHAPES[k % 3], random), "JPEG", quality=80) for k in classes]
    logits = np.eye(count)[classes] * 4 + random.normal(size=(len(classes), count))
    step = max(1, len(classes) // max(1, wrong))
    for index in range(0, step * wrong, step):
        logits[index] = np.eye(count)[(classes[index] + 1) % count] * (3 + index / 50)
    groups = np.arange(len(classes))
    calibration = calibrate(logits, classes, groups, groups % 5)
    probabilities = softmax(logits / calibration.temperature)
    missed = np.flatnonzero(probabilities.argmax(axis=1) != classes)
    missed = missed[np.argsort(-probabilities[missed].max(axis=1), kind="stable")]
    errors = [
        Misclassified(
            int(index),
            random.normal(size=(3, 3)).astype(np.float32),
            [(int((index + 1) % len(classes)), 0.93), (int((index + 2) % len(classes)), 0.9)],
        )
        for index in missed
    ]
    results = {}
    if tests:
        results["away"] = EvaluatedSet(
            [f"away/{name}" for name in names],
            classes,
            np.roll(probabilities, each // 2, axis=0),
            {"light": ["dusk" if index % 2 else "" for index in range(len(classes))]},
            [],
            lambda index: files[index],
        )
    summary: dict[str, Any] = {
        "labels": list(labels),
        "cross_validation": classification_metrics(
            probabilities, classes, groups, labels, cross_validated=True
        )
        | {"penalties": [0.3]},
        "dataset": {
            "fingerprint": "ab" * 32,
            "pictures": dict.fromkeys(labels, each),
            "groups": len(classes),
            "skipped": 1,
            "corrected": 2,
            "left_out": 3,
        },
        "audit": [
            {
                "level": "info",
                "kind": "size",
                "message": "All are small.",
                "names": [],
                "details": {},
            },
            {
                "level": "error",
                "kind": "two_places",
                "message": "One picture lies in two folders",
                "names": [names[0], "gone.jpg"],
                "details": {"distance": 0.5, "pairs": [["a", "b"]]},
            },
        ],
        "naive_split": classification_metrics(np.eye(count)[classes], classes, groups, labels),
        "calibration": dataclasses.asdict(calibration),
        "decision": dataclasses.asdict(
            choose_threshold(probabilities, classes, groups, target_error=0.01)
        ),
        "learning_curve": {
            "points": [
                {"pictures": 6.0, "mean": 0.7, "low": 0.6, "high": 0.8},
                {"pictures": 22.0, "mean": 0.85, "low": 0.8, "high": 0.9},
            ],
            "gain": 0.02,
            "gain_interval_95": [0.01, 0.03],
            "at_twice": 0.93,
            "outlook": "more",
            "interval_95": [0.9, 0.96],
            "sentence": "More pictures should help.",
        },
        "slices": sliced(probabilities.argmax(axis=1) == classes, classes, labels),
        "robustness": damaged(labels, each),
        "tests": {name: measured_test(it, list(labels)) for name, it in results.items()},
        "backbone": {"name": "tiny", "source": "drawn", "licence": "MIT"},
        "config": {"seed": 0, "penalties": [0.01, 3.0], "nested": {"deep": True}},
        "packages": {"python": "3.11.7", "numpy": "2.4.6"},
        "command": "python -m training shapes",
        "precision": {"published": "fp32", "verdict": "Published in fp32."},
        "familiarity": None,
        "confidence": {},
        "finetuning": None,
    }
    return ReportData(
        summary=cast(Summary, summary),
        names=names,
        classes=classes,
        probabilities=probabilities,
        read=lambda index: files[index],
        errors=errors,
        label_issues=[
            LabelIssue(int(k), int(classes[k]), int(probabilities[k].argmax()), 0.1, 0.9)
            for k in missed[:1]
        ],
        tests=results,
    )


def changed(data: ReportData, **parts: Any) -> ReportData:
    """The same data with other parts of its summary."""
    return dataclasses.replace(data, summary=cast(Summary, {**data.summary, **parts}))


def without_optional_parts(data: ReportData) -> ReportData:
    """A small run without slices, robustness, learning curve or findings."""
    curve: dict[str, Any] = {
        "points": [],
        "gain": None,
        "gain_interval_95": None,
        "at_twice": None,
        "interval_95": None,
        "outlook": "unknown",
        "sentence": "Too few groups for a learning curve.",
    }
    return changed(data, audit=[], slices=[], robustness=None, learning_curve=curve)


VARIANTS: dict[str, Callable[[], ReportData]] = {
    "two": lambda: make_data(2),
    "three": lambda: make_data(3),
    "many": lambda: make_data(26, 2, labels=tuple(f"class {k}" for k in range(26)), wrong=8),
    "flawless": lambda: make_data(2, wrong=0),
    "bare": lambda: without_optional_parts(make_data(2, tests=False)),
}


@functools.cache
def data_of(name: str) -> ReportData:
    return VARIANTS[name]()


@functools.cache
def page_of(name: str) -> str:
    return render_report(data_of(name))


@pytest.mark.parametrize("name", VARIANTS)
def test_page_is_valid_html_and_loads_nothing(name: str) -> None:
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
    assert not tags & {"iframe", "object", "link", "base", "form"}
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"sha256-{digest}" == SCRIPT_HASH
    assert not [key for _, found in page.elements for key in found if key.startswith("on")]
    assert "url(http" not in html
    assert "@import" not in html
    policy = next(found for tag, found in page.elements if tag == "meta" and "content" in found)
    assert policy["content"] == REPORT_POLICY
    assert "None" not in page.text
    assert "Undefined" not in page.text


@pytest.mark.parametrize("name", VARIANTS)
def test_page_headings_skip_no_level_and_pictures_have_alternative_text(name: str) -> None:
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


def test_sentence_on_framing_ends_its_line_of_the_card() -> None:
    made = data_of("two")
    summary: Any = {
        **made.summary,
        "familiarity": {"false_alarms": 0.03},
        "framing": {"sentence": "Framed on faces."},
    }
    card = render_card(dataclasses.replace(made, summary=summary))
    assert " Framed on faces.\n- Out of scope" in card


@pytest.mark.parametrize("name", VARIANTS)
def test_rendering_is_deterministic(name: str) -> None:
    assert render_report(data_of(name)) == page_of(name)
    assert render_card(data_of(name)) == render_card(data_of(name))


@pytest.mark.parametrize("name", ["two", "three", "many", "bare"])
def test_page_shows_every_misclassified_picture_with_its_classes(name: str) -> None:
    data, page = data_of(name), Page(page_of(name))
    assert data.errors
    for error in data.errors:
        assert data.names[error.index] in page.text
        predicted = data.labels[int(data.probabilities[error.index].argmax())]
        true = data.labels[data.classes[error.index]]
        assert f"Is {true}, was taken for {predicted}" in page.text


@pytest.mark.parametrize("name", ["two", "three", "flawless", "bare"])
def test_confusion_matrix_cell_opens_its_pictures(name: str) -> None:
    data, page = data_of(name), Page(page_of(name))
    answers = data.probabilities.argmax(axis=1)
    opened = set(page.attributes("popovertarget"))
    for i in range(len(data.labels)):
        for j in range(len(data.labels)):
            indexs = np.flatnonzero((data.classes == i) & (answers == j))
            assert (f"cell-{i}-{j}" in opened) == (len(indexs) > 0)
            for index, picture in enumerate(data.names):
                if len(indexs):
                    assert (picture in page.inside[f"cell-{i}-{j}"]) == (index in indexs)


@pytest.mark.parametrize("name", ["two", "three", "many", "bare", "flawless"])
def test_headline_gives_measured_accuracy(name: str) -> None:
    found = data_of(name).summary["cross_validation"]
    line = narrative.headline(data_of(name).summary)
    assert line in Page(page_of(name)).text
    low, high = found["next_100_interval_95"]
    assert f"between {low} and {high}" in line
    if high - low > 15:
        assert f"of {found['pictures']} pictures were right when tried" in line
        assert "about" not in line.split("It is")[0]
    elif found["accuracy"] < 1:
        assert f"about {round(found['accuracy'] * 100)} right" in line
    if found["accuracy"] < 1 and len(found["confusion"]) == 2:
        for i, j in ((0, 1), (1, 0)):
            assert f"{found['confusion'][i][j]} of {sum(found['confusion'][i])} “" in line
    elif found["accuracy"] < 1:  # three wrong of 42, eight of 52: too few to name a pair
        assert "too few to say which classes it confuses" in line
    else:
        assert "misclassified none of 28 pictures" in line


HOSTILE = ('<script>alert("1")</script>', "$x_{2}$ & `code` | _y_")
NASTY = ['"><img src=x onerror=alert(2)>.jpg', "a\ud800\x07b\u202e.jpg", "'{{ 7 * 7 }}'.jpg"]


def test_hostile_names_are_escaped() -> None:
    plain = make_data(2)
    names = NASTY + plain.names[len(NASTY) :]
    made = make_data(2, labels=HOSTILE, names=names, wrong=4)
    made.errors.insert(0, Misclassified(1, np.ones((2, 2), np.float32), [(0, 0.9), (2, 0.8)]))
    made.summary["command"] = "train '</code><script>' ```\n# x"
    html = render_report(made)
    page = Page(html)
    html.encode()
    assert not [tag for tag, _ in page.elements if tag in ("img", "em")]
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert NASTY[0] in page.text
    assert NASTY[2] in page.text
    assert "a\ufffd\ufffdb\u202e.jpg" in page.text
    card = render_card(made)
    card.encode()
    assert "<script>alert" not in card
    assert "\\$x\\_{2}\\$ &amp; \\`code\\` \\| \\_y\\_" in card
    assert formats.markdown_text("_y_ of no_mask") == "\\_y\\_ of no_mask"
    assert "````\ntrain" in card


def test_page_embeds_each_picture_once() -> None:
    page = Page(page_of("two"))
    embedded = [found["href"] for tag, found in page.elements if tag == "image"]
    symbols = [found["id"] for tag, found in page.elements if tag == "symbol"]
    used = [found["href"][1:] for tag, found in page.elements if tag == "use"]
    assert len(symbols) < len(used)
    data = data_of("two")
    num_test_images = sum(len(evaluated.names) for evaluated in data.tests.values())
    assert len(embedded) <= len(data.names) + num_test_images + len(data.errors)


def test_page_of_many_pictures_is_under_3_mb() -> None:
    large = make_data(2, 180, wrong=24)
    noise = [encode(photograph(256, 200, seed), "JPEG", quality=90) for seed in range(20)]
    html = render_report(dataclasses.replace(large, read=lambda index: noise[index % 20]))
    assert len(html.encode()) < 3_000_000
    assert "180 pictures, 60 shown" in Page(html).text


def test_page_limits_errors_to_the_most_confident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "MAX_ERRORS", 5)
    many = make_data(2, 20, wrong=0, tests=False)
    flipped = many.probabilities[:, ::-1].copy()
    errors = [Misclassified(k, np.ones((1, 1), np.float32), []) for k in range(len(many.names))]
    page = Page(render_report(dataclasses.replace(many, probabilities=flipped, errors=errors)))
    assert "40 pictures were misclassified" in page.text
    assert "Only the 5 most confident are shown" in page.text
    assert len([found for _, found in page.elements if found.get("class") == "case"]) == 5
    surest = int(flipped.max(axis=1).argmax())
    cell = f"cell-{many.classes[surest]}-{1 - many.classes[surest]}"
    assert many.names[surest] in page.inside[cell]


def test_page_leaves_out_sections_without_content() -> None:
    bare, full = Page(page_of("bare")).text, Page(page_of("two")).text
    for title in ("Separate test sets", "Would more pictures help?", "copes with damaged pictures"):
        assert title in full
        assert title not in bare


STANDARD_TERMS = (
    "accuracy", "balanced accuracy", "precision", "recall", "F1", "ROC AUC",
    "expected calibration error",
)  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_page_and_card_name_the_standard_metrics(name: str) -> None:
    page, card = (
        Page(page_of(name)).text,
        render_card(data_of(name)).replace("Expected", "expected"),
    )
    for term in STANDARD_TERMS:
        assert term in page
        assert term in card
    assert "onfusion matrix" in page
    assert "Number format (int8 or fp32)" in page
    assert "Number format (int8 or fp32)" in card


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    metrics = data_of("three").summary["cross_validation"]
    for row in sections.class_metrics(metrics, data_of("three").labels):
        mean = 2 * row["precision"] * row["recall"] / (row["precision"] + row["recall"])
        assert row["f1"] == pytest.approx(mean)
        assert percent(row["f1"]) in page_of("three")


def test_class_metrics_of_one_class_have_recall_only() -> None:
    metrics = data_of("two").summary["cross_validation"]
    one = metrics | {"confusion": [[3, 1], [0, 0]]}
    (row,) = sections.class_metrics(cast(Any, one), data_of("two").labels)
    assert (row["pictures"], row["precision"], row["f1"]) == (4, None, None)


def test_f1_of_a_class_that_is_never_predicted_is_zero() -> None:
    metrics = {
        "confusion": [[3, 0], [2, 0]],
        "recall": {"bar": 1.0, "disc": 0.0},
        "recall_interval_95": {"bar": [0.5, 1.0], "disc": [0.0, 0.6]},
        "precision": {"bar": 0.6},
        "precision_interval_95": {"bar": [0.2, 0.9]},
    }
    _, disc = sections.class_metrics(cast(Any, metrics), ["bar", "disc"])
    assert (disc["precision"], disc["f1"]) == (None, 0.0)


@pytest.mark.parametrize(
    ("published", "sentence"),
    [
        ("finetuned", "the learning curve are those of the head alone"),
        ("head_only", "The model that is published is the head alone."),
    ],
)
def test_page_and_card_show_finetuning(published: str, sentence: str) -> None:
    data = data_of("two")
    metrics = data.summary["cross_validation"]
    rows = [
        {"epoch": k, "train_loss": 1 / k, "val_loss": 0.5, "train_accuracy": 0.9, "val_accuracy": k}
        for k in (1, 2, 3)
    ]
    tuned = {
        "epochs": rows,
        "verdict": "It did not pay.",
        "head_only": metrics,
        "finetuned": metrics,
        "published": published,
    }
    made = changed(data, finetuning=tuned, precision={"verdict": "int8 it is."})
    text = Page(render_report(made)).text
    for expected in (
        "It did not pay.",
        "Loss by epoch",
        "Accuracy by epoch",
        "Head only",
        sentence,
    ):
        assert expected in text
    assert "It did not pay." in render_card(made)
    assert "int8 it is." in text
    assert "int8 it is." in render_card(made)


def test_slices_are_listed_worst_first() -> None:
    found = data_of("two").summary["slices"]
    page = Page(page_of("two"))
    assert "Is it as good for every kind of picture?" in page.text
    assert slices.gap_sentence(found[0]) in page.text
    assert "2 slices are too small to compare" in page.text  # 14 pictures each, three wrong
    table = page.text[page.text.index("By light") :]
    names = [row["name"] for row in found[0]["slices"]]
    assert table.index(names[0]) < table.index(names[1])
    assert found[0]["slices"][0]["accuracy"] < found[0]["slices"][1]["accuracy"]
    assert f"By light: {slices.gap_sentence(found[0])}" in render_card(data_of("two"))
    without = dataclasses.replace(changed(data_of("two"), slices=[], tests={}), tests={})
    assert "every kind of picture" not in render_report(without)


@pytest.mark.parametrize(
    ("low", "said"), [(0.04, "chance does not explain that"), (-0.01, "that may be chance")]
)
def test_gap_sentence_depends_on_the_interval(low: float, said: str) -> None:
    gap = {"worst": "dusk", "best": "noon", "difference": 0.1}
    found = {"slices": [], "gap": gap | {"difference_interval_95": [low, 0.2]}}
    sentence = slices.gap_sentence(cast(Any, found))
    assert "“dusk” is 10.0 points below “noon”" in sentence
    assert said in sentence


@pytest.mark.parametrize("name", ["two", "three"])
def test_robustness_section_shows_each_corruption_and_names_the_worst(name: str) -> None:
    data = data_of(name)
    page = Page(page_of(name))
    last = data.labels[-1]
    assert "It is hurt most by blur" in page.text
    assert f"25.0% of “{last}” are still found" in page.text
    assert "test set away" in page.text
    assert sum(identity.startswith("h-damage-") for identity in page.attributes("id")) == 8
    assert "hurt most by blur" in render_card(data)
    assert "Hendrycks and Dietterich 2019" in render_card(data)


def test_robustness_plots_draw_only_the_mean_of_many_classes() -> None:
    found = data_of("many").summary["robustness"]
    shown = slices.robustness_card(found)
    assert shown is not None
    assert shown["series"] == []
    assert slices.robustness_card(data_of("two").summary["robustness"])["series"] == ["bar", "disc"]  # type: ignore[index]
    assert slices.robustness_card(None) is None


def test_page_shows_a_placeholder_for_a_deleted_picture() -> None:
    def gone(_: int) -> bytes:
        raise FileNotFoundError

    page = Page(render_report(dataclasses.replace(data_of("bare"), read=gone)))
    assert "path" in {tag for tag, _ in page.elements}
    assert not any(
        found["href"].startswith("data:") and found.get("width") == "112"
        for tag, found in page.elements
        if tag == "image"
    )


# --- pictures ------------------------------------------------------------------------------


def test_shrink_applies_orientation_and_keeps_aspect() -> None:
    upright = photograph(80, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right to be seen upright
    turned = encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    small = shrink(turned, 32)
    assert small.size == (32, 16)
    expected = np.asarray(upright.resize((32, 16), Image.Resampling.BOX), dtype=float)
    assert np.abs(np.asarray(small, dtype=float) - expected).mean() < 12


def test_album_box_is_the_position_in_the_square() -> None:
    album = Album(lambda index: encode(photograph(60, 30)), prefix="x")
    assert album.box(4) == {"x": "0.00", "y": "25.00", "width": "100.00", "height": "50.00"}
    assert [thumbnail.id for thumbnail in album.thumbnails] == ["x4"]


def test_activation_map_is_opaque_where_it_is_highest() -> None:
    def alpha(values: list[list[float]]) -> Any:
        data = base64.b64decode(activation_uri(np.array(values, np.float32)).split(",")[1])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3]

    bright = alpha([[0.0, 0.0], [0.0, 5.0]])
    assert bright[-1, -1] > 150 > bright[0, 0]
    assert alpha([[-1.0, -2.0], [-3.0, -0.5]]).max() == 0


# --- readings ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_each_figure_has_a_sentence_to_read_it(name: str) -> None:
    text = Page(page_of(name)).text
    data = data_of(name)
    figures = 6 + bool(data.summary["learning_curve"]["points"]) + bool(data.summary["robustness"])
    figures += len(data.summary["slices"])
    figures += sum(len(test["slices"]) for test in data.summary["tests"].values())
    assert text.count("Read this as:") == figures


def metrics_of(correct: int, wrong: int, **parts: Any) -> Any:
    classes = np.repeat([0, 1], correct + wrong)
    answers = classes.copy()
    answers[:wrong] = 1
    probabilities = np.where(np.eye(2)[answers] > 0, 0.9, 0.1)
    return (
        classification_metrics(probabilities, classes, np.arange(len(classes)), ["a", "b"]) | parts
    )


def test_readings_of_few_pictures_say_so() -> None:
    few = metrics_of(10, 0)
    assert not readings.can_show_roc(few)
    assert "Too few pictures to tell more closely" in readings.roc(few, ["a", "b"])
    assert readings.can_show_roc(metrics_of(180, 1))
    assert not readings.can_show_roc(metrics_of(180, 1, confusion=[[342, 1], [1, 18]]))
    assert "Too few" not in readings.roc(metrics_of(180, 1), ["a", "b"])
    assert "Too few pictures to tell" in readings.calibration(metrics_of(8, 2))


@pytest.mark.parametrize(
    ("mean_score", "text"),
    [(0.999, "too sure of itself"), (0.5, "more often right than it claims"),
     (0.972, "nothing shows that the two differ")],
)  # fmt: skip
def test_calibration_is_read_from_the_mean_score(mean_score: float, text: str) -> None:
    assert text in readings.calibration(metrics_of(170, 10, mean_score=mean_score))


def test_threshold_of_uneven_classes_holds_in_their_mix() -> None:
    found: Any = data_of("two").summary["decision"] | {"reached": True}
    uneven = metrics_of(9, 0) | {"confusion": [[100, 0], [0, 10]]}
    assert "in the mix of these pictures" in readings.decision(found, uneven)
    assert "mix" not in readings.decision(found, metrics_of(9, 0))


def of_classes(table: list[list[int]]) -> Any:
    classes, answers = [], []
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            classes += [i] * count
            answers += [j] * count
    labels = [f"c{k}" for k in range(len(table))]
    return classification_metrics(
        np.eye(len(table))[answers], np.array(classes), np.arange(len(classes)), labels
    )


def test_headline_names_a_confusion_that_stands_out() -> None:
    table = (np.eye(5, dtype=int) * 50).tolist()
    table[1][3] = 9
    metrics = of_classes(table)
    line = narrative.headline(summary_with(cross_validation=metrics, labels=list("abcde")))
    assert "most often wrong about “b” pictures that it takes for “d” (9 of 59)" in line
    assert not narrative.stands_out(2, 43, 30 * 29)
    assert narrative.stands_out(6, 43, 30 * 29)


def test_weakest_class_is_named_only_beyond_chance() -> None:
    table = (np.eye(30, dtype=int) * 11).tolist()
    for k in range(30):
        table[k][(k + 1) % 30] = 1
    table[4][4], table[4][5] = 9, 3  # the lowest of 30 classes, as chance makes it
    assert narrative.weakest_class(of_classes(table)) is None
    assert "may be chance: the lowest of 30" in readings.classes(of_classes(table))
    table[4][4], table[4][5] = 4, 8
    assert narrative.weakest_class(of_classes(table)) == "c4"
    assert "clearly less often than the classes on average" in readings.classes(of_classes(table))


def test_classes_differ_only_beyond_chance() -> None:
    assert "that may be chance" in readings.classes(metrics_of(178, 2))
    assert "clearly less often than “b”" in readings.classes(metrics_of(130, 50))
    assert readings.classes(metrics_of(9, 0)) == "all classes are found equally often."


def test_learning_curve_is_drawn_only_where_it_shows_anything() -> None:
    curve: Any = data_of("two").summary["learning_curve"]
    assert readings.can_show_learning_curve(curve)
    assert "still climbs" in readings.learning(curve)
    assert "is flat at its end" in readings.learning(curve | {"outlook": "same"})
    assert "Too few pictures to tell if the line climbs" in readings.learning(
        curve | {"outlook": "unknown"}
    )
    wide = {"pictures": 20.0, "mean": 0.9, "low": 0.7, "high": 1.0}
    assert "no curve is drawn" in readings.learning(curve | {"points": [wide]})
    html = render_report(changed(data_of("two"), learning_curve=curve | {"points": [wide]}))
    assert "training pictures</text>" not in html
    assert "no curve is drawn" in html


def test_reliability_bins_are_merged_until_they_show_something() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1.0, 200)
    probabilities = np.column_stack([confidence, 1 - confidence])
    classes = (random.random(200) > confidence).astype(np.int64)
    bins = plots.merged_reliability(probabilities, classes, weight=1.0)
    assert all(pictures >= 15 for _, _, pictures in bins)
    assert sum(pictures for _, _, pictures in bins) == pytest.approx(200)
    assert len(plots.merged_reliability(probabilities, classes, weight=0.2)) == 2
    assert plots.merged_reliability(probabilities[:20], classes[:20], weight=1.0) == []


# --- label issues --------------------------------------------------------------------------


def test_label_issues_offer_rows_of_labels_csv_and_keep_those_there() -> None:
    made = make_data(2, labels=("no_mask", "with_mask"))
    decided = {"no_mask/a,b.jpg": "with_mask", "gone.jpg": None}
    html = render_report(dataclasses.replace(made, decided=decided))
    page = Page(html)
    (issue,) = made.label_issues
    assert made.names[issue.index] in page.attributes("data-file")
    values = [found["value"] for tag, found in page.elements if tag == "input" and "value" in found]
    assert values == [made.labels[issue.suggested], made.labels[issue.given], "-", ""]
    kept = re.search(r'<template id="labels-kept">(.*?)</template>', html, re.DOTALL)
    assert kept
    assert json.loads(unescape(kept[1])) == [
        ["no_mask/a,b.jpg", "with_mask"], ["gone.jpg", "-"],
    ]  # fmt: skip
    assert "The 2 rows of the present labels.csv are in it." in page.text


def test_class_names_are_written_as_their_folders() -> None:
    made = make_data(2, labels=("no_mask", "with_mask"))
    for text in (Page(render_report(made)).text, render_card(made)):
        assert "no_mask" in text
        assert "no mask" not in text


def test_label_issues_have_one_name() -> None:
    data = data_of("two")
    finding = {
        "level": "warning",
        "kind": "suspect_labels",
        "message": "Look.",
        "names": [],
        "details": {"disagreements": 3, "expected_disagreements": 1.2},
    }
    text = Page(render_report(changed(data, audit=[finding]))).text
    assert "Warning: label issues." in text
    assert "suspect" not in text
    assert "doubtful" not in text


# --- plots ---------------------------------------------------------------------------------


def test_plots_do_not_change_matplotlib_settings() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    data = data_of("three")
    chosen = plots.hardest_classes(data.probabilities, data.classes)
    svg = plots.roc(data.probabilities, data.classes, chosen, name="x")
    assert dict(mpl.rcParams) == before
    assert "var(--series-2)" in svg
    assert "#0" not in svg.replace('"#', "")


def test_roc_plot_has_at_most_max_series_curves() -> None:
    data = data_of("many")
    assert len(plots.hardest_classes(data.probabilities, data.classes)) == MAX_SERIES


# --- words ---------------------------------------------------------------------------------


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
def test_hundred_of_a_share(share: float, text: str) -> None:
    assert formats.hundred(share) == text


def summary_with(**parts: Any) -> Summary:
    return changed(data_of("two"), **parts).summary


def test_caveats_name_what_is_wrong() -> None:
    good: Any = data_of("two").summary
    away = good["tests"]["away"] | {"accuracy": 0.3, "accuracy_interval_95": [0.2, 0.4]}
    text = " ".join(narrative.caveats(summary_with(tests={"away": away})))
    for expected in ("range is wide", "plain random split", "clearly worse", "uncertain"):
        assert expected in text
    untested = " ".join(narrative.caveats(summary_with(tests={})))
    assert "how much has not been measured" in untested
    uneven = good["cross_validation"] | {"accuracy": 0.95, "balanced_accuracy": 0.8}
    caveats = " ".join(narrative.caveats(summary_with(cross_validation=uneven)))
    assert "every class came equally often" in caveats


def test_headline_of_uneven_classes_leads_with_balanced_accuracy() -> None:
    classes = np.repeat([0, 1], [400, 20])
    answers = classes.copy()
    answers[400:410] = 0
    metrics = classification_metrics(
        np.eye(2)[answers], classes, np.arange(420), ["bar", "disc"], cross_validated=True
    )
    summary = summary_with(cross_validation=metrics | {"penalties": [0.3]})
    line = narrative.headline(summary)
    assert line.startswith("If every class came equally often, about 75 of 100 would be right")
    assert "always answering “bar” would get about 95 right" in line
    assert "Of 100 new pictures in the mix of these" in line
    assert "every class came equally often" not in " ".join(narrative.caveats(summary))


@pytest.mark.parametrize("reached", [True, False])
def test_threshold_is_promised_with_its_confidence(reached: bool) -> None:
    good: Any = data_of("two").summary
    decision = good["decision"] | {"reached": reached, "target_error": 0.01}
    text = " ".join(narrative.caveats(summary_with(decision=decision)))
    if reached:
        assert "the target is met, with 95% confidence: no more than 1.0% are wrong" in text
    else:
        assert "too few pictures to show with 95% confidence that the target is met" in text


def test_next_steps_follow_from_the_findings() -> None:
    good: Any = data_of("two").summary

    def steps_with(num_label_issues: int = 0, **parts: Any) -> list[str]:
        return next_steps(summary_with(**parts), num_label_issues)

    steps = steps_with(2)
    assert steps[0] == "Mend this first: One picture lies in two folders."
    assert "2 pictures whose label the model disagrees with" in steps[1]
    assert any("Collect more pictures of every class" in step for step in steps)
    quiet = {
        "audit": [],
        "learning_curve": good["learning_curve"] | {"at_twice": None},
        "decision": good["decision"] | {"reached": True},
    }
    assert 2 <= len(steps_with(**quiet)) <= len(steps) <= 5
    flat = good["learning_curve"] | {"outlook": "same"}
    assert any("would hardly help" in step for step in steps_with(learning_curve=flat))
    unknown = good["learning_curve"] | {"outlook": "unknown"}
    assert any("does not show" in step for step in steps_with(learning_curve=unknown))
    lopsided = good["dataset"] | {"pictures": {"a": 100, "b": 10}}
    even = good["cross_validation"] | {"recall": {"a": 0.9, "b": 0.9}, "balanced_accuracy": 0.9}
    steps = steps_with(dataset=lopsided, cross_validation=even)
    assert any("“b”: it has 10" in step for step in steps)
    weak = of_classes([[198, 2], [80, 120]])
    weak |= {"recall": {"a": 0.99, "b": 0.6}}
    assert any("Add pictures of “b”" in step for step in steps_with(cross_validation=weak))
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
    worse = steps_with(tests={"away": away}, audit=[])
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
def test_card_has_the_headings_of_mitchell(name: str) -> None:
    card = render_card(data_of(name))
    assert tuple(re.findall("^## (.+)$", card, re.MULTILINE)) == HEADINGS
    assert "None" not in card
    assert "Undefined" not in card
    assert card.endswith("\n")
    for row in re.findall(r"^\|.*$", card, re.MULTILINE):
        assert row.endswith("|")


def test_card_shows_the_measured_metrics() -> None:
    data = data_of("three")
    card, found = render_card(data), data.summary["cross_validation"]
    for label in data.labels:
        assert f"| {label} | 14 | {percent(found['recall'][label])} |" in card
    assert f"- Right (accuracy): {percent(found['accuracy'])} (" in card
    wrong = int((data.probabilities.argmax(axis=1) != data.classes).sum())
    assert f"- Misclassified: {wrong} of 42" in card


def test_templates_are_package_data() -> None:
    folder = Path(plots.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} >= {
        "report.html.j2",
        "report.css",
        "card.md.j2",
    }
