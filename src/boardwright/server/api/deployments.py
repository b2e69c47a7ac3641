"""POST /v1/deployments: the operator wants a version of a group on some boards."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from boardwright.model.api import Deployment, DeploymentRequest
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.deployments import Deployments


def routes(deployments: Deployments) -> list[HTTPRouteHandler]:
    @post("/v1/deployments", status_code=200, sync_to_thread=True)
    def deploy(request: AnyRequest, data: JSONBody[DeploymentRequest]) -> Deployment:
        return deployments.deploy(data, act_of(request))

    return [deploy]
