"""Reading tar archives as a stream, packed or not, without believing them.

Rules:

* Every member is a file, a directory or a link, none is left out: a damaged header, an end without the end mark, and
  something behind the end mark are errors (``tarfile`` takes all three for the end of the archive).
* Extended headers, which are read into memory, are of bounded size; sparse files, whose apparent size is out of
  nothing, are refused, and so is a second member of the same name, because the reader must not choose.
* Modes are taken as they are, setuid bits and all: the version's maker decides them.
"""

import tarfile
from pathlib import Path
from typing import IO, Self, cast

from boardwright.errors import UsageError
from boardwright.model.software import PIECE_SIZE
from boardwright.transfer.contents import MAX_BYTES, Contents, Entry, no_file, twice
from boardwright.transfer.decompress import BROKEN, decompressed
from boardwright.transfer.options import FILE_NAME, MAX_FILE

_BROKEN = (*BROKEN, tarfile.TarError, ValueError, RecursionError)  # headers of headers of headers recurse
_ReadError = tarfile.ReadError  # parameters called `tarfile` hide the module below
_END_MARK = tarfile.EOFHeaderError  # type: ignore[attr-defined]  # a block of zeros
_NO_HEADER = tarfile.HeaderError
_MAGIC_AT = 257  # "ustar" of POSIX and GNU headers
MAX_HEADER = 16 * 1024  # bytes of an extended header: two names of 4 KiB, times, owners, a few attributes
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def is_archive(path: Path) -> bool:
    """Whether the file is a tar archive, compressed or not; raises OSError."""
    with decompressed(path) as stream:
        try:
            return stream.read(_MAGIC_AT + 5)[_MAGIC_AT:] == b"ustar"
        except (*_BROKEN, OSError):
            return False


def read_archive(path: Path, spool: Path, small: int) -> Contents:
    """The contents of a tar archive; files go into the directory `spool`, those below `small` bytes into one file.

    Raises UsageError for what is broken or refused, OSError if the spool cannot be written.
    """
    contents = Contents(str(path))
    with decompressed(path) as stream, (spool / "small").open("wb") as small_file:
        reader = _Reader(contents, spool, small_file, small)
        try:
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2, tarinfo=_Member) as archive:
                for member in archive:
                    reader.take(archive, member)
                _nothing_follows(contents.name, cast(IO[bytes], archive.fileobj))
        except _SparseError as error:
            raise UsageError(
                f"{path}: {error} is a sparse file", hint="make the archive without --sparse, and compress it"
            ) from None
        except _BROKEN as error:
            raise UsageError(f"archive {path} is broken: {error}", hint="make or copy it anew") from error
    return contents


class _SparseError(Exception):
    pass


class _Member(tarfile.TarInfo):
    """A header, looked at before ``tarfile`` follows it."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except _END_MARK:
            raise
        except _NO_HEADER as error:
            raise _ReadError(f"{error} at byte {tarfile.offset}") from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise _ReadError(f"{member.name[:200]!r} has the size {member.size}")
        if member.type in _EXTENDED and member.size > MAX_HEADER:
            raise _ReadError(f"an extended header of {member.size} bytes, more than {MAX_HEADER}")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _SparseError(repr(member.name[:200]))
        return member

    # Where ``tarfile`` unfolds the three sparse formats of PAX headers; it has no public place for that.
    def _proc_gnusparse_00(self, next: tarfile.TarInfo, *_: object) -> None:
        raise _SparseError(repr(next.name[:200]))

    _proc_gnusparse_01 = _proc_gnusparse_00
    _proc_gnusparse_10 = _proc_gnusparse_00


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
        if not path and member.isdir():
            return
        if path == FILE_NAME and not member.isreg():
            raise UsageError(f"{self._contents.name}: {FILE_NAME} is not a file", hint="put the file itself there")
        if member.isdir():
            self._contents.add(Entry(path, member.mode & 0o7777, directory=True))
        elif member.issym():
            self._contents.add(Entry(path, 0o777, link=member.linkname))
        elif member.islnk():
            self._hard_link(path, member)
        elif member.isreg():
            self._file(archive, member, path)
        else:
            raise no_file(self._contents.name, path)

    def _count_bytes(self, count: int) -> None:
        if count < 0:
            raise tarfile.ReadError(f"a size of {count} bytes")
        self._bytes += count
        if self._bytes > MAX_BYTES:
            raise UsageError(f"{self._contents.name} holds more than {MAX_BYTES} bytes", hint="split the version")

    def _hard_link(self, path: str, member: tarfile.TarInfo) -> None:
        target = self._contents.entries.get(_normal(member.linkname))
        if target is None or target.directory:
            raise UsageError(
                f"{self._contents.name}: {path[:200]!r} is a hard link to {member.linkname[:200]!r}, "
                "which is no earlier file",
                hint="make the archive of the whole tree, so that what is linked stands in it",
            )
        self._count_bytes(target.size)
        self._contents.add(Entry(path, target.mode, target.size, target.source, target.offset, target.link))

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        self._count_bytes(member.size)
        data = cast(IO[bytes], archive.extractfile(member))
        if path == FILE_NAME:
            if self._contents.description is not None:
                raise twice(self._contents.name, path)
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
    name = name.rstrip("/") or name[:1]
    return "" if name == "." else name


def _nothing_follows(name: str, rest: IO[bytes]) -> None:
    """Read to the end, where a compressed stream checks itself; behind the end mark may only be zeros."""
    while data := rest.read(PIECE_SIZE):
        if data.strip(b"\0"):
            raise UsageError(
                f"archive {name} has more behind its end", hint="archives that were joined must be made anew as one"
            )
