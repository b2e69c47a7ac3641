"""The state in memory: for tests and the simulator, and the shortest statement of what an engine does.

Nothing survives the process. History is bounded like that of the other engines, so that a watcher meets
CompactedError here, too.
"""

import threading
import time
from collections import deque

from boardwright.errors import ConflictError
from boardwright.state.kv import Change, CompactedError, EngineError, Entry, Snapshot, Transaction, check_transaction

HISTORY = 1000  # commits; at two lease renewals a second some eight minutes


class MemoryKV:
    """KV in this process; `history` is how many commits a watcher may lag behind."""

    def __init__(self, *, history: int = HISTORY) -> None:
        self._entries: dict[str, Entry] = {}
        self._revision = 0
        self._changes: deque[tuple[Change, ...]] = deque(maxlen=history)
        self._changed = threading.Condition()
        self._closed = False

    def get(self, key: str) -> Entry | None:
        with self._changed:
            self._check_open()
            return self._entries.get(key)

    def range(self, prefix: str) -> Snapshot:
        with self._changed:
            self._check_open()
            found = sorted(key for key in self._entries if key.startswith(prefix))
            return Snapshot(tuple(self._entries[key] for key in found), self._revision)

    def commit(self, transaction: Transaction) -> int:
        check_transaction(transaction)
        with self._changed:
            self._check_open()
            for key, expected in transaction.compares.items():
                entry = self._entries.get(key)
                if (entry.revision if entry else 0) != expected:
                    raise ConflictError(
                        f"{key} is at revision {entry.revision if entry else 0}, the change expects {expected}"
                    )
            revision = self._revision + 1
            changes = tuple(
                Change(key, value, revision)
                for key, value in sorted(transaction.puts.items())
                if value is not None or key in self._entries
            )
            if not changes:
                return self._revision
            for change in changes:
                if change.value is None:
                    del self._entries[change.key]
                else:
                    self._entries[change.key] = Entry(change.key, change.value, revision)
            self._revision = revision
            self._changes.append(changes)
            self._changed.notify_all()
            return revision

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                self._check_open()
                found = self._since(prefix, after)
                if found:
                    return found
                after = max(after, self._revision)
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return ()
                self._changed.wait(remaining)

    def health(self) -> str:
        return "the state is closed" if self._closed else ""

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _since(self, prefix: str, after: int) -> tuple[Change, ...]:
        if not self._revision - len(self._changes) <= after <= self._revision:
            raise CompactedError(f"the changes after revision {after} are not known, the state is at {self._revision}")
        first = after - (self._revision - len(self._changes))
        return tuple(
            change
            for index in range(first, len(self._changes))
            for change in self._changes[index]
            if change.key.startswith(prefix)
        )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the state is closed")
