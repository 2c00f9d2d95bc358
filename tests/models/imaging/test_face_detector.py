"""The detector behind ctypes: its limits, its threads, and what is said where it cannot run."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest
import torch

from models.errors import DetectorUnavailable
from models.imaging import face_detector
from models.imaging.face_detector import installed, load_detector
from tests.models.imaging.face_pictures import needs_detector, three_people


@pytest.fixture(name="unloaded")
def _unloaded() -> Iterator[None]:
    face_detector._load.cache_clear()
    yield
    face_detector._load.cache_clear()


def test_the_extra_that_is_missing_is_named(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not installed()
    with pytest.raises(DetectorUnavailable, match=r"pip install '\.\[faces\]'"):
        load_detector()


@needs_detector
def test_another_version_is_refused(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2099.1.1")
    with pytest.raises(DetectorUnavailable, match=r"2099\.1\.1 is installed"):
        load_detector()


@needs_detector
def test_a_cpu_that_cannot_run_it_is_told(unloaded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(DetectorUnavailable, match="AVX2"):
        load_detector()


@needs_detector
def test_a_library_that_cannot_be_loaded_is_told(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_detector, "_LIBRARY", "missing.so")
    with pytest.raises(DetectorUnavailable, match="cannot be loaded here"):
        load_detector()


@needs_detector
@pytest.mark.parametrize(("width", "height", "count"), [(10, 10, 299), (0, 0, 0), (2**15, 1, 3)])
def test_a_buffer_of_another_size_is_not_read(width: int, height: int, count: int) -> None:
    with pytest.raises(ValueError, match="RGB pixels"):
        load_detector().find(width, height, bytes(count))


@needs_detector
def test_threads_find_what_one_finds() -> None:
    picture = three_people()
    find, question = load_detector().find, (*picture.size, picture.tobytes())
    alone = find(*question)
    assert len(alone) == 3
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: find(*question), range(12)))
    assert together == [alone] * 12
