"""Stub of the service: canned responses, and a record of the requests."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Iterator

import httpx

URL = "http://service"


class StubService:
    """Handler of `httpx.MockTransport` that returns the given responses one by one."""

    def __init__(self, *responses: httpx.Response) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.responses.pop(0)


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def busy(status: int = 429) -> httpx.Response:
    document = {"code": "overloaded", "detail": "Many are waiting."}
    return httpx.Response(status, json=document, headers={"Retry-After": "0"})


def predictions(*entries: dict[str, object], **more: object) -> httpx.Response:
    numbered = [{"index": index} | entry for index, entry in enumerate(entries)]
    return httpx.Response(200, json={"model": {"version": "v"}, "predictions": numbered, **more})


def entry(label: str = "mask", score: float = 0.75, **more: object) -> dict[str, object]:
    scores = {label: score}
    return {"decision": label, "label": label, "score": score, "scores": scores} | more


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers each request with one prediction per file."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = predictions(*[entry() for _ in range(body.count(b'name="files"'))])
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Yield the address of a stub that listens, for commands in processes of their own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def sending(head: bytes, *, chunk: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """Yield the address of a server that sends a chunk again and again until it is cut off."""
    stopped = threading.Event()

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(2**16)
            connection.sendall(head)
            while not stopped.wait(pause_s):
                connection.sendall(chunk)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            # Ends the wait for a client that has given up before it connected.
            socket.create_connection(listener.getsockname()).close()
            thread.join()
