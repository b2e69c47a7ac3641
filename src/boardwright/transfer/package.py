"""The package file: one version on its way between people, without a cluster (``pack``, ``sign``, ``publish``).

Layout, numbers big-endian, nothing between the parts and nothing behind the last::

    16 bytes  "boardwright-pkg\\n"
     4 bytes  schema, 1
     4 bytes  length of the manifest      its bytes are what is signed
     4 bytes  length of the signed role   0: nobody has signed it yet
    manifest, then its blobs in the manifest's order, then the signed role of the version's group

Rules:

* Everything is bounded before it is read: the manifest's length and, by it, where each blob lies and how long the
  file is; a file of another length is refused. Nothing is unpacked and no name in it becomes a path.
* The same version gives the same package, byte for byte.
* ``check_blobs`` reads the whole file; until then blobs are what the package claims. Whose signature it bears is not
  looked at here.
* A package is written beside its place and renamed: there is the old one or the new one, never a half.
"""

import contextlib
import hashlib
import io
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from boardwright.errors import FailedError, MalformedError, UsageError
from boardwright.model.software import (
    MAX_MANIFEST_BYTES,
    PIECE_SIZE,
    Manifest,
    Target,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from boardwright.transfer.durable import sync_directory
from boardwright.transfer.pack import Packed

MAGIC = b"boardwright-pkg\n"
SCHEMA = 1
MAX_ROLE = 5_000_000  # bytes of signed metadata, what its verifier reads at most
_HEAD = struct.Struct(">16sIII")
_HINT = "pack or copy it anew"


class Package(msgspec.Struct, frozen=True):
    """A package that was read; `manifest_bytes` are what is signed, `role` what signs them, empty if nobody did."""

    path: Path
    manifest: Manifest
    manifest_bytes: bytes
    role: bytes

    @property
    def target(self) -> Target:
        """The version as plans and signatures name it."""
        manifest = self.manifest
        return Target(manifest.group, manifest.version, manifest.variant, digest_of(self.manifest_bytes))

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """Where each blob lies in the file: digest -> offset and length in bytes."""
        found, offset = {}, _HEAD.size + len(self.manifest_bytes)
        for blob in self.manifest.blobs:
            found[blob.sha256] = (offset, blob.size)
            offset += blob.size
        return found

    def open_blob(self, sha256: str) -> BinaryIO:
        """The bytes of one blob as a file; raises UsageError."""
        offset, size = self.places[sha256]
        return io.BufferedReader(_Part(_opened(self.path), offset, size))


def is_package(path: Path) -> bool:
    """Whether the file begins like a package; raises UsageError if it cannot be read."""
    if not path.is_file():
        return False
    with _opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def read_package(path: Path) -> Package:
    """What a package says of itself, blobs unread; raises UsageError with the field and the value."""
    with _opened(path) as file:
        length = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD.size)
        if len(head) != _HEAD.size or not head.startswith(MAGIC):
            raise UsageError(f"{path} is no package", hint="`boardwright pack` makes one")
        _, schema, manifest_length, role_length = _HEAD.unpack(head)
        if schema != SCHEMA:
            raise UsageError(f"{path} has schema {schema}, this release reads {SCHEMA}", hint="use a newer release")
        for what, found, most in (("manifest", manifest_length, MAX_MANIFEST_BYTES), ("role", role_length, MAX_ROLE)):
            if found > min(most, length):
                raise UsageError(
                    f"{path} is broken: a {what} of {found} bytes, at most {min(most, length)}", hint=_HINT
                )
        encoded = file.read(manifest_length)
        try:
            manifest = decode_manifest(encoded)
        except MalformedError as error:
            raise UsageError(f"{path} is broken: {error}", hint=_HINT) from error
        expected = _HEAD.size + manifest_length + manifest.size + role_length
        if length != expected:
            raise UsageError(f"{path} is broken: it has {length} bytes, its manifest says {expected}", hint=_HINT)
        file.seek(length - role_length)
        return Package(path, manifest, encoded, file.read(role_length))


def check_blobs(package: Package) -> None:
    """Read every blob and raise UsageError unless all of them and their pieces are what their digests say."""
    for blob in package.manifest.blobs:
        whole = hashlib.sha256()
        with package.open_blob(blob.sha256) as file:
            for index in range(blob.piece_count):
                piece = file.read(PIECE_SIZE)
                whole.update(piece)
                if hashlib.sha256(piece).digest() != blob.piece_digest(index):
                    raise UsageError(f"{package.path} is broken: piece {index} of blob {blob.sha256}", hint=_HINT)
        if whole.hexdigest() != blob.sha256:
            raise UsageError(f"{package.path} is broken: blob {blob.sha256} has other bytes", hint=_HINT)


def write_package(path: Path, packed: Packed) -> None:
    """Write a version that was packed without a base; raises FailedError, and then leaves `path` as it was."""
    encoded = encode_manifest(packed.manifest)
    with _replacing(path) as file:
        file.write(_HEAD.pack(MAGIC, SCHEMA, len(encoded), 0) + encoded)
        for blob in packed.manifest.blobs:
            with packed.blobs[blob.sha256].path.open("rb") as source:
                shutil.copyfileobj(source, file, PIECE_SIZE)
        written, expected = file.tell(), _HEAD.size + len(encoded) + packed.manifest.size
        if written != expected:
            raise UsageError(f"the files changed while they were packed into {path}", hint="pack again")


def write_role(package: Package, role: bytes) -> None:
    """Put the signed role into the package, in the place of what it had; raises FailedError."""
    with _replacing(package.path) as file, _opened(package.path) as source:
        file.write(_HEAD.pack(MAGIC, SCHEMA, len(package.manifest_bytes), len(role)) + package.manifest_bytes)
        source.seek(file.tell())
        left = package.manifest.size
        while left:
            data = source.read(min(left, PIECE_SIZE))
            if not data:
                raise UsageError(f"{package.path} changed while it was signed", hint="sign again")
            file.write(data)
            left -= len(data)
        file.write(role)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint="name a package") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when all of it is on the disk."""
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise FailedError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise FailedError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


class _Part(io.RawIOBase):
    """`size` bytes of a file from `offset` on."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
