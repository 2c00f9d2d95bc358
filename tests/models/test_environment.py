"""Environment variables: empty ones count as unset, injected ones are ignored."""

import pytest

from models.environment import read_variable, unknown_variables, warn_of_injected, warn_of_unknown

KNOWN = {"FACEMASK_PORT", "FACEMASK_MAX_FILES", "FACEMASK_API_KEYS"}
INJECTED = ["tcp://10.43.7.62:8000", "udp://10.43.7.62:53", "tcp://[fd00::1]:8000", " tcp://h:1 "]


@pytest.mark.parametrize("value", ["", " ", "\t\n", *INJECTED])
def test_empty_or_injected_variable_is_not_set(value: str) -> None:
    assert read_variable("FACEMASK_PORT", {"FACEMASK_PORT": value}) is None
    assert read_variable("FACEMASK_PORT", {}) is None


@pytest.mark.parametrize("value", ["8000", " 8000 ", "8000\n"])
def test_blanks_around_a_value_are_dropped(value: str) -> None:
    assert read_variable("FACEMASK_PORT", {"FACEMASK_PORT": value}) == "8000"


def test_injected_variable_is_logged_with_its_cure(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_injected(["FACEMASK_PORT", "PORT"], {"FACEMASK_PORT": INJECTED[0], "PORT": "80"})
    assert len(caplog.messages) == 1
    assert "FACEMASK_PORT=tcp://10.43.7.62:8000 is ignored" in caplog.text
    assert "Kubernetes" in caplog.text
    assert "enableServiceLinks: false" in caplog.text


def test_unknown_variable_is_logged_with_the_likeliest_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = {
        "FACEMASK_API_KEY": "secret",
        "FACEMASK_MAXFILES": "3",
        "FACEMASK_X": "",
        "A": "",
    }
    warn_of_unknown(KNOWN, environment)
    assert caplog.messages == [
        "FACEMASK_API_KEY is set, and nothing reads it: is FACEMASK_API_KEYS meant?",
        "FACEMASK_MAXFILES is set, and nothing reads it: is FACEMASK_MAX_FILES meant?",
        "FACEMASK_X is set, and nothing reads it",
    ]


def test_known_and_injected_names_are_not_unknown() -> None:
    environment = {
        "FACEMASK_PORT": "8000",
        "FACEMASK_SERVICE_HOST": "10.43.7.62",
        "FACEMASK_SERVICE_PORT": "8000",
        "FACEMASK_SERVICE_PORT_HTTP": "8000",
        "FACEMASK_PORT_8000_TCP": "tcp://10.43.7.62:8000",
        "FACEMASK_PORT_8000_TCP_PROTO": "tcp",
        "FACEMASK_API_PORT": "tcp://10.43.7.63:80",
        "FACEMASK_API_SERVICE_HOST": "10.43.7.63",
        "FACEMASK_NAME": "/web/facemask",
        "FACEMASK_ENV_PATH": "/bin",
    }
    assert unknown_variables(KNOWN, environment) == {}


def test_security_variable_is_never_ignored() -> None:
    assert read_variable("FACEMASK_API_KEYS", {"FACEMASK_API_KEYS": INJECTED[0]}) == INJECTED[0]
