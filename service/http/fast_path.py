"""The short way to an operation: past the framework's own layers and its search for a route."""

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import FacemaskError
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
