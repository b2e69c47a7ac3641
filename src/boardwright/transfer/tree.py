"""From blobs to a directory of files: what a version needs that is not here yet, and the building of its tree.

Rules:

* A tree is built beside its destination and appears by rename, complete and durable; a crash leaves the old state
  and a building site, which the next attempt clears. The blobs stay in the store until the caller, to whom the version
  then counts as staged, removes them: an interruption before that costs no download.
* A file that fills its blob is linked out of the store: one copy on the disk, no double space. Small files are
  written out of their packs. What the previous version's tree has is copied from there (a reflink where the file
  system knows them) and hashed, for a deployed tree may have been altered.
* The reserve of the file system stays free (``space``); a tree that could not be built leaves nothing behind.
* Few system calls per file: open in an open directory with the mode, write, close; one syncfs for all.
* The manifest was checked: its paths stay inside; nothing here follows a link.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from boardwright.errors import FailedError
from boardwright.model.software import PIECE_SIZE, BlobRef, DirectoryEntry, FileEntry, Manifest
from boardwright.transfer.durable import sync_directory, sync_file_system
from boardwright.transfer.space import Space
from boardwright.transfer.store import BlobStore

BUILDING = ".building-"  # prefix of a building site's name
_WHOLE = 4 * PIECE_SIZE  # bytes; packs up to this are read at once, larger blobs file by file
_STEP = 16 * PIECE_SIZE  # bytes copied by one call of the kernel, and between two looks at the free space
_MAX_DIRECTORIES = 64  # open directories at a time
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Previous = tuple[Manifest, Path]


def reusable(manifest: Manifest, previous: Manifest, previous_root: Path) -> frozenset[str]:
    """Digests of `manifest`'s files whose bytes the tree of `previous` at `previous_root` really has (hashes them)."""
    wanted = {entry.sha256 for entry in manifest.files if entry.blob >= 0}
    found: set[str] = set()
    for entry in previous.files:
        if entry.sha256 in wanted and entry.sha256 not in found and entry.blob >= 0:
            with contextlib.suppress(OSError):
                if _digest(previous_root / entry.path, entry.size) == entry.sha256:
                    found.add(entry.sha256)
    return frozenset(found)


def needed_blobs(manifest: Manifest, have: Collection[str] = ()) -> list[BlobRef]:
    """The blobs with a file whose digest is not in `have` (see `reusable`), in the manifest's order."""
    needed = {entry.blob for entry in manifest.files if entry.blob >= 0 and entry.sha256 not in have}
    return [manifest.blobs[index] for index in sorted(needed)]


def bytes_to_build(manifest: Manifest, needed: Collection[BlobRef], *, links: bool) -> int:
    """Bytes that building the tree writes beside the `needed` blobs; `links`: the store is on its file system."""
    linked = {blob.sha256 for blob in needed} if links else set()
    total = 0
    for entry in manifest.files:
        blob = manifest.blobs[entry.blob] if entry.blob >= 0 else None
        if blob is not None and blob.sha256 in linked and entry.size == blob.size:
            linked.remove(blob.sha256)  # its twins are copied
        else:
            total += entry.size
    return total


def build_tree(
    manifest: Manifest,
    store: BlobStore,
    destination: Path,
    previous: Previous | None = None,
    space: Space | None = None,
) -> None:
    """Make `destination` the manifest's tree, durably. The used blobs stay in the store, linked to the tree's files.

    Nothing is done if `destination` exists: it appeared complete. Raises FailedError if a file's bytes are neither
    in the store nor unaltered in the previous tree, or the disk fails; NoSpaceError if it is nearly full.
    """
    site = destination.with_name(BUILDING + destination.name)
    if destination.exists():
        return
    try:
        remove_tree(site)
        site.mkdir(parents=True)
        _Builder(manifest, store, site, previous, space or Space(site)).build()
        sync_file_system(site)
        site.rename(destination)
        sync_directory(destination.parent)
    except OSError as error:
        _clear(site)
        raise FailedError(f"the tree {destination} could not be written: {error.strerror or error}") from error
    except FailedError:
        _clear(site)
        raise


def _clear(site: Path) -> None:
    """A site that came to nothing shall not occupy a disk that may be full."""
    with contextlib.suppress(OSError):  # then the next attempt clears it
        remove_tree(site)


def remove_tree(root: Path) -> None:
    """Remove a tree, whatever the modes of its directories; nothing if there is none. Raises OSError."""
    if not root.exists():
        return
    for directory, _, _ in os.walk(root):
        with contextlib.suppress(OSError):  # then rmtree says what is wrong
            Path(directory).chmod(0o700)
    shutil.rmtree(root)


