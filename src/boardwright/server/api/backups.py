"""GET /v1/backup, POST /v1/restore: the state as a file, and back."""

import msgspec
from litestar import MediaType, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from boardwright.errors import MalformedError
from boardwright.model.api import Restoration, Restored
from boardwright.model.backup import MAX_BACKUP
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.restoring import Restoring

MAX_BODY = MAX_BACKUP * 4 // 3 + 32 * 1024 * 1024  # bytes: the file in base64, and what the operator has signed


def routes(restoring: Restoring) -> list[HTTPRouteHandler]:
    @get("/v1/backup", media_type=MediaType.TEXT, sync_to_thread=True)
    def backup() -> Response[bytes]:
        """The replicated state of one moment."""
        return Response(restoring.backup(), media_type=MediaType.TEXT)

    @post("/v1/restore", status_code=200, request_max_body_size=MAX_BODY, sync_to_thread=True)
    def restore(request: AnyRequest, body: RawBody) -> Restored:
        """Make the state what a backup says."""
        try:
            wish = msgspec.json.decode(body, type=Restoration)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError("the body is not of the documented form") from error
        return restoring.restore(wish, act_of(request))

    return [backup, restore]
