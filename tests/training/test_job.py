"""The job from end to end: a folder of drawn shapes in, a bundle out, with the real backbone."""

import dataclasses
import hashlib
import json
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import fsync
from models.bundle.files import CARD, MODEL, REPORT
from models.bundle.load import Bundle, answer, open_bundle
from models.bundle.manifest import PrecisionFacts
from models.bundle.out_of_fold import OUT_OF_FOLD, read_answers
from models.bundle.signing import generate_keys
from models.bundle.store import current_version, versions
from models.errors import BundleUntrusted, GoldenMismatch, KeyUnusable
from models.imaging.decode import DECODER, decode_image
from tests.images import DrawData, encode, photograph
from tests.process.disks import small_disk
from training.__main__ import build_parser
from training.config import FitConfig
from training.data.cache import Cache
from training.data.dataset import scan
from training.data.progress import Progress
from training.data.source import open_source
from training.errors import (
    BadLayout,
    BadWeights,
    DataError,
    NoSuchData,
    OutputError,
    TooFewClasses,
    TooFewPictures,
    UnknownBackbone,
    UnreadableData,
)
from training.features.extract import StatsOnly
from training.features.feature_set import read_feature_set
from training.finetuning.config import BadFinetuneConfig, FinetuneConfig
from training.job import FitOptions, fit, run
from training.publish import bundle
from training.publish.bundle import SUMMARY
from training.publish.golden import choose_golden
from training.quantization import choose

# Few folds and copies: the shape of a run, at a fraction of its cost.
CONFIG = dataclasses.replace(
    FitConfig(),
    penalties=(0.03, 0.3),
    folds=3,
    inner_folds=2,
    draws=500,
    precision="fp32",
    views=1,
)


class Run:
    """One finished run."""

    def __init__(
        self, data: Path, store: Path, cache: Path, *, config: FitConfig = CONFIG, **options: Any
    ) -> None:
        self.data, self.store, self.cache = data, store, cache
        self.lines: list[str] = []
        self.progress: list[tuple[int, int]] = []
        self.fitted = fit(
            FitOptions(data, store, cache, **options),
            config,
            progress=Progress(
                self.lines.append, lambda done, total: self.progress.append((done, total))
            ),
        )
        self.bundle: Bundle = self.fitted.bundle

    @property
    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.bundle.manifest.metrics["cross_validation"]
        return figures

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.bundle.documents[SUMMARY])
        return summary


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData) -> Path:
    return draw_data(tmp_path_factory.mktemp("shapes") / "data", {"bar": 14, "disc": 16})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, shapes: Path, cache: Path) -> Run:
    return Run(shapes, tmp_path_factory.mktemp("stores") / "store", cache)


def test_fit_publishes_a_current_bundle(done: Run) -> None:
    assert current_version(done.store) == done.bundle.manifest.version
    assert open_bundle(done.bundle.path).manifest == done.bundle.manifest


def test_fit_signs_the_bundle_with_the_given_key(done: Run, tmp_path: Path) -> None:
    public = generate_keys(tmp_path / "job.pem")
    run = Run(done.data, tmp_path / "store", done.cache, sign_key=tmp_path / "job.pem")
    assert open_bundle(run.bundle.path, trusted=[public]).manifest == run.bundle.manifest
    with pytest.raises(BundleUntrusted):
        open_bundle(done.bundle.path, trusted=[public])


