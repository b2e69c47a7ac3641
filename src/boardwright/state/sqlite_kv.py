"""The state in one SQLite file: the embedded engine for one host, shared by several processes.

Rules:

* WAL with synchronous=FULL: a commit that returned survives kill -9 and power cut, one that did not is there
  completely or not at all. Writers queue for at most ``BUSY_SECONDS``, then EngineError.
* Each process has one connection that writes and one that reads, so that reading does not wait for fsync.
* The changes of the last ``HISTORY`` commits (and at most ``HISTORY_BYTES``) stay in the file for watchers. Waiting
  costs a look at ``PRAGMA data_version`` every 50 ms; commits of the same process wake its watchers at once.
* The file belongs to one boot of one host (``state/host.py``): every commit looks that it still does, so a file on
  a shared disk has never two hosts that write. A file that was removed or replaced is an EngineError, too.
* ``schema`` in the table ``meta`` is the version of this layout; a later layout is refused.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from boardwright.errors import ConflictError, RefusedError, UsageError
from boardwright.state.host import LeaseSample, boot_id_of_host, wait_for_dead_lease
from boardwright.state.kv import (
    Change,
    CompactedError,
    EngineError,
    Entry,
    Snapshot,
    Transaction,
    check_transaction,
    prefix_end,
)
from boardwright.state.records import LEASE

SCHEMA = 1
APPLICATION_ID = 0x42577274  # "BWrt": tells the file from other programs' databases (SQLite's application_id)
BUSY_SECONDS = 2.0  # below the three seconds of a lease: a stuck writer must not look like a dead active
POLL_SECONDS = 0.05
HISTORY = 1000  # commits; at two lease renewals a second some eight minutes
HISTORY_BYTES = 32 * 1024 * 1024  # a hundred plans of 10,000 boards
LARGE_COMMIT = 64 * 1024  # only commits from this size on can overrun HISTORY_BYTES soon, so only they count it
WAL_BYTES = 16 * 1024 * 1024

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
    revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, key)
);
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, compacted INTEGER NOT NULL
);
INSERT OR IGNORE INTO state VALUES (1, 0, 0);
"""


