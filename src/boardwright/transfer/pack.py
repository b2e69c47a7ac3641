"""From files to a version: a directory, a tar archive or one image becomes a manifest and its blobs.

Rules:

* The same input gives the same manifest, byte for byte, whatever it came in: entries are sorted by path, a tar of a
  directory packs like the directory.
* A file of ``SMALL`` bytes and more is its own blob and is not copied (from an archive it is spooled once). Smaller
  ones are joined, in the order of their paths, to packs of at most one piece. Equal content is stored once.
* Small files that a base manifest has keep their old pack, as long as half of its bytes are still used: else boards
  would fetch whole packs for the sake of one file.
* Memory is one pack and the entries, whatever the size of the files.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from boardwright.errors import FailedError, MalformedError, UsageError
from boardwright.model.software import (
    MAX_MANIFEST_BYTES,
    PIECE_SIZE,
    SCHEMA,
    BlobRef,
    DirectoryEntry,
    FileEntry,
    InstallSpec,
    Manifest,
    check_manifest,
    digest_of,
    encode_manifest,
)
from boardwright.transfer.archive import is_archive, read_archive
from boardwright.transfer.contents import Contents, Entry, read_directory, read_image, unreadable
from boardwright.transfer.options import SoftwareOptions, check_board_types, read_options

SMALL = 256 * 1024  # bytes; below, the cost of a request and an fsync is more than that of the bytes
ARCHIVE_NAMES = (
    ".tar",
    ".tgz",
    ".txz",
    ".tzst",
    ".tbz2",
    *(f".tar.{kind}" for kind in ("gz", "xz", "zst", "bz2", "lz4")),
)
_EMPTY = hashlib.sha256().hexdigest()
_Place = tuple[str, int]  # blob's digest, offset


class BlobSource(msgspec.Struct, frozen=True):
    """A file that is a blob's bytes; `temporary`: it lies in the work directory and may be moved."""

    path: Path
    size: int
    temporary: bool


_Parts = tuple[tuple[FileEntry, ...], tuple[BlobRef, ...], dict[str, BlobSource]]


class Packed(msgspec.Struct, frozen=True):
    """A version ready to be published. `blobs` lacks the packs that are taken over from a base manifest."""

    manifest: Manifest
    blobs: dict[str, BlobSource]


def pack(path: Path, options: SoftwareOptions, *, workdir: Path, base: Sequence[Manifest] = ()) -> Packed:
    """Make a version of what lies at `path`; `workdir` is an empty directory for packs and spooled files.

    `options` win over the version's own description. Raises UsageError with path, field and value for what is
    wrong with the input, FailedError if the work directory cannot be written.
    """
    check_board_types("--board-type", options.board_types or ())
    try:
        return _pack(path, options, workdir, base)
    except OSError as error:
        raise FailedError(
            f"{path} cannot be packed in {workdir}", hint="free some space there, or name another place by TMPDIR"
        ) from error


def _pack(path: Path, options: SoftwareOptions, workdir: Path, base: Sequence[Manifest]) -> Packed:
    contents = _read(path, workdir)
    if all(entry.directory for entry in contents.entries.values()):
        raise UsageError(
            f"{path} holds no files", hint="name the folder, archive or image that has the version's files"
        )
    if contents.description is not None:
        options = options.over(read_options(f"boardwright.toml of {path}", contents.description))
    contents.check_names(case_sensitive=bool(options.case_sensitive))
    group, version = _named("group", options.group, path), _named("version", options.version, path)
    files, blobs, sources = _Packer(contents, workdir).pack(base)
    manifest = Manifest(
        schema=SCHEMA,
        group=group,
        version=version,
        board_types=tuple(sorted(set(options.board_types or ("*",)))),
        kind=contents.kind,
        files=files,
        directories=tuple(
            DirectoryEntry(entry.path, entry.mode) for _, entry in sorted(contents.entries.items()) if entry.directory
        ),
        blobs=blobs,
        requires=dict(sorted((options.requires or {}).items())),
        install=options.install or InstallSpec(),
        health=options.health,
    )
    try:
        check_manifest(manifest)
    except MalformedError as error:
        raise UsageError(f"{path} is no version: {error}", hint="correct that and publish again") from error
    if len(encode_manifest(manifest)) > MAX_MANIFEST_BYTES:
        raise UsageError(f"{path} has too many files with long names for one version", hint="split the version")
    _check_programs(manifest, path)
    return Packed(manifest, sources)


