"""What etcd's JSON gateway says and hears (API v3, etcd 3.4 and later), as far as this project uses it.

Rules:

* Bytes travel as base64, 64-bit numbers as text, what is zero, empty or false not at all (proto3's mapping to JSON).
* Requests are built by the functions here, so that nobody else knows the names of etcd's fields.
* A reply is read into a struct; fields that this project does not use are ignored, because later releases add some.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from boardwright.errors import MalformedError

RANGE = "/v3/kv/range"
TXN = "/v3/kv/txn"
PUT = "/v3/kv/put"
DELETE = "/v3/kv/deleterange"
WATCH = "/v3/watch"
STATUS = "/v3/maintenance/status"
MEMBERS = "/v3/cluster/member/list"
AUTHENTICATE = "/v3/auth/authenticate"

Message = dict[str, Any]


class Header(msgspec.Struct, frozen=True):
    """`revision` is that of the whole etcd cluster when it answered."""

    cluster_id: str = ""
    member_id: str = ""
    revision: int = 0


class KeyValue(msgspec.Struct, frozen=True):
    key: bytes = b""
    value: bytes = b""
    mod_revision: int = 0


class Reply(msgspec.Struct, frozen=True):
    """What every reply has."""

    header: Header = Header()


class RangeReply(Reply, frozen=True):
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False


class OperationReply(msgspec.Struct, frozen=True):
    response_range: RangeReply | None = None


class TxnReply(Reply, frozen=True):
    succeeded: bool = False
    responses: tuple[OperationReply, ...] = ()


class StatusReply(Reply, frozen=True, rename="camel"):
    """`errors` are sentences: no leader, or alarms such as a full database. Sizes in bytes; `leader` '0' or '': none.

    `db_size_quota` comes from etcd 3.6 on.
    """

    errors: tuple[str, ...] = ()
    version: str = ""
    leader: str = ""
    is_learner: bool = False
    db_size: int = 0
    db_size_in_use: int = 0
    db_size_quota: int = 0


class Member(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    is_learner: bool = False


class MembersReply(Reply, frozen=True):
    members: tuple[Member, ...] = ()


class TokenReply(Reply, frozen=True):
    token: str = ""


class Failure(msgspec.Struct, frozen=True):
    """`code` is gRPC's."""

    message: str = ""
    code: int = 2


class Event(msgspec.Struct, frozen=True):
    kv: KeyValue
    type: str = "PUT"


class WatchReply(Reply, frozen=True):
    """`fragment`: more of the same revisions follows in the next message."""

    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    events: tuple[Event, ...] = ()


class Streamed(msgspec.Struct, frozen=True):
    """One line of a stream."""

    result: WatchReply | None = None
    error: Failure | None = None


Read = TypeVar("Read", bound=msgspec.Struct)
AnyReply = TypeVar("AnyReply", bound=Reply)


def read_reply(data: bytes, kind: type[Read]) -> Read:
    """A reply's body; MalformedError if it is none."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedError("the answer is not one of etcd") from error


def range_of(key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0) -> Message:
    """One key, or all from `key` to before `end`, as they were at `revision` (0: now, agreed on by the quorum)."""
    message: Message = {"key": key}
    if end:
        message["range_end"] = end
    if limit:
        message["limit"] = str(limit)
    if revision:
        message["revision"] = str(revision)
    return message


def put_of(key: bytes, value: bytes) -> Message:
    return {"key": key, "value": value}


def delete_of(key: bytes, end: bytes = b"") -> Message:
    return {"key": key, "range_end": end} if end else {"key": key}


def txn_of(compares: Mapping[bytes, int], success: Iterable[Message]) -> Message:
    """`success` if every key was last changed at its revision (0: is not there); else tells how the keys are."""
    return {
        "compare": [
            {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
            for key, revision in compares.items()
        ],
        "success": list(success),
        "failure": [{"request_range": {"key": key, "keys_only": True}} for key in compares],
    }


def watch_of(key: bytes, end: bytes, first: int) -> Message:
    """All changes from revision `first` (not 0, which is now) on; a large revision comes in several messages."""
    return {"create_request": {"key": key, "range_end": end, "start_revision": str(first), "fragment": True}}
