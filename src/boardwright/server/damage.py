"""Blobs that rotted on this server's disk: out of service at once, copied again, and people hear of it.

Rules:

* What is hashed is believed, nobody's word: ``check`` reads the whole blob, past the cache if the kernel lets it.
* A damaged blob is set aside at once and every version that names it is no longer offered; the replicator, which is
  woken, copies what is bad from a peer, and the version is offered again when all of it is here.
* The alarm sounds from the finding to the mending, over restarts, too; it says if nobody can send the blob.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from boardwright import log
from boardwright.protocol.messages import Holding
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.holdings import Holdings
from boardwright.server.version_blobs import VersionBlobs
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore

BLOCK = 1024 * 1024  # bytes read at a time
NAMED = 3  # versions that a sentence names
_log = log.get("server.damage")

Pace = Callable[[int], bool]  # told of so many bytes read; waits as long as the reader's rate wants; False: stop


class Damage:
    """Safe to call from any thread; `wake` makes the replicator look for work."""

    def __init__(
        self, store: BlobStore, holdings: Holdings, versions: VersionBlobs, alarms: Alarms, wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._holdings = holdings
        self._versions = versions
        self._alarms = alarms
        self._wake = wake
        self._lock = threading.Lock()
        self._open = store.damaged()
        self.found = 0
        self.repaired = 0

    def recall(self) -> None:
        """Sound the alarms of what a former run of this server found and nobody mended yet."""
        for sha256 in self._damaged():
            if self._store.has(sha256):
                self._mend(sha256, "this server")
            else:
                self._sound(sha256, "was found damaged before this server started")

    def check(self, sha256: str, pace: Pace) -> bool | None:
        """Whether the blob's bytes are what its name says; what is damaged is set aside. None: not here, or stopped."""
        path = self._store.path(sha256)
        try:
            got = _digest(path, pace)
        except FileNotFoundError:
            return None
        except OSError as error:  # the disk cannot read it any more
            self.take_out(sha256, f"cannot be read any more ({error.strerror})", salvage=False)
            return False
        if got == sha256:
            return True
        if got is None or self._store.path(sha256) != path:  # else it was replaced while it was read
            return None
        self.take_out(sha256, "does not have its digest any more")
        return False

    def take_out(self, sha256: str, what: str, *, salvage: bool = True) -> None:
        """Stop serving a damaged blob and every version that names it; `what` is wrong goes on after "blob X"."""
        with self._lock:
            self._open.add(sha256)
            self.found += 1
        named = self._named(sha256)
        for record in named:
            self._holdings.mark(record.manifest, Holding.PREPARING)
        is_manifest = any(record.manifest == sha256 for record in named)
        self._store.set_aside(sha256, salvage=salvage and not is_manifest)
        self._sound(sha256, what)
        self._wake()

    def nobody_has(self, record: CatalogRecord) -> None:
        """No other server can send what is damaged of this version now."""
        for sha256 in self._of(record):
            self._sound(
                sha256, "is damaged and no other server can send it now; publish the same content again to repair it"
            )

    def whole(self, record: CatalogRecord, sources: Iterable[str]) -> None:
        """The version is complete here again; its bytes came from `sources`."""
        origin = ", ".join(sorted(sources)) or "this server"
        for sha256 in self._of(record):
            if self._store.has(sha256):
                self._mend(sha256, origin)

    def _mend(self, sha256: str, origin: str) -> None:
        self._store.mended(sha256)
        with self._lock:
            self._open.discard(sha256)
            self.repaired += 1
        _log.info("damaged blob repaired", blob=sha256, source=origin)
        self._alarms.clear(AlarmKind.DAMAGED_BLOB, sha256)

    def _of(self, record: CatalogRecord) -> set[str]:
        damaged = self._damaged()
        if not damaged:
            return damaged
        return damaged & ({record.manifest} | (self._versions.of(record.manifest) or frozenset()))

    def forget(self, named: set[str] | frozenset[str]) -> None:
        """What no version names any more (all others are `named`) needs no repair."""
        for sha256 in self._damaged() - named:
            self._store.mended(sha256)
            with self._lock:
                self._open.discard(sha256)
            self._alarms.clear(AlarmKind.DAMAGED_BLOB, sha256)

    def _damaged(self) -> set[str]:
        with self._lock:
            return set(self._open)

    def _named(self, sha256: str) -> list[CatalogRecord]:
        return self._versions.naming(sha256, self._holdings.records())

    def _sound(self, sha256: str, what: str) -> None:
        names = [f"{record.group} {record.version}" for record in self._named(sha256)]
        versions = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "") or "no version"
        sentence = f"blob {sha256[:12]} of {versions} {what}; boards get these versions elsewhere until it is repaired"
        self._alarms.sound(AlarmKind.DAMAGED_BLOB, sha256, sentence)


def _digest(path: Path, pace: Pace) -> str | None:
    """SHA-256 of what the disk holds, not of what the cache remembers; None if `pace` stopped it."""
    hasher = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        position = 0
        while data := os.read(fd, BLOCK):
            hasher.update(data)
            # Neither shall a blob that nobody asked for push others out of the cache.
            os.posix_fadvise(fd, position, len(data), os.POSIX_FADV_DONTNEED)
            position += len(data)
            if not pace(len(data)):
                return None
    finally:
        os.close(fd)
    return hasher.hexdigest()