def test_fit_rejects_an_unusable_key_before_reading_data(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be read"):
        fit(FitOptions(tmp_path, tmp_path, tmp_path, sign_key=tmp_path / "absent.pem"), CONFIG)


def test_manifest_records_data_config_and_packages(done: Run) -> None:
    manifest = done.bundle.manifest
    assert manifest.labels == ["bar", "disc"]
    assert manifest.decoder == DECODER
    assert manifest.input_px == 224
    assert manifest.backbone.name == "resnet50_thin"
    assert manifest.dataset.pictures == {"bar": 14, "disc": 16}
    assert manifest.dataset.groups == 30
    assert manifest.dataset.skipped == 0
    assert manifest.config["penalty"] in CONFIG.penalties
    assert manifest.config["seed"] == CONFIG.seed
    assert set(manifest.packages) >= {"python", "torch", "pillow", "numpy", "scikit-learn"}
    assert manifest.precision == PrecisionFacts()
    assert done.summary["precision"]["published"] == "fp32"
    assert len(manifest.golden.pictures) == CONFIG.golden_pictures
    assert set(manifest.metrics) == {"cross_validation", "naive_split", "calibration", "tests"}


def test_bundle_holds_model_report_summary_and_card(done: Run) -> None:
    files = done.bundle.manifest.files
    assert set(files) == {MODEL, REPORT, SUMMARY, CARD, OUT_OF_FOLD}
    assert {REPORT, SUMMARY, CARD} == {"report.html", "summary.json", "model_card.md"}
    for name, facts in files.items():
        data = (done.bundle.path / name).read_bytes()
        assert facts.sha256 == hashlib.sha256(data).hexdigest(), name
        assert facts.bytes == len(data) > 500
    assert done.bundle.documents[REPORT].decode().lower().startswith("<!doctype html>")
    assert done.bundle.documents[CARD].decode().startswith("# ")


def test_summary_and_manifest_agree(done: Run) -> None:
    manifest, summary = done.bundle.manifest, done.summary
    for part, figures in manifest.metrics.items():
        assert summary[part] == figures, part
    assert summary["labels"] == manifest.labels
    assert summary["dataset"] == manifest.dataset.model_dump()
    assert summary["config"] == manifest.config
    assert summary["packages"] == manifest.packages
    assert summary["backbone"] == manifest.backbone.model_dump()
    assert summary["tests"] == {}
    shown = f"{done.figures['balanced_accuracy']:.1%}".replace(".0%", "%")
    assert f"(balanced accuracy): {shown}" in done.bundle.documents[CARD].decode()
    assert manifest.dataset.fingerprint in done.bundle.documents[REPORT].decode()


def test_manifest_records_the_decision_threshold(done: Run) -> None:
    decision, given = done.bundle.manifest.decision, done.summary["decision"]
    for name in ("threshold", "target_error", "coverage"):
        assert getattr(decision, name) == given[name], name
    assert decision.target_error == CONFIG.target_error
    assert 0.5 <= decision.threshold <= 1.0
    assert given["reached"] is False  # 30 pictures cannot show an error under 1 %
    assert any("cannot be shown to keep" in line for line in done.lines)


def test_graph_applies_the_temperature(done: Run) -> None:
    pixels = decode_image((done.data / "bar" / "000.jpg").read_bytes(), size=224)[None]
    probabilities, activation, _ = answer(done.bundle.model, pixels)
    assert torch.allclose(activation.mean((2, 3)).softmax(1), probabilities, atol=1e-6)
    assert 0.2 <= done.bundle.manifest.metrics["calibration"]["temperature"] <= 20.0


def test_fit_evaluates_holdout_sets(done: Run, tmp_path: Path, draw_data: DrawData) -> None:
    apart = draw_data(tmp_path / "apart", {"bar": 6, "disc": 5, "cone": 3}, seed=5)
    (apart / "disc" / "broken.jpg").write_bytes(b"")
    (apart / "bar" / "night").mkdir()
    (apart / "bar" / "000.jpg").rename(apart / "bar" / "night" / "000.jpg")
    tests = [str(apart), f"disc={apart / 'cone'}"]
    run = Run(done.data, tmp_path / "store", done.cache, tests=tests)
    figures = run.summary["tests"]
    assert list(figures) == tests
    assert run.bundle.manifest.metrics["tests"] == figures
    assert (figures[tests[0]]["pictures"], figures[tests[1]]["pictures"]) == (11, 3)
    assert figures[tests[0]]["unreadable"] == 1
    (by_folder,) = figures[tests[0]]["slices"]
    assert [(row["name"], row["pictures"]) for row in by_folder["slices"]] == [("night", 1)]
    paths = sorted(apart.glob("[bd]*/**/0*.jpg"))
    pixels = torch.stack([decode_image(path.read_bytes(), size=224) for path in paths])
    found = torch.cat(
        [answer(run.bundle.model, part)[0].argmax(1) for part in (pixels[:8], pixels[8:])]
    )
    truth = torch.tensor(
        [("bar", "disc").index(path.relative_to(apart).parts[0]) for path in paths]
    )
    assert figures[tests[0]]["accuracy"] == pytest.approx(float((found == truth).float().mean()))
    assert figures[tests[1]]["roc_auc"] is None
    assert any(line.startswith(f"Test set {apart}: ") for line in run.lines)
    assert run.figures == done.figures  # what is tested on changes nothing that is learnt
    assert str(apart) in run.bundle.documents[REPORT].decode()


def test_command_in_summary_parses_to_the_same_run(
    done: Run, tmp_path: Path, shapes: Path, draw_data: DrawData
) -> None:
    data = tmp_path / "two words"
    shutil.copytree(shapes, data)
    config = dataclasses.replace(CONFIG, seed=3, target_error=0.0375)
    apart = draw_data(tmp_path / "apart", {"disc": 3}, seed=5)
    tests = [f"disc={apart / 'disc'}"]
    table = tmp_path / "it's mine.csv"
    table.write_text("file,group\nbar/000.jpg,g\nbar/001.jpg,g\n")
    run = Run(
        data, tmp_path / "store", done.cache, config=config, tests=tests, groups=table, strict=True
    )
    words = shlex.split(run.summary["command"])
    assert words[:3] == ["python", "-m", "training"]
    given = build_parser().parse_args(words[3:])
    assert (given.data, given.groups, given.tests) == (data, table, tests)
    assert (given.seed, given.target_error, given.backbone) == (3, 0.0375, config.backbone)
    assert given.precision == config.precision
    assert (given.strict, given.group_pattern, given.weights) == (True, None, None)


def test_int8_bundle_is_deterministic(done: Run, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, precision="int8")
    one, other = (
        Run(done.data, tmp_path / name, done.cache, config=config) for name in ("one", "other")
    )
    facts = one.bundle.manifest.precision
    assert (facts.name, facts.engine) == ("int8", "onednn")
    assert set(facts.images_per_s) == {"fp32", "int8"}
    for name in (MODEL, REPORT, SUMMARY, CARD):
        assert (one.bundle.path / name).read_bytes() == (other.bundle.path / name).read_bytes()
    compared = one.summary["precision"]
    assert compared["fp32"] == {"balanced_accuracy": done.figures["balanced_accuracy"]}
    assert compared["int8"] == {"balanced_accuracy": one.figures["balanced_accuracy"]}
    assert 0 < compared["noise_share"] < CONFIG.precision_noise
    assert compared["verdict"] in one.bundle.documents[CARD].decode()


@pytest.fixture(scope="module")
def quantise_once() -> Callable[..., Any]:
    """Return the job's quantisation for runs on the same pictures: it computes once."""
    quantise = choose._quantise
    results: list[Any] = []

    def once(*arguments: Any) -> Any:
        if not results:
            results.append(quantise(*arguments))
        return results[0]

    return once


@pytest.mark.parametrize(
    ("speedup", "change", "published"),
    [
        (1.7, {"precision_loss": 1.0}, "int8"),
        (1.1, {"precision_loss": 1.0}, "fp32"),
        (1.7, {"precision_loss": 1.0, "precision_noise": 1e-9}, "fp32"),
    ],
)
def test_auto_precision_publishes_int8_if_it_passes_the_gate(
    done: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quantise_once: Callable[..., Any],
    speedup: float,
    change: dict[str, Any],
    published: str,
) -> None:
    rates = {"fp32": 10.0, "int8": 10.0 * speedup}
    monkeypatch.setattr(choose, "_cached_rates", lambda *_: rates)
    monkeypatch.setattr(choose, "_quantise", quantise_once)
    config = dataclasses.replace(CONFIG, precision="auto", **change)
    run = Run(done.data, tmp_path / "store", done.cache, config=config)
    assert run.bundle.manifest.precision.name == published
    assert run.bundle.manifest.precision.images_per_s == rates
    assert run.summary["precision"]["published"] == published


def test_metrics_count_every_picture(done: Run) -> None:
    assert done.figures["pictures"] == 30
    assert sum(map(sum, done.figures["confusion"])) == 30
    low, high = done.figures["balanced_accuracy_interval_95"]
    assert 0.7 < done.figures["balanced_accuracy"] <= 1.0
    assert low < done.figures["balanced_accuracy"]
    assert high <= 1.0


def test_model_classifies_its_training_pictures(done: Run) -> None:
    for index, label in enumerate(("bar", "disc")):
        files = sorted((done.data / label).iterdir())
        pixels = torch.stack([decode_image(path.read_bytes(), size=224) for path in files])
        found = answer(done.bundle.model, pixels)[0].argmax(1)
        assert float((found == index).float().mean()) > 0.9


def test_fit_logs_metrics_and_reports_progress(done: Run) -> None:
    assert any("30 pictures (14 bar, 16 disc)" in line for line in done.lines)
    assert any("balanced accuracy" in line for line in done.lines)
    assert sum(count for count, _ in done.progress) == 30 + 30  # the pictures, then their copies
    assert {total for _, total in done.progress} == {30}


def test_zip_of_the_same_pictures_gives_the_same_metrics_from_the_cache(
    done: Run, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as writer:
        for path in sorted(done.data.rglob("*.jpg")):
            writer.write(path, "shapes/" + path.relative_to(done.data).as_posix())
    again = Run(tmp_path / "data.zip", tmp_path / "store", done.cache)
    assert again.figures == done.figures
    assert again.bundle.manifest.dataset == done.bundle.manifest.dataset
    assert again.bundle.manifest.config == done.bundle.manifest.config
    assert any("30 of them from the cache" in line for line in again.lines)
    for one, other in zip(
        again.bundle.manifest.golden.pictures, done.bundle.manifest.golden.pictures, strict=True
    ):
        assert one == other


def test_fit_skips_unreadable_files_of_three_classes(
    tmp_path: Path, cache: Path, draw_data: DrawData
) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "cone": 12, "disc": 12}, seed=1)
    (data / "cone" / "empty.jpg").write_bytes(b"")
    (data / "cone" / "text.jpg").write_bytes(b"no picture")
    (data / "disc" / "notes.txt").write_text("hello")
    shutil.copy(data / "bar" / "000.jpg", data / "bar" / "copy.jpg")
    run = Run(data, tmp_path / "store", cache)
    manifest = run.bundle.manifest
    assert manifest.labels == ["bar", "cone", "disc"]
    assert manifest.dataset.pictures == {"bar": 13, "cone": 12, "disc": 12}
    assert (manifest.dataset.skipped, manifest.dataset.groups) == (2, 36)
    assert all(len(golden.probabilities) == 3 for golden in manifest.golden.pictures)
    assert "2 files unreadable, skipped:" in run.lines
    assert any("cone/empty.jpg: The file is empty." in line for line in run.lines)
    assert "1 files left out:" in run.lines
    assert any("disc/notes.txt" in line for line in run.lines)
    with pytest.raises(UnreadableData, match=r"2 unreadable files.*cone/empty\.jpg"):
        Run(data, tmp_path / "other", cache, strict=True)
    assert versions(tmp_path / "other") == []


