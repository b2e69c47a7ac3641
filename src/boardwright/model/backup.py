"""A backup: the replicated state of one moment as one file of text (docs/operate/backup.md says its form).

Rules:

* The first line says what follows: whose state, of which plan, how many entries, and the SHA-256 of all other lines.
  Each other line is one entry: its key, and its value as text (JSON and signed metadata are) or else in base64.
* What is true of one moment or of single processes only is left out: the lease, who is registered, join tokens (an old
  count of their uses would let others in again), and what a restore keeps for itself. No private key is in the state.
* A file is bounded and compared with its digest before anything in it is believed. A form of a later release is
  refused, keys that are not known are kept.
"""

from collections.abc import Iterable

import msgspec

from boardwright.errors import UsageError
from boardwright.model.software import digest_of

SCHEMA = 1
MAX_BACKUP = 160 * 1024 * 1024  # bytes; in base64 it fits into what servers and commands take, 256 MiB
MAX_ENTRIES = 1_000_000  # ten for each of 100,000 boards
LEFT_OUT = ("lease/", "servers/", "tokens/", "restore/", "upgrade")  # prefixes of keys
_HINT = "name a file that `boardwright backup` wrote"


class BackupHead(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is seconds since the epoch, for people; `revision` that of the store; `sha256` of all lines that follow."""

    boardwright_backup: int = SCHEMA
    cluster: str
    generation: int
    revision: int
    at: float
    release: str
    entries: int
    sha256: str


class _Line(msgspec.Struct, omit_defaults=True):
    key: str
    text: str = ""
    base64: bytes | None = None


class Backup(msgspec.Struct, frozen=True):
    """What a file says."""

    head: BackupHead
    entries: dict[str, bytes]


def belongs(key: str) -> bool:
    """Whether an entry is part of a backup."""
    return not key.startswith(LEFT_OUT)


def write_backup(
    entries: Iterable[tuple[str, bytes]], *, cluster: str, generation: int, revision: int, at: float, release: str
) -> bytes:
    """The file of these entries, those that do not belong into one left out."""
    lines = [msgspec.json.encode(_line(key, value)) for key, value in entries if belongs(key)]
    body = b"".join(line + b"\n" for line in lines)
    head = BackupHead(
        cluster=cluster,
        generation=generation,
        revision=revision,
        at=at,
        release=release,
        entries=len(lines),
        sha256=digest_of(body),
    )
    return msgspec.json.encode(head) + b"\n" + body


def read_backup(data: bytes, name: str = "the backup") -> Backup:
    """What is in the file `name`; raises UsageError for one that is no backup, damaged, or of a later release."""
    if len(data) > MAX_BACKUP:
        raise UsageError(f"{name} has more than {MAX_BACKUP} bytes", hint=_HINT)
    first, newline, body = data.partition(b"\n")
    try:
        head = msgspec.json.decode(first, type=BackupHead)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} is no backup of a cluster", hint=_HINT) from error
    if head.boardwright_backup != SCHEMA:
        raise UsageError(
            f"{name} is a backup of the form {head.boardwright_backup}, this release reads {SCHEMA}",
            hint="restore it with the release that wrote it",
        )
    if not newline or digest_of(body) != head.sha256:
        raise UsageError(f"{name} is damaged: it is not what its first line says", hint="take another copy of it")
    lines = body.splitlines()
    if len(lines) != head.entries or len(lines) > MAX_ENTRIES:
        raise UsageError(f"{name} has {len(lines)} entries, its first line says {head.entries}", hint=_HINT)
    return Backup(head, _entries(lines, name))


def _entries(lines: list[bytes], name: str) -> dict[str, bytes]:
    decode = msgspec.json.Decoder(_Line).decode
    entries: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=2):
        try:
            entry = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: line {number} is no entry of a backup", hint=_HINT) from error
        if entry.key in entries or not belongs(entry.key):
            raise UsageError(f"{name}: line {number} has the key {entry.key[:100]!r}, which is not its place")
        entries[entry.key] = entry.text.encode() if entry.base64 is None else entry.base64
    return entries


def _line(key: str, value: bytes) -> _Line:
    try:
        return _Line(key, text=value.decode())
    except UnicodeDecodeError:
        return _Line(key, base64=value)
