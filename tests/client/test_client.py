"""The client: batches, patience, folders, and the command."""

import csv
import datetime
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from models.bundle.load import Bundle
from service.app import create_app
from service.client import Answer, AsyncClient, Client, ClientError
from service.client.__main__ import main
from service.client.answers import wait_s
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of, wait

TORN = code_picture(7)[:60]
URL = "http://service"


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module", name="address")
def _address(bundle: Bundle) -> Iterator[str]:
    # Takes fewer files than the client's batches hold.
    app = create_app(settings_of(bundle.path, max_files=5), make_engine(bundle))
    with running(app) as address:
        yield address


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Twelve pictures in folders of folders, one of them torn, and things that are none."""
    folder = tmp_path / "pictures"
    for index in range(12):
        path = folder / ("first", "second/deeper")[index % 2] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TORN if index == 4 else code_picture(300 * index + 100))
    (folder / "notes.txt").write_text("no picture")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "hidden.png").write_bytes(code_picture(1))
    return folder


def check(answers: list[Answer], version: str) -> None:
    assert [answer.file.name for answer in answers] == [
        *(f"{index:02}.png" for index in range(0, 12, 2)),
        *(f"{index:02}.png" for index in range(1, 12, 2)),
    ]
    for answer in answers:
        index = int(answer.file.stem)
        if index == 4:
            assert (answer.decision, answer.code) == (None, "undecodable_image")
            assert answer.error is not None
            assert "broken" in answer.error
        else:
            assert answer.error is None
            assert answer.label == ("no_mask" if 300 * index + 100 < 2048 else "mask")
            assert answer.model == version
            assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-6)


def test_a_folder_is_answered_in_order(address: str, folder: Path, bundle: Bundle) -> None:
    with Client(address) as client:
        check(list(client.classify([folder])), bundle.manifest.version)


def test_the_asynchronous_client_does_the_same(address: str, folder: Path, bundle: Bundle) -> None:
    async def scene() -> list[Answer]:
        async with AsyncClient(address) as client:
            return [answer async for answer in client.classify([folder])]

    check(wait(scene()), bundle.manifest.version)


def test_a_file_that_cannot_be_read_is_told_in_its_place(address: str, folder: Path) -> None:
    good = folder / "first" / "00.png"
    paths = [good, folder / "none.png", good]
    with Client(address) as client:
        answers = list(client.classify(paths))

    async def scene() -> list[Answer]:
        async with AsyncClient(address) as client:
            return [answer async for answer in client.classify(paths)]

    assert wait(scene()) == answers
    assert [answer.code for answer in answers] == [None, "unreadable_file", None]


def test_each_of_several_unreadable_pictures_has_its_own_error(
    address: str, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(TORN)
    (tmp_path / "b.png").write_bytes(b"hello")
    with Client(address) as client:
        answers = list(client.classify([tmp_path]))
    assert [answer.code for answer in answers] == ["undecodable_image", "unsupported_format"]


class Service:
    """A stand-in that answers with one response after the other."""

    def __init__(self, *responses: httpx.Response) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.responses.pop(0)


def busy(status: int = 429) -> httpx.Response:
    document = {"code": "overloaded", "detail": "Many are waiting."}
    return httpx.Response(status, json=document, headers={"Retry-After": "0"})


def answered() -> httpx.Response:
    entry = {"index": 0, "decision": "mask", "label": "mask", "score": 1.0, "scores": {"mask": 1.0}}
    return httpx.Response(200, json={"model": {"version": "v"}, "predictions": [entry]})


Ask = Callable[[Service, Path], list[Answer]]


def ask(service: Service, path: Path) -> list[Answer]:
    with Client(URL, key="secret", retries=2, transport=httpx.MockTransport(service)) as client:
        return list(client.classify([path]))


def ask_asynchronously(service: Service, path: Path) -> list[Answer]:
    async def scene() -> list[Answer]:
        transport = httpx.MockTransport(service)
        async with AsyncClient(URL, key="secret", retries=2, transport=transport) as client:
            return [answer async for answer in client.classify([path])]

    return wait(scene())


@pytest.fixture(name="picture")
def _picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(code_picture(5))
    return path


@pytest.mark.parametrize("ask", [ask, ask_asynchronously])
def test_a_busy_service_is_asked_again_with_the_whole_picture(ask: Ask, picture: Path) -> None:
    service = Service(busy(), busy(503), answered())
    (answer,) = ask(service, picture)
    assert answer.decision == "mask"
    bodies = [request.content for request in service.requests]
    assert len(bodies) == 3
    assert all(picture.read_bytes() in body for body in bodies)
    assert {request.headers["authorization"] for request in service.requests} == {"Bearer secret"}


@pytest.mark.parametrize("ask", [ask, ask_asynchronously])
def test_patience_has_an_end(ask: Ask, picture: Path) -> None:
    service = Service(*[busy() for _ in range(5)])
    with pytest.raises(ClientError, match="Many are waiting") as caught:
        ask(service, picture)
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    assert len(service.requests) == 3


@pytest.mark.parametrize("ask", [ask, ask_asynchronously])
def test_a_service_that_is_away_or_wants_another_key_is_an_error(ask: Ask, picture: Path) -> None:
    problem = {"code": "key_refused", "detail": "The key is not known."}
    with pytest.raises(ClientError, match="not known") as caught:
        ask(Service(httpx.Response(401, json=problem)), picture)
    assert caught.value.code == "key_refused"
    with pytest.raises(ClientError, match="answered with 502"):
        ask(Service(httpx.Response(502, text="<html>")), picture)

    class Away(Service):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

    with pytest.raises(ClientError, match=r"does not answer \(refused\)"):
        ask(Away(), picture)


def test_how_long_to_wait() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    past = soon - datetime.timedelta(days=1)

    def waits(value: str) -> float:
        return wait_s(httpx.Response(429, headers={"Retry-After": value}))

    assert waits("7") == 7
    assert waits("9" * 5000) == 60
    assert 0 < waits(format_datetime(soon, usegmt=True)) <= 30
    assert waits(format_datetime(past, usegmt=True)) == 0
    assert waits("soon") == 1
    assert wait_s(httpx.Response(429)) == 1


def test_the_command_writes_a_table_and_json_lines(
    address: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "=cmd.png").write_bytes(code_picture(9))
    table, lines = tmp_path / "answers.csv", tmp_path / "answers.jsonl"
    files = [str(path) for path in (folder / "first", folder / "=cmd.png")]
    assert main([address, *files, "--csv", str(table), "--json", str(lines)]) == 1
    assert capsys.readouterr().err == "1 of 7 pictures have no answer.\n"
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    entries = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["file"] for row in rows] == [entry["file"] for entry in entries]
    assert [row["label"] for row in rows] == [entry["label"] or "" for entry in entries]
    assert [bool(row["error"]) for row in rows] == [False, False, True] + 4 * [False]
    assert set(entries[0]["scores"]) == {"mask", "no_mask"}


def test_a_name_that_a_spreadsheet_would_run_is_made_harmless(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=cmd.png").write_bytes(code_picture(9))
    assert main([address, "=cmd.png", "--csv", "answers.csv"]) == 0
    assert "\n'=cmd.png," in Path("answers.csv").read_text()


def test_the_command_prints_a_line_a_picture(
    address: str, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([address, str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}\tno_mask\t0.9818\n"


def test_the_command_says_what_is_wrong(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([URL, str(tmp_path / "empty")]) == 2
    assert "no pictures" in capsys.readouterr().err
    assert main([URL, str(picture), "--csv", str(tmp_path / "no" / "a.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["http://127.0.0.1:1", str(picture)]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_the_client_loads_neither_the_model_nor_the_server() -> None:
    code = (
        "import sys, service.client.__main__\n"
        "print([m for m in ('torch', 'fastapi', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
