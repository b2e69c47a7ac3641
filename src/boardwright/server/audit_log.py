"""The one place where a change of the state gets its record in the audit log.

Rules:

* ``commit`` writes the change and its record in one transaction: neither is there without the other, however often a
  commit loses or the process dies. Whoever lets people change something is handed this commit, and its type asks for
  an ``Act``; the plain one, fenced by the lease alone, is for what nobody decided.
* What nobody decided is not recorded: daily renewals of signatures, plans that follow from the policy when boards
  join, what boards and servers say of themselves. It can be told from what is recorded, and would bury that. Versions
  that the active retires to make room are, because an operator finds them gone.
* The state keeps the newest ``KEPT`` records; each commit drops what is beyond. Every server has copied them to its
  own disk by then (``audit_copy``).
* The head is compared, so two writers cannot write the same number. It is read under a lock just before: within the
  active a change never loses because of its record.
"""

import threading
from collections.abc import Callable

import msgspec

from boardwright.errors import FailedError
from boardwright.model.audit import DONE, REFUSED, Act, Head, line_of, record_after
from boardwright.model.software import digest_of
from boardwright.state.kv import KV, Entry, Transaction
from boardwright.state.records import AUDIT_HEAD, AuditHead, audit_key, encode_record

KEPT = 1000  # records, about 0.5 MB: everything in the state is read for every plan; servers keep 100,000 on disk
DROPPED_AT_ONCE = 10  # by one commit, if another release kept more

AuditedCommit = Callable[[Transaction, Act], int]
Recorded = Callable[[Act, Callable[[Transaction], int]], int]


class AuditLog:
    """`commit` is fenced by the lease; `server` is this one's id, `now` answers seconds since the epoch."""

    def __init__(
        self, kv: KV, commit: Callable[[Transaction], int], server: str, now: Callable[[], float], kept: int = KEPT
    ) -> None:
        self._kv = kv
        self._commit = commit
        self._server = server
        self._now = now
        self._kept = kept
        self._lock = threading.RLock()
        self._revocations = 0  # the newest list that is known to be recorded

    def commit(self, change: Transaction, act: Act) -> int:
        """Make the change and record it; DeposedError, ConflictError, EngineError: then neither, or nobody knows."""
        return self._append(change, act, DONE, 1)

    def recorded(self, act: Act, change: Callable[[Transaction], int]) -> int:
        """Have `change` commit what it does together with the record that it is handed; its errors."""
        return self._append(Transaction({}, {}), act, DONE, 1, commit=change)

    def refused(self, act: Act, count: int) -> int:
        """Record what was refused `count` times; errors as for ``commit``."""
        return self._append(Transaction({}, {}), act, REFUSED, count)

    def revoked(self, number: int, act: Act) -> None:
        """Record the list of revoked keys with this number, if none as new was recorded; errors as for ``commit``."""
        if number > self._revocations:
            with self._lock:
                if number > _read(self._kv.get(AUDIT_HEAD)).revocations:
                    self._append(Transaction({}, {}), act, DONE, 1, revocations=number)
                self._revocations = number

    def _append(
        self,
        change: Transaction,
        act: Act,
        outcome: str,
        count: int,
        *,
        revocations: int = 0,
        commit: Callable[[Transaction], int] | None = None,
    ) -> int:
        with self._lock:
            entry = self._kv.get(AUDIT_HEAD)
            head = _read(entry)
            recorded = max(head.revocations, revocations)
            record = record_after(Head(head.number, head.digest), act, self._now(), self._server, outcome, count)
            line = line_of(record)
            over = max(0, record.number - head.oldest + 1 - self._kept)
            oldest = head.oldest + min(over, DROPPED_AT_ONCE)
            puts: dict[str, bytes | None] = {
                **change.puts,
                **{audit_key(number): None for number in range(head.oldest, oldest)},
                audit_key(record.number): line,
                AUDIT_HEAD: encode_record(AuditHead(record.number, digest_of(line), oldest, recorded)),
            }
            compares = {**change.compares, AUDIT_HEAD: entry.revision if entry else 0}
            return (commit or self._commit)(Transaction(compares, puts))


def _read(entry: Entry | None) -> AuditHead:
    if entry is None:
        return AuditHead()
    try:
        return msgspec.json.decode(entry.value, type=AuditHead)
    except msgspec.MsgspecError as error:
        raise FailedError(
            f"the record {AUDIT_HEAD!r} of the state cannot be read by this release, so nothing can be changed",
            hint="a newer release wrote it; upgrade this server",
        ) from error
