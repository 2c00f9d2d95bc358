"""Address, API key and proxies: what cannot work is one sentence, before a request is sent."""

import socket
from pathlib import Path

import pytest

from facemask_client import AsyncClient, Client, ClientError
from facemask_client.__main__ import main
from facemask_client.connection import connection_to
from tests.client.stub import serving

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FACEMASK_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(name="picture")
def _picture(tmp_path: Path) -> str:
    path = tmp_path / "a.png"
    path.write_bytes(b"one image")
    return str(path)


def proxy_of(address: str) -> str | None:
    proxy = connection_to(address, None, query={}, timeout_s=1, direct=False).proxy
    return None if proxy is None else str(proxy)


ODD_PROXIES = [
    {"ALL_PROXY": "socks5://127.0.0.1:1080"},
    {"HTTP_PROXY": "ftp://p:1"},
    {"HTTP_PROXY": "http://127.0.0.1:9"},
    {"HTTP_PROXY": "http://p:port"},
    {"HTTP_PROXY": PROXY, "NO_PROXY": "localhost,[::1]"},
    {"HTTP_PROXY": PROXY, "NO_PROXY": "fe80::/10"},
    {"HTTP_PROXY": PROXY, "NO_PROXY": "[::1"},
]


@pytest.mark.parametrize("environment", ODD_PROXIES)
def test_main_reaches_a_loopback_address_without_the_proxy(
    environment: dict[str, str], picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with serving() as address:
        assert main([address, picture]) == 0


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "socks"),
        ({"HTTP_PROXY": "ftp://p:1"}, "proxy"),
        ({"HTTP_PROXY": "http://p:port"}, "proxy"),
        ({"HTTP_PROXY": "http://"}, "proxy"),
        ({"HTTP_PROXY": "http://user:hidden@127.0.0.1:9"}, "through the proxy http://127.0.0.1:9 "),
        ({"http_proxy": "127.0.0.1:9"}, "through the proxy http://127.0.0.1:9 "),
    ],
)
def test_main_returns_3_and_one_sentence_if_the_proxy_is_unusable(
    environment: dict[str, str],
    words: str,
    picture: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["http://facemask.invalid", picture]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert "hidden" not in error


@pytest.mark.parametrize(
    "address",
    ["http://localhost:8000", "http://a.localhost", "http://127.9.9.9", "http://[::1]:80"],
)
def test_addresses_of_this_machine_have_no_proxy(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    assert proxy_of(address) is None


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("*", "http://a.example"),
        ("example.org", "http://a.example.org"),
        (".example.org", "http://a.example.org"),
        ("*.example.org", "http://a.EXAMPLE.org"),
        ("x, 10.0.0.0/8", "http://10.1.2.3"),
        ("fe80::/10", "http://[fe80::1]:8000"),
        ("[2001:db8::1]", "http://[2001:db8::1]"),
        ("[2001:db8::1]:80", "http://[2001:db8::1]"),
        ("a.example:8000", "http://a.example:8000"),
        ("http://a.example", "http://a.example"),
    ],
)
def test_no_proxy_exempts(entry: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", entry)
    assert proxy_of(address) is None


@pytest.mark.parametrize("entry", ["", ",", "example.org", "11.0.0.0/8", "10.1.2.3:81", "0.1.2.3"])
def test_no_proxy_leaves_the_proxy_to_other_addresses(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", entry)
    assert proxy_of("http://10.1.2.3") == PROXY
    assert proxy_of("http://notexample.org.example") == PROXY


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:81o1",
        "127.0.0.1:8000",
        "localhost",
        "ftp://localhost",
        "http://",
        "http://h:99999",
        "http://h:0",
        "http://a b",
        "http://a..b",
        "http://\u2603.example",
        "http://xn--a",
        "http://[zz]",
        "http://h/?q=1",
        "http://x\ny",
        "http://\udce9",
        "http://h/\udce9",
        "http://" + "a" * 64 + ".example",
        "http://" + "a" * 70_000,
        "",
    ],
)
def test_main_returns_3_and_one_sentence_if_the_address_is_unusable(
    address: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([address, picture]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: The address of the service cannot be used")
    assert error.count("\n") == 1


def test_an_unusable_address_is_not_shown_with_its_password() -> None:
    with pytest.raises(ClientError) as caught:
        Client("http://user:hidden@host:port")
    assert "hidden" not in str(caught.value)


def test_an_idn_address_is_usable() -> None:
    with Client("http://b\u00fccher.example"):
        pass


@pytest.mark.parametrize("key", ["secret\nX-Other: 1", "schl\u00fcssel", "secret\0", "\udce9"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(ClientError, match="API key") as caught:
            make("http://127.0.0.1:1", key=key)
        assert key not in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "header"), [("k\n", "Bearer k"), (" k ", "Bearer k"), ("\n", None), ("", None)]
)
def test_a_key_is_stripped(given: str, header: str | None) -> None:
    options = connection_to("http://h", given, query={}, timeout_s=1, direct=True).options()
    assert options["headers"].get("Authorization") == header


def test_main_returns_3_if_ssl_cert_file_is_missing(
    picture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    assert main(["https://127.0.0.1:1", picture]) == 3
    assert "No such file" in capsys.readouterr().err


def test_main_returns_3_if_the_name_of_the_host_is_unknown(
    picture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert main(["http://facemask.invalid", picture]) == 3
    assert capsys.readouterr().err.count("\n") == 1