class _Builder:
    def __init__(
        self, manifest: Manifest, store: BlobStore, site: Path, previous: Previous | None, space: Space
    ) -> None:
        self._manifest = manifest
        self._space = space
        self._store = store
        self._site = site
        self._previous_root = previous[1] if previous else None
        self._previous = {entry.sha256: entry for entry in previous[0].files} if previous else {}
        self._umask = _umask()
        self._open: dict[str, int] = {}

    def build(self) -> None:
        self._make_directories()
        by_blob: dict[int, list[FileEntry]] = {}
        for entry in self._manifest.files:
            by_blob.setdefault(entry.blob, []).append(entry)
        try:
            for entry in by_blob.pop(-1, []):
                self._empty_or_link(entry)
            for index, entries in by_blob.items():
                self._from_blob(self._manifest.blobs[index], entries)
        finally:
            for fd in self._open.values():
                os.close(fd)
        for directory in sorted(self._manifest.directories, key=_depth, reverse=True):
            (self._site / directory.path).chmod(directory.mode)

    def _make_directories(self) -> None:
        paths = {entry.path for entry in self._manifest.directories}
        for path in [*paths, *(entry.path for entry in self._manifest.files)]:
            parent = path.rpartition("/")[0]
            while parent and parent not in paths:
                paths.add(parent)
                parent = parent.rpartition("/")[0]
        for path in sorted(paths):
            (self._site / path).mkdir(0o755)

    def _from_blob(self, blob: BlobRef, entries: list[FileEntry]) -> None:
        if not self._store.has(blob.sha256):
            for entry in entries:
                self._from_previous(entry)
            return
        source = self._store.path(blob.sha256)
        if entries[0].size == blob.size:
            for entry in entries:
                self._whole(source, entry)
            return
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if blob.size <= _WHOLE:
                data = memoryview(os.pread(fd, blob.size, 0))
                for entry in entries:
                    self._write(entry, data[entry.offset : entry.offset + entry.size])
            else:
                for entry in entries:
                    self._copy(fd, entry)
        finally:
            os.close(fd)

    def _whole(self, source: Path, entry: FileEntry) -> None:
        """The file is the blob: linked the first time, copied for its twins and across file systems."""
        directory, name = self._parent(entry.path)
        if source.stat().st_nlink == 1:
            try:
                os.link(source, name, dst_dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                    raise
            else:
                os.chmod(name, entry.mode, dir_fd=directory)
                return
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._copy(fd, entry)
        finally:
            os.close(fd)

    def _from_previous(self, entry: FileEntry) -> None:
        old = self._previous.get(entry.sha256)
        if old is None or self._previous_root is None:
            raise FailedError(f"file {entry.path!r} of {self._name} lies in a blob that is not here")
        source = self._previous_root / old.path
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size == entry.size:
                written = self._copy(fd, FileEntry(entry.path, entry.mode, entry.size))
                if _digest(written, entry.size) == entry.sha256:
                    return
        finally:
            os.close(fd)
        raise FailedError(f"file {str(source)!r} was altered, {self._name} cannot take it over")

    def _empty_or_link(self, entry: FileEntry) -> None:
        if entry.link is None:
            self._write(entry, memoryview(b""))
            return
        directory, name = self._parent(entry.path)
        os.symlink(entry.link, name, dir_fd=directory)

    def _write(self, entry: FileEntry, data: memoryview) -> None:
        directory, name = self._parent(entry.path)
        self._space.take(len(data), self._what)
        fd = os.open(name, _NEW_FILE, entry.mode, dir_fd=directory)
        try:
            written = os.write(fd, data) if data else 0
            while written < len(data):
                written += os.write(fd, data[written:])
            self._set_mode(fd, entry.mode)
        finally:
            os.close(fd)

    def _copy(self, source: int, entry: FileEntry) -> Path:
        """Bytes of an open file from the entry's offset, in the kernel (a reflink where there are such)."""
        directory, name = self._parent(entry.path)
        fd = os.open(name, _NEW_FILE, entry.mode, dir_fd=directory)
        try:
            self._space.take(min(entry.size, _STEP), self._what)
            for start, count in _copied(source, fd, entry.offset, entry.size):
                if not count:
                    raise FailedError(f"file {entry.path!r} of {self._name} ends at byte {start}")
                self._space.take(min(entry.size - start - count, _STEP), self._what)
            self._set_mode(fd, entry.mode)
        finally:
            os.close(fd)
        return self._site / entry.path

    def _set_mode(self, fd: int, mode: int) -> None:
        if mode & (self._umask | 0o7000):  # the umask took bits at open, the write took set-id bits
            os.fchmod(fd, mode)

    def _parent(self, path: str) -> tuple[int, str]:
        """The open directory of `path` and the name in it."""
        parent, _, name = path.rpartition("/")
        fd = self._open.get(parent)
        if fd is None:
            if len(self._open) >= _MAX_DIRECTORIES:
                os.close(self._open.pop(next(iter(self._open))))
            fd = self._open[parent] = os.open(self._site / parent, _DIRECTORY)
        return fd, name

    @property
    def _what(self) -> str:
        return f"building {self._name}"

    @property
    def _name(self) -> str:
        return f"{self._manifest.group} {self._manifest.version}"


def _copied(source: int, target: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Copy `size` bytes; yields (bytes done before, bytes of this step), the second 0 at an early end."""
    done, in_kernel = 0, True
    while done < size:
        wanted = min(size - done, _STEP)
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, wanted, offset + done, done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                    raise
                in_kernel = False
                continue
        else:
            count = os.pwrite(target, os.pread(source, min(wanted, PIECE_SIZE), offset + done), done)
        yield done, count
        if not count:
            return
        done += count


def _digest(path: Path, size: int) -> str | None:
    """SHA-256 of a regular file of `size` bytes; None if it is something else. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != size:
            return None
        hasher = hashlib.sha256()
        while data := os.read(fd, PIECE_SIZE):
            hasher.update(data)
        return hasher.hexdigest()
    finally:
        os.close(fd)


def _umask() -> int:
    """This process' umask, read without changing it: other threads make files meanwhile."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o7777  # then every mode is set once more


def _depth(entry: DirectoryEntry) -> int:
    return entry.path.count("/")
