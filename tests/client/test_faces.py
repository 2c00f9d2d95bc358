"""Client and command with faces against the real service: one answer per face."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from facemask_client import AsyncClient, Client
from facemask_client.__main__ import main
from service.app import create_app
from tests.models.imaging.face_pictures import needs_detector, nobody_file, people_file, person_at
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of, wait

pytestmark = needs_detector


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    with running(create_app(settings_of(store), make_engine(publish_bundle(store)))) as address:
        yield address


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> list[Path]:
    files = {"a.png": people_file(), "b.png": nobody_file(), "c.png": code_picture(1)[:60]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in files]


def test_classify_returns_each_face(address: str, files: list[Path]) -> None:
    with Client(address, faces=True) as client:
        people, nobody, torn = client.classify(files)
    assert people.faces is not None
    assert people.decision is None
    found = [person_at(f.left + f.width / 2, f.top + f.height / 2) for f in people.faces]
    assert sorted(map(str, found)) == ["0", "1", "2"]
    assert all(f.score == f.scores[f.label] and 0.5 <= f.face_score <= 1 for f in people.faces)
    assert (nobody.faces, nobody.error) == ([], None)
    assert (torn.faces, torn.code) == (None, "undecodable_image")

    async def same() -> None:
        async with AsyncClient(address, faces=True) as client:
            assert [a async for a in client.classify(files)] == [people, nobody, torn]

    wait(same())


def test_main_prints_one_line_per_face(
    address: str, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([address, *map(str, files), "--faces"]) == 1
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [Path(line[0]).name for line in lines] == ["a.png"] * 3 + ["b.png", "c.png"]
    left, top, width, height = map(int, lines[0][3:7])
    assert person_at(left + width / 2, top + height / 2) is not None
    assert lines[3][1:] == ["No face was found."]
    assert "broken" in lines[4][1]


def test_main_writes_one_row_per_face(address: str, files: list[Path], tmp_path: Path) -> None:
    table, text = tmp_path / "t.csv", tmp_path / "t.jsonl"
    arguments = [address, *map(str, files), "--faces", "--csv", str(table), "--json", str(text)]
    assert main(arguments) == 1
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["a.png"] * 3 + ["b.png", "c.png"]
    assert all(int(row["width"]) > 30 and row["decision"] for row in rows[:3])
    assert [row["error"] for row in rows[:4]] == ["", "", "", "No face was found."]
    people = json.loads(text.read_text().splitlines()[0])
    assert [str(face["left"]) for face in people["faces"]] == [row["left"] for row in rows[:3]]
