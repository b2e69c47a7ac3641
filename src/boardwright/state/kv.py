"""The interface to replicated state (design section 8).

Rules:

* Keys are text with slashes, values are bytes. The store as a whole has one **revision** that grows with every commit
  (by one, or by more where others use the same engine); an entry carries the revision of its last change.
* Every change is a transaction: it holds its compares (key -> expected revision, 0 for "not there") or changes
  nothing and raises ConflictError. There is no unconditional write. A transaction that changes nothing (no puts,
  or only deletions of what is not there) leaves the revision as it is.
* A transaction has at most ``MAX_OPERATIONS`` compares and as many puts, a value at most ``MAX_VALUE`` bytes.
* ``watch`` returns the changes after a revision, in order and without gaps, or raises Compacted if the store no
  longer knows them (or is itself behind that revision, because it was restored): then read the range again and
  watch from its revision. The changes of one commit come together. Engines remember at least the last 1,000 commits,
  if whoever set up an engine of several hosts followed docs/state.md.
* All methods block and are safe to call from several threads. Trouble with the engine is EngineError.
* Leases are not an engine's feature here: ``state/lease.py`` builds them out of compare-and-set.
"""

from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError, UsageError


class EngineError(BoardwrightError):
    """The engine did not take or answer the call; whether a commit took effect is unknown."""

    retry = True


class CompactedError(BoardwrightError):
    """The changes after the given revision are no longer known; read again."""

    retry = True


class Entry(msgspec.Struct, frozen=True):
    key: str
    value: bytes
    revision: int


class Snapshot(msgspec.Struct, frozen=True):
    """All entries below a prefix, sorted by key, at `revision` of the store."""

    entries: tuple[Entry, ...]
    revision: int


class Change(msgspec.Struct, frozen=True):
    """One change; `value` None is a deletion."""

    key: str
    value: bytes | None
    revision: int


class Transaction(msgspec.Struct, frozen=True):
    """`compares`: key -> revision that its entry must have (0: must not exist). `puts`: value None deletes."""

    compares: dict[str, int]
    puts: dict[str, bytes | None]


class KV(Protocol):
    """The five calls that every engine offers."""

    def get(self, key: str) -> Entry | None: ...

    def range(self, prefix: str) -> Snapshot: ...

    def commit(self, transaction: Transaction) -> int:
        """Apply and return the new revision; ConflictError if a compare does not hold."""
        ...

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        """Changes below `prefix` with a revision > `after`; waits up to `timeout` seconds, () if none came."""
        ...

    def health(self) -> str:
        """'' if the engine takes changes, else one sentence that says what is wrong."""
        ...

    def close(self) -> None: ...


MAX_KEY = 1024  # a variant of many board types stands in a key
MAX_OPERATIONS = 120  # etcd takes 128 by default; the rest is for what a large value needs
MAX_VALUE = 16 * 1024 * 1024  # bytes; a plan of a million boards


def check_transaction(transaction: Transaction) -> None:
    """Raise UsageError for what not every engine takes, ValueError for a write that compares nothing.

    Keys are 1 to 1024 printable ASCII characters without blanks, so that every engine sorts them alike and a
    prefix is a range: everything below ``prefix`` is before ``prefix + DEL``.
    """
    for key in (*transaction.compares, *transaction.puts):
        if not 1 <= len(key) <= MAX_KEY or not all("!" <= character <= "~" for character in key):
            raise UsageError(
                f"key {key[:MAX_KEY]!r} of the state is not 1 to {MAX_KEY} printable ASCII characters without blanks"
            )
    if max(len(transaction.compares), len(transaction.puts)) > MAX_OPERATIONS:
        raise UsageError(
            f"a change of the state with {len(transaction.compares)} compares and {len(transaction.puts)} puts is more "
            f"than the {MAX_OPERATIONS} that every engine takes",
            hint="commit it in parts",
        )
    for key, value in transaction.puts.items():
        if value is not None and len(value) > MAX_VALUE:
            raise UsageError(
                f"{key} of the state has {len(value)} bytes, more than {MAX_VALUE}", hint="split the cluster"
            )
    if transaction.puts and not transaction.compares:
        raise ValueError("a transaction that writes compares at least one key")


def prefix_end(prefix: str) -> str:
    """The first text after every key below `prefix`."""
    return prefix + "\x7f"
