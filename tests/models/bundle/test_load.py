"""Loading: a bundle that is damaged, changed or from elsewhere is refused."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.bundle.files import MANIFEST, MODEL
from models.bundle.load import load_graph, open_bundle
from models.errors import (
    BundleError,
    BundleIncomplete,
    EngineUnavailable,
    GoldenMismatch,
    SchemaUnsupported,
)
from tests.models.tiny_bundle import TINY_PX, TinyGraph, torchscript


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a manifest in place."""
    document = json.loads((path / MANIFEST).read_text())
    edit(document)
    (path / MANIFEST).write_text(json.dumps(document))


def replace_model(path: Path, model: bytes) -> None:
    """Replace the model and its checksum, so that only the golden check can notice."""
    (path / MODEL).write_bytes(model)
    facts = {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}
    change(path, lambda document: document["files"].update({MODEL: facts}))


def test_missing_bundle_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(BundleIncomplete, match="cannot be read"):
        open_bundle(tmp_path / "20300101T000000Z-12345678")


def test_missing_model_file_is_refused(path: Path) -> None:
    (path / MODEL).unlink()
    with pytest.raises(BundleIncomplete, match=r"model\.pt cannot be read"):
        open_bundle(path)


@pytest.mark.parametrize("index", [0, 100, -1])
def test_flipped_bit_is_refused(path: Path, index: int) -> None:
    data = bytearray((path / MODEL).read_bytes())
    data[index] ^= 1
    (path / MODEL).write_bytes(data)
    with pytest.raises(BundleIncomplete, match="checksum differs"):
        open_bundle(path)


@pytest.mark.parametrize("edit", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_model_file_of_another_size_is_refused(path: Path, edit: Callable[[bytes], bytes]) -> None:
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
def test_schema_error_names_the_field(
    path: Path, edit: Callable[[dict[str, Any]], object], where: str
) -> None:
    change(path, edit)
    with pytest.raises(SchemaUnsupported) as caught:
        open_bundle(path)
    assert f"{MANIFEST}: {where}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\0", b"\0" * 500])
def test_manifest_that_is_not_json_is_refused(path: Path, content: bytes) -> None:
    (path / MANIFEST).write_bytes(content)
    with pytest.raises(SchemaUnsupported, match=r"manifest\.json: the file: "):
        open_bundle(path)


@pytest.mark.parametrize("name", ["../model.pt", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "\0"])
def test_listed_file_outside_the_bundle_is_refused(path: Path, name: str) -> None:
    change(path, lambda d: d["files"].update({name: d["files"][MODEL]}))
    with pytest.raises(SchemaUnsupported, match="not a plain file name"):
        open_bundle(path)


def test_manifest_without_a_model_is_refused(path: Path) -> None:
    change(path, lambda d: d["files"].clear())
    with pytest.raises(SchemaUnsupported, match=r"lists no model\.pt"):
        open_bundle(path)


def test_other_decoder_is_refused_by_name(path: Path) -> None:
    change(path, lambda d: d.update(decoder="opencv-1"))
    with pytest.raises(SchemaUnsupported, match=r"'opencv-1'.*'pillow"):
        open_bundle(path)


INT8 = {"name": "int8", "engine": "onednn", "images_per_s": {}}


def test_int8_engine_is_set_before_the_model_is_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(path, lambda d: d.update(precision=INT8))
    engines: list[str] = []

    def load(data: bytes, device: torch.device) -> torch.jit.ScriptModule:
        engines.append(torch.backends.quantized.engine)
        return load_graph(data, device)

    monkeypatch.setattr("models.bundle.load.load_graph", load)
    torch.backends.quantized.engine = "x86"
    assert open_bundle(path).manifest.precision.name == "int8"
    assert engines == ["onednn"]


def test_missing_int8_engine_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(path, lambda d: d.update(precision=INT8))
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["qnnpack"])
    with pytest.raises(EngineUnavailable, match=r"'onednn'.*qnnpack.*--precision fp32"):
        open_bundle(path)


def test_manifest_without_precision_is_fp32(path: Path) -> None:
    change(path, lambda d: d.pop("precision"))
    assert open_bundle(path).manifest.precision.name == "fp32"


def test_renamed_bundle_is_refused(path: Path) -> None:
    moved = path.rename(path.with_name("20300101T000000Z-12345678"))
    with pytest.raises(BundleIncomplete, match=f"holds the bundle {path.name}"):
        open_bundle(moved)


def test_other_model_fails_the_golden_check(path: Path, other_model: bytes) -> None:
    replace_model(path, other_model)
    with pytest.raises(GoldenMismatch, match="golden answer is off by"):
        open_bundle(path)


@pytest.mark.parametrize("field", ["probabilities", "activation_means"])
@pytest.mark.parametrize("index", [0, 1])
def test_changed_golden_answer_is_refused(path: Path, field: str, index: int) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["golden"]["pictures"][index][field][1] += 0.02

    change(path, edit)
    with pytest.raises(GoldenMismatch, match=r"off by .* 0\.001 is allowed"):
        open_bundle(path)


def test_golden_difference_within_tolerance_is_accepted(path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        for golden in document["golden"]["pictures"]:
            golden["probabilities"] = [value + 5e-4 for value in golden["probabilities"]]

    change(path, edit)
    assert open_bundle(path).manifest.labels == ["cat", "dog"]


def test_undecodable_golden_picture_is_refused(path: Path) -> None:
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
def test_golden_answers_of_another_class_count_are_refused(
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
def test_graph_with_other_outputs_is_refused(path: Path, kind: type[nn.Module]) -> None:
    replace_model(path, torchscript(kind()))
    with pytest.raises(GoldenMismatch, match=str(path)):
        open_bundle(path)


def test_graph_with_more_classes_is_refused(path: Path) -> None:
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
def test_load_graph_refuses_other_files(path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(BundleIncomplete, match="PyTorch cannot load") as caught:
        load_graph(make())
    assert "\n" not in str(caught.value)
    replace_model(path, make())
    with pytest.raises(BundleIncomplete):
        open_bundle(path)


def test_load_graph_refuses_or_loads_damaged_files(tiny_model: bytes) -> None:
    refused = 0
    for end in range(0, len(tiny_model) - 1, len(tiny_model) // 25):
        with pytest.raises(BundleIncomplete):
            load_graph(tiny_model[:end])
        refused += 1
    assert refused > 20


def test_bundle_of_an_earlier_decoder_opens_and_names_it(
    path_0_1: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("models.bundle.load.DECODER", "another")
    open_bundle(path_0_1)
    assert "decoded by 'pillow-draft-squash-bilinear-1'; this version" in caplog.text


@pytest.mark.parametrize("name", ["torch.jit.load", "models.bundle.load.answer"])
def test_lack_of_memory_raises_memory_error(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        )

    monkeypatch.setattr(name, fail)
    with pytest.raises(MemoryError, match="can't allocate"):
        open_bundle(path)
