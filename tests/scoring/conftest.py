"""Fixtures: a store, and an archive of pictures that carry numbers."""

from pathlib import Path

import pytest

from tests.service.fixtures import code_picture, publish_bundle

CODES = [*range(0, 4096, 80), 4095]  # the last ones are unfamiliar
BROKEN = "broken.jpg"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scoring-store")
    publish_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for code in CODES:
        path = folder / str(code % 3) / f"{code:04}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(code_picture(code))
    (folder / BROKEN).write_bytes(b"\xff\xd8\xff no more")
    (folder / "notes.txt").write_text("no picture")
    return folder
