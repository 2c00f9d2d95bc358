"""The face detector: its limits, its threads, and its errors where it cannot run."""

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest
import torch

from models.errors import DetectorUnavailable
from models.imaging import face_detector
from models.imaging.face_detector import is_installed, load_detector
from tests.models.imaging.face_pictures import needs_detector, three_people


@pytest.fixture(name="unloaded")
def _unloaded() -> Iterator[None]:
    face_detector._load.cache_clear()
    yield
    face_detector._load.cache_clear()


def test_load_detector_names_the_missing_extra(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not is_installed()
    with pytest.raises(DetectorUnavailable, match=r"pip install '\.\[faces\]'"):
        load_detector()


@needs_detector
def test_load_detector_refuses_another_version(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2099.1.1")
    with pytest.raises(DetectorUnavailable, match=r"2099\.1\.1 is installed"):
        load_detector()


@needs_detector
def test_load_detector_refuses_a_cpu_without_avx2(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(DetectorUnavailable, match="AVX2"):
        load_detector()


@needs_detector
def test_load_detector_reports_an_unloadable_library(
    unloaded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_detector, "_LIBRARY", "missing.so")
    with pytest.raises(DetectorUnavailable, match="cannot be loaded here"):
        load_detector()


@needs_detector
@pytest.mark.parametrize(("width", "height", "count"), [(10, 10, 299), (0, 0, 0), (2**15, 1, 3)])
def test_find_refuses_a_buffer_of_another_size(width: int, height: int, count: int) -> None:
    with pytest.raises(ValueError, match="RGB pixels"):
        load_detector().find(width, height, bytes(count))


@needs_detector
def test_find_returns_the_same_in_parallel_threads() -> None:
    picture = three_people()
    find, question = load_detector().find, (*picture.size, picture.tobytes())
    alone = find(*question)
    assert len(alone) == 3
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: find(*question), range(12)))
    assert together == [alone] * 12
