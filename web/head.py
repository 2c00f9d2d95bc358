"""HEAD requests, for both servers."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Middleware that answers HEAD as GET, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                # At once: else a stream of events without a reader would go on.
                await send({"type": "http.response.body", "body": b""})

        get_scope = {**scope, "method": "GET"}
        try:
            await self._app(get_scope, receive, send_start)
        finally:
            for key in ("route", "endpoint"):  # access logs and metrics read them
                if key in get_scope:
                    scope[key] = get_scope[key]
