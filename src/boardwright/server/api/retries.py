"""POST /v1/boards/ID/retry: the board may try again what it rolled back from or failed at."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from boardwright.model.api import Retry
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.held import HeldVersions


def routes(held: HeldVersions) -> list[HTTPRouteHandler]:
    @post("/v1/boards/{board:str}/retry", status_code=200, sync_to_thread=True)
    def retry(request: AnyRequest, board: FromPath[str], group: FromQuery[str | None] = None) -> Retry:
        """Every group of the board, or one."""
        return held.retry(board, act_of(request), group)

    return [retry]
