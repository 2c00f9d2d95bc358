"""Markers by folder, and fixtures that several folders share.

Fixtures import PyTorch inside, so that the tests of the client run without it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import ROOT

if TYPE_CHECKING:
    from tests.images import DrawData
    from training.backbones.registry import LoadedBackbone

# Marker to folders and files below tests/, in the order in which they run: slow files first, so
# that none of them runs alone at the end. A test without one of these markers is a `unit` test.
# `train` has real networks and fits, `process` real processes, and `slow` many repetitions.
MARKERS = {
    "container": ["process/test_containers.py"],
    "train": [
        "training/test_cli.py",
        "training/test_extract.py",
        "training/test_job.py",
        "training/test_three_classes.py",
        "training/test_parity.py",
        "training/finetuning",
        "training/quantization",
        "training/backbones",
        "training/publish",
        "training/sample",
        "training/evaluation/test_study.py",
        "training/evaluation/test_errors.py",
        "studio/runs/test_training.py",
    ],
    "bench": ["benchmarks", "checks"],
    "process": [
        "process",
        "docs/test_readme.py",
        "docs/test_client.py",
        "service/process/test_shutdown.py",
        "service/limits/test_memory_bound.py",
        # On PostgreSQL, too, which these start.
        "studio/database",
        "studio/formats/test_round_trips.py",
        "studio/labels",
        "studio/pictures/test_intake.py",
        "studio/pictures/test_zip_file.py",
        "studio/versions",
        "studio/http/test_data.py",
        "studio/http/test_cut_uploads.py",
    ],
    "slow": [
        "models/bundle/test_store.py",
        "models/bundle/test_publish.py",
        "models/imaging/test_faces.py",
        "service/limits/test_http_protocol.py",
        "training/evaluation/test_metrics.py",
        "training/report/test_render.py",
    ],
    "browser": ["browser"],
}


def marker_of(path: Path) -> str:
    """Return the first marker whose folders or files include a test file."""
    for marker, places in MARKERS.items():
        if any(path.is_relative_to(ROOT / "tests" / place) for place in places):
            return marker
    return "unit"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave other files unread in the fast loop: importing them takes a third of its time."""
    fast = config.option.markexpr == "unit" and collection_path.suffix == ".py"
    return True if fast and marker_of(collection_path) != "unit" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its path, and sort the groups."""
    for item in items:
        item.add_marker(marker_of(item.path))
    order = [*MARKERS, "unit"]
    items.sort(key=lambda item: order.index(marker_of(item.path)))


@pytest.fixture(scope="session")
def tiny_model() -> bytes:
    from tests.models.tiny_bundle import TinyGraph, torchscript

    return torchscript(TinyGraph())


@pytest.fixture(scope="session")
def other_model() -> bytes:
    from tests.models.tiny_bundle import TinyGraph, torchscript

    return torchscript(TinyGraph(seed=1))


@pytest.fixture
def backbone() -> "LoadedBackbone":
    from tests.training.tiny_backbone import tiny_backbone

    return tiny_backbone()


@pytest.fixture(scope="session")
def draw_data() -> "DrawData":
    """Write a data set of drawn shapes, one folder per class."""
    from tests.images import draw_folders

    return draw_folders


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests away from the user's feature cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FACEMASK_CACHE", str(folder))
        yield folder
