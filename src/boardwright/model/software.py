"""Versions of software groups and their manifests.

Rules:

* A version is named by (group, version, variant); the variant is its set of board types (globs), written
  sorted and joined by commas, ``*`` for every type. A name is immutable: other content needs another name.
* A manifest lists files; each file lies in one blob at an offset. Large files have a blob of their own; small
  files share **packs**, blobs of about 1 MiB. A blob is named by the SHA-256 of its bytes.
* A blob is verified piece by piece: ``pieces`` holds the SHA-256 digests (32 bytes each) of its pieces of
  ``PIECE_SIZE`` bytes, the last one shorter.
* The manifest's digest is the SHA-256 of its encoded bytes (JSON, keys sorted), which travel as a blob, too.
* Paths are relative, normalised POSIX paths without ``..`` and control characters; ``check_manifest`` refuses
  everything else before anybody believes a manifest. Everything in it has a bound.
"""

import fnmatch
import hashlib
import re
from collections.abc import Iterable

import msgspec

from boardwright.errors import MalformedError
from boardwright.model.words import (
    check_probes,
    check_requirement,
    check_seconds,
    check_units,
    check_words,
    is_board_type,
)

SCHEMA = 1
PIECE_SIZE = 1024 * 1024  # 256 KiB pieces measured slower for the cost per piece, larger ones waste on failover
RANGE_SIZE = 8 * PIECE_SIZE  # the most that one request may ask for; admission and caps count per range
MAX_ENTRIES = 300_000  # files and directories of a version; a board's root file system has 20,000 to 150,000
MAX_MANIFEST_BYTES = 64 * 1024 * 1024  # as many entries of ~200 bytes; a board has to hold it in memory
MAX_FILE_BYTES = 256 * 1024**3  # of all files together; what a board's disk could hold
MAX_VALUES = 8 * MAX_ENTRIES  # commas and braces: a file has six fields, and names may hold some
MAX_DEPTH = 128  # directories above a file; the deepest trees of build tools have some 40
MAX_PART = 255  # bytes between two slashes; what Linux file systems take (NAME_MAX)
MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_HEX = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # would steer the terminal of who reads a list of files


class BlobRef(msgspec.Struct, frozen=True):
    """A blob of `size` bytes named by its SHA-256 (64 hex digits), with its pieces' digests (n x 32 bytes)."""

    sha256: str
    size: int
    pieces: bytes

    @property
    def piece_count(self) -> int:
        return (self.size + PIECE_SIZE - 1) // PIECE_SIZE

    def piece_digest(self, index: int) -> bytes:
        return self.pieces[index * 32 : index * 32 + 32]

    def piece_span(self, index: int) -> tuple[int, int]:
        """Offset and length in bytes of piece `index`."""
        start = index * PIECE_SIZE
        return start, min(PIECE_SIZE, self.size - start)


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A regular file, or a symbolic link if `link` is set (then size is 0 and there is no blob).

    `blob` is an index into the manifest's blobs; -1 for links and empty files. `mode` is permission bits only.
    """

    path: str
    mode: int
    size: int = 0
    sha256: str = ""
    blob: int = -1
    offset: int = 0
    link: str | None = None


class DirectoryEntry(msgspec.Struct, frozen=True):
    path: str
    mode: int


class CommandSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The programs of the installer ``command``, each with its arguments; all but `activate` may be missing."""

    activate: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    roll_back: tuple[str, ...] = ()
    running: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[tuple[str, ...], ...]:
        """The commands that there are."""
        return tuple(one for one in (self.activate, self.stage, self.confirm, self.roll_back, self.running) if one)


class InstallSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a version is installed: the installer's name, hooks (paths in the version), units to restart.

    `command` belongs to the installer of that name. `hook_timeout` (seconds) bounds each program.
    """

    installer: str = "tree"
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    hook_timeout: float = 60.0
    command: CommandSpec | None = None


class HealthSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One probe: a command (relative to the version), an HTTP URL (2xx is healthy) or tcp ``host:port``.

    `timeout` in seconds bounds the whole probing; HTTP and TCP are tried again until then.
    """

    command: tuple[str, ...] = ()
    http: str = ""
    tcp: str = ""
    timeout: float = 10.0


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything a board must know about one version; immutable."""

    schema: int
    group: str
    version: str
    board_types: tuple[str, ...] = ("*",)
    kind: str = "tree"  # or "image": then there is one file
    files: tuple[FileEntry, ...] = ()
    directories: tuple[DirectoryEntry, ...] = ()
    blobs: tuple[BlobRef, ...] = ()
    requires: dict[str, str] = {}
    install: InstallSpec = InstallSpec()
    health: HealthSpec | None = None

    @property
    def variant(self) -> str:
        return variant_of(self.board_types)

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


def same_content(one: Manifest, other: Manifest) -> bool:
    """Whether both deploy the same thing, however their small files are packed into blobs."""
    return _without_places(one) == _without_places(other)


def _without_places(manifest: Manifest) -> Manifest:
    files = tuple(msgspec.structs.replace(entry, blob=-1, offset=0) for entry in manifest.files)
    return msgspec.structs.replace(manifest, files=files, blobs=())


class Target(msgspec.Struct, frozen=True, order=True):
    """One version as a plan names it: group, version, variant and the manifest's digest (64 hex digits)."""

    group: str
    version: str
    variant: str
    manifest: str


