"""A blob on its way into the store: its bytes so far, and which pieces of them are verified.

Rules:

* Two files: the data, and the **map**: its schema version and the boot that wrote it, then one byte per piece, 1 for
  verified. A map of another schema is read like one of another boot: nothing is lost, all of it is hashed. A piece is
  marked after its data is written, so the map is never ahead of the data, whatever kills the process.
* After a power cut the disk may have kept the map and lost data: what a map of another boot claims is hashed anew.
* Any thread may write any piece; two that write the same piece write the same bytes.
"""

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Self

from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.transfer.space import Space

MAP_SUFFIX = ".map"
SCHEMA = 1
_BOOT_FIELD = 64  # bytes at the start of a map; a boot id has 36
Bytes = bytes | bytearray | memoryview


class Partial:
    """An open partial blob; close it, or use it as a context manager."""

    def __init__(self, blob: BlobRef, data: Path, boot: str, space: Space | None = None) -> None:
        """Open or begin the files at `data`; `boot` names the machine's current boot, "" if unknown. Raises OSError.

        `space`: whose reserve writing must not touch.
        """
        self.blob = blob
        self._space = space
        self.path = data
        self._lock = threading.Lock()
        with contextlib.ExitStack() as undo:
            self._data = _open(data)
            undo.callback(os.close, self._data)
            self._map = _open(data.with_name(data.name + MAP_SUFFIX))
            undo.callback(os.close, self._map)
            count = blob.piece_count
            self._pieces = bytearray(os.pread(self._map, count, _BOOT_FIELD).ljust(count, b"\0"))
            if os.fstat(self._data).st_size != blob.size:
                os.ftruncate(self._data, blob.size)
            mark = f"{SCHEMA} {boot}".encode().ljust(_BOOT_FIELD, b"\0")
            if not boot or os.pread(self._map, _BOOT_FIELD, 0) != mark:
                self._believe_only_what_hashes()
                os.pwrite(self._map, mark, 0)
            undo.pop_all()
        self._left = self._pieces.count(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def missing(self) -> list[int]:
        """Indexes of the pieces that are not verified yet, ascending."""
        with self._lock:
            return [index for index, there in enumerate(self._pieces) if not there]

    def has(self, index: int) -> bool:
        return bool(self._pieces[index])

    @property
    def complete(self) -> bool:
        return self._left == 0

    @property
    def verified_bytes(self) -> int:
        with self._lock:
            return sum(self.blob.piece_span(index)[1] for index, there in enumerate(self._pieces) if there)

    def write(self, index: int, data: Bytes) -> bool:
        """Verify `data` as piece `index` and keep it; False, and nothing written, if it is another's bytes.

        Raises NoSpaceError, and nothing is written, if the disk is nearly full.
        """
        start, length = self.blob.piece_span(index)
        if len(data) != length or hashlib.sha256(data).digest() != self.blob.piece_digest(index):
            return False
        if self._space is not None:
            self._space.take(length)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._data, view, start)
            view, start = view[written:], start + written
        os.pwrite(self._map, b"\1", _BOOT_FIELD + index)
        with self._lock:
            self._left -= not self._pieces[index]
            self._pieces[index] = 1
        return True

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the data file as they are; ask `has` first whether they are verified."""
        return os.pread(self._data, length, offset)

    def sync(self) -> None:
        """Make the data durable, then the map."""
        os.fsync(self._data)
        os.fsync(self._map)

    def close(self) -> None:
        if self._data >= 0:
            os.close(self._data)
            os.close(self._map)
        self._data = self._map = -1

    def _believe_only_what_hashes(self) -> None:
        for index, there in enumerate(self._pieces):
            start, length = self.blob.piece_span(index)
            if there and hashlib.sha256(os.pread(self._data, length, start)).digest() != self.blob.piece_digest(index):
                self._pieces[index] = 0
                os.pwrite(self._map, b"\0", _BOOT_FIELD + index)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def claim_all(data: Path, size: int) -> None:
    """Write a map of no boot for `data` that claims every piece, so that opening it hashes them all."""
    count = (size + PIECE_SIZE - 1) // PIECE_SIZE
    data.with_name(data.name + MAP_SUFFIX).write_bytes(bytes(_BOOT_FIELD) + b"\1" * count)


def remove_partial(data: Path) -> None:
    """Remove the data and the map, if they are there."""
    data.with_name(data.name + MAP_SUFFIX).unlink(missing_ok=True)
    data.unlink(missing_ok=True)
