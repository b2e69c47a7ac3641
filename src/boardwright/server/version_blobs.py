"""Which blobs each version is made of, so that nobody has to read manifests to find out who needs a blob.

Rules:

* What a manifest in the store names never changes, so it is read once; 32 bytes are kept for each blob.
* Of a version whose manifest is not here (or is broken) nothing is known: None, which is not the same as nothing.
"""

import threading
from collections.abc import Iterable

from boardwright.errors import MalformedError
from boardwright.model.software import Manifest
from boardwright.server.holdings import stored_manifest
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore

_DIGEST = 32  # bytes of a SHA-256


class VersionBlobs:
    """Safe to call from any thread; may read a manifest."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, bytes] = {}  # manifest's digest -> its blobs' digests, one behind the other

    def learn(self, digest: str, manifest: Manifest) -> None:
        """Keep what this manifest names."""
        names = b"".join(bytes.fromhex(blob.sha256) for blob in manifest.blobs)
        with self._lock:
            self._known[digest] = names

    def of(self, digest: str) -> frozenset[str] | None:
        """Digests of the blobs of the version with this manifest (64 hex digits), None while nobody can tell."""
        with self._lock:
            names = self._known.get(digest)
        if names is None:
            try:
                manifest = stored_manifest(self._store, digest)
            except (MalformedError, OSError):
                return None
            if manifest is None:
                return None
            self.learn(digest, manifest)
            return frozenset(blob.sha256 for blob in manifest.blobs)
        return frozenset(names[start : start + _DIGEST].hex() for start in range(0, len(names), _DIGEST))

    def naming(self, sha256: str, records: Iterable[CatalogRecord]) -> list[CatalogRecord]:
        """The versions among `records` that need this blob, as their manifest or as one of their files."""
        return [record for record in records if sha256 == record.manifest or self._names(record.manifest, sha256)]

    def _names(self, digest: str, sha256: str) -> bool:
        return sha256 in (self.of(digest) or ())
