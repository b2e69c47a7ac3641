"""Copying a manifest: a blob whose size and pieces nobody knows yet, verified as a whole by its digest.

Rules:

* A server that keeps caps answers with less than a range, so a short answer says nothing of the end: it is asked on
  until it says that there is nothing more (416).
* Full in the middle of it is not the end either: what came is kept, and the same server is asked again, for a bounded
  time, when it says. Everything else is the next source's turn.
"""

import time
from collections.abc import Callable, Iterator

from boardwright.errors import FailedError, MalformedError
from boardwright.model.software import MAX_MANIFEST_BYTES, PIECE_SIZE, RANGE_SIZE
from boardwright.transfer.sources import FetchSource, SourceError, SourceList
from boardwright.transfer.store import BlobStore

STALL = 2.0  # seconds without a byte, as for every blob
PATIENCE = 60  # times in a row that a full server is asked again for the same range
LONGEST_WAIT = 2.0  # seconds; a server that stops waits for this thread


def copy_manifest(
    digest: str, sources: SourceList, store: BlobStore, *, sleep: Callable[[float], object] = time.sleep
) -> None:
    """Bring the manifest into `store` from the first source that has it; FailedError names every source's reason."""
    while (source := sources.current()) is not None:
        try:
            store.put(digest, _blocks(source, digest, sleep))
        except MalformedError as error:
            sources.leave(source, SourceError(f"{source.id}: {error}", wait=None))
        except SourceError as error:
            sources.leave(source, error)
        else:
            return
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in sources.left()) or "there is nobody to ask"
    raise FailedError(f"the manifest {digest} could not be copied: {reasons}")


def _blocks(source: FetchSource, digest: str, sleep: Callable[[float], object]) -> Iterator[memoryview]:
    """The blob's bytes, range by range, until the source has no more."""
    buffer = memoryview(bytearray(PIECE_SIZE))
    start = refusals = 0
    while start <= MAX_MANIFEST_BYTES:
        try:
            reader = source.open_range(digest, start, RANGE_SIZE, STALL)
        except SourceError as error:
            if start and error.busy and refusals < PATIENCE:
                refusals += 1
                sleep(min(error.wait or 0.0, LONGEST_WAIT))
                continue
            if start and error.wait is None:
                return  # nothing behind the last range; the digest tells whether it was the last
            raise
        refusals = 0
        left = reader.length
        try:
            while left:
                count = reader.readinto(buffer[: min(len(buffer), left)])
                left -= count
                yield buffer[:count]
        finally:
            reader.close()
        if not reader.length:
            return  # else it would be asked for ever
        start += reader.length
    raise SourceError(f"{source.id} sent a manifest larger than {MAX_MANIFEST_BYTES} bytes", wait=None)
