"""What `publish` sends: blobs, then the manifest that names them.

A blob streams from the socket to the disk in blocks, never whole in memory; the disk's pace holds the sender back.
Only what has the digest in its name becomes a blob.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor

import msgspec
from litestar import Response, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from boardwright.errors import FailedError, UsageError
from boardwright.model.api import Problem, Publication, RoomRequest, VersionSummary
from boardwright.model.software import is_digest
from boardwright.server.api.acts import act_of
from boardwright.server.api.problems import AnyRequest, problem
from boardwright.server.api.software import summary
from boardwright.server.collector import Collector
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.publishing import Publishing
from boardwright.server.room import Room
from boardwright.transfer.space import HINT, NoSpaceError, is_full
from boardwright.transfer.store import BlobStore

BLOCK = 1024 * 1024  # bytes handed to the disk at once
STALLED_AFTER = 60.0  # seconds without a byte, after which an upload is given up
MAX_ASKED = 8 * 1024 * 1024  # a list of 100,000 digests
MAX_PUBLICATION = 16 * 1024 * 1024  # bytes; two roles of signed metadata of 5 MB in base64


class Intake(msgspec.Struct, frozen=True):
    """What uploads go through; `disk` runs them, so that slow ones do not hold up other calls."""

    store: BlobStore
    pieces: PieceDigests
    room: Room
    collector: Collector
    disk: Executor

    def put(self, sha256: str, length: int, blocks: Iterator[bytes]) -> None:
        """Take one blob in; raises NoSpaceError, MalformedError."""
        self.collector.touch([sha256], upload=True)
        try:
            with self.room.for_upload(sha256, length):
                self.store.put(sha256, self.pieces.of_upload(sha256, blocks))
        except OSError as error:
            if not is_full(error):
                raise
            raise NoSpaceError(f"the disk of {self.store.root} became full during the upload", hint=HINT) from error
        self.collector.touch([sha256], upload=True)


def routes(intake: Intake, publishing: Publishing) -> list[HTTPRouteHandler]:
    @post("/v1/blobs/room", status_code=200, sync_to_thread=True)
    def room(data: JSONBody[RoomRequest]) -> RoomRequest:
        """Whether so many bytes may come; room is made for them if it can be."""
        intake.room.for_publish(data.bytes)
        return data

    @post("/v1/blobs/missing", status_code=200, request_max_body_size=MAX_ASKED, sync_to_thread=True)
    def missing(data: JSONBody[list[str]]) -> list[str]:
        for sha256 in data:
            check_digest(sha256)
        intake.collector.touch(sha256 for sha256 in data if intake.store.has(sha256))
        return [sha256 for sha256 in data if not intake.store.has(sha256)]

    @put("/v1/blobs/{sha256:str}", status_code=201, request_max_body_size=None)
    async def put_blob(sha256: FromPath[str], request: AnyRequest) -> Response[Problem] | None:
        check_digest(sha256)
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return problem(411, "an upload without Content-Length", "send the size of the blob", exit_code=2)
        loop = asyncio.get_running_loop()
        blocks = _blocks(request.stream(), loop)
        await loop.run_in_executor(intake.disk, intake.put, sha256, int(length), blocks)
        return None

    @post(
        "/v1/versions",
        responses={200: ResponseSpec(VersionSummary)},
        request_max_body_size=MAX_PUBLICATION,
        sync_to_thread=True,
    )
    def publish(request: AnyRequest, data: JSONBody[Publication]) -> Response[VersionSummary]:
        record, new = publishing.publish(data, act_of(request))
        return Response(summary(record), status_code=201 if new else 200)

    return [room, missing, put_blob, publish]


def check_digest(sha256: str) -> None:
    """Raise UsageError unless this is how a blob is named."""
    if not is_digest(sha256):
        raise UsageError(f"{sha256[:80]!r} is not a SHA-256 digest of 64 hex digits")


def _blocks(stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Blocks of an upload for a thread; it asks the loop for each, so no more than one waits in memory."""

    async def next_block() -> bytes:
        block = bytearray()
        async for chunk in stream:
            block += chunk
            if len(block) >= BLOCK:
                break
        return bytes(block)

    while True:
        pending = asyncio.run_coroutine_threadsafe(next_block(), loop)
        try:
            block = pending.result(STALLED_AFTER)
        except TimeoutError as error:
            pending.cancel()
            raise FailedError(f"the upload stood still for {STALLED_AFTER:g} s") from error
        if not block:
            return
        yield block
