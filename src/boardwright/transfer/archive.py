"""Reading tar archives as a stream: plain, gzip, xz or Zstandard, told by their first bytes, not by their names."""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from backports import zstd

from boardwright.errors import UsageError
from boardwright.model.software import PIECE_SIZE
from boardwright.transfer.contents import MAX_BYTES, Contents, Entry
from boardwright.transfer.options import FILE_NAME, MAX_FILE

_BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, gzip.BadGzipFile, ValueError)
_MAGIC_AT = 257  # "ustar" of POSIX and GNU headers


def is_archive(path: Path) -> bool:
    """Whether the file is a tar archive, compressed or not; raises OSError."""
    with _decompressed(path) as stream:
        try:
            return stream.read(_MAGIC_AT + 5)[_MAGIC_AT:] == b"ustar"
        except (*_BROKEN, OSError):
            return False


def read_archive(path: Path, spool: Path, small: int) -> Contents:
    """The contents of a tar archive; files go into the directory `spool`, those below `small` bytes into one file.

    Raises UsageError for what is broken or refused, OSError if the spool cannot be written.
    """
    contents = Contents(str(path))
    with _decompressed(path) as stream, (spool / "small").open("wb") as small_file:
        reader = _Reader(contents, spool, small_file, small)
        try:
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                for member in archive:
                    reader.take(archive, member)
            while stream.read(PIECE_SIZE):  # a compressed stream checks itself at its end
                pass
        except _BROKEN as error:
            raise UsageError(f"archive {path} is broken: {error}") from error
    return contents


class _Reader:
    def __init__(self, contents: Contents, spool: Path, small_file: IO[bytes], small: int) -> None:
        self._contents = contents
        self._spool = spool
        self._small_file = small_file
        self._small = small
        self._bytes = 0
        self._count = 0

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it remembers every member
        path = _normal(member.name)
        if not path:
            return
        if member.isdir():
            self._contents.add(Entry(path, member.mode & 0o7777, directory=True))
        elif member.issym():
            self._contents.add(Entry(path, 0o777, link=member.linkname))
        elif member.islnk():
            self._hard_link(path, member)
        elif member.isreg():
            self._file(archive, member, path)
        else:
            raise UsageError(f"{self._contents.name}: {path!r} is neither a file nor a directory nor a link")

    def _hard_link(self, path: str, member: tarfile.TarInfo) -> None:
        target = self._contents.entries.get(_normal(member.linkname))
        if target is None or target.directory:
            raise UsageError(
                f"{self._contents.name}: {path!r} is a hard link to {member.linkname!r}, which is no earlier file"
            )
        self._contents.add(Entry(path, target.mode, target.size, target.source, target.offset, target.link))

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        self._bytes += member.size
        if self._bytes > MAX_BYTES:
            raise UsageError(f"{self._contents.name} holds more than {MAX_BYTES} bytes")
        data = cast(IO[bytes], archive.extractfile(member))
        if path == FILE_NAME:
            self._contents.description = data.read(MAX_FILE + 1)
        elif member.size < self._small:
            offset = self._small_file.tell()
            self._small_file.write(_exactly(data, member.size))
            self._contents.add(Entry(path, member.mode & 0o7777, member.size, Path(self._small_file.name), offset))
        else:
            self._count += 1
            own = self._spool / str(self._count)
            with own.open("wb") as file:
                left = member.size
                while left:
                    left -= file.write(_exactly(data, min(left, PIECE_SIZE)))
            self._contents.add(Entry(path, member.mode & 0o7777, member.size, own, temporary=True))


def _exactly(data: IO[bytes], size: int) -> bytes:
    found = data.read(size)
    if len(found) != size:
        raise tarfile.ReadError("unexpected end of data")
    return found


def _normal(name: str) -> str:
    """The member's path without leading ``./`` and trailing slashes; '' for the root itself."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    name = name.rstrip("/")
    return "" if name == "." else name


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(file) as stream:
                yield cast(IO[bytes], stream)
        elif head == b"\xfd7zXZ\0":
            with lzma.open(file) as stream:
                yield cast(IO[bytes], stream)
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            with zstd.open(file) as stream:
                yield cast(IO[bytes], stream)
        else:
            yield file
