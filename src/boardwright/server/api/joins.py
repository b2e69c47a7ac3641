"""Join tokens, those who want in, and the operator's approval.

`POST /v1/joins` and `GET /v1/authority` are for anybody: who joins has no certificate yet. What it asks for is signed
by the key that it wants certified, and what it hears of the cluster it checks by the digest in its token.
"""

from litestar import Response, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from boardwright.model.admission import (
    Approval,
    ClusterAuthority,
    JoinAnswer,
    Joiner,
    JoinerList,
    Joining,
    NewToken,
    TokenList,
    TokenStatus,
)
from boardwright.server.admission import Admission
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.join_tokens import JoinTokens

MAX_BODY = 16 * 1024  # bytes; a request to join has a key, a signature and a few names


def authority_routes(authority: ClusterAuthority) -> list[HTTPRouteHandler]:
    """Answered by every server, to anybody."""

    @get("/v1/authority", sync_to_thread=False)
    def cluster_authority() -> ClusterAuthority:
        """Public: it proves nothing and gives nothing away."""
        return authority

    return [cluster_authority]


def routes(admission: Admission, tokens: JoinTokens) -> list[HTTPRouteHandler]:
    @post(
        "/v1/joins",
        status_code=200,
        responses={202: ResponseSpec(JoinAnswer)},
        request_max_body_size=MAX_BODY,
        sync_to_thread=True,
    )
    def join(request: AnyRequest, data: JSONBody[Joining]) -> Response[JoinAnswer]:
        """200 with a certificate, 202 to who waits: it asks again with the same key."""
        host = "" if request.client is None else request.client.host
        answer = admission.join(data, host)
        return Response(answer, status_code=200 if answer.chain else 202)

    @get("/v1/joins", sync_to_thread=True)
    def joiners() -> JoinerList:
        return admission.waiting()

    @post("/v1/joins/{key:str}/approval", status_code=200, request_max_body_size=MAX_BODY, sync_to_thread=True)
    def approve(request: AnyRequest, key: FromPath[str], data: JSONBody[Approval]) -> Joiner:
        return admission.approved(key, data.certificate, act_of(request))

    @delete("/v1/joins/{key:str}", status_code=200, sync_to_thread=True)
    def dismiss(request: AnyRequest, key: FromPath[str]) -> Joiner:
        return admission.dismissed(key, act_of(request))

    @post("/v1/tokens", status_code=201, request_max_body_size=MAX_BODY, sync_to_thread=True)
    def create_token(request: AnyRequest, data: JSONBody[NewToken]) -> TokenStatus:
        return tokens.create(data, act_of(request))

    @get("/v1/tokens", sync_to_thread=True)
    def list_tokens() -> TokenList:
        return tokens.listing()

    @delete("/v1/tokens/{digest:str}", status_code=200, sync_to_thread=True)
    def drop_token(request: AnyRequest, digest: FromPath[str]) -> TokenStatus:
        return tokens.drop(digest, act_of(request))

    return [join, joiners, approve, dismiss, create_token, list_tokens, drop_token]
