"""GET /v1/alarms: what every server warns of; servers post that, and how they are, to the active."""

from typing import Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from boardwright.errors import ForbiddenError
from boardwright.model.api import AlarmList, ServerWord
from boardwright.server.api.callers import caller_of
from boardwright.server.peers import Peers


def routes(peers: Peers) -> list[HTTPRouteHandler]:
    @get("/v1/alarms", sync_to_thread=False)
    def alarms() -> AlarmList:
        return peers.alarms()

    return [alarms]


def status_routes(peers: Peers) -> list[HTTPRouteHandler]:
    """What servers tell each other; taken by any, so that a new active is told without a redirect."""

    @post("/v1/servers/status", status_code=202, sync_to_thread=False)
    def server_status(request: Request[Any, Any, Any], data: JSONBody[ServerWord]) -> None:
        if caller_of(request).id != data.id:
            raise ForbiddenError(f"{caller_of(request).id} may not speak for {data.id[:200]}")
        peers.take(data)

    return [server_status]
