"""A shortcut for POST /predict around FastAPI's router and dependency solver.

FastAPI searches its routers, opens three exit stacks and wraps `send` twice per request: about
0.08 ms, more than reading the form and writing the answer together. To remove the shortcut, delete
this file, and its import and `add_middleware` in `service/app.py`.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import FacemaskError
from service.http.error_handler import answer_error


class FastPathMiddleware:
    """Middleware that calls the endpoint of one POST route directly.

    The route stays registered: it documents its operation, and answers if the application is
    mounted in another one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        check_key: Callable[[Request], Awaitable[None]] | None,
    ) -> None:
        """Create the middleware.

        Args:
            app: Application for all other requests.
            path: Path of the route, without parameters; the access log and the metrics read it.
            endpoint: Endpoint of the route.
            check_key: Dependency of the route, if any.
        """
        self._app = app
        self.path = path
        self._endpoint = endpoint
        self._check_key = check_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != self.path
            or scope["method"] != "POST"
            or scope.get("root_path")
        ):
            await self._app(scope, receive, send)
            return
        scope["route"] = self
        request = Request(scope, receive)
        try:
            if self._check_key is not None:
                await self._check_key(request)
            response = await self._endpoint(request)
        except FacemaskError as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)
