"""The API as one ASGI application out of the routes of each topic."""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar, Response, Router
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from boardwright import __version__
from boardwright.errors import BoardwrightError
from boardwright.server.api.document import documented
from boardwright.server.api.gate import Gate, all_of
from boardwright.server.api.problems import on_boardwright_error, on_http_error, on_unexpected_error


def make_app(
    everywhere: Sequence[HTTPRouteHandler],
    on_the_active: Sequence[HTTPRouteHandler],
    *,
    guards: Sequence[Gate],
    gate: Gate,
    after: Callable[[Response[Any]], Response[Any]] | None = None,
) -> Litestar:
    """Every call goes through `guards`, in order; those that only the active answers then through `gate`.

    `after` is what happens to answers; those of errors pass it by.
    """
    return Litestar(
        route_handlers=[
            Router(path="/", route_handlers=documented(everywhere, active=False), before_request=all_of(*guards)),
            # The hook of a router takes the place of the one above it.
            Router(
                path="/",
                route_handlers=documented(on_the_active, active=True),
                before_request=all_of(*guards, gate),
            ),
        ],
        after_request=after,
        exception_handlers={
            BoardwrightError: on_boardwright_error,
            HTTPException: on_http_error,
            Exception: on_unexpected_error,
        },
        openapi_config=OpenAPIConfig(
            title="Boardwright",
            version=__version__,
            # Below the document itself: Litestar answers everything else below this path with a page of its own.
            path="/v1/openapi.json",
            render_plugins=[JsonRenderPlugin(path="/")],
        ),
        logging_config=None,
    )
