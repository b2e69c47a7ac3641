"""Records of who wants in, read and written as one change each: what ``admission`` and ``join_tokens`` share.

Rules:

* One change at a time: a reading, a decision and its commit are not mixed with those of another call. The commit is
  recorded in the audit log (``audit_log``); one that lost against another writer is decided anew, a few times.
* The own copy of the state shows a change before the next one is decided, so that two do not get the same slot.
* A record that this release cannot read is left alone and counts as none.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

from boardwright import log
from boardwright.errors import ConflictError
from boardwright.model.audit import Act
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.state.kv import KV, Entry, Transaction
from boardwright.state.lease import DeposedError
from boardwright.trust.joining import is_digest

ATTEMPTS = 5  # commits that may lose in a row, as for `deploy`
_log = log.get("server.admission")
T = TypeVar("T")
Commit = Callable[[Transaction], int]


ALONE = Transaction({}, {})  # nothing else changes beside a record


class Records:
    """`commit` is fenced by the lease, `audited` records who did it, too."""

    def __init__(self, kv: KV, commit: Commit, audited: AuditedCommit, mirror: Mirror) -> None:
        self._kv = kv
        self._commit = commit
        self._audited = audited
        self._mirror = mirror
        self._lock = threading.Lock()

    def repeated(self, attempt: Callable[[], T]) -> T:
        """Do it, alone, again while its commit loses; ConflictError at last, DeposedError at once."""
        with self._lock:
            for _ in range(ATTEMPTS - 1):
                try:
                    return attempt()
                except DeposedError:
                    raise
                except ConflictError:
                    continue
            return attempt()

    def get(self, key: str) -> Entry | None:
        """The entry as it is in the engine."""
        return self._kv.get(key)

    def read(self, prefix: str, digest: str, kind: type[T]) -> T | None:
        """The record of this digest, which may be any text."""
        entry = self._kv.get(f"{prefix}{digest}") if is_digest(digest) else None
        return None if entry is None else decoded(entry, kind)

    def table(self, prefix: str, kind: type[T]) -> list[T]:
        """Every record below `prefix`."""
        found = (decoded(entry, kind) for entry in self._kv.range(prefix).entries)
        return [one for one in found if one is not None]

    def write(self, beside: Transaction, key: str, record: msgspec.Struct | None, act: Act | None) -> None:
        """Commit `record` (None: gone) under `key` and what is `beside` it, and wait until the own copy shows it.

        `act` None is for what a stranger may do as often as he likes: it must not fill the audit log.
        """
        entry = self._kv.get(key)
        change = Transaction(
            {**beside.compares, key: entry.revision if entry else 0},
            {**beside.puts, key: None if record is None else encoded(record)},
        )
        revision = self._commit(change) if act is None else self._audited(change, act)
        self._mirror.wait_for(revision, SEEN_WITHIN)


def decoded(entry: Entry, kind: type[T]) -> T | None:
    """The record, None if this release cannot read it."""
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except msgspec.MsgspecError as error:
        _log.warning("record not understood, left out", key=entry.key, error=str(error))
        return None
