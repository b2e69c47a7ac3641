"""What pieces the uploaded blobs really have, so that a manifest can be held against them without reading them again.

The digests are taken while a blob streams in and kept in memory, 32 bytes for each blob. Of a blob that was there
before this server started they are taken from the disk, once.
"""

import hashlib
import threading
from collections.abc import Iterable, Iterator

from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.transfer.store import BlobStore

MOST = 100_000  # blobs; some 20 MB at most, and more than the versions of a few publishes have together


class PieceDigests:
    """Safe to call from any thread."""

    def __init__(self, store: BlobStore, most: int = MOST) -> None:
        self._store = store
        self._most = most
        self._lock = threading.Lock()
        self._known: dict[str, bytes] = {}  # blob's digest -> SHA-256 over the digests of its pieces

    def of_upload(self, sha256: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks; when they are through, the pieces of the blob are known."""
        pieces, piece, filled = hashlib.sha256(), hashlib.sha256(), 0
        for block in blocks:
            view = memoryview(block)
            while view:
                part = view[: PIECE_SIZE - filled]
                piece.update(part)
                filled += len(part)
                view = view[len(part) :]
                if filled == PIECE_SIZE:
                    pieces.update(piece.digest())
                    piece, filled = hashlib.sha256(), 0
            yield block
        if filled:
            pieces.update(piece.digest())
        self._keep(sha256, pieces.digest())

    def match(self, blob: BlobRef) -> bool:
        """Whether the stored blob has the pieces that `blob` claims. Raises OSError."""
        claimed = hashlib.sha256(blob.pieces).digest()
        with self._lock:
            known = self._known.get(blob.sha256)
        if known is not None:
            return known == claimed
        if not self._store.matches(blob):
            return False
        self._keep(blob.sha256, claimed)
        return True

    def _keep(self, sha256: str, digest: bytes) -> None:
        with self._lock:
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[sha256] = digest
