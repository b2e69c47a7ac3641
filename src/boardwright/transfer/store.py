"""Blobs on this board's own disk, by their digest.

Rules:

* ``blobs/ab/<sha256>`` is complete and durable; ``fresh/<sha256>`` is complete and verified, but not yet synced;
  ``partial/<sha256>`` with its map is on its way. A name appears by rename, so a complete blob is never half there.
* Fetched blobs are fresh until ``sync``, which makes any number of them durable by one system call. The file
  ``boot`` says which boot the unsynced bytes belong to. After a power cut (another boot) fresh blobs become
  partial again and are believed only piece by piece; after a killed process they are sound.
* The verified pieces stand for the whole: a blob fetched by a manifest is what that manifest says. ``put`` hashes
  the whole.
* A blob found damaged is set aside: it becomes partial again, believed piece by piece, so that only its bad pieces
  travel anew. ``damaged/<sha256>`` marks it until it is mended, over restarts, too.
* Nothing is written that would touch the reserve of the file system (``space``).
* Threads may share a store, processes may not.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path

from boardwright.errors import MalformedError
from boardwright.model.software import PIECE_SIZE, BlobRef, Manifest
from boardwright.transfer.durable import (
    boot_id,
    make_directory,
    sync_directory,
    sync_file,
    sync_file_system,
    write_durably,
)
from boardwright.transfer.partial import MAP_SUFFIX, Partial, claim_all, remove_partial
from boardwright.transfer.space import Space


class BlobStore:
    """A content-addressed store below the directory `root`, which is made if it is missing."""

    def __init__(self, root: Path, space: Space | None = None) -> None:
        self.root = root
        self.space = space or Space(root)
        self._blobs = root / "blobs"
        self._fresh = root / "fresh"
        self._partial = root / "partial"
        self._damaged = root / "damaged"
        for directory in (self._blobs, self._fresh, self._partial, self._damaged):
            make_directory(directory)
        self._named: set[Path] = set()  # directories of blobs whose own names are known to be durable
        self._boot = boot_id()
        self._settle_boot()

    def has(self, sha256: str) -> bool:
        """Whether the blob is complete."""
        return self._durable_path(sha256).exists() or (self._fresh / sha256).exists()

    def path(self, sha256: str) -> Path:
        """The complete blob's file; one that does not exist if the store has no such blob."""
        fresh = self._fresh / sha256
        return fresh if fresh.exists() else self._durable_path(sha256)

    def open(self, sha256: str) -> int:
        """A file descriptor to read the blob by, as far as it is there; raises OSError."""
        # In the order in which a blob wanders, so that it does not slip through.
        for path in (self._partial / sha256, self._fresh / sha256):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return os.open(self._durable_path(sha256), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def size(self, sha256: str) -> int | None:
        """Bytes of a complete blob, else None."""
        for path in (self._durable_path(sha256), self._fresh / sha256):
            with contextlib.suppress(FileNotFoundError):
                return path.stat().st_size
        return None

    def missing(self, manifest: Manifest) -> list[BlobRef]:
        """The manifest's blobs that are not complete here, in its order."""
        return [blob for blob in manifest.blobs if not self.has(blob.sha256)]

    def holds(self, manifest: Manifest) -> bool:
        return all(self.has(blob.sha256) for blob in manifest.blobs)

    def partial(self, blob: BlobRef) -> Partial:
        """Begin or resume `blob`; `finish` it when it is complete. Raises OSError."""
        return Partial(blob, self._partial / blob.sha256, self._boot, self.space)

    def lacking(self, blobs: Iterable[BlobRef]) -> int:
        """Bytes that are missing of `blobs`."""
        sizes = {blob.sha256: blob.size for blob in blobs if not self.has(blob.sha256)}
        return sum(max(0, size - self.partial_bytes(sha256)) for sha256, size in sizes.items())

    def partial_bytes(self, sha256: str) -> int:
        """Bytes that a partial of this blob occupies on the disk already."""
        with contextlib.suppress(FileNotFoundError):
            return (self._partial / sha256).stat().st_blocks * 512
        return 0

    def finish(self, partial: Partial) -> None:
        """Give a complete partial its name as a fresh blob."""
        if not partial.complete:
            raise ValueError(f"blob {partial.blob.sha256} lacks pieces {partial.missing()[:5]}")
        try:
            partial.path.rename(self._fresh / partial.blob.sha256)
        except FileNotFoundError:
            if not self.has(partial.blob.sha256):  # else another thread finished the same blob
                raise
        remove_partial(partial.path)

    def sync(self) -> None:
        """Make every fresh blob durable: one syncfs, then the renames, then their directories."""
        names = sorted(path.name for path in self._fresh.iterdir())
        if not names:
            return
        sync_file_system(self.root)
        touched = {self._blobs}
        for name in names:
            target = self._durable_path(name)
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # taken out of the store in the meantime
                (self._fresh / name).rename(target)
            touched.add(target.parent)
        for directory in touched:
            sync_directory(directory)

    def put(self, sha256: str, chunks: Iterable[bytes | bytearray | memoryview]) -> int:
        """Store bytes that must have the digest, durably; returns their count. Raises MalformedError if others come."""
        with self._incoming(sha256) as (path, fd):
            hasher, count = hashlib.sha256(), 0
            for chunk in chunks:
                hasher.update(chunk)
                self.space.take(len(chunk), f"blob {sha256[:12]}")
                count += _write_all(fd, chunk)
            _check(sha256, hasher.hexdigest())
            os.fsync(fd)
            self._install(path, sha256)
        return count

    def put_file(self, sha256: str, path: Path, *, move: bool) -> None:
        """Store the file at `path` after hashing it; `move` lets the store rename it. Raises MalformedError."""
        if not move:
            with path.open("rb") as file:
                self.put(sha256, _chunks(file))
            return
        with path.open("rb") as file:
            hasher = hashlib.sha256()
            for chunk in _chunks(file):
                hasher.update(chunk)
        _check(sha256, hasher.hexdigest())
        try:
            sync_file(path)
            self._install(path, sha256)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self.put_file(sha256, path, move=False)
            path.unlink()

    def matches(self, blob: BlobRef) -> bool:
        """Whether the stored bytes have the size and the piece digests that `blob` claims (reads the whole blob)."""
        if self.size(blob.sha256) != blob.size:
            return False
        with self.path(blob.sha256).open("rb") as file:
            pieces = (hashlib.sha256(chunk).digest() for chunk in _chunks(file))
            return all(digest == blob.piece_digest(index) for index, digest in enumerate(pieces))

    def untouched(self, blob: BlobRef) -> bool:
        """Whether nobody else had the complete blob's file in hand, or left its bytes as they were (then reads it).

        A crash right after a tree was built leaves blobs that are linked into it, and who runs there may write to them.
        """
        return self.path(blob.sha256).stat().st_nlink == 1 or self.matches(blob)

    def take(self, sha256: str, destination: Path) -> None:
        """Move a complete blob out of the store to `destination`, across file systems if need be. Raises OSError."""
        source = self.path(sha256)
        try:
            source.rename(destination)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(source, destination)
            source.unlink()

    def remove(self, sha256: str) -> None:
        """Forget the blob, complete or partial, if it is there."""
        for path in (self._durable_path(sha256), self._fresh / sha256):
            path.unlink(missing_ok=True)
        remove_partial(self._partial / sha256)

    def set_aside(self, sha256: str, *, salvage: bool) -> None:
        """Take a damaged blob out of service at once; `salvage`: keep it as a partial whose sound pieces count."""
        (self._damaged / sha256).touch()
        path = self.path(sha256)
        if not salvage:
            self.remove(sha256)
            return
        with contextlib.suppress(FileNotFoundError):  # somebody took it out meanwhile
            self._believe_by_piece(path)

    def mended(self, sha256: str) -> None:
        """The blob is whole again: the mark of its damage goes."""
        (self._damaged / sha256).unlink(missing_ok=True)

    def damaged(self) -> set[str]:
        """The digests of blobs that were set aside and not mended yet."""
        return {path.name for path in self._damaged.iterdir()}

    def sizes(self) -> dict[str, int]:
        """Bytes of every complete blob, by its digest."""
        found = {}
        for directory in (*self._blobs.iterdir(), self._fresh):
            with os.scandir(directory) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # removed or synced meanwhile
                        found[entry.name] = entry.stat().st_size
        return found

    def occupied(self) -> int:
        """Bytes of all complete blobs, and of partial ones as far as they have arrived."""
        return sum(self.sizes().values()) + sum(self.partial_bytes(sha256) for sha256 in self.partial_digests())

    def digests(self) -> set[str]:
        """The digests of all complete blobs."""
        found = {path.name for directory in self._blobs.iterdir() for path in directory.iterdir()}
        return found | {path.name for path in self._fresh.iterdir()}

    def digests_below(self, prefix: str) -> list[str]:
        """The digests of durable blobs that begin with `prefix`, two hex digits."""
        with contextlib.suppress(FileNotFoundError):
            return [path.name for path in (self._blobs / prefix).iterdir()]
        return []

    def partial_digests(self) -> set[str]:
        """The digests of all blobs on their way."""
        return {path.name for path in self._partial.iterdir() if path.suffix != MAP_SUFFIX}

    def _durable_path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def _settle_boot(self) -> None:
        mark = self.root / "boot"
        if not self._boot or not mark.exists() or mark.read_text() != self._boot:
            for path in self._fresh.iterdir():  # the names are there, the bytes may be lost
                if self._durable_path(path.name).exists():  # half a rename: it has both names
                    path.unlink()
                else:
                    self._believe_by_piece(path)
            write_durably(mark, self._boot.encode())
        for path in self.root.glob(".incoming-*"):
            path.unlink()

    def _believe_by_piece(self, path: Path) -> None:
        """Make the complete blob at `path` a partial one."""
        claim_all(self._partial / path.name, path.stat().st_size)
        path.rename(self._partial / path.name)
        path.unlink(missing_ok=True)  # rename(2) does nothing if both are names of one file, as after half a rename

    @contextlib.contextmanager
    def _incoming(self, sha256: str) -> Iterator[tuple[Path, int]]:
        fd, name = tempfile.mkstemp(prefix=f".incoming-{sha256[:8]}-", dir=self.root)
        path = Path(name)
        try:
            os.fchmod(fd, 0o644)
            yield path, fd
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _install(self, path: Path, sha256: str) -> None:
        target = self._durable_path(sha256)
        if target.parent not in self._named:  # it may be there since a crash, or by another thread, and not be durable
            target.parent.mkdir(exist_ok=True)
            sync_directory(self._blobs)
            self._named.add(target.parent)
        path.rename(target)
        sync_directory(target.parent)
        remove_partial(self._partial / sha256)


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _chunks(file: BufferedReader) -> Iterator[memoryview]:
    """Pieces of a file from its start, each valid until the next is asked for."""
    buffer = memoryview(bytearray(PIECE_SIZE))
    while count := file.readinto(buffer):
        yield buffer[:count]


def _check(wanted: str, got: str) -> None:
    if got != wanted:
        raise MalformedError(f"bytes for blob {wanted} have the digest {got}")
