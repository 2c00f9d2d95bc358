"""Command facemask-client against a stub: output, files, exit statuses. Needs httpx only."""

import csv
import functools
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import facemask_client
from facemask_client import Client
from facemask_client import __main__ as command
from tests import ROOT, WAIT_S
from tests.client.stub import URL, StubService, entry, predictions


@pytest.fixture(name="picture")
def _picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"one image")
    return "a.png"


@pytest.fixture(name="answer_with")
def _answer_with(monkeypatch: pytest.MonkeyPatch) -> functools.partial[None]:
    def install(patch: pytest.MonkeyPatch, *responses: httpx.Response) -> None:
        transport = httpx.MockTransport(StubService(*responses))
        patch.setattr(command, "Client", functools.partial(Client, transport=transport))

    return functools.partial(install, monkeypatch)


def test_main_prints_one_line_per_image(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(predictions(entry(familiar=False)))
    assert command.main([URL, picture]) == 0
    assert capsys.readouterr().out == "a.png\tmask\t0.7500\tunfamiliar\n"


def test_main_prints_the_likeliest_class_of_an_unfamiliar_image(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    odd = entry(decision="unfamiliar", familiar=False, distance=1.25)
    answer_with(predictions(odd, threshold=0.9), predictions(odd, threshold=0.9))
    assert command.main([URL, picture]) == 0
    assert capsys.readouterr().out == "a.png\tunfamiliar\t0.7500\tlikeliest: mask\n"
    assert command.main([URL, picture, "--csv", "a.csv"]) == 0
    (row,) = csv.DictReader(Path("a.csv").read_text(encoding="utf-8").splitlines())
    assert (row["decision"], row["label"]) == ("unfamiliar", "mask")
    assert (row["familiar"], row["distance"], row["threshold"]) == ("False", "1.25", "0.9")


def test_main_writes_the_part_that_was_classified(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    box = {"left": 1, "top": 2, "width": 30, "height": 40}
    framed = entry(framing="face", box=box, further_faces=2)
    answer_with(predictions(framed), predictions(entry(framing="whole")), predictions(framed))
    assert command.main([URL, picture, "--csv", "a.csv"]) == 0
    (row,) = csv.DictReader(Path("a.csv").read_text(encoding="utf-8").splitlines())
    assert [row[name] for name in ("framing", *box)] == ["face", "1", "2", "30", "40"]
    assert command.main([URL, picture, "--csv", "b.csv"]) == 0
    (row,) = csv.DictReader(Path("b.csv").read_text(encoding="utf-8").splitlines())
    assert [row[name] for name in ("framing", *box)] == ["whole", "", "", "", ""]
    assert command.main([URL, picture]) == 0
    assert capsys.readouterr().out == "a.png\tmask\t0.7500\t1\t2\t30\t40\n"


def test_main_counts_decisions_of_what_it_writes_to_files(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(predictions(*[entry()] * 2, entry(decision="uncertain")))
    for name in ("b.png", "c.png"):
        Path(name).write_bytes(b"another image")
    assert command.main([URL, picture, "b.png", "c.png", "none.png", "--csv", "a.csv"]) == 1
    assert capsys.readouterr().err == (
        "4 pictures: 2 mask, 1 uncertain.\n1 of 4 pictures have no answer.\n"
    )


def test_main_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"facemask-client {facemask_client.__version__}\n"


@pytest.mark.parametrize("threshold", ["1.5", "-1", "nan", "much"])
def test_main_returns_2_for_a_threshold_outside_0_to_1(
    threshold: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main([URL, picture, f"--threshold={threshold}"])
    assert stopped.value.code == 2
    assert "--threshold" in capsys.readouterr().err


def test_main_returns_1_if_an_image_has_no_answer(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(predictions(entry()))
    assert command.main([URL, picture, "none.png"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1] == (
        "none.png\tThe file cannot be read: No such file or directory."
    )
    assert captured.err == "1 of 2 pictures have no answer.\n"


def test_main_writes_csv_and_json_lines(
    picture: str, answer_with: functools.partial[None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(predictions(entry()))
    assert command.main([URL, picture, "none.png", "--csv", "a.csv", "--json", "a.jsonl"]) == 1
    assert capsys.readouterr().out == ""
    rows = list(csv.DictReader(Path("a.csv").read_text(encoding="utf-8").splitlines()))
    entries = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [item["file"] for item in entries]
    assert [row["label"] for row in rows] == ["mask", ""]
    assert [bool(row["error"]) for row in rows] == [False, True]
    assert entries[0]["scores"] == {"mask": 0.75}


def test_main_escapes_a_csv_cell_that_a_spreadsheet_would_run(
    picture: str, answer_with: functools.partial[None]
) -> None:
    answer_with(predictions(entry()))
    Path(picture).rename("=cmd.png")
    assert command.main([URL, "=cmd.png", "--csv", "answers.csv"]) == 0
    assert "\n'=cmd.png," in Path("answers.csv").read_text()


def test_main_returns_2_if_there_is_nothing_to_send(
    picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert command.main([URL, "empty"]) == 2
    assert "no pictures" in capsys.readouterr().err
    assert command.main([URL, picture, "--csv", str(tmp_path / "no" / "a.csv")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_main_returns_3_if_the_service_is_unreachable(
    picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["http://127.0.0.1:1", picture]) == 3
    assert "does not answer" in capsys.readouterr().err


def run_module(*options: str, without_client: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `python -m service.client`, perhaps as if facemask-client were not installed."""
    hide = "sys.modules['facemask_client'] = None; " if without_client else ""
    code = f"import sys, runpy; {hide}runpy.run_module('service.client', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_the_module_service_client_still_runs_the_command() -> None:
    done = run_module("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: facemask-client")


def test_the_module_service_client_names_the_package_if_it_is_missing() -> None:
    done = run_module("--help", without_client=True)
    assert done.returncode == 2
    assert "pip install ./client" in done.stderr
    assert done.stderr.count("\n") == 1
