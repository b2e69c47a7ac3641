"""POST and GET /v1/upgrade: Boardwright itself, server by server."""

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from boardwright.model.api import ServerList
from boardwright.model.upgrade import UpgradeRequest, UpgradeStatus
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.upgrades import Upgrades


def routes(upgrades: Upgrades) -> list[HTTPRouteHandler]:
    @post("/v1/upgrade", status_code=200, sync_to_thread=True)
    def upgrade(request: AnyRequest, data: JSONBody[UpgradeRequest]) -> UpgradeStatus:
        return upgrades.begin(data, act_of(request))

    @post("/v1/upgrade/abort", status_code=200, sync_to_thread=True)
    def abort(request: AnyRequest) -> UpgradeStatus:
        """Go back everywhere."""
        return upgrades.abort(act_of(request))

    @get("/v1/upgrade", sync_to_thread=False)
    def status() -> UpgradeStatus:
        return upgrades.status()

    @get("/v1/servers", sync_to_thread=False)
    def servers() -> ServerList:
        return upgrades.listed()

    return [upgrade, abort, status, servers]
