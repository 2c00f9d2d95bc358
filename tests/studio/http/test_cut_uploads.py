"""Uploads whose connection ends in their middle, on a real port."""

import logging
import socket
import time
from pathlib import Path

import httpx
import pytest

from studio.app import create_app
from tests import WAIT_S
from tests.process.running import running
from tests.studio.http.serving import NoWork, settings_of
from tests.studio.workspace import picture


def request_bytes(path: str, port: int, body: bytes, content_type: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Requested-With: studio\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("path", ["pictures", "archive", "tables?kind=labels", "plan"])
def test_a_cut_upload_leaves_nothing_and_is_no_error_of_the_studio(
    tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    app = create_app(settings_of(tmp_path), work=NoWork())
    with running(app) as address:
        port = int(address.rsplit(":", 1)[1])
        headers = {"X-Requested-With": "studio"}
        made = httpx.post(
            f"{address}/api/projects", json={"name": "cut"}, headers=headers, timeout=WAIT_S
        )
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            + picture("a") * 9
            + b"\r\n--x--\r\n"
        )
        target = f"/api/projects/{made.json()['id']}/{path}"
        sent = request_bytes(target, port, body, "multipart/form-data; boundary=x")
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as opened:
            opened.sendall(sent[: len(sent) // 2])
        end = time.monotonic() + WAIT_S
        while not any(f"/{path.split('?', maxsplit=1)[0]} " in line for line in caplog.messages):
            assert time.monotonic() < end, caplog.messages
            time.sleep(0.02)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert list((tmp_path / "data" / "incoming").glob("*")) == []
    assert [one for one in (tmp_path / "data" / "blobs").rglob("*") if one.is_file()] == []
