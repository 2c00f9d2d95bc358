"""Fixtures of stores with one bundle."""

from pathlib import Path

import pytest

from models.bundle.files import MODEL
from models.bundle.publish import publish
from models.bundle.store import current_version
from tests.models.tiny_bundle import bundle_facts


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the path of a store that does not exist yet."""
    return tmp_path / "deep" / "store"


@pytest.fixture
def path(store: Path, tiny_model: bytes) -> Path:
    """Return the path of a published bundle, the only one of `store`."""
    return publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model)).path


@pytest.fixture(scope="session")
def path_0_1() -> Path:
    """Return the path of a trained bundle of version 0.1.0, whose model measures distances."""
    store = Path(__file__).parent / "version_0_1" / "store"
    return store / current_version(store)
