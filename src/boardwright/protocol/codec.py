"""Messages to datagrams and back (design section 3).

Rules:

* A datagram is one msgpack array ``[major, kind, body, certificate, signature]``; the body is the message as a
  msgpack map in bytes of its own, so that a signature covers exactly what was sent. More elements and more
  fields than known are ignored; another major version is not looked into. A sender whom an enroller let in adds the
  enroller's certificate as the sixth element.
* Offers and announcements are signed (``sealing``); who believes them looks at certificate and signature
  (``trust.witness``), which gives them their sender's id and place. What a body says of these is dropped here.
* A request is padded to exactly ``MAX_DATAGRAM`` bytes and a shorter one is dropped: a sender whose address was
  forged pays as much as the answers cost (the rule of QUIC's Initial, RFC 9000 section 14.1). All answers
  of one server to one request fit into that budget together.
* What does not fit into one datagram goes into more, each of which stands alone.
* ``decode`` never raises, whatever the bytes: it answers the message, or the reason to count and drop it.
  Everything a peer can fill is bounded before it is believed.
"""

import enum
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from boardwright.errors import UsageError
from boardwright.model.software import MAX_NAME
from boardwright.protocol.messages import (
    MAJOR,
    MAX_DATAGRAM,
    MAX_GROUPS,
    Announcement,
    GroupOffer,
    GroupQuery,
    Kind,
    Offer,
    Request,
)
from boardwright.protocol.sealing import MAX_SIGNATURE, Seal, statement

GROUPS_PER_REQUEST = 4  # the answer to four groups fits beside a P-256 certificate and signature (design section 3)
NONCE_BYTES = 16
DIGEST_BYTES = 32
MAX_URL = 256  # "https://" and the longest address, with room for a name
MAX_NUMBER = 2**53 - 1  # generations and loads stay exact in JSON readers and SQLite


class Dropped(enum.Enum):
    """Why a datagram was dropped; the value is the label it is counted under."""

    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    UNPADDED = "unpadded"
    FOREIGN_CLUSTER = "foreign-cluster"
    UNKNOWN_MAJOR = "unknown-major"
    UNKNOWN_KIND = "unknown-kind"


class Received(msgspec.Struct, frozen=True):
    """A decoded datagram; certificates and signature (over `body`) are as they came, not verified."""

    message: Request | Offer | Announcement
    certificate: bytes = b""
    signature: bytes = b""
    body: bytes = b""
    enroller: bytes = b""


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    major: int
    kind: int
    body: bytes
    certificate: bytes = b""
    signature: bytes = b""
    enroller: Any = b""  # later releases may have something else here


class _Head(msgspec.Struct, array_like=True, frozen=True):
    """What every major version begins with."""

    major: int


_LONGEST = bytes(MAX_SIGNATURE)
_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(_Envelope)
_head_decoder = msgspec.msgpack.Decoder(_Head)
_decoders: dict[int, Callable[[bytes], Request | Offer | Announcement]] = {
    Kind.REQUEST: msgspec.msgpack.Decoder(Request).decode,
    Kind.OFFER: msgspec.msgpack.Decoder(Offer).decode,
    Kind.ANNOUNCEMENT: msgspec.msgpack.Decoder(Announcement).decode,
}
_BROKEN = (msgspec.MsgspecError, ValueError, RecursionError)  # what msgspec raises on bytes of strangers


def encode_request(request: Request) -> bytes:
    """The request as one datagram of exactly ``MAX_DATAGRAM`` bytes.

    Raises UsageError if it does not fit: ``split_request`` first.
    """
    bare = msgspec.structs.replace(request, padding=b"")
    free = MAX_DATAGRAM - _padded_size(bare)
    if free < 0:
        raise UsageError(
            f"the request of board {request.board!r} for {len(request.groups)} groups does not fit into a datagram",
            hint="shorten the names of the board, its groups or their versions",
        )
    return _seal(Kind.REQUEST, _padded(bare, free))


def split_request(request: Request) -> list[Request]:
    """Requests that fit into one datagram each and whose answers do, too; together they name every group.

    Raises UsageError if a single group is too much.
    """
    if _fits(request):
        return [request]
    parts: list[Request] = []
    groups: tuple[GroupQuery, ...] = ()
    for query in request.groups:
        longer = msgspec.structs.replace(request, groups=(*groups, query))
        if groups and not _fits(longer):
            parts.append(msgspec.structs.replace(request, groups=groups))
            groups = (query,)
        else:
            groups = longer.groups
    parts.append(msgspec.structs.replace(request, groups=groups))
    for part in parts:
        encode_request(part)
    return parts


def encode_offers(offer: Offer, seal: Seal, budget: int = MAX_DATAGRAM, enroller: bytes = b"") -> list[bytes]:
    """The offer as signed datagrams that stand alone, together at most `budget` bytes; other groups are left out.

    Groups are taken in their order. At least one datagram (it says the generation) unless not even that fits.
    `enroller` is the certificate of who let the sender in, if that was not the authority.
    """
    offer = msgspec.structs.replace(offer, server="", chassis="", slot="")
    datagrams: list[bytes] = []
    left = budget
    waiting = list(offer.groups)
    while True:
        datagram, taken = _fill(offer, seal, enroller, waiting, min(left, MAX_DATAGRAM))
        if datagram is None or (datagrams and not taken):
            return datagrams
        datagrams.append(datagram)
        left -= len(datagram)
        waiting = waiting[taken:]
        if not waiting:
            return datagrams