def test_fit_logs_at_most_20_skipped_files(
    tmp_path: Path, draw_data: DrawData, cache: Path
) -> None:
    data = draw_data(tmp_path / "data", {"bar": 1, "disc": 1})
    for index in range(33):
        (data / "bar" / f"{index}.txt").write_text("")
    lines: list[str] = []
    with pytest.raises(TooFewPictures):
        fit(FitOptions(data, tmp_path / "store", cache), CONFIG, progress=Progress(lines.append))
    assert "33 files left out:" in lines
    assert "  and 13 more" in lines
    assert len(lines) == 22


@pytest.mark.parametrize("how", ["table", "pattern"])
def test_named_groups_and_duplicates_share_a_group(
    how: str, tmp_path: Path, shapes: Path, cache: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    (data / "bar" / "000-p1.jpg").write_bytes((data / "bar" / "000.jpg").read_bytes())
    (data / "bar" / "001.jpg").rename(data / "bar" / "001-p1.jpg")
    (data / "groups.csv").write_text("file,group\nbar/000-p1.jpg,anna\nbar/001-p1.jpg,anna\n")
    listing = scan(open_source(data), pattern=r"-(p\d)" if how == "pattern" else None)
    with Cache(cache) as opened:
        pictures = read_feature_set(listing, StatsOnly(224), opened, CONFIG)
    group = dict(zip(pictures.names, pictures.groups.tolist(), strict=True))
    # 000.jpg is a copy of 000-p1.jpg, and that shares a group with 001-p1.jpg.
    assert group["bar/000.jpg"] == group["bar/000-p1.jpg"] == group["bar/001-p1.jpg"]
    assert len(set(group.values())) == len(group) - 2


# --- result, comparison with the model before, and promotion ----------------------------------


def test_out_of_fold_answers_cover_every_training_picture(done: Run) -> None:
    answers = read_answers(done.bundle.path)
    assert answers is not None
    pictures = sorted(path for path in done.data.rglob("*.jpg"))
    assert [each.file for each in answers] == [
        path.relative_to(done.data).as_posix() for path in pictures
    ]
    for found, path in zip(answers, pictures, strict=True):
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.label == path.parent.name
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.score == max(found.probabilities.values())
    share = sum(each.correct for each in answers) / len(answers)
    assert share == pytest.approx(done.figures["accuracy"])


def test_result_has_the_figures_of_the_bundle(done: Run) -> None:
    fitted = done.fitted
    assert fitted.accuracy == done.figures["accuracy"]
    assert fitted.balanced_accuracy == done.figures["balanced_accuracy"]
    assert sum(sum(row.values()) for row in fitted.confusion.values()) == 30
    assert set(fitted.confusion) == set(fitted.confusion["bar"]) == {"bar", "disc"}
    wrong = [each for each in fitted.answers if each.predicted != each.label]
    assert sorted(fitted.mistakes, key=lambda one: one.file) == wrong
    assert fitted.report.read_bytes() == done.bundle.documents[REPORT]
    assert fitted.version in repr(fitted)
    assert len(repr(fitted)) < 200
    assert "<iframe srcdoc=" in fitted._repr_html_()


def test_same_pictures_again_are_compared_and_promoted(done: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(done.store, store)
    again = Run(done.data, store, done.cache, promotion="never")
    assert current_version(store) == done.bundle.manifest.version
    assert again.bundle.manifest.version in versions(store)
    comparison = again.fitted.promotion.comparison
    assert comparison is not None
    assert (comparison.test.pictures, comparison.test.difference) == (30, 0.0)
    promoted = Run(done.data, store, done.cache)
    assert current_version(store) == promoted.bundle.manifest.version


def test_model_below_min_accuracy_is_published_and_not_current(done: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(done.store, store)
    low = Run(done.data, store, done.cache, min_accuracy=1.01)
    assert low.fitted.promotion.refused
    assert current_version(store) == done.bundle.manifest.version
    assert versions(store) == [done.bundle.manifest.version, low.bundle.manifest.version]


# --- what stops a run ----------------------------------------------------------------------


def fails(
    error: type[Exception],
    data: Path,
    tmp_path: Path,
    *,
    config: FitConfig = CONFIG,
    cache: Path | None = None,
    **given: Any,
) -> str:
    options = FitOptions(data, tmp_path / "store", cache or tmp_path / "cache", **given)
    with pytest.raises(error) as caught:
        fit(options, config)
    text = str(caught.value)
    assert "\n" not in text
    assert text.rstrip().endswith((".", ")")) or "--strict" in text
    assert versions(tmp_path / "store") == []
    return text


def test_fit_raises_no_such_data_for_a_missing_folder(tmp_path: Path) -> None:
    assert "absent" in fails(NoSuchData, tmp_path / "absent", tmp_path)


@pytest.mark.parametrize("given", ["absent", "disc=absent"])
def test_fit_rejects_a_mistyped_holdout_set_before_reading_pictures(
    given: str, tmp_path: Path, shapes: Path
) -> None:
    assert given.removeprefix("disc=") in fails(NoSuchData, shapes, tmp_path, tests=[given])
    assert not (tmp_path / "cache").exists()


def test_robustness_with_finetuning_needs_a_holdout_set_of_every_class(
    tmp_path: Path, shapes: Path, cache: Path
) -> None:
    options = FitOptions(
        shapes,
        tmp_path / "store",
        cache,
        robustness=True,
        finetune=FinetuneConfig(),
        tests=[f"disc={shapes / 'disc'}"],
    )
    with pytest.raises(BadFinetuneConfig, match="pictures of every class"):
        fit(options, CONFIG)


def test_fit_raises_too_few_classes(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12})
    assert "only 'bar'" in fails(TooFewClasses, data, tmp_path)


def test_fit_raises_too_few_pictures(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 9})
    text = fails(TooFewPictures, data, tmp_path)
    assert "'disc' has 9 readable pictures, and 10 are needed" in text


def test_fit_raises_too_few_pictures_for_a_class_of_unreadable_files(
    tmp_path: Path, draw_data: DrawData
) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12})
    (data / "disc").mkdir()
    for index in range(11):
        (data / "disc" / f"{index}.jpg").write_bytes(b"no picture")
    assert "'disc': none of its 11 files" in fails(TooFewPictures, data, tmp_path)


