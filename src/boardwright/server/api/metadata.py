"""GET /v1/metadata/...: signed metadata as TUF clients ask for it; GET /v1/trust: all of it, for who signs the next."""

from litestar import MediaType, Response, get, post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from boardwright.errors import UnreachableError
from boardwright.model.api import SignedMetadata, TrustChange
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest
from boardwright.server.catching_up import CatchingUp
from boardwright.server.metadata import MetadataFiles
from boardwright.server.mirror import Mirror
from boardwright.server.signing import signed_of
from boardwright.server.trust_changes import TrustChanges

MAX_CHANGE = 16 * 1024 * 1024  # bytes; a root and targets of 5 MB in base64


def board_routes(files: MetadataFiles, catching_up: CatchingUp) -> list[HTTPRouteHandler]:
    """What boards ask any server for."""

    @get("/v1/metadata/{name:str}", sync_to_thread=False)
    def metadata(name: FromPath[str]) -> Response[bytes]:
        catching_up.check()
        return _found(files.get(name), name)

    @get("/v1/metadata/targets/plans/{name:str}", sync_to_thread=False)
    def shard(name: FromPath[str]) -> Response[bytes]:
        catching_up.check()
        return _found(files.shard(name), name)

    return [metadata, shard]


def routes(mirror: Mirror, changes: TrustChanges) -> list[HTTPRouteHandler]:
    """What only the active answers: whoever signs must not begin with what is old."""

    @get("/v1/trust", sync_to_thread=False)
    def trust() -> SignedMetadata:
        signed = signed_of(mirror.state.signed)
        if not signed.roots:
            raise UnreachableError("this cluster has signed nothing yet", hint="its first active will; try again")
        return SignedMetadata(signed.roots, signed.roles)

    @post("/v1/trust", status_code=200, request_max_body_size=MAX_CHANGE, sync_to_thread=True)
    def change(request: AnyRequest, data: JSONBody[TrustChange]) -> SignedMetadata:
        signed = changes.change(data, act_of(request))
        return SignedMetadata(signed.roots, signed.roles)

    return [trust, change]


def _found(data: bytes | None, name: str) -> Response[bytes]:
    if data is None:
        raise NotFoundException(f"there is no signed metadata {name[:200]!r} here")
    return Response(data, media_type=MediaType.JSON)
