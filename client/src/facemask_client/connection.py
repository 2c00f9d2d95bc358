"""How a service is reached: address, API key, proxy, and bounds on what it sends back.

Whatever cannot work is refused with one sentence before a request is sent. Messages never show the
API key, nor the password of a proxy or an address.
"""

import contextlib
import ipaddress
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from facemask_client.answers import ClientError
from facemask_client.text import clean, reason_of

_MAX_ANSWER_BYTES: Final = 16 * 2**20
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
# What httpx and the libraries below it raise while a client is made or a request is sent; OSError
# includes errors of TLS, ValueError those of encodings.
_ERRORS: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    ImportError,
    OSError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True)
class Connection:
    """Checked configuration of the connection to one service.

    Attributes:
        url: Base URL.
        key: API key without blanks around it; empty for none.
        proxy: Proxy of the environment for this URL, if any; never for addresses of this machine.
        query: Parameters of each request.
        timeout_s: Max seconds for a request.
    """

    url: httpx.URL
    key: str
    proxy: httpx.URL | None
    query: Mapping[str, str]
    timeout_s: float

    def options(self) -> dict[str, Any]:
        """Return arguments of httpx.Client and httpx.AsyncClient."""
        headers = {"Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return {
            "base_url": self.url,
            "headers": headers,
            "params": self.query,
            "timeout": self.timeout_s,
            "proxy": self.proxy,
            # The environment names proxies in ways that httpx refuses: see `_find_proxy`.
            "trust_env": False,
            # SSL_CERT_FILE and SSL_CERT_DIR of the environment hold for this one, too.
            "verify": httpx.create_ssl_context() if self.url.scheme == "https" else True,
            "follow_redirects": False,
        }

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise ClientError in place of whatever httpx raises.

        Raises:
            ClientError: With the reason, and the name of the proxy if there is one.
        """
        try:
            yield
        except _ERRORS as error:
            way = f" through the proxy {_display(self.proxy)}" if self.proxy else ""
            late = isinstance(error, (TimeoutError, httpx.TimeoutException))
            reason = f"not within {self.timeout_s:g} s" if late else reason_of(error)
            raise ClientError(f"The service does not answer{way} ({reason}).") from error


def connection_to(
    address: str, key: str | None, *, query: Mapping[str, str], timeout_s: float, direct: bool
) -> Connection:
    """Return the checked configuration of a connection.

    Args:
        address: Base URL of the service.
        key: API key, if the service needs one.
        query: Parameters of each request.
        timeout_s: Max seconds for a request.
        direct: Use no proxy.

    Raises:
        ClientError: The address, the key or the proxy cannot be used.
    """
    url = _parse_address(address)
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ClientError("The API key has characters that no HTTP header can carry.")
    proxy = None if direct else _find_proxy(url)
    return Connection(url, key, proxy, query, timeout_s)


def _parse_address(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address.strip())
        host, port = url.host, url.port
    except (httpx.InvalidURL, ValueError) as error:
        raise _bad_address("" if "@" in address else f": {error}") from error
    if url.scheme not in ("http", "https"):
        raise _bad_address(": it must begin with http:// or https://")
    if not host or re.search(r"[%\s]|\.\.|^\.|[^.]{64}", host):
        raise _bad_address(": its host is not a name or an IP address")
    if port is not None and not 0 < port < 2**16:
        raise _bad_address(": its port is not in 1..65535")
    if url.query or url.fragment:
        raise _bad_address(": it must have no query and no fragment")
    return url


def _bad_address(reason: str) -> ClientError:
    return ClientError(
        f"The address of the service cannot be used{clean(reason)}. "
        "It looks like http://127.0.0.1:8000."
    )


def _find_proxy(url: httpx.URL) -> httpx.URL | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY give for a URL.

    Raises:
        ClientError: It is not the URL of a proxy.
    """
    proxies = urllib.request.getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found or _is_local(url.host):
        return None
    if any(_exempts(entry, url) for entry in proxies.get("no", "").split(",")):
        return None
    found = found.strip()
    try:
        proxy = httpx.URL(found if "://" in found else f"http://{found}")
        usable = proxy.scheme in _PROXY_SCHEMES and proxy.host and (proxy.port or 1) < 2**16
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise ClientError(
            f"The proxy that the environment names for {url.scheme} cannot be used: its URL begins "
            f"with one of {', '.join(_PROXY_SCHEMES)}, and has a host."
        )
    return proxy


def _is_local(host: str) -> bool:
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _exempts(entry: str, url: httpx.URL) -> bool:
    """Return True if an entry of NO_PROXY holds for a URL.

    Entries are `*`, a domain with all below it, an IP address, or a network (`10.0.0.0/8`), with or
    without a port; IPv6 with or without brackets.
    """
    entry = entry.strip().lower().rpartition("://")[2]
    host = url.host.lower().rstrip(".")
    if _is_within(host, entry):
        return True
    match = re.fullmatch(r"\[?(.*?)\]?(?::(\d+))?", entry)
    domain, port = match.groups() if match else (entry, None)
    if port is not None and int(port) != (url.port or {"http": 80, "https": 443}[url.scheme]):
        return False
    if domain == "*" or _is_within(host, domain):
        return True
    domain = domain.lstrip("*").strip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def _display(url: httpx.URL) -> str:
    """Return scheme, host and port of a URL, without a password."""
    return clean(str(url.copy_with(userinfo=b"", path="/", query=None))).rstrip("/")


class AnswerReader:
    """Collects the body of a response within a bound.

    No compression is asked for, and none is accepted: a small compressed body can become a large
    one.
    """

    def __init__(self, response: httpx.Response) -> None:
        """Refuse a compressed body.

        Raises:
            ClientError: The body is compressed.
        """
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise ClientError(
                "The service's answer is compressed, which was not asked for.",
                status=response.status_code,
            )
        self._response, self._content = response, bytearray()

    def add(self, chunk: bytes) -> None:
        """Append bytes of the body.

        Raises:
            ClientError: The body is too large.
        """
        self._content += chunk
        if len(self._content) > _MAX_ANSWER_BYTES:
            raise ClientError(
                f"The service's answer is larger than {_MAX_ANSWER_BYTES:,} bytes.",
                status=self._response.status_code,
            )

    def response(self) -> httpx.Response:
        """Return the whole response."""
        return httpx.Response(
            self._response.status_code,
            headers=self._response.headers,
            content=bytes(self._content),
        )