def test_fit_raises_data_error_for_a_class_of_copies(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12})
    (data / "disc").mkdir()
    for index in range(11):
        path = data / "disc" / f"{index}.jpg"
        path.write_bytes(encode(photograph(90, 90), "JPEG", quality=80 + index))
    fails(DataError, data, tmp_path)


def test_fit_raises_unknown_backbone(tmp_path: Path, shapes: Path) -> None:
    config = dataclasses.replace(CONFIG, backbone="vgg16")
    assert "vgg16" in fails(UnknownBackbone, shapes, tmp_path, config=config)


def test_fit_raises_bad_weights(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"garbage")
    assert "w.pth" in fails(BadWeights, shapes, tmp_path, weights=tmp_path / "w.pth")


@pytest.mark.parametrize("given", ["store", "cache", "checkpoint"])
def test_outputs_are_tried_before_the_work(
    given: str, tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_backbone", lambda *_, **__: pytest.fail("began to work"))
    places = {"store": tmp_path / "store", "cache": tmp_path / "cache"} | {given: Path("/proc/x")}
    options = dataclasses.replace(
        FitOptions(shapes, places["store"], places["cache"], finetune=FinetuneConfig()),
        checkpoint=places.get("checkpoint"),
    )
    with pytest.raises(OutputError, match=r"/proc/x.* cannot be written"):
        fit(options, dataclasses.replace(CONFIG, precision="auto"))


def test_full_disk_is_named_before_the_work(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "read_feature_set", lambda *_, **__: pytest.fail("began to work"))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    text = fails(OutputError, shapes, tmp_path)
    assert "has no room: about " in text
    assert "1 MB are free" in text


@pytest.mark.parametrize("label", ["disk", "Disc"])
def test_holdout_set_of_a_label_that_is_no_class_names_the_classes(
    label: str, tmp_path: Path, shapes: Path
) -> None:
    text = fails(BadLayout, shapes, tmp_path, tests=[f"{label}={shapes / 'disc'}"])
    assert f"{label!r} is no class of the training pictures; they are bar, disc" in text
    assert not (tmp_path / "cache").exists()


def test_fit_raises_output_error_without_a_cache_folder(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cache" in fails(OutputError, shapes, tmp_path, cache=tmp_path / "file" / "cache")


def test_full_disk_leaves_the_store_unchanged(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(done.store, store)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(fsync, "write", full)
        with pytest.raises(OutputError, match="No space left on device"):
            fit(FitOptions(done.data, store, done.cache), CONFIG)
    assert versions(store) == [done.bundle.manifest.version]
    assert current_version(store) == done.bundle.manifest.version
    assert open_bundle(store / current_version(store)).manifest == done.bundle.manifest
    assert {path.name for path in store.iterdir() if path.name.startswith(".")} <= {".lock"}


@pytest.mark.parametrize("how", ["has no room", r"cannot be written \(Read-only file system\)"])
def test_output_error_names_the_store(how: str, done: Run, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="128m") as disk:
        store = disk.path / "store"
        shutil.copytree(done.store, store)
        if how == "has no room":
            disk.fill()
        else:
            disk.make_read_only()
        before = sorted(item.name for item in store.iterdir())
        with pytest.raises(OutputError, match=f"{store}, the store to publish in, {how}"):
            fit(FitOptions(done.data, store, done.cache), CONFIG)
        assert sorted(item.name for item in store.iterdir()) == before
        assert open_bundle(store / current_version(store)).manifest == done.bundle.manifest


def test_fit_publishes_no_bundle_that_fails_its_golden_check(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = choose_golden

    def wrong(*arguments: Any, **options: Any) -> Any:
        golden = real(*arguments, **options)
        golden.pictures[0].probabilities.reverse()
        return golden

    monkeypatch.setattr(bundle, "choose_golden", wrong)
    # The least certain answers hardly change when reversed: ask for less tolerance.
    config = dataclasses.replace(CONFIG, golden_tolerance=1e-7)
    with pytest.raises(GoldenMismatch):
        fit(FitOptions(done.data, tmp_path / "store", done.cache), config)
    assert versions(tmp_path / "store") == []
