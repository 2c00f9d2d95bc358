"""Settings, keys, and the start of the studio."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from studio.cli.serve import load_keys, require_keys
from studio.keys import Role, entry_of, find_key, new_key, parse_keys
from studio.problems import Refused, StudioError, studio_errors
from studio.settings import Settings, faults_of, variable_of, warn_of_variables
from tests import WAIT_S

HASH = "a" * 64


def test_settings_are_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FACEMASK_STUDIO_PORT", " 8123 ")
    monkeypatch.setenv("FACEMASK_STORE", str(tmp_path))
    monkeypatch.setenv("FACEMASK_STUDIO_HOST", "")  # counts as unset
    settings = Settings.from_environment(port=None)
    assert (settings.port, settings.store, settings.host) == (8123, tmp_path, "127.0.0.1")
    assert Settings.from_environment(port=9).port == 9
    assert settings.database_url.startswith("sqlite:////")
    assert settings.database_url.endswith("studio-data/studio.db")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("port", "x", "FACEMASK_STUDIO_PORT='x': Input should be a valid integer"),
        ("port", 70000, "less than or equal to 65535"),
        ("keys", "the-key-itself", "entry 1 is not NAME:ROLE:HASH"),
        ("keys", f"ann:admin:{HASH}", "role look, label or promote"),
        ("allowed_hosts", "http://a.example", "not a host name"),
        ("service_url", "127.0.0.1:8000", "not an address"),
        ("service_url", "http://[::1", "not an address"),
        ("service_url", "http://127.0.0.1:99999", "not an address"),
        ("service_url", "http://a:b", "not an address"),
        ("service_url", "http://:8000", "not an address"),
    ],
)
def test_invalid_setting_is_one_sentence(name: str, value: Any, fault: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings(**{name: value})
    (sentence,) = faults_of(raised.value)
    assert fault in sentence
    assert "the-key-itself" not in sentence


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True),
        ("127.8.8.8", True), ("0.0.0.0", False), ("::", False), ("192.168.0.2", False),
        ("studio.example.org", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_studio_that_others_can_reach_needs_keys(host: str, is_local: bool) -> None:
    settings = Settings(host=host)
    assert settings.is_local is is_local
    if is_local:
        require_keys(settings, [])
    else:
        with pytest.raises(Refused, match="it has no keys"):
            require_keys(settings, [])
        require_keys(settings, [new_key("ann", Role.LOOK)[1]])


def test_keys_of_settings_file_and_start(tmp_path: Path) -> None:
    text, ann = new_key("Ann B", Role.LABEL)
    other, ben = new_key("ben", Role.LOOK)
    file = tmp_path / "keys"
    file.write_text(f"# people\n\n{entry_of(ben)}\n")
    settings = Settings(keys=f" {entry_of(ann)} ", keys_file=file, start_key=True)
    keys, start_key = load_keys(settings)
    assert [(key.name, key.role) for key in keys] == [
        ("Ann B", Role.LABEL), ("ben", Role.LOOK), ("owner", Role.PROMOTE),
    ]  # fmt: skip
    assert start_key is not None
    assert find_key(keys, f" {text} ") == ann
    assert find_key(keys, other) == ben
    assert find_key(keys, "nothing") is None
    assert load_keys(Settings())[1] is None
    file.write_text("ben:look:short")
    with pytest.raises(Refused, match="keys: entry 1"):
        load_keys(settings)
    file.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        load_keys(settings)


def test_roles_are_ordered_and_named() -> None:
    assert [str(role) for role in sorted(Role)] == ["look", "label", "promote"]
    assert parse_keys("") == []


def test_unknown_variable_is_named_with_the_likely_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMASK_STUDIO_PROT", "1")
    monkeypatch.setenv("FACEMASK_PROT", "1")  # the service's to name
    (sentence,) = warn_of_variables()
    assert sentence.startswith("FACEMASK_STUDIO_PROT is set, and nothing reads it")
    assert "is FACEMASK_STUDIO_PORT meant?" in sentence
    assert variable_of("store") == "FACEMASK_STORE"


def test_each_error_has_its_own_code_a_status_and_a_meaning() -> None:
    kinds = studio_errors()
    own = [kind for kind in kinds if issubclass(kind, StudioError)]
    assert len({kind.code for kind in own}) == len(own)
    for kind in own:
        assert 400 <= kind.status < 600
        assert str(kind())


def studio(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studio", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def test_start_is_refused_with_a_sentence(tmp_path: Path) -> None:
    data = {"FACEMASK_STUDIO_DATA": str(tmp_path / "data")}
    open_to_all = studio("--host", "0.0.0.0", **data)
    assert (open_to_all.returncode, open_to_all.stdout) == (2, "")
    assert "others can reach the studio, and it has no keys" in open_to_all.stderr
    wrong = studio(**data, FACEMASK_STUDIO_PORT="x")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: FACEMASK_STUDIO_PORT")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = studio("--port", str(port), **data)
    assert done.returncode == 3
    assert f"port {port} is taken on 127.0.0.1" in done.stderr
    assert not (tmp_path / "data").exists()


def test_application_needs_no_pytorch() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from studio.settings import Settings\n"
        "from studio.app import create_app\n"
        "import studio.cli.main, studio.runs.work, studio.pictures.intake\n"
        "create_app(Settings(data=pathlib.Path(tempfile.gettempdir())))\n"
        "print([m for m in ('torch', 'numpy', 'training', 'service') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout == "[]\n"
