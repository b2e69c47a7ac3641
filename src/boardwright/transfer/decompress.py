"""Compressed files as streams of bounded length: plain, gzip, xz or Zstandard, told by their first bytes.

Rules:

* Memory is bounded whatever the file says of itself: a decoder that asks for a larger window is refused.
* A bomb is refused: more than ``MAX_STREAM`` bytes, or more than ``MAX_RATIO`` bytes out of each byte once there are
  ``RATIO_FROM`` of them. Disk images are mostly zeros, so the ratio alone says nothing about a short stream.
* Every part of a file of several concatenated parts is read; what follows them and is no such part is an error.
"""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from backports import zstd

from boardwright.errors import UsageError
from boardwright.model.software import MAX_FILE_BYTES

BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile)
MAX_WINDOW = 256 * 1024 * 1024  # bytes of a decoder; `xz -9` needs 65 MiB, Zstandard stops at 128 MiB by itself
MAX_STREAM = MAX_FILE_BYTES + 1024**3  # the files, and room for the archive's headers
MAX_RATIO = 1000  # gzip cannot do more; xz and zstd make it of nothing but zeros
RATIO_FROM = 4 * 1024**3  # bytes: below, whoever sends a bomb gains little, and images with few files look the same
_CHUNK = 256 * 1024


@contextmanager
def decompressed(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of the file, unpacked; reading raises one of ``BROKEN``, UsageError for a bomb, or OSError."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
        elif head == b"\xfd7zXZ\0":
            stream = cast(IO[bytes], io.BufferedReader(_Xz(file), _CHUNK))
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            stream = cast(IO[bytes], zstd.ZstdFile(file))
        else:
            yield file
            return
        with stream:
            yield cast(IO[bytes], _Bounded(path, file, stream))


class _Bounded:
    """A compressed `file` as its bytes, out of `stream`, until they are too many."""

    def __init__(self, path: Path, file: IO[bytes], stream: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._stream = stream
        self._read = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._read += len(data)
        if self._read > MAX_STREAM:
            raise UsageError(f"archive {self._path} unpacks to more than {MAX_STREAM} bytes", hint="split the version")
        if self._read > RATIO_FROM and self._read > MAX_RATIO * max(1, self._file.tell()):
            raise UsageError(
                f"archive {self._path} unpacks to more than {MAX_RATIO} times its own size",
                hint="if that is meant, publish it unpacked",
            )
        return data


class _Xz(io.RawIOBase):
    """``lzma.LZMAFile`` with a limit on the decoder's memory, which that class has not."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = self._fresh()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        while True:
            if self._decoder.eof and not self._next_part():
                return 0
            if self._decoder.needs_input and not self._waiting:
                self._waiting = self._file.read(_CHUNK)
                if not self._waiting:
                    raise EOFError("the compressed data ends in the middle")
            data = self._decoder.decompress(self._waiting, len(view))
            self._waiting = b""
            if data:
                view[: len(data)] = data
                return len(data)

    def _next_part(self) -> bool:
        """Begin with the part after the one that ended; between them may be zeros (xz file format, section 2.2)."""
        rest = self._decoder.unused_data
        while not (rest := rest.lstrip(b"\0")):
            rest = self._file.read(_CHUNK)
            if not rest:
                return False
        self._decoder, self._waiting = self._fresh(), rest
        return True

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW)
