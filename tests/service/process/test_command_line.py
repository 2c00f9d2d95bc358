"""`python -m service --check`: a verdict on store and model, and options that are refused."""

import sys
from pathlib import Path

import pytest

from models.bundle.files import MODEL
from service.client import __main__ as client
from service.process.command_line import check_lines, parse_options
from tests.service.fixtures import publish_bundle, settings_of

LABELS = ("mask", "no_mask")


def test_sound_store_is_reported_with_its_model(tmp_path: Path) -> None:
    version = publish_bundle(tmp_path, LABELS).manifest.version
    lines, is_sound = check_lines(settings_of(tmp_path))
    assert is_sound
    assert lines[:2] == ["settings: sound", f"store: {tmp_path} names version {version}"]
    assert lines[2].startswith("model: sound (")
    assert lines[2].endswith("answers mask, no_mask")


def test_store_without_a_model_is_not_sound(tmp_path: Path) -> None:
    lines, is_sound = check_lines(settings_of(tmp_path))
    assert not is_sound
    assert "holds no model yet" in lines[-1]


def test_damaged_model_is_not_sound(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path, LABELS)
    (bundle.path / MODEL).write_bytes(b"changed")
    lines, is_sound = check_lines(settings_of(tmp_path))
    assert not is_sound
    assert lines[-1].startswith("model: ")
    assert "model.pt" in lines[-1]


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--store", " "], ["--nonsense"]]
)
def test_wrong_options_end_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_earlier_name_of_the_client_runs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["client", "--help"])
    with pytest.raises(SystemExit) as ended:
        client.main()
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out.lower()
    monkeypatch.setitem(sys.modules, "facemask_client.__main__", None)
    assert client.main() == 2
    assert "pip install ./client" in capsys.readouterr().err
