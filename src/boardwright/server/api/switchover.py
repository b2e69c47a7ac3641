"""POST /v1/switchover: the active hands its role to a standby."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from boardwright.model.api import Switchover, SwitchoverRequest
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.switchover import Switching


def routes(switching: Switching) -> list[HTTPRouteHandler]:
    @post("/v1/switchover", status_code=200, sync_to_thread=True)
    def switchover(request: AnyRequest, data: JSONBody[SwitchoverRequest]) -> Switchover:
        return switching.switch(data, act_of(request))

    return [switchover]
