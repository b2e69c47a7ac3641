"""The files of a version before they are packed: read from a directory, an archive or one image.

Rules:

* A reader yields entries and never holds a large file in memory. What an archive brings is spooled into a work
  directory: small files into one file, large ones each into its own.
* Regular files, directories and symbolic links that stay inside the tree; hard links become files. Devices, sockets
  and FIFOs are refused, and so are paths that leave the tree, more files or more bytes than the bounds.
* What is refused is a UsageError that names the archive or directory, the path and the value.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from boardwright.errors import MalformedError, UsageError
from boardwright.model.software import check_link, check_path
from boardwright.transfer.options import FILE_NAME, MAX_FILE

MAX_ENTRIES = 1_000_000  # a whole Linux distribution has some 300,000 files
MAX_BYTES = 256 * 1024**3  # uncompressed; what a board's disk could hold


class Entry(msgspec.Struct, frozen=True):
    """One thing in a version: a file's bytes lie in `source` from `offset`, `size` of them.

    `temporary`: the file `source` holds nothing else and may be moved away.
    """

    path: str
    mode: int
    size: int = 0
    source: Path | None = None
    offset: int = 0
    link: str | None = None
    directory: bool = False
    temporary: bool = False


class Contents(msgspec.Struct):
    """What was read: entries by path, and the text of the version's own description, if it has one."""

    name: str
    entries: dict[str, Entry] = {}
    description: bytes | None = None
    kind: str = "tree"

    def add(self, entry: Entry) -> None:
        """Take `entry`; a later one of the same path replaces the earlier, as tar does. Raises UsageError."""
        try:
            entry.path.encode()
            check_path(entry.path)
            if entry.link is not None:
                entry.link.encode()
                check_link(entry.path, entry.link)
        except UnicodeEncodeError as error:
            raise UsageError(f"{self.name}: the name {entry.path!r} is not UTF-8") from error
        except MalformedError as error:
            raise UsageError(f"{self.name}: {error}") from error
        self.entries[entry.path] = entry
        if len(self.entries) > MAX_ENTRIES:
            raise UsageError(f"{self.name} has more than {MAX_ENTRIES} files")


def read_directory(root: Path) -> Contents:
    """The contents of the directory `root`; its files stay where they are. Raises UsageError."""
    contents = Contents(str(root))
    try:
        for path, found in _walk(root, ""):
            contents.add(_from_disk(contents.name, path, found))
        own = contents.entries.pop(FILE_NAME, None)
        if own is not None:
            contents.description = _description(root / FILE_NAME)
    except OSError as error:
        raise UsageError(f"{error.filename or root} cannot be read: {error.strerror}") from error
    return contents


def read_image(path: Path) -> Contents:
    """One file as it is; a description may lie beside it. Raises UsageError."""
    contents = Contents(str(path), kind="image")
    try:
        facts = path.stat()
        if not facts.st_size:
            raise UsageError(f"{path} is empty")
        contents.add(Entry(path.name, stat.S_IMODE(facts.st_mode) & 0o777, facts.st_size, path))
        beside = path.parent / FILE_NAME
        contents.description = _description(beside) if beside.is_file() else None
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    return contents


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(directory) as listing:
        found = sorted(listing, key=lambda one: one.name)
    for one in found:
        path = prefix + one.name
        yield path, one
        if one.is_dir(follow_symlinks=False):
            yield from _walk(Path(one.path), f"{path}/")


def _from_disk(name: str, path: str, found: os.DirEntry[str]) -> Entry:
    facts = found.stat(follow_symlinks=False)
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISREG(facts.st_mode):
        return Entry(path, mode, facts.st_size, Path(found.path))
    if stat.S_ISDIR(facts.st_mode):
        return Entry(path, mode, directory=True)
    if stat.S_ISLNK(facts.st_mode):
        return Entry(path, 0o777, link=str(Path(found.path).readlink()))
    raise UsageError(f"{name}: {path!r} is neither a file nor a directory nor a link")


def _description(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE + 1)
