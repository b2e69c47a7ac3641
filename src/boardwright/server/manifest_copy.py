"""Copying a manifest: a blob whose size and pieces nobody knows yet, verified as a whole by its digest."""

from collections.abc import Iterator

from boardwright.errors import FailedError, MalformedError
from boardwright.model.software import MAX_MANIFEST_BYTES, PIECE_SIZE, RANGE_SIZE
from boardwright.transfer.sources import FetchSource, SourceError, SourceList
from boardwright.transfer.store import BlobStore

STALL = 2.0  # seconds without a byte, as for every blob


def copy_manifest(digest: str, sources: SourceList, store: BlobStore) -> None:
    """Bring the manifest into `store` from the first source that has it; FailedError names every source's reason."""
    while (source := sources.current()) is not None:
        try:
            store.put(digest, _blocks(source, digest))
        except MalformedError as error:
            sources.leave(source, SourceError(f"{source.id}: {error}", wait=None))
        except SourceError as error:
            sources.leave(source, error)
        else:
            return
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in sources.left()) or "there is nobody to ask"
    raise FailedError(f"the manifest {digest} could not be copied: {reasons}")


def _blocks(source: FetchSource, digest: str) -> Iterator[memoryview]:
    """The blob's bytes, range by range; the first range that is shorter than asked is the last."""
    buffer = memoryview(bytearray(PIECE_SIZE))
    start = 0
    while start <= MAX_MANIFEST_BYTES:
        try:
            reader = source.open_range(digest, start, RANGE_SIZE, STALL)
        except SourceError:
            if start == 0:
                raise
            return  # nothing behind a last range that was full; the digest tells whether it was the last
        left = reader.length
        try:
            while left:
                count = reader.readinto(buffer[: min(len(buffer), left)])
                left -= count
                yield buffer[:count]
        finally:
            reader.close()
        if reader.length < RANGE_SIZE:
            return
        start += reader.length
    raise SourceError(f"{source.id} sent a manifest larger than {MAX_MANIFEST_BYTES} bytes", wait=None)
