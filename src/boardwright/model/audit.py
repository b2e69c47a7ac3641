"""The audit log: who changed what, when and from where, as a chain of records.

Rules:

* Records are numbered from 1. Each carries the SHA-256 of the line before it, the first one ''. What is hashed is the
  line itself, byte for byte (JSON, keys sorted), never what a reader makes of it: a release that does not know a field
  of a newer one follows the chain all the same.
* Whoever follows the chain from a head that it knows sees every edit, gap and change of order. The end can be cut off
  and the whole chain written anew without a break: who wants to see that keeps a head (``Head``) for himself.
* ``at`` is seconds since the epoch by the clock that the active signs with (the middle of the servers' clocks). The
  order of the records is that of their numbers, whatever the clocks said.
* Everything in a record is bounded and printable; what callers sent is cut, not refused.
"""

import enum
from collections.abc import Iterable, Iterator

import msgspec

from boardwright.errors import FailedError, MalformedError
from boardwright.model.software import MAX_NAME, digest_of

MAX_TEXT = 300  # characters of a subject or a detail; a sentence, not a document
MAX_DETAILS = 8  # an act is told in a few words
MAX_LINE = 32 * 1024  # bytes; the longest texts of four bytes a character are a third of it
DONE, REFUSED = "done", "refused"


class Action(enum.Enum):
    """What can be done to a cluster, in the words of the glossary."""

    PUBLISH = "publish"
    DEPLOY = "deploy"
    RETRY = "retry"
    RETIRE = "retire"
    TRUST_CHANGE = "trust-change"
    JOIN = "join"
    APPROVE = "approve"
    DISMISS = "dismiss"
    REVOKE = "revoke"
    TOKEN_CREATE = "token-create"  # noqa: S105 - a word, not a secret
    TOKEN_DROP = "token-drop"  # noqa: S105 - the same
    RESTORE = "restore"
    SWITCHOVER = "switchover"
    UPGRADE = "upgrade"
    UPGRADE_ABORT = "upgrade-abort"
    CALL = "call"  # any call that changes nothing; recorded only when it is refused


class Actor(msgspec.Struct, frozen=True):
    """Who acts: id, role, the digest of the key that was proven, and the address that the call came from."""

    id: str
    role: str
    key: str = ""
    address: str = ""


class Act(msgspec.Struct, frozen=True):
    """What somebody does; `subject` is what it is done to."""

    actor: Actor
    action: Action
    subject: str = ""
    details: dict[str, str] = {}

    def on(self, subject: str, **details: object) -> "Act":
        """The same act, done to `subject`; details that say nothing ('' or 0) are left out."""
        said = {name: str(value) for name, value in details.items() if value}
        return msgspec.structs.replace(self, subject=subject, details=said)


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record; `server` is the active that wrote it, `count` how often it happened, `outcome` DONE or REFUSED."""

    number: int
    before: str
    at: float
    server: str
    who: str
    role: str
    key: str
    address: str
    action: str
    subject: str
    outcome: str = DONE
    count: int = 1
    details: dict[str, str] = {}
    schema: int = 1


class Head(msgspec.Struct, frozen=True):
    """The newest record of a chain: its number and the SHA-256 of its line; 0 and '' for none."""

    number: int = 0
    digest: str = ""


class AuditPage(msgspec.Struct, frozen=True):
    """What one server's copy of the log says: its ends, and lines after the number that was asked for, in order."""

    server: str
    oldest: int
    head: Head
    records: tuple[str, ...] = ()


class ChainError(FailedError):
    """A chain of records is broken: one was changed, taken away, put in or moved."""


def record_after(head: Head, act: Act, at: float, server: str, outcome: str = DONE, count: int = 1) -> AuditRecord:
    """The record of `act` that follows on `head`."""
    actor = act.actor
    return AuditRecord(
        number=head.number + 1,
        before=head.digest,
        at=round(at, 3),
        server=server,
        who=_text(actor.id, MAX_NAME),
        role=_text(actor.role, MAX_NAME),
        key=_text(actor.key, MAX_NAME),
        address=_text(actor.address, MAX_NAME),
        action=act.action.value,
        subject=_text(act.subject, MAX_TEXT),
        outcome=outcome,
        count=count,
        details={_text(name, MAX_NAME): _text(value, MAX_TEXT) for name, value in _first(act.details)},
    )


def line_of(record: AuditRecord) -> bytes:
    """The record as it is kept and hashed, without a newline."""
    return msgspec.json.encode(record, order="deterministic")


def read_line(line: bytes) -> AuditRecord:
    """The record in a line; MalformedError."""
    if len(line) > MAX_LINE:
        raise MalformedError(f"a line of the audit log has {len(line)} bytes, more than {MAX_LINE}")
    try:
        return msgspec.json.decode(line, type=AuditRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedError(f"a line of the audit log is no record: {line[:80]!r}") from error


def follow(head: Head | None, line: bytes) -> tuple[Head, AuditRecord]:
    """The head after `line`; None begins wherever the line stands. ChainError, MalformedError."""
    record = read_line(line)
    if record.number == 1 and record.before:
        raise ChainError("record 1 of the audit log says that there is one before it")
    if head is not None:
        if record.number != head.number + 1:
            raise ChainError(f"the audit log has a gap: record {record.number} comes after record {head.number}")
        if record.before != head.digest:
            raise ChainError(
                f"the audit log was changed: record {record.number} was written after another record {head.number} "
                "than the one that is there"
            )
    return Head(record.number, digest_of(line)), record


def followed(lines: Iterable[bytes], head: Head | None = None) -> Iterator[tuple[Head, AuditRecord]]:
    """Every record of a chain with its head; ChainError, MalformedError where it breaks."""
    for line in lines:
        head, record = follow(head, line)
        yield head, record


def _first(details: dict[str, str]) -> list[tuple[str, str]]:
    return list(details.items())[:MAX_DETAILS]


def _text(text: str, longest: int) -> str:
    text = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "".join(one if one.isprintable() else "?" for one in text)
