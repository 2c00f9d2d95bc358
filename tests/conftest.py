"""Fixtures that several folders share. They import PyTorch only where a test asks for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.images import DrawData
    from training.backbones.registry import LoadedBackbone


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
