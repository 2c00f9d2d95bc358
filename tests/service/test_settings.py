"""Settings from the environment, and errors for bad ones."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from service import __main__ as command
from service.settings import Settings, warn_of_variables
from tests import ROOT

_KEY = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="

ENVIRONMENT = {
    "FACEMASK_STORE": ("/somewhere/store", "store", Path("/somewhere/store")),
    "FACEMASK_TRUSTED_KEYS": (_KEY, "trusted_keys", _KEY),
    "FACEMASK_HOST": ("0.0.0.0", "host", "0.0.0.0"),
    "FACEMASK_PORT": ("8123", "port", 8123),
    "FACEMASK_POLL_S": ("0.25", "poll_s", 0.25),
    "FACEMASK_DEVICE": ("cuda", "device", "cuda"),
    "FACEMASK_THREADS": ("3", "threads", 3),
    "FACEMASK_WORKERS": ("2", "workers", 2),
    "FACEMASK_THRESHOLD": ("0.25", "threshold", 0.25),
    "FACEMASK_MAX_BATCH": ("16", "max_batch", 16),
    "FACEMASK_MAX_FILES": ("5", "max_files", 5),
    "FACEMASK_MAX_FACES": ("3", "max_faces", 3),
    "FACEMASK_MAX_BODY_BYTES": ("1000", "max_body_bytes", 1000),
    "FACEMASK_MAX_PIXELS": ("640000", "max_pixels", 640000),
    "FACEMASK_MAX_WAITING": ("9", "max_waiting", 9),
    "FACEMASK_MAX_FILE_BYTES": ("2000", "max_file_bytes", 2000),
    "FACEMASK_DECODE_S": ("2.5", "decode_s", 2.5),
    "FACEMASK_MAX_WAITING_PIXELS": ("7000", "max_waiting_pixels", 7000),
    "FACEMASK_MAX_BODIES_BYTES": ("8000", "max_bodies_bytes", 8000),
    "FACEMASK_MAX_HEADER_BYTES": ("4096", "max_header_bytes", 4096),
    "FACEMASK_HEADER_S": ("3", "header_s", 3.0),
    "FACEMASK_BODY_S": ("4", "body_s", 4.0),
    "FACEMASK_IDLE_S": ("6", "idle_s", 6),
    "FACEMASK_MAX_CONNECTIONS": ("12", "max_connections", 12),
    "FACEMASK_API_KEYS": ("a" * 64, "api_keys", "a" * 64),
    "FACEMASK_ALLOWED_HOSTS": ("a.org,*.b.org", "allowed_hosts", "a.org,*.b.org"),
    "FACEMASK_CORS_ORIGINS": ("https://a.org", "cors_origins", "https://a.org"),
    "FACEMASK_STUDIO_URL": ("http://127.0.0.1:8100", "studio_url", "http://127.0.0.1:8100"),
    "FACEMASK_GRACE_S": ("0.5", "grace_s", 0.5),
    "FACEMASK_DRAIN_S": ("7", "drain_s", 7),
    "FACEMASK_STUCK_S": ("90", "stuck_s", 90.0),
    "FACEMASK_LOG_FORMAT": ("json", "log_format", "json"),
    "FACEMASK_TRACES": ("http://c:4318/v1/traces", "traces", "http://c:4318/v1/traces"),
    "FACEMASK_DEADLINE_S": ("1.5", "deadline_s", 1.5),
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FACEMASK_") or name == "PORT":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cors_origins", "https://app.example/"),
        ("cors_origins", "https://a.org,https://app.example/page"),
        ("cors_origins", "app.example"),
        ("cors_origins", "https://*.app.example"),
        ("cors_origins", "https://app.example:443"),
        ("cors_origins", "http://app.example:80"),
        ("cors_origins", "https://App.example"),
        ("cors_origins", "https://m\u00e4ske.example"),
        ("allowed_hosts", "app.example:8000"),
        ("allowed_hosts", "https://app.example"),
        ("allowed_hosts", "app.example/"),
        ("allowed_hosts", "*"),
        ("allowed_hosts", "::1"),
    ],
)
def test_names_that_no_browser_sends_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match="write one such as"):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cors_origins", "*"),
        ("cors_origins", "null"),
        ("cors_origins", "https://app.example, http://localhost:3000,http://[::1]:8080"),
        ("cors_origins", "chrome-extension://abcdefgh"),
        ("allowed_hosts", "app.example, *.App.example,[::1],127.0.0.1,my_service"),
    ],
)
def test_names_that_browsers_send_are_accepted(name: str, value: str) -> None:
    assert getattr(Settings(**{name: value}), name) == value  # type: ignore[arg-type]


def test_defaults_listen_on_localhost() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.store == Path("models/artifacts")
    assert (settings.threads, settings.workers, settings.max_batch) == (0, 1, 0)
    assert settings.deadline_s == 30.0


def test_each_setting_has_a_description() -> None:
    undocumented = [n for n, field in Settings.model_fields.items() if not field.description]
    assert not undocumented
    assert {name for _, name, _ in ENVIRONMENT.values()} == set(Settings.model_fields)


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_variable_sets_its_setting(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name, wanted = ENVIRONMENT[variable]
    assert getattr(Settings(), name) != wanted
    monkeypatch.setenv(variable, text)
    assert getattr(Settings(), name) == wanted


def test_facemask_port_precedes_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    assert Settings().port == 9001
    monkeypatch.setenv("FACEMASK_PORT", "9002")
    assert Settings().port == 9002


@pytest.mark.parametrize("text", ["127.0.0.1:8100", "javascript:alert(1)", "https://", "/studio"])
def test_studio_url_is_the_address_of_a_page(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMASK_STUDIO_URL", text)
    with pytest.raises(ValidationError, match="is not the address of a web page"):
        Settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().host = "0.0.0.0"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FACEMASK_PORT", "http"),
        ("FACEMASK_PORT", "65536"),
        ("PORT", "-1"),
        ("FACEMASK_POLL_S", "0"),
        ("FACEMASK_POLL_S", "nan"),
        ("FACEMASK_THREADS", "-1"),
        ("FACEMASK_WORKERS", "0"),
        ("FACEMASK_MAX_BATCH", "-1"),
        ("FACEMASK_MAX_FILES", "many"),
        ("FACEMASK_MAX_BODY_BYTES", "0"),
        ("FACEMASK_MAX_PIXELS", "999999999"),
        ("FACEMASK_MAX_WAITING", "0"),
        ("FACEMASK_MAX_FILE_BYTES", "0"),
        ("FACEMASK_DECODE_S", "0"),
        ("FACEMASK_MAX_WAITING_PIXELS", "0"),
        ("FACEMASK_MAX_BODIES_BYTES", "0"),
        ("FACEMASK_MAX_HEADER_BYTES", "255"),
        ("FACEMASK_HEADER_S", "0"),
        ("FACEMASK_BODY_S", "inf"),
        ("FACEMASK_IDLE_S", "0"),
        ("FACEMASK_MAX_CONNECTIONS", "0"),
        ("FACEMASK_DEADLINE_S", "inf"),
        ("FACEMASK_GRACE_S", "-1"),
        ("FACEMASK_DRAIN_S", "0"),
        ("FACEMASK_STUCK_S", "0"),
        ("FACEMASK_LOG_FORMAT", "xml"),
    ],
)
def test_bad_value_stops_the_start_with_one_line(
    variable: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, text)
    assert command.main() == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(f"error: {variable}='{text}': Input should be ")


@pytest.mark.parametrize("text", [",", "absent.pem", f"{_KEY},"])
def test_bad_trusted_keys_stop_the_start(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEMASK_TRUSTED_KEYS", text)
    assert command.main() == 2
    line = capsys.readouterr().err
    assert line.startswith("error: FACEMASK_TRUSTED_KEYS: Key ")
    assert "neither a public key" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FACEMASK_API_KEYS", ","),
        ("FACEMASK_API_KEYS", "a-key-and-not-its-hash"),
        ("FACEMASK_ALLOWED_HOSTS", "a.org,"),
        ("FACEMASK_CORS_ORIGINS", ","),
    ],
)
def test_list_with_an_empty_element_stops_the_start(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, text)
    assert command.main() == 2
    assert capsys.readouterr().err.startswith(f"error: {variable}")


@pytest.mark.parametrize("variable", ["FACEMASK_API_KEYS", "FACEMASK_TRUSTED_KEYS"])
@pytest.mark.parametrize("text", ["my-secret-key", f"{'a' * 64},my-secret-key", "my-secret-\u00e4"])
def test_secret_that_stops_the_start_is_not_shown(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, text)
    assert command.main() == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {variable}: ")
    with pytest.raises(ValidationError) as caught:
        Settings()
    for shown in (captured.err, captured.out, str(caught.value), repr(caught.value)):
        assert "secret" not in shown


@pytest.mark.parametrize("text", ["", "  ", "\t"])
@pytest.mark.parametrize("variable", [*ENVIRONMENT, "PORT"])
def test_empty_variable_is_not_set(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert Settings() == Settings.model_construct()


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_blanks_around_a_value_are_dropped(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name, wanted = ENVIRONMENT[variable]
    monkeypatch.setenv(variable, f" {text}\n")
    assert getattr(Settings(), name) == wanted


@pytest.mark.parametrize("variable", [*ENVIRONMENT, "PORT"])
def test_address_that_kubernetes_injects_is_ignored_with_a_log_line(
    variable: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(variable, "tcp://10.43.7.62:8000")
    if variable in ("FACEMASK_API_KEYS", "FACEMASK_TRUSTED_KEYS", "FACEMASK_ALLOWED_HOSTS"):
        with pytest.raises(ValidationError):  # to ignore it would open a door
            Settings()
        return
    assert Settings() == Settings.model_construct()
    warn_of_variables()
    assert "enableServiceLinks: false" in caplog.text
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("text", ["", "tcp://10.43.7.62:8000"])
def test_port_counts_if_facemask_port_does_not(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMASK_PORT", text)
    monkeypatch.setenv("PORT", " 8115 ")
    assert Settings().port == 8115


def test_bad_port_is_named_by_the_variable_that_set_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEMASK_PORT", "")
    monkeypatch.setenv("PORT", "http")
    assert command.main() == 2
    assert capsys.readouterr().err.startswith("error: PORT='http': ")


def test_bad_value_cannot_begin_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEMASK_CORS_ORIGINS", "https://a\x1b[31m\n2027 ERROR forged")
    assert command.main() == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "\x1b" not in error


def test_unknown_variables_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("FACEMASK_API_KEY", "FACEMASK_KEY", "FACEMASK_CACHE", "FACEMASK_SERVICE_HOST"):
        monkeypatch.setenv(name, "x")
    warn_of_variables()
    assert caplog.messages == [
        "FACEMASK_API_KEY is set, and nothing reads it: is FACEMASK_API_KEYS meant?"
    ]


def test_image_leaves_the_port_to_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "Dockerfile.serve").read_text()
    for line in re.findall(r"^ENV (.+)$", text, re.M):
        for name, value in re.findall(r"(\w+)=(\S+)", line):
            assert name not in ("FACEMASK_PORT", "PORT")
            monkeypatch.setenv(name, value)
    assert Settings().port == 8000
    assert re.search(r"^EXPOSE 8000$", text, re.M)
    monkeypatch.setenv("PORT", "8111")
    settings = Settings()
    assert (settings.host, settings.port, settings.store) == ("0.0.0.0", 8111, Path("/store"))