def encode_announcement(announcement: Announcement, seal: Seal) -> bytes:
    """The announcement as one signed datagram."""
    body = _encoder.encode(msgspec.structs.replace(announcement, server=""))
    return _sealed(Kind.ANNOUNCEMENT, body, seal)


def decode(data: bytes, cluster: str) -> Received | Dropped:
    """The message in `data`, or why it is dropped. Never raises on any bytes."""
    if len(data) > MAX_DATAGRAM:
        return Dropped.OVERSIZED
    try:
        envelope = _envelope_decoder.decode(data)
    except _BROKEN:
        return _foreign_major(data)
    if envelope.major != MAJOR:
        return Dropped.UNKNOWN_MAJOR
    decoder = _decoders.get(envelope.kind)
    if decoder is None:
        return Dropped.UNKNOWN_KIND
    try:
        message = decoder(envelope.body)
    except _BROKEN:
        return Dropped.MALFORMED
    if message.cluster != cluster:
        return Dropped.FOREIGN_CLUSTER
    if not _bounded(message):
        return Dropped.MALFORMED
    if isinstance(message, Request) and len(data) < MAX_DATAGRAM:
        return Dropped.UNPADDED
    if isinstance(message, Request):
        return Received(_bare(message), envelope.certificate, envelope.signature)
    enroller = envelope.enroller if isinstance(envelope.enroller, bytes) else b""
    return Received(_bare(message), envelope.certificate, envelope.signature, envelope.body, enroller)


def _bare(message: Request | Offer | Announcement) -> Request | Offer | Announcement:
    """Without padding, and without what only a certificate may say."""
    if isinstance(message, Request):
        return msgspec.structs.replace(message, padding=b"")
    if isinstance(message, Offer):
        return msgspec.structs.replace(message, server="", chassis="", slot="")
    return msgspec.structs.replace(message, server="")


def _padded(request: Request, count: int) -> bytes:
    # A bin16 header whatever the length: the shortest form would make some totals unreachable by one byte.
    fields = msgspec.to_builtins(request, builtin_types=(bytes,))
    fields["p"] = msgspec.Raw(b"\xc5" + count.to_bytes(2, "big") + bytes(count))
    return _encoder.encode(fields)


def _padded_size(request: Request) -> int:
    """Bytes of the datagram with no padding bytes yet, counted with the longer body header that it ends up with."""
    return _ENVELOPE_BYTES + len(_padded(request, 0))


def _seal(kind: Kind, body: bytes, certificate: bytes = b"", signature: bytes = b"", enroller: bytes = b"") -> bytes:
    return _encoder.encode((MAJOR, kind, body, certificate, signature, *([enroller] if enroller else [])))


def _sealed(kind: Kind, body: bytes, seal: Seal, enroller: bytes = b"") -> bytes:
    return _seal(kind, body, seal.certificate, seal.sign(statement(kind, body)), enroller)


_ENVELOPE_BYTES = len(_seal(Kind.REQUEST, bytes(MAX_DATAGRAM))) - MAX_DATAGRAM


def _fits(request: Request) -> bool:
    if len(request.groups) > GROUPS_PER_REQUEST:
        return False
    return _padded_size(msgspec.structs.replace(request, padding=b"")) <= MAX_DATAGRAM


def _fill(offer: Offer, seal: Seal, enroller: bytes, groups: list[GroupOffer], room: int) -> tuple[bytes | None, int]:
    """One datagram of at most `room` bytes with the first groups that fit, and how many those are."""
    for count in range(len(groups), -1, -1):
        body = _encoder.encode(msgspec.structs.replace(offer, groups=tuple(groups[:count])))
        if len(_seal(Kind.OFFER, body, seal.certificate, _LONGEST, enroller)) <= room:
            return _sealed(Kind.OFFER, body, seal, enroller), count
    return None, 0


def _foreign_major(data: bytes) -> Dropped:
    try:
        head = _head_decoder.decode(data)
    except _BROKEN:
        return Dropped.MALFORMED
    return Dropped.UNKNOWN_MAJOR if head.major != MAJOR else Dropped.MALFORMED


def _bounded(message: Request | Offer | Announcement) -> bool:
    return all(_checks(message))


def _checks(message: Request | Offer | Announcement) -> Iterator[bool]:
    yield 0 <= message.generation <= MAX_NUMBER
    if isinstance(message, Offer | Announcement):
        yield 0 <= message.revocations <= MAX_NUMBER
    if isinstance(message, Announcement):
        return
    yield len(message.nonce) == NONCE_BYTES
    yield len(message.groups) <= MAX_GROUPS
    if isinstance(message, Request):
        yield _named(message.chassis) and _named(message.slot)
        yield _named(message.board) and len(message.board_type) <= MAX_NAME
        for query in message.groups:
            yield _named(query.group) and len(query.running or "") <= MAX_NAME
            yield query.want is None or len(query.want) == DIGEST_BYTES
        return
    yield 0 <= message.load <= MAX_NUMBER
    yield len(message.api) <= MAX_URL and len(message.blobs) <= MAX_URL
    for group in message.groups:
        yield _named(group.group) and _named(group.version) and len(group.manifest) == DIGEST_BYTES
        yield group.copied is None or 0 <= group.copied <= MAX_NUMBER


def _named(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME
