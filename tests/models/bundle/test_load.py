"""The store: published whole or not at all, verified when opened, refused when in doubt."""

import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.bundle import fsync, load
from models.bundle.load import answer, load_graph, open_bundle, publish
from models.bundle.store import (
    CURRENT,
    MANIFEST,
    MODEL,
    current_version,
    point,
    read_manifest,
    versions,
)
from models.errors import (
    BundleError,
    BundleIncomplete,
    EngineUnavailable,
    GoldenMismatch,
    NoBundle,
    SchemaUnsupported,
)
from tests.conftest import TINY_PX, TinyGraph, bundle_facts, torchscript


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


@pytest.fixture
def path(store: Path, tiny_model: bytes) -> Path:
    """A published bundle."""
    return publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model)).path


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a manifest in place."""
    document = json.loads((path / MANIFEST).read_text())
    edit(document)
    (path / MANIFEST).write_text(json.dumps(document))


def replace_model(path: Path, model: bytes) -> None:
    """Swap the model and its checksum: only the golden pictures can tell."""
    (path / MODEL).write_bytes(model)
    facts = {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    change(path, lambda document: document["files"].update({MODEL: facts}))


def hidden(store: Path) -> set[str]:
    """Leftovers: hidden names but the lock."""
    return {item.name for item in store.iterdir() if item.name.startswith(".")} - {".lock"}


# --- round trip ----------------------------------------------------------------------------


def test_what_is_published_is_current_and_opens_as_it_was(
    store: Path, path: Path, tiny_model: bytes
) -> None:
    assert path == store / current_version(store)
    assert (path / MODEL).read_bytes() == tiny_model
    assert hidden(store) == set()
    opened = open_bundle(path)
    assert opened.path == path
    assert opened.manifest == read_manifest(path)
    assert opened.manifest.labels == ["cat", "dog"]
    pixels = torch.randint(
        0, 256, (3, 3, TINY_PX, TINY_PX), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    wanted = TinyGraph()(pixels)
    found = answer(opened.model, pixels)
    assert torch.allclose(found.probabilities, wanted[0])
    assert torch.allclose(found.activation, wanted[1])
    assert found.distance is None


def test_publish_gives_back_the_bundle_in_its_place(store: Path, tiny_model: bytes) -> None:
    given = publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert given.path.is_dir()
    assert given.manifest == open_bundle(given.path).manifest


def test_the_version_tells_the_moment_and_the_model(path: Path, tiny_model: bytes) -> None:
    manifest = read_manifest(path)
    stamp, digest = manifest.version.split("-")
    assert stamp == manifest.created_at.strftime("%Y%m%dT%H%M%SZ")
    assert abs(datetime.now(UTC) - manifest.created_at) < timedelta(minutes=5)
    assert digest == hashlib.sha256(tiny_model).hexdigest()[:8]


def test_more_files_than_the_model_are_verified_too(store: Path, tiny_model: bytes) -> None:
    files = {MODEL: tiny_model, "notes.txt": b"hello"}
    given = publish(store, files, bundle_facts(tiny_model))
    (given.path / "notes.txt").write_bytes(b"hellO")
    with pytest.raises(BundleIncomplete, match=r"notes\.txt.*checksum"):
        open_bundle(given.path)


def test_versions_sort_by_age_and_the_newest_is_current(
    store: Path, tiny_model: bytes, other_model: bytes
) -> None:
    published = [
        publish(store, {MODEL: model}, bundle_facts(model)).manifest.version
        for model in (other_model, tiny_model, other_model)
    ]
    assert versions(store) == published == sorted(published)
    assert current_version(store) == published[-1]


def test_a_clock_that_goes_back_does_not_disorder_versions(
    store: Path, tiny_model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        moments: Iterator[datetime] = iter(
            [
                datetime(2031, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC),
                datetime(2030, 1, 1, tzinfo=UTC),
                datetime(2031, 1, 1, 11, 59, 59, tzinfo=UTC),
                datetime(2032, 1, 1, tzinfo=UTC),
            ]
        )
        strptime = datetime.strptime

        @classmethod
        def now(cls, zone: object) -> datetime:
            return next(cls.moments)

    monkeypatch.setattr(load, "datetime", Clock)
    facts = bundle_facts(tiny_model)
    published = [publish(store, {MODEL: tiny_model}, facts).manifest.version for _ in range(4)]
    assert [version.split("-")[0] for version in published] == [
        "20310101T120000Z",
        "20310101T120001Z",
        "20310101T120002Z",
        "20320101T000000Z",
    ]
    assert versions(store) == published


def test_a_folder_of_the_user_s_own_in_the_store_disturbs_nothing(
    store: Path, path: Path, tiny_model: bytes
) -> None:
    path.rename(store / "zz-my-backup")
    given = publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert versions(store) == [given.manifest.version]


def test_versions_of_no_store_are_none(tmp_path: Path) -> None:
    assert versions(tmp_path / "absent") == []


# --- the pointer ---------------------------------------------------------------------------


def test_a_pointer_can_be_turned_back(store: Path, path: Path, other_model: bytes) -> None:
    publish(store, {MODEL: other_model}, bundle_facts(other_model))
    point(store, path.name)
    assert current_version(store) == path.name
    assert hidden(store) == set()


def test_no_pointer_is_turned_to_what_is_not_there(store: Path, path: Path) -> None:
    with pytest.raises(BundleError, match="no version nowhere"):
        point(store, "nowhere")
    assert current_version(store) == path.name


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"  \n", b"..", b".", b"../elsewhere", b"/etc", b"a/b", b".hidden",
        b"\xff\xfe", b"\0" * 26, b"20300101T000000Z-12345678\0", b"one\ntwo",
    ],
)  # fmt: skip
def test_a_pointer_that_names_no_version_is_no_bundle(
    store: Path, path: Path, content: bytes
) -> None:
    (store / CURRENT).write_bytes(content)
    with pytest.raises(NoBundle, match=CURRENT):
        current_version(store)


def test_an_empty_store_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(NoBundle, match="python -m training fit"):
        current_version(tmp_path)
    with pytest.raises(NoBundle, match="python -m training fit"):
        current_version(tmp_path / "absent")


def test_a_pointer_that_cannot_be_read_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / CURRENT).mkdir()
    with pytest.raises(NoBundle, match="cannot be read"):
        current_version(tmp_path)


# --- what is refused -----------------------------------------------------------------------


def test_a_bundle_that_is_not_there_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(BundleIncomplete, match="cannot be read"):
        open_bundle(tmp_path / "20300101T000000Z-12345678")


def test_a_missing_model_is_refused(path: Path) -> None:
    (path / MODEL).unlink()
    with pytest.raises(BundleIncomplete, match=r"model\.pt cannot be read"):
        open_bundle(path)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_flipped_bit_is_refused(path: Path, place: int) -> None:
    data = bytearray((path / MODEL).read_bytes())
    data[place] ^= 1
    (path / MODEL).write_bytes(data)
    with pytest.raises(BundleIncomplete, match="checksum differs"):
        open_bundle(path)


@pytest.mark.parametrize("edit", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_model_of_another_size_is_refused(path: Path, edit: Callable[[bytes], bytes]) -> None:
    (path / MODEL).write_bytes(edit((path / MODEL).read_bytes()))
    with pytest.raises(BundleIncomplete, match="checksum differs"):
        open_bundle(path)


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d.update(threshold=0.5), "threshold"),
        (lambda d: d["golden"].update(extra=1), "golden"),
        (lambda d: d.pop("labels"), "labels"),
        (lambda d: d.update(labels=["one"]), "labels"),
        (lambda d: d.update(input_px=0), "input_px"),
        (lambda d: d.update(input_px=100_000), "input_px"),
        (lambda d: d.update(version="latest"), "version"),
        (lambda d: d["golden"].update(pictures=[]), "golden.pictures"),
        (lambda d: d["golden"].update(tolerance=1.0), "golden.tolerance"),
        (lambda d: d["golden"]["pictures"][0].update(picture="a"), "golden.pictures.0"),
        (lambda d: d["files"][MODEL].update(sha256="nonsense"), "files"),
        (lambda d: d["files"][MODEL].update(bytes=-1), "files"),
        (lambda d: d["backbone"].update(feature_width=0), "backbone"),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_refused_and_says_where(
    path: Path, edit: Callable[[dict[str, Any]], object], where: str
) -> None:
    change(path, edit)
    with pytest.raises(SchemaUnsupported) as caught:
        open_bundle(path)
    assert f"{MANIFEST}: {where}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\0", b"\0" * 500])
def test_a_manifest_that_is_no_document_is_refused(path: Path, content: bytes) -> None:
    (path / MANIFEST).write_bytes(content)
    with pytest.raises(SchemaUnsupported, match=r"manifest\.json: the file: "):
        open_bundle(path)


@pytest.mark.parametrize("name", ["../model.pt", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "\0"])
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(path: Path, name: str) -> None:
    change(path, lambda d: d["files"].update({name: d["files"][MODEL]}))
    with pytest.raises(SchemaUnsupported, match="not a plain file name"):
        open_bundle(path)


def test_a_manifest_that_lists_no_model_is_refused(path: Path) -> None:
    change(path, lambda d: d["files"].clear())
    with pytest.raises(SchemaUnsupported, match=r"lists no model\.pt"):
        open_bundle(path)


def test_a_model_of_another_decoder_is_refused_and_both_are_named(path: Path) -> None:
    change(path, lambda d: d.update(decoder="opencv-1"))
    with pytest.raises(SchemaUnsupported, match=r"'opencv-1'.*'pillow"):
        open_bundle(path)


INT8 = {"name": "int8", "engine": "onednn", "images_per_s": {}}


def test_the_engine_that_the_manifest_names_is_set_before_the_model_is_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(path, lambda d: d.update(precision=INT8))
    engines: list[str] = []

    def load(data: bytes, device: torch.device) -> torch.jit.ScriptModule:
        engines.append(torch.backends.quantized.engine)
        return load_graph(data, device)

    monkeypatch.setattr(load, "load_graph", load)
    torch.backends.quantized.engine = "x86"
    assert open_bundle(path).manifest.precision.name == "int8"
    assert engines == ["onednn"]


def test_a_machine_without_the_engine_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(path, lambda d: d.update(precision=INT8))
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"])
    with pytest.raises(EngineUnavailable, match=r"'onednn'.*qnnpack.*--precision fp32"):
        open_bundle(path)


def test_a_bundle_of_before_int8_is_fp32(path: Path) -> None:
    change(path, lambda d: d.pop("precision"))
    assert open_bundle(path).manifest.precision.name == "fp32"


def test_a_bundle_under_another_s_name_is_refused(path: Path) -> None:
    moved = path.rename(path.with_name("20300101T000000Z-12345678"))
    with pytest.raises(BundleIncomplete, match=f"holds the bundle {path.name}"):
        open_bundle(moved)


def test_another_model_with_a_right_checksum_fails_its_golden_pictures(
    path: Path, other_model: bytes
) -> None:
    replace_model(path, other_model)
    with pytest.raises(GoldenMismatch, match="golden answer is off by"):
        open_bundle(path)


@pytest.mark.parametrize("field", ["probabilities", "activation_means"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_changed_golden_answer_is_refused(path: Path, field: str, place: int) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["golden"]["pictures"][place][field][1] += 0.02

    change(path, edit)
    with pytest.raises(GoldenMismatch, match=r"off by .* 0\.001 is allowed"):
        open_bundle(path)


def test_a_difference_within_the_tolerance_is_accepted(path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for golden in document["golden"]["pictures"]:
            golden["probabilities"] = [value + 5e-4 for value in golden["probabilities"]]

    change(path, edit)
    assert open_bundle(path).manifest.labels == ["cat", "dog"]


def test_a_golden_picture_that_cannot_be_decoded_is_refused(path: Path) -> None:
    change(path, lambda d: d["golden"]["pictures"][1].update(picture="aGVsbG8="))
    with pytest.raises(GoldenMismatch, match="golden picture fails"):
        open_bundle(path)


def _more_labels(document: dict[str, Any]) -> None:
    document["labels"].append("bird")


def _more_labels_and_answers(document: dict[str, Any]) -> None:
    document["labels"].append("bird")
    for golden in document["golden"]["pictures"]:
        golden["probabilities"].append(0.0)
        golden["activation_means"].append(0.0)


def _ragged(document: dict[str, Any]) -> None:
    document["golden"]["pictures"][0]["probabilities"].append(0.0)


def _fewer_means(document: dict[str, Any]) -> None:
    for golden in document["golden"]["pictures"]:
        golden["activation_means"].pop()


@pytest.mark.parametrize("edit", [_more_labels, _more_labels_and_answers, _ragged, _fewer_means])
def test_another_number_of_classes_is_refused(
    path: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    change(path, edit)
    with pytest.raises(BundleError, match=r"classes|labels"):
        open_bundle(path)


class Nan(TinyGraph):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, activation = super().forward(pixels)
        return probabilities * float("nan"), activation


class NanMap(TinyGraph):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, activation = super().forward(pixels)
        return probabilities, activation * float("nan")


class OneAnswer(TinyGraph):
    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(pixels)[0]


class ThreeAnswers(TinyGraph):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        probabilities, activation = super().forward(pixels)
        return probabilities, activation, activation


class FlatMap(TinyGraph):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, activation = super().forward(pixels)
        return probabilities, activation.mean((2, 3))


class OnlyPairs(TinyGraph):
    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(pixels.reshape(2, 3, TINY_PX, TINY_PX))


@pytest.mark.parametrize("kind", [Nan, NanMap, OneAnswer, ThreeAnswers, FlatMap, OnlyPairs])
def test_a_graph_of_another_behaviour_is_refused(path: Path, kind: type[nn.Module]) -> None:
    replace_model(path, torchscript(kind()))
    with pytest.raises(GoldenMismatch, match=str(path)):
        open_bundle(path)


def test_a_graph_of_more_classes_is_refused(path: Path) -> None:
    replace_model(path, torchscript(TinyGraph(classes=3)))
    with pytest.raises(GoldenMismatch, match="2 classes are announced"):
        open_bundle(path)


def _zipped(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, content)
    return data.getvalue()


def _state_dict() -> bytes:
    data = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, data)
    return data.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: b"not a model",
        lambda: bytes(5000),
        lambda: _zipped("hello.txt", b"hi"),
        lambda: _zipped("archive/data.pkl", b"\x80\x02."),
        lambda: _zipped("archive/constants.pkl", b"garbage"),
        _state_dict,
    ],
    ids=["empty", "text", "zeros", "zip", "odd-pickle", "garbage-pickle", "state-dict"],
)
def test_what_is_no_torchscript_file_is_refused(path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(BundleIncomplete, match="PyTorch cannot load") as caught:
        load_graph(make())
    assert "\n" not in str(caught.value)
    replace_model(path, make())
    with pytest.raises(BundleIncomplete):
        open_bundle(path)


def test_a_cut_or_scribbled_torchscript_file_is_refused_or_loads(tiny_model: bytes) -> None:
    refused = 0
    for end in range(0, len(tiny_model) - 1, len(tiny_model) // 25):
        with pytest.raises(BundleIncomplete):
            load_graph(tiny_model[:end])
        refused += 1
    assert refused > 20


# --- atomicity -----------------------------------------------------------------------------


def assert_sound(store: Path, version: str) -> None:
    assert current_version(store) == version
    assert open_bundle(store / version).manifest.version == version


class Dies:
    """Raises at the n-th call, and otherwise does as the original."""

    def __init__(self, original: Callable[..., Any], at: int, error: BaseException) -> None:
        self._original, self._at, self._error, self.calls = original, at, error, 0

    def bind(self) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                raise self._error
            return self._original(*arguments, **named)

        return call


STEPS = [
    *[("models.bundle.fsync.write", n) for n in (1, 2, 3, 4)],
    *[("os.fsync", n) for n in range(1, 9)],
    ("pathlib.Path.mkdir", 2),
    ("pathlib.Path.rename", 1),
    ("pathlib.Path.replace", 1),
    ("pathlib.Path.replace", 2),
    ("models.bundle.load.open_bundle", 1),
    ("models.bundle.load.point", 1),
]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("target", "at"), STEPS)
def test_dying_at_any_step_leaves_a_sound_store_and_the_next_run_cleans_up(
    store: Path,
    path: Path,
    other_model: bytes,
    target: str,
    at: int,
    error: BaseException,
) -> None:
    owner, name = target.rsplit(".", 1)
    original: Any = {
        "models.bundle.load": load,
        "models.bundle.fsync": fsync,
        "os": os,
        "pathlib.Path": Path,
    }[owner]
    dies = Dies(getattr(original, name), at, error)
    facts = bundle_facts(other_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original, name, dies.bind())
        with pytest.raises(type(error)):
            publish(store, {MODEL: other_model}, facts)
    assert dies.calls >= at
    # The very last step only makes durable what is done.
    new = versions(store)[-1]
    last = target == "os.fsync" and at == 8
    assert_sound(store, new if last else path.name)
    given = publish(store, {MODEL: other_model}, facts)
    assert_sound(store, given.manifest.version)
    assert hidden(store) == set()


def test_what_a_killed_run_left_is_removed_by_the_next(
    store: Path, path: Path, tiny_model: bytes
) -> None:
    (store / ".publishing-dead").mkdir()
    (store / ".publishing-dead" / MODEL).write_bytes(b"half")
    (store / ".CURRENT-dead").write_bytes(b"2030")
    publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert hidden(store) == set()


def test_what_does_not_verify_is_not_published(store: Path, path: Path, other_model: bytes) -> None:
    wrong = bundle_facts(other_model) | {"golden": read_manifest(path).golden}
    with pytest.raises(GoldenMismatch):
        publish(store, {MODEL: other_model}, wrong)
    assert versions(store) == [path.name]
    assert_sound(store, path.name)
    assert hidden(store) == set()


@pytest.mark.parametrize("name", ["../escaped.txt", "/tmp/escaped", ""])
def test_no_file_is_published_outside_its_bundle(store: Path, tiny_model: bytes, name: str) -> None:
    with pytest.raises(ValidationError, match="not a plain file name"):
        publish(store, {MODEL: tiny_model, name: b"x"}, bundle_facts(tiny_model))
    assert {item.name for item in store.iterdir()} == {".lock"}


def test_a_store_that_is_a_file_cannot_be_published_in(tmp_path: Path, tiny_model: bytes) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        publish(tmp_path / "store", {MODEL: tiny_model}, bundle_facts(tiny_model))


def test_publishers_at_once_give_one_version_each(store: Path, tiny_model: bytes) -> None:
    published: list[str] = []
    start = threading.Barrier(4)
    facts = bundle_facts(tiny_model)

    def run() -> None:
        start.wait(30)
        published.append(publish(store, {MODEL: tiny_model}, facts).manifest.version)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(published) == versions(store)
    assert len(set(published)) == 4
    assert_sound(store, versions(store)[-1])


def test_a_reader_never_meets_half_a_bundle(
    store: Path, tiny_model: bytes, other_model: bytes
) -> None:
    publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    done = threading.Event()
    seen: list[str] = []
    failures: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(open_bundle(store / current_version(store)).manifest.version)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for model in (other_model, tiny_model, other_model):
            publish(store, {MODEL: model}, bundle_facts(model))
    finally:
        done.set()
        reader.join(60)
    assert failures == []
    assert seen == sorted(seen)
    assert set(seen) <= set(versions(store))
