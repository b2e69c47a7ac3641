"""GET /v1/servers: every server that ever registered, and how it is; servers post their own status to the active."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from boardwright.model.api import ServerList, ServerStatus
from boardwright.server.peers import Peers


def routes(peers: Peers) -> list[HTTPRouteHandler]:
    @get("/v1/servers", sync_to_thread=False)
    def servers() -> ServerList:
        return peers.listing()

    return [servers]


def status_routes(peers: Peers) -> list[HTTPRouteHandler]:
    """What servers tell each other; taken by any, so that a new active is told without a redirect."""

    @post("/v1/servers/status", status_code=202, sync_to_thread=False)
    def server_status(data: ServerStatus) -> None:
        peers.take(data)

    return [server_status]
