"""GET and POST /v1/revocations: the list of revoked keys, for anybody from anybody, since its signature tells.

Every answer of the API says the number of the list in hand (``REVOCATIONS_HEADER``), so whoever asks anything learns
that there is a newer one.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery

from boardwright.model.api import REVOCATIONS_HEADER
from boardwright.server.revocations import Gossip
from boardwright.trust.revocation import MAX_LIST
from boardwright.trust.revoked import RevokedKeys

BYTES = "application/octet-stream"
AnyResponse = Response[Any]


def routes(revoked: RevokedKeys, gossip: Gossip) -> list[HTTPRouteHandler]:
    @get("/v1/revocations", media_type=BYTES, responses={204: ResponseSpec(None)}, sync_to_thread=False)
    def revocations(above: FromQuery[int] = 0) -> Response[bytes]:
        """The list, or nothing (204) if its number is not above that."""
        data = revoked.data if revoked.number > above else b""
        return Response(data, status_code=200 if data else 204, media_type=BYTES)

    @post("/v1/revocations", status_code=204, request_max_body_size=MAX_LIST)
    async def revoke(request: Request[Any, Any, Any]) -> None:
        await asyncio.to_thread(gossip.take, await request.body())

    return [revocations, revoke]


def numbered(revoked: RevokedKeys) -> Callable[[AnyResponse], AnyResponse]:
    """An ``after_request`` hook that says the number of the list in hand."""

    def say(response: AnyResponse) -> AnyResponse:
        response.headers[REVOCATIONS_HEADER] = str(revoked.number)
        return response

    return say
