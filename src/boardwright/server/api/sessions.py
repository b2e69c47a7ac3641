"""GET /v1/session/nonce and POST /v1/session: any server, anybody; see ``model.sessions``."""

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from boardwright.model.api import Problem
from boardwright.model.sessions import MAX_PROOF, NONCE_PATH, SESSION_PATH, Nonce, Proof, Token
from boardwright.server.api.problems import AnyRequest, problem
from boardwright.server.callers import Callers
from boardwright.trust.errors import UntrustedError


def routes(callers: Callers) -> list[HTTPRouteHandler]:
    @get(NONCE_PATH, sync_to_thread=False)
    def nonce() -> Nonce:
        return callers.nonce()

    @post(SESSION_PATH, status_code=200, request_max_body_size=MAX_PROOF, sync_to_thread=False)
    def session(request: AnyRequest, data: JSONBody[Proof]) -> Response[Token] | Response[Problem]:
        try:
            return Response(callers.open(data, request.client.host if request.client else ""))
        except UntrustedError as error:
            return problem(401, str(error), None, exit_code=3)

    return [nonce, session]
