"""`--crop faces`: training, holdout sets and the service crop the same pixels."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.bundle.load import Bundle, open_bundle
from models.bundle.manifest import CropFacts
from models.errors import DetectorUnavailable, SchemaUnsupported
from models.imaging import face_detector
from models.imaging.decode import decode_image
from models.imaging.face_detector import load_detector
from models.imaging.faces import CROPPER, cut_main_face, open_oriented
from service.http.openapi.schemas import PredictAnswer
from service.inference.decision import Prediction
from tests.models.imaging.face_pictures import needs_detector, nobody_file, people_file, person_at
from tests.service.fixtures import (
    SIZE_PX,
    code_picture,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)
from training.audit.faces import face_findings
from training.data.cache import Cache
from training.data.face_crops import crop_faces
from training.data.source import open_source

pytestmark = needs_detector

FACES = CropFacts(name="faces", cropper=CROPPER)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for label, files in {
        "mask": {"a.jpg": people_file("JPEG"), "b.png": nobody_file()},
        "no_mask": {"c.png": people_file(), "torn.png": code_picture(1)[:60]},
    }.items():
        (folder / label).mkdir(parents=True)
        for name, data in files.items():
            (folder / label / name).write_bytes(data)
    return folder


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as cache:
        yield cache


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Bundle:
    """Publish a bundle whose manifest asks for face crops."""
    published = publish_bundle(tmp_path / "store")
    path = published.path / "manifest.json"
    manifest = json.loads(path.read_text()) | {"crop": FACES.model_dump()}
    path.write_text(json.dumps(manifest))
    return open_bundle(published.path)


def test_face_crops_equal_the_pixels_of_the_service(
    folder: Path, cache: Cache, bundle: Bundle
) -> None:
    source = crop_faces(open_source(folder), size=SIZE_PX, cache=cache)
    given: list[Tensor] = []

    def model(pixels: Tensor) -> Any:
        given.extend(pixels)
        return bundle.model(pixels)

    names = ["mask/a.jpg", "mask/b.png", "no_mask/c.png"]

    async def scene() -> list[dict[str, Any]]:
        engine = make_engine(bundle, model)
        given.clear()  # of the warm-up
        async with serving(settings_of(bundle.path), engine) as (client, _):
            parts = [("files", (name, (folder / name).read_bytes())) for name in names]
            response = await client.post("/predict", files=parts)
            PredictAnswer.model_validate(response.json())
            entries: list[dict[str, Any]] = response.json()["predictions"]
            return entries

    first, nobody, third = wait(scene())
    learnt = [decode_image(source.read(name), size=SIZE_PX) for name in names]
    assert torch.equal(torch.stack(given), torch.stack(learnt))
    for entry in (first, third):  # the largest of the three
        box = entry["face"]["box"]
        assert person_at(box["left"] + box["width"] / 2, box["top"] + box["height"] / 2) == 0
    assert nobody["face"] is None
    assert source.faceless == {"mask/b.png"}


def test_pictures_without_face_stay_whole(folder: Path, cache: Cache) -> None:
    source = crop_faces(open_source(folder), size=48, cache=cache)
    assert face_findings(source.faceless, 3) == []
    assert (source.names(), source.has("mask/a.jpg")) == (open_source(folder).names(), True)
    whole = decode_image(source.read("mask/b.png"), size=48)
    assert torch.equal(whole, decode_image(nobody_file(), size=48))
    (finding,) = face_findings(source.faceless, 3)
    assert (finding.kind, finding.names) == ("no_face", ("mask/b.png",))
    assert "1 of 3 pictures" in finding.message
    pixels, _ = cut_main_face(open_oriented(people_file()), load_detector(), 48)
    assert torch.equal(decode_image(source.read("no_mask/c.png"), size=48), pixels)


def test_face_is_detected_once_and_cached(
    folder: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["mask/a.jpg", "mask/b.png"]
    first = crop_faces(open_source(folder), size=48, cache=cache)
    files = [first.read(name) for name in names]
    monkeypatch.delattr(face_detector.Detector, "find")
    again = crop_faces(open_source(folder), size=48, cache=cache)
    assert [again.read(name) for name in names] == files
    assert again.faceless == first.faceless == {"mask/b.png"}


def test_open_bundle_refuses_other_cropper(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    other = manifest | {"crop": {"name": "faces", "cropper": "another-1"}}
    path.write_text(json.dumps(other))
    with pytest.raises(SchemaUnsupported, match="'another-1'"):
        open_bundle(bundle.path)
    path.write_text(json.dumps(manifest))
    monkeypatch.setattr(face_detector, "PACKAGE", "no_such_package")
    face_detector._load.cache_clear()
    try:
        with pytest.raises(DetectorUnavailable):
            open_bundle(bundle.path)
    finally:
        face_detector._load.cache_clear()


def test_crop_facts_need_cropper_for_faces_only() -> None:
    for name, cropper in (("faces", None), ("whole", CROPPER)):
        with pytest.raises(ValueError, match="cropper"):
            CropFacts.model_validate({"name": name, "cropper": cropper})


def test_pixels_over_kserve_are_not_cropped(bundle: Bundle) -> None:
    pixels = decode_image(code_picture(4000), size=SIZE_PX)
    faces, whole = (
        make_engine(dataclasses.replace(bundle, manifest=manifest))
        for manifest in (bundle.manifest, bundle.manifest.model_copy(update={"crop": CropFacts()}))
    )
    (one,), (other,) = wait(faces.predict([pixels])), wait(whole.predict([pixels]))
    assert isinstance(one, Prediction)
    assert isinstance(other, Prediction)
    assert one.scores == other.scores
