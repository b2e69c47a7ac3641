"""GET /v1/plan/boards/ID: what a board shall run, from this server's own copy of the plan."""

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from boardwright.model.plan import BoardPlan
from boardwright.server.api.callers import caller_of, own_only
from boardwright.server.catching_up import CatchingUp
from boardwright.server.mirror import Mirror


def routes(mirror: Mirror, catching_up: CatchingUp) -> list[HTTPRouteHandler]:
    @get("/v1/plan/boards/{board:str}", sync_to_thread=False)
    def board_plan(request: Request[Any, Any, Any], board: FromPath[str]) -> BoardPlan:
        """A board that the plan does not know gets an empty plan: it may be known to the next one."""
        own_only(caller_of(request), board)
        catching_up.check()
        return mirror.state.board_plan(board)

    return [board_plan]
