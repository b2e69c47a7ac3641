"""POST /v1/blobs/SHA256/verify: somebody got wrong bytes and asks this server to look at its disk."""

from litestar import post
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from boardwright.server.api.uploads import check_digest
from boardwright.server.scrubber import Checker


def routes(checker: Checker) -> list[HTTPRouteHandler]:
    @post("/v1/blobs/{sha256:str}/verify", status_code=202, sync_to_thread=False)
    def verify(sha256: FromPath[str]) -> None:
        """The word of whoever asks counts for nothing: the blob is hashed, when its turn comes."""
        check_digest(sha256)
        if not checker.ask(sha256):
            raise NotFoundException(f"no blob {sha256} here")

    return [verify]
