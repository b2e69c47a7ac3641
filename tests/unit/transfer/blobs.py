"""Blobs with known bytes, and sources that behave as a test says."""

import hashlib
import random
import threading
from collections.abc import Callable

from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.transfer.sources import SourceError


def blob_of(data: bytes) -> BlobRef:
    pieces = (data[at : at + PIECE_SIZE] for at in range(0, len(data), PIECE_SIZE))
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return BlobRef(hashlib.sha256(data).hexdigest(), len(data), digests)


def some_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class MemoryRange:
    def __init__(self, source: "MemorySource", data: bytes, start: int) -> None:
        self.length = len(data)
        self._source = source
        self._data = data
        self._start = start

    def readinto(self, buffer: memoryview) -> int:
        self._source.before_read(self._start)
        count = min(len(buffer), len(self._data), self._source.chunk)
        buffer[:count] = self._data[:count]
        self._data, self._start = self._data[count:], self._start + count
        return count

    def abort(self) -> None:
        self._source.aborted.set()

    def close(self) -> None:
        pass


class MemorySource:
    """Serves `blobs` from memory; `before_read(offset)` and `before_open(start)` may raise SourceError or wait."""

    def __init__(self, source_id: str, *blobs: bytes, most: int = 1 << 40, chunk: int = 1 << 20) -> None:
        self.id = source_id
        self.blobs = {hashlib.sha256(data).hexdigest(): data for data in blobs}
        self.most = most
        self.chunk = chunk
        self.asked: list[tuple[str, int, int]] = []
        self.aborted = threading.Event()
        self.closed = False
        self.before_read: Callable[[int], None] = lambda _: None
        self.before_open: Callable[[int], None] = lambda _: None

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> MemoryRange:
        self.asked.append((sha256, start, length))
        self.before_open(start)
        if sha256 not in self.blobs:
            raise SourceError(f"{self.id} has no blob {sha256}", wait=None)
        return MemoryRange(self, self.blobs[sha256][start : start + min(length, self.most)], start)

    def break_off(self) -> None:
        self.aborted.set()

    def close(self) -> None:
        self.closed = True


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self.left: list[tuple[str, str]] = []
        self.wrong: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def on_bytes(self, source_id: str, count: int) -> None:
        with self._lock:
            self.bytes[source_id] = self.bytes.get(source_id, 0) + count

    def on_failover(self, source_id: str, reason: str) -> None:
        self.left.append((source_id, reason))

    def on_wrong(self, source_id: str, sha256: str) -> None:
        self.wrong.append((source_id, sha256))


class Clock:
    """Time that passes only when told, or slept."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
