"""The state in etcd: the engine for control boards on several hosts, and for an etcd that others use, too.

Rules:

* All keys lie below ``boardwright/CLUSTER/``: values below ``state/``, what does not fit into one request below
  ``pieces/`` (``etcd_pieces.py``). Nothing else in etcd is read or written.
* The revision is that of the etcd cluster. It grows with every commit, but also with everybody else's, so it has gaps;
  order, compares and watching are as the contract says. A commit that changes nothing returns the revision at which
  that was true.
* Every read and every commit is agreed on by the quorum (linearizable). Without one: EngineError.
* A commit is sent once. If nobody knows whether it took effect, that is EngineError and never a repetition, which
  could lose against itself and look like a conflict.
* A reading of many entries comes in pages of one revision; if etcd compacts it meanwhile, it begins anew.
* How long changes are remembered is etcd's own setting (``--auto-compaction-mode revision``); it must have one, because
  the lease alone is two revisions a second.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from boardwright.errors import ConflictError, UsageError
from boardwright.model.endpoints import Endpoint
from boardwright.state.etcd_client import CLOSED, EtcdAccess, EtcdClient
from boardwright.state.etcd_messages import (
    RANGE,
    STATUS,
    TXN,
    Event,
    KeyValue,
    Message,
    RangeReply,
    StatusReply,
    TxnReply,
    delete_of,
    put_of,
    range_of,
    txn_of,
)
from boardwright.state.etcd_pieces import Pieces, in_pieces, read_pointer, write_pointer
from boardwright.state.etcd_watch import Watcher
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

PAGE = 500  # entries of a page; a board's record is a few hundred bytes
MAX_ETCD_OPERATIONS = 128  # of each list of a transaction (--max-txn-ops)
TRIES = 3  # of a reading that etcd's compaction interrupts; it runs every few minutes

Read = TypeVar("Read")


class EtcdKV:
    """KV of `cluster` in the etcd cluster that listens at `endpoints`; raises UsageError for files of `access`."""

    def __init__(self, endpoints: tuple[Endpoint, ...], cluster: str, access: EtcdAccess | None = None) -> None:
        self.cluster = cluster
        self._client = EtcdClient(endpoints, access or EtcdAccess())
        space = f"boardwright/{cluster}/"
        self._space = f"{space}state/"
        self._pieces = Pieces(self._client, f"{space}pieces/".encode())
        self._watcher = Watcher(self._client, self._revision)
        self._large: set[str] = set()  # keys seen in pieces; a handful, as only plans and signed lists grow so much
        self._closed = False

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Best first: the next call begins with the first."""
        return self._client.order()

    @property
    def streams(self) -> int:
        """Of changes: open connections to etcd, in use or kept for the next watch."""
        return self._watcher.streams

    def get(self, key: str) -> Entry | None:
        return self._again(lambda: self._get(key))

    def range(self, prefix: str) -> Snapshot:
        return self._again(lambda: self._range(prefix))

    def commit(self, transaction: Transaction) -> int:
        check_transaction(transaction)
        self._check_open()
        compares = {self._key(key): revision for key, revision in transaction.compares.items()}
        puts = dict(transaction.puts)
        stored: dict[str, str] = {}
        split = in_pieces(puts)
        operations = len(puts) + 2 * len(split) + len(self._large.intersection(puts).difference(split))
        if max(len(compares) + len(split), operations) > MAX_ETCD_OPERATIONS:
            raise UsageError(
                f"a change of {len(puts)} puts, {len(split)} of them large, is more than the {MAX_ETCD_OPERATIONS} "
                "operations that etcd takes",
                hint="commit it in parts",
            )
        for key in split:
            pointer, pieces = self._pieces.store(key, puts[key] or b"")
            puts[key], stored[key] = write_pointer(pointer), pointer.name
            compares |= pieces
        reply = self._client.write(TXN, txn_of(compares, self._operations(puts, stored)), TxnReply)
        if not reply.succeeded:
            for key, name in stored.items():
                self._pieces.remove(key, name)
            raise self._conflict(transaction, reply)
        self._large.difference_update(puts)
        self._large.update(stored)
        return reply.header.revision

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        self._check_open()
        events = self._watcher.watch(self._key(prefix), self._key(prefix_end(prefix)), after, timeout)
        changes = [self._change(event) for event in events]
        return tuple(sorted(changes, key=lambda change: (change.revision, change.key)))

    def health(self) -> str:
        try:
            self._check_open()
            self._revision()
            status = self._client.read(STATUS, {}, StatusReply)
        except EngineError as error:
            return str(error)
        return f"etcd has trouble: {'; '.join(status.errors)}" if status.errors else ""

    def close(self) -> None:
        self._closed = True
        self._watcher.close()
        self._client.close()

    def _get(self, key: str) -> Entry | None:
        self._check_open()
        reply = self._client.read(RANGE, range_of(self._key(key)), RangeReply)
        return self._entry(reply.kvs[0], reply.header.revision) if reply.kvs else None

    def _range(self, prefix: str) -> Snapshot:
        entries: list[Entry] = []
        first, end, revision = self._key(prefix), self._key(prefix_end(prefix)), 0
        while True:
            self._check_open()
            reply = self._client.read(RANGE, range_of(first, end, limit=PAGE, revision=revision), RangeReply)
            revision = revision or reply.header.revision
            entries += [self._entry(found, revision) for found in reply.kvs]
            if not reply.more or not reply.kvs:
                return Snapshot(tuple(entries), revision)
            first = reply.kvs[-1].key + b"\0"

    def _again(self, read: Callable[[], Read]) -> Read:
        for _ in range(TRIES):
            with contextlib.suppress(CompactedError):
                return read()
        raise EngineError(
            "etcd forgets the past faster than it can be read", hint="let it keep at least 1,000 revisions"
        )

    def _revision(self) -> int:
        """That of the etcd cluster, agreed on by the quorum."""
        return self._client.read(RANGE, range_of(self._key(""), limit=1), RangeReply).header.revision

    def _operations(self, puts: dict[str, bytes | None], stored: dict[str, str]) -> list[Message]:
        operations: list[Message] = []
        for key, value in sorted(puts.items()):
            if value is None:
                operations.append({"request_delete_range": delete_of(self._key(key))})
            else:
                operations.append({"request_put": put_of(self._key(key), value)})
            if key in stored or key in self._large:
                old = self._pieces.others(key, stored.get(key, ""))
                operations += [{"request_delete_range": one} for one in old]
        return operations

    def _conflict(self, transaction: Transaction, reply: TxnReply) -> ConflictError:
        found = {
            one.key: one.mod_revision
            for answer in reply.responses
            if answer.response_range is not None
            for one in answer.response_range.kvs
        }
        for key, expected in transaction.compares.items():
            there = found.get(self._key(key), 0)
            if there != expected:
                return ConflictError(f"{key} is at revision {there}, the change expects {expected}")
        return ConflictError("another server wrote the same large value at the same moment")

    def _change(self, event: Event) -> Change:
        if event.type == "DELETE":
            return Change(self._name(event.kv), None, event.kv.mod_revision)
        entry = self._entry(event.kv, event.kv.mod_revision)
        return Change(entry.key, entry.value, entry.revision)

    def _entry(self, found: KeyValue, revision: int) -> Entry:
        """`revision`: at which it stood so."""
        key, value = self._name(found), found.value
        pointer = read_pointer(value)
        if pointer is not None:
            self._large.add(key)
            value = self._pieces.load(key, pointer, revision)
        return Entry(key, value, found.mod_revision)

    def _key(self, key: str) -> bytes:
        return f"{self._space}{key}".encode()

    def _name(self, found: KeyValue) -> str:
        return found.key.decode(errors="replace").removeprefix(self._space)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(CLOSED)
