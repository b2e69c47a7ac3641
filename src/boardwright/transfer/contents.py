"""The files of a version before they are packed: read from a directory, an archive or one image.

Rules:

* A reader yields entries and never holds a large file in memory. What an archive brings is spooled into a work
  directory: small files into one file, large ones each into its own.
* Regular files, directories and symbolic links that stay inside the tree; hard links become files. Devices, sockets
  and FIFOs are refused, and so are paths that leave the tree, more files or more bytes than the bounds, and two things
  of one name; directories may be named again.
* Names that look the same and are not (Unicode composes some characters in two ways) are refused, and names that
  differ only in case as well, unless the version says that it means them: some boards' file systems merge them.
* What is refused is a UsageError that names the archive or directory, the path and the value.
"""

import itertools
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgspec

from boardwright.errors import MalformedError, UsageError
from boardwright.model.software import MAX_ENTRIES, MAX_FILE_BYTES, check_link, check_path
from boardwright.transfer.options import FILE_NAME, MAX_FILE

MAX_BYTES = MAX_FILE_BYTES


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
    taken: int = 0

    def add(self, entry: Entry) -> None:
        """Take `entry`; raises UsageError."""
        self.taken += 1
        if self.taken > MAX_ENTRIES:
            raise UsageError(f"{self.name} has more than {MAX_ENTRIES} files", hint="split the version")
        try:
            entry.path.encode()
            check_path(entry.path)
            if entry.link is not None:
                entry.link.encode()
                check_link(entry.path, entry.link)
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{self.name}: the name {entry.path[:200]!r} is not UTF-8", hint="rename the file"
            ) from error
        except MalformedError as error:
            raise UsageError(f"{self.name}: {error}", hint="leave it out or rename it") from error
        there = self.entries.get(entry.path)
        if there is not None and not (there.directory and entry.directory):
            raise twice(self.name, entry.path)
        self.entries[entry.path] = entry

    def check_names(self, *, case_sensitive: bool) -> None:
        """Raise UsageError for two paths that a board's file system or a person could take for one."""
        seen: dict[str, str] = {}
        for path in self.entries:
            for whole in _with_parents(path, seen, case_sensitive):
                other = seen.setdefault(_folded(whole, case_sensitive), whole)
                if other != whole:
                    raise _clash(self.name, other, whole)


def unreadable(path: object, error: OSError) -> UsageError:
    """The error about a file or directory that the system does not let us read."""
    return UsageError(f"{path} cannot be read: {error.strerror}", hint="correct its path or its mode")


def twice(name: str, path: str) -> UsageError:
    """The error about a second entry of one path in the archive `name`."""
    return UsageError(
        f"{name}: {path[:200]!r} stands in it twice", hint="make the archive anew, so that each name stands once"
    )


def no_file(name: str, path: str) -> UsageError:
    """The error about a device, a socket or the like at `path`."""
    return UsageError(
        f"{name}: {path[:200]!r} is neither a file nor a directory nor a link",
        hint="leave it out; a hook of the version can make it on the board",
    )


def _folded(path: str, case_sensitive: bool) -> str:
    if path.isascii():
        return path if case_sensitive else path.lower()
    path = unicodedata.normalize("NFC", path)
    return path if case_sensitive else unicodedata.normalize("NFC", path.casefold())


def _with_parents(path: str, seen: dict[str, str], case_sensitive: bool) -> Iterator[str]:
    """`path` and the directories above it that were not seen in this very spelling."""
    while path and seen.get(_folded(path, case_sensitive)) != path:
        yield path
        path = path.rpartition("/")[0]


def _clash(name: str, one: str, other: str) -> UsageError:
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return UsageError(
            f"{name}: {one[:200]!a} and {other[:200]!a} are one name, written in two ways of Unicode",
            hint="rename one of them",
        )
    return UsageError(
        f"{name}: {one[:200]!r} and {other[:200]!r} differ only in case",
        hint="rename one of them, or write case_sensitive = true under [software] in its boardwright.toml "
        "(--case-sensitive) if every board's file system tells them apart",
    )


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
        raise unreadable(error.filename or root, error) from error
    return contents


def read_image(path: Path) -> Contents:
    """One file as it is; a description may lie beside it. Raises UsageError."""
    contents = Contents(str(path), kind="image")
    try:
        facts = path.stat()
        if not facts.st_size:
            raise UsageError(f"{path} is empty", hint="name the image that the boards shall get")
        contents.add(Entry(path.name, stat.S_IMODE(facts.st_mode) & 0o777, facts.st_size, path))
        beside = path.parent / FILE_NAME
        contents.description = _description(beside) if beside.is_file() else None
    except OSError as error:
        raise unreadable(error.filename or path, error) from error
    return contents


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(directory) as listing:
        found = sorted(itertools.islice(listing, MAX_ENTRIES + 1), key=lambda one: one.name)
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
    raise no_file(name, path)


def _description(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE + 1)