def variant_of(board_types: Iterable[str]) -> str:
    """The variant's name: the board types sorted and joined by commas; ``*`` for none or every type."""
    types = sorted(set(board_types)) or ["*"]
    return "*" if "*" in types else ",".join(types)


def variant_fits(variant: str, board_type: str) -> bool:
    return any(fnmatch.fnmatchcase(board_type, glob) for glob in variant.split(","))


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    return _encoder.encode(manifest)


def digest_of(data: bytes) -> str:
    """SHA-256 of `data` as 64 hex digits (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether this is how a blob is named: 64 hex digits."""
    return _HEX.fullmatch(text) is not None


def decode_manifest(data: bytes) -> Manifest:
    """Decode and check; raises MalformedError with the field and the value."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise MalformedError(f"manifest of {len(data)} bytes is larger than {MAX_MANIFEST_BYTES}")
    # Objects in memory are several times larger than their JSON, so they are counted before they are made.
    values = data.count(b",") + data.count(b"{")
    if values > MAX_VALUES:
        raise MalformedError(f"manifest of {values} values has more than {MAX_VALUES}")
    try:
        manifest = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("manifest is not of the documented form") from error
    check_manifest(manifest)
    return manifest


def check_name(field: str, value: str) -> None:
    """Raise MalformedError unless `value` can name a group, version or board."""
    if not _NAME.fullmatch(value):
        raise MalformedError(
            f"{field} {value[: 2 * MAX_NAME]!r} is not a name: letters, digits and . _ + ~ -, "
            f"beginning with a letter or digit, at most {MAX_NAME} characters"
        )


def check_manifest(manifest: Manifest) -> None:
    """Raise MalformedError if the manifest contradicts itself or names a path outside its tree."""
    if manifest.schema != SCHEMA:
        raise MalformedError(f"manifest has schema {manifest.schema}, this release reads {SCHEMA}")
    check_name("group", manifest.group)
    check_name("version", manifest.version)
    _check_words(manifest)
    _check_amounts(manifest)
    _check_blobs(manifest.blobs)
    _check_files(manifest)
    _check_spans(manifest)
    if manifest.kind not in ("tree", "image"):
        raise MalformedError(f"kind {manifest.kind[:80]!r} is neither tree nor image")
    if manifest.kind == "image" and len(manifest.files) != 1:
        raise MalformedError(f"an image has one file, not {len(manifest.files)}")


def _check_amounts(manifest: Manifest) -> None:
    if len(manifest.files) + len(manifest.directories) > MAX_ENTRIES:
        raise MalformedError(f"manifest has more than {MAX_ENTRIES} files")
    if sum(entry.size for entry in manifest.files) > MAX_FILE_BYTES or manifest.size > MAX_FILE_BYTES:
        raise MalformedError(f"the manifest's files have more than {MAX_FILE_BYTES} bytes")


def _check_files(manifest: Manifest) -> None:
    directories = {entry.path for entry in manifest.directories}
    seen: set[str] = set()
    links = {entry.path for entry in manifest.files if entry.link is not None}
    for path, mode in [(d.path, d.mode) for d in manifest.directories] + [(f.path, f.mode) for f in manifest.files]:
        check_path(path)
        if path in seen:
            raise MalformedError(f"path {path!r} stands twice in the manifest")
        seen.add(path)
        if mode & ~0o7777:
            raise MalformedError(f"path {path!r} has mode {mode:#o}, permission bits are at most 0o7777")
    for entry in manifest.files:
        _check_file(entry, manifest.blobs)
        for parent in _parents(entry.path):
            if parent in links:
                raise MalformedError(f"path {entry.path!r} leads through the link {parent!r}")
            if parent in seen and parent not in directories:
                raise MalformedError(f"path {entry.path!r} lies below the file {parent!r}")


def check_path(path: str) -> None:
    """Raise MalformedError unless `path` is relative, normalised and inside its tree."""
    parts = path.split("/")
    if not path or path.startswith("/") or "\0" in path or len(path.encode(errors="replace")) > 4096:
        raise MalformedError(f"path {path[:200]!r} is not a relative path of at most 4096 bytes")
    if any(part in ("", ".", "..") for part in parts):
        raise MalformedError(f"path {path[:200]!r} is not normalised or leaves its tree")
    if any(len(part.encode(errors="replace")) > MAX_PART for part in parts):
        raise MalformedError(f"path {path[:200]!r} has a name of more than {MAX_PART} bytes")
    if len(parts) > MAX_DEPTH:
        raise MalformedError(f"path {path[:200]!r} lies below more than {MAX_DEPTH} directories")
    if _CONTROL.search(path):
        raise MalformedError(f"path {path[:200]!r} has control characters")


def check_link(path: str, target: str) -> None:
    """Raise MalformedError if the symbolic link at `path` is absolute or leaves the tree."""
    depth = path.count("/")
    if not target or target.startswith("/") or len(target.encode(errors="replace")) > 4095:
        raise MalformedError(f"link {path[:200]!r} -> {target[:200]!r} is absolute, empty or longer than 4095 bytes")
    if _CONTROL.search(target):
        raise MalformedError(f"link {path[:200]!r} -> {target[:200]!r} has control characters")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            raise MalformedError(f"link {path[:200]!r} -> {target[:200]!r} leaves the tree")


def _parents(path: str) -> Iterable[str]:
    cut = path.find("/")
    while cut >= 0:
        yield path[:cut]
        cut = path.find("/", cut + 1)


def _check_words(manifest: Manifest) -> None:
    """What is neither a file nor a blob: board types, requirements, how to install and to probe."""
    install, health = manifest.install, manifest.health
    check_words("board types", manifest.board_types)
    check_words("requirements", tuple(manifest.requires))
    for board_type in manifest.board_types:
        if not is_board_type(board_type):
            raise MalformedError(f"board type {board_type[:80]!r} is not a glob of a board type")
    for group, requirement in manifest.requires.items():
        check_name("required group", group)
        check_requirement(group, requirement)
    check_name("installer", install.installer)
    check_words("hooks", (*install.before, *install.after))
    for hook in (*install.before, *install.after):
        check_path(hook)
    check_units(install.restart)
    check_seconds("hook_timeout", install.hook_timeout)
    _check_command(install)
    if health is not None:
        check_words("health command", health.command)
        check_seconds("health timeout", health.timeout)
        check_probes(health.http, health.tcp)


def _check_command(install: InstallSpec) -> None:
    spec = install.command
    if install.installer == "command" and (spec is None or not spec.activate):
        raise MalformedError("the installer 'command' has no program that activates the version")
    for argv in spec.all if spec else ():
        check_words("installer's programs", argv)
        check_path(argv[0].removeprefix("/"))


def _check_spans(manifest: Manifest) -> None:
    """Files share a span of a blob, or have spans of their own: else their bytes cannot be what the digests say."""
    spans: dict[tuple[int, int, int], str] = {}
    for entry in manifest.files:
        if entry.blob >= 0 and spans.setdefault((entry.blob, entry.offset, entry.size), entry.sha256) != entry.sha256:
            raise MalformedError(f"file {entry.path!r} has the bytes of another file, but not its digest")
    blob, end = -1, 0
    for number, offset, size in sorted(spans):
        if number == blob and offset < end:
            raise MalformedError(f"blob {manifest.blobs[number].sha256} has overlapping files at byte {offset}")
        blob, end = number, offset + size


def _check_blobs(blobs: tuple[BlobRef, ...]) -> None:
    seen: set[str] = set()
    for blob in blobs:
        if not _HEX.fullmatch(blob.sha256):
            raise MalformedError(f"blob {blob.sha256[:80]!r} is not named by 64 hex digits")
        if blob.size <= 0 or len(blob.pieces) != 32 * blob.piece_count:
            raise MalformedError(f"blob {blob.sha256} of {blob.size} bytes has {len(blob.pieces) / 32:g} piece digests")
        if blob.sha256 in seen:
            raise MalformedError(f"blob {blob.sha256} stands twice in the manifest")
        seen.add(blob.sha256)


def _check_file(entry: FileEntry, blobs: tuple[BlobRef, ...]) -> None:
    if entry.link is not None:
        check_link(entry.path, entry.link)
        if entry.size or entry.blob != -1:
            raise MalformedError(f"link {entry.path!r} has content")
        return
    if entry.size < 0 or entry.offset < 0:
        raise MalformedError(f"file {entry.path!r} has size {entry.size} at offset {entry.offset}")
    if not _HEX.fullmatch(entry.sha256):
        raise MalformedError(f"file {entry.path!r} has the digest {entry.sha256[:80]!r}, 64 hex digits are needed")
    if entry.size == 0:
        if entry.blob != -1 or entry.offset:
            raise MalformedError(f"file {entry.path!r} is empty and names blob {entry.blob} at {entry.offset}")
        return
    if not 0 <= entry.blob < len(blobs):
        raise MalformedError(f"file {entry.path!r} names blob {entry.blob} of {len(blobs)}")
    if entry.offset + entry.size > blobs[entry.blob].size:
        raise MalformedError(f"file {entry.path!r} ends behind its blob {blobs[entry.blob].sha256}")
