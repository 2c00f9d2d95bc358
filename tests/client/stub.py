"""Stub of the service: canned responses, and a record of the requests."""

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


def predictions(*entries: dict[str, object]) -> httpx.Response:
    numbered = [{"index": index} | entry for index, entry in enumerate(entries)]
    return httpx.Response(200, json={"model": {"version": "v"}, "predictions": numbered})


def entry(label: str = "mask", score: float = 0.75, **more: object) -> dict[str, object]:
    scores = {label: score}
    return {"decision": label, "label": label, "score": score, "scores": scores, **more}
