"""The API as one ASGI application out of the routes of each topic."""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar, Response, Router
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from boardwright import __version__
from boardwright.errors import BoardwrightError, RefusedError
from boardwright.model.api import Problem
from boardwright.server.api.callers import Refused, known_caller
from boardwright.server.api.document import documented
from boardwright.server.api.gate import Gate, all_of
from boardwright.server.api.problems import AnyRequest, on_boardwright_error, on_http_error, on_unexpected_error
from boardwright.trust.errors import StaleError, UntrustedError


def make_app(
    everywhere: Sequence[HTTPRouteHandler],
    on_the_active: Sequence[HTTPRouteHandler],
    *,
    guards: Sequence[Gate],
    gate: Gate,
    refused: Refused,
    after: Callable[[Response[Any]], Response[Any]] | None = None,
) -> Litestar:
    """Every call goes through `guards`, in order; before that, those that only the active answers through `gate`.

    So who is refused there is refused by the active, which records it: `refused` hears of it.

    `after` is what happens to answers; those of errors pass it by.
    """
    return Litestar(
        route_handlers=[
            Router(path="/", route_handlers=documented(everywhere, active=False), before_request=all_of(*guards)),
            # The hook of a router takes the place of the one above it.
            Router(
                path="/",
                route_handlers=documented(on_the_active, active=True),
                before_request=all_of(gate, *guards),
            ),
        ],
        after_request=after,
        exception_handlers={
            BoardwrightError: _noting(refused),
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


def _noting(refused: Refused) -> Callable[[AnyRequest, BoardwrightError], Response[Problem]]:
    """``on_boardwright_error``, which tells `refused` what is refused to a caller who is known."""

    def on_error(request: AnyRequest, error: BoardwrightError) -> Response[Problem]:
        answer = on_boardwright_error(request, error)
        caller = known_caller(request)
        lied = isinstance(error, UntrustedError | StaleError)
        if caller is not None and (lied or answer.content.exit_code == RefusedError.exit_code):
            refused.note(request, caller, answer.content.error)
        return answer

    return on_error