def _read(path: Path, workdir: Path) -> Contents:
    try:
        if path.is_dir():
            return read_directory(path)
        if not path.is_file():
            raise UsageError(
                f"{path} is neither a directory nor a file", hint="name a directory, a tar archive or an image"
            )
        archive = is_archive(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not archive and path.name.lower().endswith(ARCHIVE_NAMES):
        raise UsageError(
            f"{path} is named like a tar archive, but is none that can be read",
            hint="tar, plain or packed by gzip, xz or zstd, is; an image needs another name",
        )
    if not archive:
        return read_image(path)
    spool = workdir / "spool"
    spool.mkdir()
    return read_archive(path, spool, SMALL)


class _Packer:
    def __init__(self, contents: Contents, workdir: Path) -> None:
        self._contents = contents
        self._packs = workdir / "packs"
        self._blobs: dict[str, BlobRef] = {}
        self._sources: dict[str, BlobSource] = {}
        self._small: dict[str, Entry] = {}  # digest -> where its bytes are
        self._places: dict[str, _Place] = {}

    def pack(
        self, base: Sequence[Manifest]
    ) -> tuple[tuple[FileEntry, ...], tuple[BlobRef, ...], dict[str, BlobSource]]:
        entries = [entry for _, entry in sorted(self._contents.entries.items()) if not entry.directory]
        digests = {entry.path: self._hash(entry) for entry in entries if entry.link is None}
        self._take_over(base)
        self._pack_rest()
        used = dict.fromkeys(self._places[digest][0] for digest in digests.values() if digest != _EMPTY)
        index = {sha256: number for number, sha256 in enumerate(used)}
        files = tuple(self._file(entry, digests.get(entry.path), index) for entry in entries)
        return files, tuple(self._blobs[sha256] for sha256 in used), self._sources

    def _file(self, entry: Entry, digest: str | None, index: dict[str, int]) -> FileEntry:
        if digest is None:
            return FileEntry(entry.path, entry.mode, link=entry.link)
        if digest == _EMPTY:
            return FileEntry(entry.path, entry.mode, 0, digest)
        blob, offset = self._places[digest]
        return FileEntry(entry.path, entry.mode, entry.size, digest, index[blob], offset)

    def _hash(self, entry: Entry) -> str:
        """The file's digest; a large one becomes a blob, a small one is remembered for the packs."""
        if not entry.size:
            return _EMPTY
        if entry.size < SMALL and self._contents.kind == "tree":
            digest = digest_of(self._bytes(entry))
            self._small.setdefault(digest, entry)
            return digest
        blob = self._hash_large(entry)
        if blob.sha256 not in self._blobs:
            self._add(blob, BlobSource(_source(entry), entry.size, entry.temporary))
            self._places[blob.sha256] = (blob.sha256, 0)
        return blob.sha256

    def _hash_large(self, entry: Entry) -> BlobRef:
        whole, pieces = hashlib.sha256(), bytearray()
        buffer = memoryview(bytearray(PIECE_SIZE))
        size = 0
        try:
            with _source(entry).open("rb") as file:
                while count := file.readinto(buffer):
                    whole.update(buffer[:count])
                    pieces += hashlib.sha256(buffer[:count]).digest()
                    size += count
        except OSError as error:
            raise unreadable(_source(entry), error) from error
        if size != entry.size:
            raise self._changed(entry)
        return BlobRef(whole.hexdigest(), size, bytes(pieces))

    def _take_over(self, base: Sequence[Manifest]) -> None:
        """Find small files in the packs of `base`; the first manifest that has one wins."""
        for manifest in base:
            found: dict[int, dict[str, FileEntry]] = {}
            for entry in manifest.files:
                if entry.sha256 in self._small and entry.blob >= 0:
                    found.setdefault(entry.blob, {})[entry.sha256] = entry
            for number, entries in sorted(found.items()):
                blob = manifest.blobs[number]
                if 2 * sum(entry.size for entry in entries.values()) < blob.size:
                    continue
                for digest, entry in sorted(entries.items()):
                    self._places.setdefault(digest, (blob.sha256, entry.offset))
                self._blobs.setdefault(blob.sha256, blob)

    def _pack_rest(self) -> None:
        batch: list[tuple[str, Entry]] = []
        filled = 0
        for digest, entry in self._small.items():
            if digest in self._places:
                continue
            if filled + entry.size > PIECE_SIZE:
                self._write_pack(batch)
                batch, filled = [], 0
            batch.append((digest, entry))
            filled += entry.size
        if batch:
            self._write_pack(batch)

    def _write_pack(self, batch: list[tuple[str, Entry]]) -> None:
        data = bytearray()
        offsets = {}
        for digest, entry in batch:
            offsets[digest] = len(data)
            content = self._bytes(entry)
            if digest_of(content) != digest:
                raise self._changed(entry)
            data += content
        content_digest = hashlib.sha256(data)
        sha256 = content_digest.hexdigest()
        self._places.update({digest: (sha256, offset) for digest, offset in offsets.items()})
        if sha256 in self._blobs:
            return
        self._packs.mkdir(exist_ok=True)
        path = self._packs / sha256
        path.write_bytes(data)
        self._add(BlobRef(sha256, len(data), content_digest.digest()), BlobSource(path, len(data), temporary=True))

    def _add(self, blob: BlobRef, source: BlobSource) -> None:
        self._blobs[blob.sha256] = blob
        self._sources[blob.sha256] = source

    def _bytes(self, entry: Entry) -> bytes:
        try:
            fd = os.open(_source(entry), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(fd, entry.size, entry.offset)
            finally:
                os.close(fd)
        except OSError as error:
            raise unreadable(_source(entry), error) from error
        if len(data) != entry.size:
            raise self._changed(entry)
        return data

    def _changed(self, entry: Entry) -> UsageError:
        return UsageError(
            f"{self._contents.name}: {entry.path[:200]!r} changed while it was read",
            hint="publish again when nobody writes to it",
        )


def _source(entry: Entry) -> Path:
    if entry.source is None:
        raise ValueError(f"{entry.path} has no bytes")
    return entry.source


def _named(field: str, value: str | None, path: Path) -> str:
    if value is None:
        raise UsageError(
            f"{path} does not say its {field}",
            hint=f'give --{field}, or write {field} = "..." under [software] in its boardwright.toml',
        )
    return value


def _check_programs(manifest: Manifest, path: Path) -> None:
    """A hook or health check that cannot be started would only be found out on the boards. Raises UsageError."""
    files = {entry.path: entry for entry in manifest.files}
    links = [entry.path for entry in manifest.files if entry.link is not None]
    install = manifest.install
    hooks = [("hook", hook) for hook in (*install.before, *install.after)]
    own = [("program", argv[0]) for argv in (install.command.all if install.command else ())]
    for what, program in [*hooks, *((what, one) for what, one in own if "/" in one and not one.startswith("/"))]:
        if program not in files and not any(program.startswith(f"{link}/") for link in links):
            raise UsageError(
                f"{path} has the {what} {program!r}, but no such file",
                hint="write its path in the version, e.g. bin/check",
            )
    # A health check that is missing may be made by a hook.
    probe = [("health check", program) for program in (manifest.health.command[:1] if manifest.health else ())]
    for what, program in [*hooks, *own, *probe]:
        entry = files.get(program)
        if entry is not None and entry.link is None and not entry.mode & 0o111:
            raise UsageError(f"{path}: the {what} {program!r} is not executable", hint=f"chmod +x {program}")