class SqliteKV:
    """KV in the file `path`; `boot_id` names this boot of this host. Raises RefusedError, UsageError, EngineError."""

    def __init__(self, path: Path, *, boot_id: str | None = None, history: int = HISTORY) -> None:
        self._path = path
        self._boot_id = boot_id_of_host() if boot_id is None else boot_id
        self._history = history
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._changed = threading.Condition()
        self._closed = False
        self._trouble = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._inode = _inode(path)
        except OSError as error:
            raise EngineError(f"the state {path} cannot be opened: {error.strerror}") from error
        self._writer = self._connect()
        try:
            self._reader = self._connect()
        except BaseException:
            self._writer.close()
            raise
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def get(self, key: str) -> Entry | None:
        with self._reading() as reader:
            row = reader.execute("SELECT key, value, revision FROM entries WHERE key = ?", (key,)).fetchone()
        return Entry(*row) if row else None

    def range(self, prefix: str) -> Snapshot:
        with self._reading() as reader:
            rows = reader.execute(
                "SELECT key, value, revision FROM entries WHERE key >= ? AND key < ? ORDER BY key",
                (prefix, prefix_end(prefix)),
            ).fetchall()
            (revision,) = reader.execute("SELECT revision FROM state").fetchone()
        return Snapshot(tuple(Entry(*row) for row in rows), revision)

    def commit(self, transaction: Transaction) -> int:
        check_transaction(transaction)
        with self._writing() as writer:
            _check_compares(writer, transaction)
            (revision,) = writer.execute("SELECT revision FROM state").fetchone()
            changes = [
                (revision + 1, key, value)
                for key, value in transaction.puts.items()
                if value is not None or writer.execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone()
            ]
            if not changes:
                return int(revision)
            revision += 1
            self._apply(writer, revision, changes)
        with self._changed:
            self._changed.notify_all()
        return int(revision)

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        deadline = time.monotonic() + timeout
        seen = -1
        while True:
            version = self._data_version()
            if version != seen:
                seen = version
                with self._reading() as reader:
                    found, after = _since(reader, prefix, after)
                if found:
                    return found
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return ()
            with self._changed:
                self._changed.wait(min(remaining, POLL_SECONDS))

    def health(self) -> str:
        if self._closed:
            return f"the state {self._path} is closed"
        try:
            self._check_inode()
            with self._reading() as reader:
                self._check_owner(reader)
        except EngineError as error:
            return str(error)
        return self._trouble

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._closed = True
            self._reader.close()
            self._writer.close()
        with self._changed:
            self._changed.notify_all()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=32
            )
        except sqlite3.Error as error:
            raise EngineError(f"the state {self._path} cannot be opened") from error
        return connection

    def _prepare(self) -> None:
        """Lay out an empty file, refuse a foreign one, claim the file for this host."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._lay_out()
                break
            except sqlite3.OperationalError as error:
                # Switching to WAL does not queue behind other openers as writers do, so try again.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise EngineError(f"the state {self._path} cannot be opened: {error}") from error
                time.sleep(POLL_SECONDS)
            except sqlite3.DatabaseError as error:
                raise UsageError(
                    f"the state {self._path} is no SQLite database",
                    hint="name another file as engine in [state], or restore this one from a backup",
                ) from error
        if self._owner() != self._boot_id:
            wait_for_dead_lease(self._path, self._sample_lease)
            with self._writing(claim=True) as writer:
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('boot_id', ?)", (self._boot_id,))

    def _lay_out(self) -> None:
        writer, reader = self._writer, self._reader
        # In this order: whoever lays out the file at the same moment commits the id together with the tables.
        (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = writer.execute("PRAGMA application_id").fetchone()
        if tables and application != APPLICATION_ID:
            raise UsageError(
                f"the state {self._path} is another program's database", hint="name another file as engine in [state]"
            )
        writer.execute("PRAGMA journal_mode = WAL")
        for connection in (writer, reader):
            connection.execute("PRAGMA synchronous = FULL")
        writer.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        reader.execute("PRAGMA query_only = ON")
        if not tables:
            writer.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {_TABLES} COMMIT;")
        writer.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        (schema,) = writer.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if not schema.isdecimal() or int(schema) > SCHEMA:
            raise RefusedError(
                f"the state {self._path} has schema {schema}, this release reads up to {SCHEMA}",
                hint="start the release that wrote it, or restore a backup made by this release",
            )

    def _owner(self) -> str:
        with self._reading() as reader:
            row = reader.execute("SELECT value FROM meta WHERE name = 'boot_id'").fetchone()
        return row[0] if row else ""

    def _sample_lease(self) -> LeaseSample | None:
        entry = self.get(LEASE)
        return LeaseSample(entry.value, entry.revision) if entry else None

    def _data_version(self) -> int:
        """A number that differs if any other connection committed since; the cheapest question that SQLite answers."""
        with self._read_lock:
            if self._closed:
                raise EngineError(f"the state {self._path} is closed")
            try:
                return int(self._reader.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error as error:
                raise EngineError(f"the state {self._path} cannot be read: {error}") from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One read transaction: everything inside sees the same revision."""
        with self._read_lock:
            if self._closed:
                raise EngineError(f"the state {self._path} is closed")
            try:
                self._reader.execute("BEGIN")
                try:
                    yield self._reader
                finally:
                    if self._reader.in_transaction:  # SQLite itself ends it after some errors
                        self._reader.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise EngineError(f"the state {self._path} cannot be read: {error}") from error

    @contextlib.contextmanager
    def _writing(self, *, claim: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction: committed at the end, rolled back if anything is raised."""
        with self._write_lock:
            if self._closed:
                raise EngineError(f"the state {self._path} is closed")
            self._check_inode()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    if not claim:
                        self._check_owner(self._writer)
                    yield self._writer
                    self._writer.execute("COMMIT")
                finally:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
            except sqlite3.Error as error:
                self._trouble = f"the state {self._path} cannot be written: {error}"
                raise EngineError(self._trouble) from error
            self._trouble = ""

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT value FROM meta WHERE name = 'boot_id'").fetchone()
        if row is None or row[0] != self._boot_id:
            raise EngineError(
                f"the state {self._path} was taken by another host", hint="sqlite is for one host; use etcd for several"
            )

    def _check_inode(self) -> None:
        try:
            same = _inode(self._path) == self._inode
        except OSError:
            same = False
        if not same:
            raise EngineError(
                f"the state {self._path} was removed or replaced while it was open", hint="restart the server"
            )

    def _apply(self, writer: sqlite3.Connection, revision: int, changes: list[tuple[int, str, bytes | None]]) -> None:
        for _, key, value in changes:
            if value is None:
                writer.execute("DELETE FROM entries WHERE key = ?", (key,))
            else:
                writer.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, value, revision))
        writer.executemany("INSERT INTO changes VALUES (?, ?, ?)", changes)
        compacted = max(0, revision - self._history)
        if sum(len(value or b"") for _, _, value in changes) >= LARGE_COMMIT:
            compacted = max(compacted, _overrun(writer))
        writer.execute("DELETE FROM changes WHERE revision <= ?", (compacted,))
        writer.execute("UPDATE state SET revision = ?, compacted = max(compacted, ?)", (revision, compacted))


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_compares(connection: sqlite3.Connection, transaction: Transaction) -> None:
    for key, expected in transaction.compares.items():
        row = connection.execute("SELECT revision FROM entries WHERE key = ?", (key,)).fetchone()
        found = row[0] if row else 0
        if found != expected:
            raise ConflictError(f"{key} is at revision {found}, the change expects {expected}")


def _since(connection: sqlite3.Connection, prefix: str, after: int) -> tuple[tuple[Change, ...], int]:
    """The changes below `prefix` after a revision, and the revision up to which everything was looked at."""
    revision, compacted = connection.execute("SELECT revision, compacted FROM state").fetchone()
    if not compacted <= after <= revision:
        raise CompactedError(f"the changes after revision {after} are not known, the state is at {revision}")
    rows = connection.execute(
        "SELECT key, value, revision FROM changes WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, key",
        (after, prefix, prefix_end(prefix)),
    )
    return tuple(Change(*row) for row in rows), revision


def _overrun(connection: sqlite3.Connection) -> int:
    """The newest revision that must go so that the history keeps to HISTORY_BYTES; 0 if it does."""
    total = 0
    for revision, size in connection.execute(
        "SELECT revision, sum(coalesce(length(value), 0)) FROM changes GROUP BY revision ORDER BY revision DESC"
    ):
        total += size
        if total > HISTORY_BYTES:
            return int(revision)
    return 0
