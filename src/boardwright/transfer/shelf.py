"""What a board serves its neighbours of: the versions that it downloads, and for a while those that it has staged.

Rules:

* A version on the shelf costs no second copy: while it is downloaded its bytes are those of the store's partial blobs,
  afterwards those of blobs that are linked to the version's files, and packs as long as the store keeps them.
* Only verified pieces count. Pieces are numbered over all blobs of the manifest, in its order.
* What is staged may run, and programs may write to their files: bytes whose file was written to since are gone from
  here. (A neighbour would notice, and hold this board for a liar.)
* Any thread may ask. Nothing here is about who asks.
"""

import os
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from boardwright.model.software import PIECE_SIZE, BlobRef, Target
from boardwright.transfer.store import BlobStore


class Place(NamedTuple):
    """Where a blob's pieces are in the version's numbers."""

    first: int
    size: int


class Opened(NamedTuple):
    """An open file of a blob of `size` bytes of the version `manifest`; who gets it closes `fd`."""

    fd: int
    size: int
    manifest: str


class _Version(msgspec.Struct):
    target: Target
    places: dict[str, Place]
    count: int
    have: Callable[[], bytes]
    written: dict[str, tuple[int, int]] | None = None  # inode and time of writing by blob, once it is staged


class Shelf:
    """The versions whose pieces lie in `store`."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._versions: dict[str, _Version] = {}

    def begin(self, target: Target, blobs: Iterable[BlobRef], have: Callable[[], bytes]) -> None:
        """The version is being downloaded; `blobs` are all of its manifest, `have` answers the bitmap of its pieces."""
        places: dict[str, Place] = {}
        count = 0
        for blob in blobs:
            places[blob.sha256] = Place(count, blob.size)
            count += blob.piece_count
        with self._lock:
            self._versions[target.manifest] = _Version(target, places, count, have)

    def staged(self, manifest: str) -> None:
        """The version is complete; what of it is in the store now, stays on the shelf."""
        with self._lock:
            version = self._versions.get(manifest)
        if version is None:
            return
        written: dict[str, tuple[int, int]] = {}
        pieces = 0
        for sha256, place in version.places.items():
            fd = self._open(sha256)
            if fd is None:
                continue
            facts = os.fstat(fd)
            os.close(fd)
            if facts.st_size == place.size:
                written[sha256] = facts.st_ino, facts.st_mtime_ns
                pieces |= ((1 << piece_count(place.size)) - 1) << place.first
        bitmap = pieces.to_bytes((version.count + 7) // 8, "little")
        with self._lock:
            self._versions[manifest] = msgspec.structs.replace(version, have=lambda: bitmap, written=written)

    def drop(self, manifest: str) -> None:
        """Serve nothing more of this version."""
        with self._lock:
            self._versions.pop(manifest, None)

    def targets(self) -> tuple[Target, ...]:
        """What is on the shelf."""
        with self._lock:
            return tuple(version.target for version in self._versions.values())

    def bitmap(self, manifest: str) -> bytes | None:
        """The pieces that are here, bit i % 8 of byte i // 8 for piece i; None: this version is not here."""
        with self._lock:
            version = self._versions.get(manifest)
        return None if version is None else _fitting(version)

    def version(self, manifest: str) -> tuple[Target, int] | None:
        """Its name and how many pieces it has; None: this version is not here."""
        with self._lock:
            version = self._versions.get(manifest)
        return None if version is None else (version.target, version.count)

    def digests(self) -> set[str]:
        """The blobs of all versions that are here."""
        with self._lock:
            return {sha256 for version in self._versions.values() for sha256 in version.places}

    def size(self, sha256: str) -> int | None:
        """Bytes of the blob if it belongs to a version that is here."""
        return next((version.places[sha256].size for version in self._with(sha256)), None)

    def open(self, sha256: str, start: int, end: int) -> Opened | None:
        """The blob's file if all bytes from `start` to before `end` are verified; who gets it closes it."""
        fd = self._open(sha256)
        if fd is None:
            return None
        # The file first, then what of it counts: a file that took another's place would otherwise be believed.
        for version in self._with(sha256):
            place = version.places[sha256]
            if not start < end <= place.size or not _unwritten(version, sha256, fd):
                continue
            if _covers(_fitting(version), place.first, start, end):
                return Opened(fd, place.size, version.target.manifest)
        os.close(fd)
        return None

    def _with(self, sha256: str) -> list[_Version]:
        with self._lock:
            return [version for version in self._versions.values() if sha256 in version.places]

    def _open(self, sha256: str) -> int | None:
        try:
            return self._store.open(sha256)
        except OSError:
            return None


def piece_count(size: int) -> int:
    """Pieces of a blob of `size` bytes."""
    return (size + PIECE_SIZE - 1) // PIECE_SIZE


def _fitting(version: _Version) -> bytes:
    """The bitmap with as many bytes as the version needs."""
    length = (version.count + 7) // 8
    return version.have()[:length].ljust(length, b"\0")


def _covers(bitmap: bytes, first: int, start: int, end: int) -> bool:
    pieces = range(first + start // PIECE_SIZE, first + (end - 1) // PIECE_SIZE + 1)
    return all(bitmap[piece // 8] >> (piece % 8) & 1 for piece in pieces)


def _unwritten(version: _Version, sha256: str, fd: int) -> bool:
    if version.written is None:
        return True
    facts = os.fstat(fd)
    return version.written.get(sha256) == (facts.st_ino, facts.st_mtime_ns)
