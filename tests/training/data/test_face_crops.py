"""`--crop faces`: training, its test sets and the service cut out the same pixels."""

import dataclasses
import json
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
from service.http.schemas import PredictAnswer
from service.inference.engine import Answer
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
from training.data.dataset import scan
from training.data.face_crops import FaceSource, crop_faces, faceless
from training.data.holdout import find_holdout_set
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


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Bundle:
    """A bundle whose manifest says that it is given faces."""
    published = publish_bundle(tmp_path / "store")
    path = published.path / "manifest.json"
    manifest = json.loads(path.read_text()) | {"crop": FACES.model_dump()}
    path.write_text(json.dumps(manifest))
    return open_bundle(published.path)


def test_training_reads_the_pixels_that_the_service_cuts(folder: Path, bundle: Bundle) -> None:
    source = FaceSource(open_source(folder), load_detector(), SIZE_PX, folder.parent / "cache")
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
    assert source.whole == {"mask/b.png"}


def test_pictures_without_a_face_are_used_whole_and_named(folder: Path) -> None:
    listing, tests = scan(open_source(folder)), {"t": find_holdout_set(folder, ["mask", "no_mask"])}
    source = crop_faces(listing, tests, size=48, cache=folder.parent / "cache")
    assert faceless(source, 3) == []
    assert (source.names(), source.has("mask/a.jpg")) == (open_source(folder).names(), True)
    whole = decode_image(source.read("mask/b.png"), size=48)
    assert torch.equal(whole, decode_image(nobody_file(), size=48))
    (finding,) = faceless(source, 3)
    assert (finding.kind, finding.names) == ("no_face", ("mask/b.png",))
    assert "1 of 3 pictures" in finding.message
    pixels, _ = cut_main_face(open_oriented(people_file()), load_detector(), 48)
    assert torch.equal(decode_image(tests["t"].source.read("no_mask/c.png"), size=48), pixels)


def test_a_face_is_searched_once_and_then_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = folder.parent / "cache"
    names = ["mask/a.jpg", "mask/b.png"]
    first = FaceSource(open_source(folder), load_detector(), 48, cache)
    files = [first.read(name) for name in names]
    monkeypatch.delattr(face_detector.Detector, "find")
    again = FaceSource(open_source(folder), load_detector(), 48, cache)
    assert [again.read(name) for name in names] == files
    assert again.whole == first.whole == {"mask/b.png"}


def test_the_bundle_is_refused_where_faces_would_be_cut_otherwise(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_crop_names_its_cropper_or_is_none() -> None:
    for name, cropper in (("faces", None), ("whole", CROPPER)):
        with pytest.raises(ValueError, match="cropper"):
            CropFacts.model_validate({"name": name, "cropper": cropper})


def test_pixels_over_v2_are_taken_as_they_are(bundle: Bundle) -> None:
    pixels = decode_image(code_picture(4000), size=SIZE_PX)
    faces, whole = (
        make_engine(dataclasses.replace(bundle, manifest=manifest))
        for manifest in (bundle.manifest, bundle.manifest.model_copy(update={"crop": CropFacts()}))
    )
    (one,), (other,) = wait(faces.predict([pixels])), wait(whole.predict([pixels]))
    assert isinstance(one, Answer)
    assert isinstance(other, Answer)
    assert one.probabilities == other.probabilities
