"""What this server has of every version in the catalog, ready for the answer to a request.

Rules:

* ALL only for a version whose every blob, its manifest's included, is in the store: a server that answers before
  it is ready is the classic fault of "any server may answer".
* PREPARING while the version is being copied, or waits its turn behind others; NONE after a failed attempt, until
  the next one begins: nobody shall wait for a copy that does not move.
* A version that was retired to make room is none that a store shall hold.
* How far a copy is, is said beside PREPARING: the other servers of the chassis wait for it as long as it moves.
* ``by_manifest`` is one dict that is swapped as a whole: the responder reads it without a lock or the disk.
"""

import threading
from collections.abc import Iterable, Mapping

from boardwright.errors import MalformedError
from boardwright.model.software import Manifest, decode_manifest, digest_of
from boardwright.protocol.messages import Holding
from boardwright.protocol.offerer import Catalogued
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore


class Holdings:
    """Known versions by the digest of their manifest (32 bytes)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, CatalogRecord] = {}
        self._states: dict[str, Holding] = {}
        self._copied: dict[str, int] = {}
        self.by_manifest: Mapping[bytes, Catalogued] = {}

    def know(self, records: Iterable[CatalogRecord]) -> None:
        """Take over the catalog; a version that is new to it is to be prepared, one that left it is forgotten."""
        with self._lock:
            self._records = {record.manifest: record for record in records if not record.retired}
            self._states = {digest: self._states.get(digest, Holding.PREPARING) for digest in self._records}
            self._copied = {digest: count for digest, count in self._copied.items() if digest in self._records}
            self._publish()

    def mark(self, manifest: str, holding: Holding) -> None:
        """Say what the store has of the version with this manifest (64 hex digits), if the catalog names it."""
        with self._lock:
            copied = self._copied.pop(manifest, None)
            if manifest in self._records and (copied is not None or self._states.get(manifest) is not holding):
                self._states[manifest] = holding
                self._publish()

    def copying(self, manifest: str, count: int) -> None:
        """The version is being copied, `count` bytes of it so far; until it is marked."""
        with self._lock:
            if manifest in self._records and self._states.get(manifest) is not Holding.ALL:
                self._states[manifest] = Holding.PREPARING
                self._copied[manifest] = count
                self._publish()

    def holds(self, manifest: str) -> bool:
        return self._states.get(manifest) is Holding.ALL

    def records(self) -> list[CatalogRecord]:
        """Every version that a store shall hold."""
        with self._lock:
            return list(self._records.values())

    def incomplete(self) -> list[CatalogRecord]:
        """Versions of the catalog that are not wholly here."""
        with self._lock:
            return [record for digest, record in self._records.items() if self._states[digest] is not Holding.ALL]

    def complete(self) -> list[CatalogRecord]:
        with self._lock:
            return [record for digest, record in self._records.items() if self._states[digest] is Holding.ALL]

    def _publish(self) -> None:
        self.by_manifest = {
            bytes.fromhex(digest): Catalogued(self._records[digest].version, state, copied=self._copied.get(digest))
            for digest, state in self._states.items()
        }


def stored_manifest(store: BlobStore, digest: str) -> Manifest | None:
    """The manifest if its blob is in the store; MalformedError if that has other bytes than it should."""
    if not store.has(digest):
        return None
    data = store.path(digest).read_bytes()
    if digest_of(data) != digest:
        raise MalformedError(f"the stored manifest {digest} has the digest {digest_of(data)}")
    return decode_manifest(data)
