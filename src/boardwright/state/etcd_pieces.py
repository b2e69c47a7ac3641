"""Values that do not fit into one request of etcd's: kept in pieces, beside a small pointer in their place.

Rules:

* etcd takes 1.5 MiB in a request, a whole transaction. What is above ``REQUEST_BYTES`` is made smaller by splitting the
  largest values into pieces of ``PIECE_BYTES``, which are written first, under a name that nobody ever used.
* The pointer, with number, length and SHA-256, is written by the transaction itself, which compares that the pieces are
  still there, and removes those of the value before. So a value is replaced as a whole or not at all.
* Whoever reads a pointer at some revision reads its pieces as they were at that revision, so what came later does not
  matter; a revision that etcd has compacted is CompactedError, as for everything else.
* A writer that dies in between leaves pieces without a pointer; the next one of the same key removes them.
* A value that itself begins like a pointer is kept in pieces, too, so that no value can be taken for one.
"""

import hashlib
import secrets
from collections.abc import Mapping

import msgspec

from boardwright.state.etcd_client import EtcdClient
from boardwright.state.etcd_messages import (
    DELETE,
    PUT,
    RANGE,
    Message,
    RangeReply,
    Reply,
    delete_of,
    put_of,
    range_of,
)
from boardwright.state.kv import EngineError

REQUEST_BYTES = 1024 * 1024  # of etcd's 1.5 MiB; the rest is for keys, compares and what wraps them
PIECE_BYTES = 1024 * 1024
_POINTER = b"boardwright value in pieces 1\n"


class Pointer(msgspec.Struct, frozen=True):
    """What stands in the place of a value in pieces."""

    name: str
    pieces: int
    size: int
    sha256: str


def in_pieces(puts: Mapping[str, bytes | None]) -> tuple[str, ...]:
    """The keys whose values must be split so that the rest fits into one request: the fewest, largest first."""
    sizes = {key: len(key) + len(value) for key, value in puts.items() if value is not None}
    split = [key for key, value in puts.items() if value is not None and value.startswith(_POINTER)]
    total = sum(size for key, size in sizes.items() if key not in split)
    for key in sorted(sizes, key=lambda one: sizes[one], reverse=True):
        if total <= REQUEST_BYTES:
            break
        if key not in split:
            split.append(key)
            total -= sizes[key]
    return tuple(split)


def read_pointer(value: bytes) -> Pointer | None:
    """The pointer that stands here; None for a value that is itself."""
    if not value.startswith(_POINTER):
        return None
    try:
        return msgspec.json.decode(value[len(_POINTER) :], type=Pointer)
    except msgspec.DecodeError as error:
        raise EngineError("a value in etcd is kept in pieces in a way that this release does not know") from error


def write_pointer(pointer: Pointer) -> bytes:
    return _POINTER + msgspec.json.encode(pointer)


class Pieces:
    """The pieces of all values of one KV, below `space`."""

    def __init__(self, client: EtcdClient, space: bytes) -> None:
        self._client = client
        self._space = space

    def store(self, key: str, value: bytes) -> tuple[Pointer, dict[bytes, int]]:
        """Write the pieces; returns the pointer and what the transaction that writes it compares."""
        parts = [value[start : start + PIECE_BYTES] for start in range(0, len(value), PIECE_BYTES)]
        pointer = Pointer(secrets.token_hex(8), len(parts), len(value), hashlib.sha256(value).hexdigest())
        revision, last = 0, b""
        for number, part in enumerate(parts):
            last = b"%s%08d" % (self._first(key, pointer.name), number)
            revision = self._client.write(PUT, put_of(last, part), Reply).header.revision
        return pointer, {last: revision}

    def load(self, key: str, pointer: Pointer, revision: int) -> bytes:
        """The value as it was at `revision`; CompactedError, EngineError (damaged, too)."""
        first, end = self._first(key, pointer.name), self._end(key, pointer.name)
        reply = self._client.read(RANGE, range_of(first, end, revision=revision), RangeReply)
        value = b"".join(piece.value for piece in reply.kvs)
        if hashlib.sha256(value).hexdigest() != pointer.sha256:
            raise EngineError(
                f"the value of {key} in etcd is damaged: {len(reply.kvs)} of its {pointer.pieces} pieces, "
                f"{len(value)} of {pointer.size} bytes",
                hint="somebody else writes below boardwright/ in etcd; restore a backup",
            )
        return value

    def others(self, key: str, name: str = "") -> list[Message]:
        """What removes all pieces of `key` but those of the value `name`."""
        everything, end = b"%s%s " % (self._space, key.encode()), b"%s%s!" % (self._space, key.encode())
        if not name:
            return [delete_of(everything, end)]
        return [delete_of(everything, self._first(key, name)), delete_of(self._end(key, name), end)]

    def remove(self, key: str, name: str) -> None:
        """The pieces of a value that was not taken."""
        self._client.write(DELETE, delete_of(self._first(key, name), self._end(key, name)), Reply)

    def _first(self, key: str, name: str) -> bytes:
        """Before the first piece; keys have no blanks, so those of `plan` and `plan/x` do not mix."""
        return b"%s%s %s " % (self._space, key.encode(), name.encode())

    def _end(self, key: str, name: str) -> bytes:
        return b"%s%s %s!" % (self._space, key.encode(), name.encode())
