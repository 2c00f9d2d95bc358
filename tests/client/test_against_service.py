"""Client and AsyncClient against the real service, with a tiny model; one rule with the job."""

import mimetypes
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from facemask_client import Answer, AsyncClient, Client, find_pictures
from facemask_client.__main__ import main
from models.bundle.load import Bundle
from models.layout.files import is_picture
from service.app import create_app
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of, wait

TORN = code_picture(7)[:60]


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module", name="address")
def _address(bundle: Bundle) -> Iterator[str]:
    # Fewer files than the client puts into a batch, so that batches are split.
    app = create_app(settings_of(bundle.path, max_files=5), make_engine(bundle))
    with running(app) as address:
        yield address


def classify_blocking(address: str, folder: Path) -> list[Answer]:
    with Client(address) as client:
        return list(client.classify([folder]))


def classify_async(address: str, folder: Path) -> list[Answer]:
    async def collect() -> list[Answer]:
        async with AsyncClient(address) as client:
            return [answer async for answer in client.classify([folder])]

    return wait(collect())


@pytest.mark.parametrize("classify", [classify_blocking, classify_async])
def test_classify_answers_a_folder_in_order(
    classify: Callable[[str, Path], list[Answer]], address: str, bundle: Bundle, tmp_path: Path
) -> None:
    for index in range(12):
        path = tmp_path / ("first", "second/deeper")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TORN if index == 4 else code_picture(300 * index + 100))
    answers = classify(address, tmp_path)
    assert [int(answer.file.stem) for answer in answers] == [*range(0, 12, 2), *range(1, 12, 2)]
    for answer in answers:
        index = int(answer.file.stem)
        if index == 4:
            assert (answer.decision, answer.code) == (None, "undecodable_image")
            assert answer.error is not None
            assert "broken" in answer.error
        else:
            assert answer.error is None
            assert answer.label == ("no_mask" if 300 * index + 100 < 2048 else "mask")
            assert answer.model == bundle.manifest.version
            assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-6)


def test_classify_gives_each_unreadable_image_its_own_error(address: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(TORN)
    (tmp_path / "b.png").write_bytes(b"hello")
    with Client(address) as client:
        answers = list(client.classify([tmp_path]))
    assert [answer.code for answer in answers] == ["undecodable_image", "unsupported_format"]


def test_main_prints_what_the_service_answers(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(code_picture(5))
    assert main([address, str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}\tno_mask\t0.9818\n"


def test_find_pictures_takes_the_suffixes_of_the_training_job(tmp_path: Path) -> None:
    suffixes = {"", ".jpe", ".JPG", ".mpo", ".jfif", ".gz", *mimetypes.types_map}
    for suffix in suffixes:
        (tmp_path / f"a{suffix}").touch()
    taken = {path.suffix for path in find_pictures([tmp_path])}
    assert taken == {suffix for suffix in suffixes if is_picture(PurePosixPath(f"a{suffix}"))}
