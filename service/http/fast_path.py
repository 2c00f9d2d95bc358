"""The short way to an operation: past the framework's own layers and its search for a route."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import FacemaskError
from service.http.api_keys import KEYED, check_key
from service.problems import answer_error


class Direct:
    """Middleware that hands requests for one route straight to its endpoint, and others on.

    From the innermost middleware to an endpoint, FastAPI looks through its routers, opens three
    stacks of things to close and wraps `send` twice: more than reading and answering a picture
    costs. The route stays registered, where it documents its operation and answers an
    application that is mounted in another.
    """

    def __init__(self, app: ASGIApp, route: APIRoute) -> None:
        """Take a route without path parameters."""
        self._app = app
        self._route = route
        self._methods = route.methods or set()
        self._answer = route.get_route_handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != self._route.path
            or scope["method"] not in self._methods
            or scope.get("root_path")
        ):
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # as a router does; the log and the figures name it
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except FacemaskError as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)


class PlainRoute(APIRoute):
    """A route that takes the request and gives the response itself.

    FastAPI's way between the two costs as much as reading a form: there are no dependencies to
    solve, but for the key, and no model to make here. What is documented stays what it was.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself, behind the check of the key if the route asks for one."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        if KEYED not in self.dependencies:
            return endpoint

        async def keyed(request: Request) -> Response:
            check_key(request)
            return await endpoint(request)

        return keyed
