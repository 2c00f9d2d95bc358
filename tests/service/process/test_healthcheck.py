"""The health check of containers: the port that is set, and no proxy."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from service.process import healthcheck
from tests import ROOT


class _Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("FACEMASK_") or name == "PORT" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(name="port")
def _port() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", ["FACEMASK_PORT", "PORT"])
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", ""])
def test_healthcheck_calls_the_port_that_is_set(
    variable: str, host: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, port)
    monkeypatch.setenv("FACEMASK_HOST", host)
    assert healthcheck.main() == 0


def test_healthcheck_uses_no_proxy(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", port)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert healthcheck.main() == 0


def test_healthcheck_fails_unless_a_model_is_served(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", port)
    monkeypatch.setattr(_Health, "status", 503)
    assert healthcheck.main() == 1
    assert capsys.readouterr().err == (
        f"error: 127.0.0.1, port {port}: GET /health is answered 503.\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "1"), ("PORT", "x"), ("FACEMASK_HOST", "x" * 70), ("FACEMASK_HOST", "::1")],
)
def test_healthcheck_fails_with_one_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv(name, value)
    assert healthcheck.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_healthcheck_loads_neither_pytorch_nor_fastapi() -> None:
    source = (
        "import sys, service.process.healthcheck; "
        "sys.exit(bool({'torch', 'fastapi', 'starlette', 'uvicorn', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=False).returncode == 0


def test_image_uses_this_healthcheck() -> None:
    assert (
        'CMD ["python", "-m", "service.process.healthcheck"]'
        in (ROOT / "Dockerfile.serve").read_text()
    )
