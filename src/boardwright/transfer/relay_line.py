"""One connection of a neighbour to a relay: requests in, answers out (HTTP/1.1, RFC 9112; no bodies in requests).

Rules:

* What is read is bounded in bytes and in time before it is looked at; what is no request ends the line.
* A piece is one write: the lock of the interpreter is given away once per MiB and not for every record.
* Its thread reads and writes; others may only shut it under that thread.
"""

import contextlib
import re
import socket
import ssl
import time
from typing import NamedTuple

import msgspec

from boardwright.transfer.fields import FieldError, read_fields

HANDSHAKE = 3.0  # seconds a step; two cores that greet sixteen boards at once take less than one
IDLE = 30.0  # seconds that a line may be silent; a download that waits for pieces asks more often
MAX_HEAD = 8 * 1024  # bytes of a request's head; 1,000 bytes of bitmap in hex are two thousand
HEAD_TIME = 5.0  # seconds for the rest of a head whose first bytes came
PIECE_TIME = 20.0  # seconds in which a neighbour must take a piece: what an asker allows one, too
PATIENCE = 0.0  # seconds that a request waits for its turn: a line that waits is one less that fetches (``sim.swarm``)
_LOWER_EFFORT = 0x04  # the octet of the traffic class for DSCP 1 (RFC 8622)
_BULK = 2  # TC_PRIO_BULK: behind what is answered to people, where a queue of this host knows classes
_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]{0,199}) HTTP/1\.([01])")
_REASONS = {200: "OK", 206: "Partial Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {416: "Range Not Satisfiable", 503: "Service Unavailable"}


class Limits(msgspec.Struct, frozen=True):
    """`rate` in bytes per second, 0: no cap; the others are seconds."""

    rate: int = 0
    idle: float = IDLE
    head_time: float = HEAD_TIME
    piece_time: float = PIECE_TIME
    handshake: float = HANDSHAKE
    patience: float = PATIENCE


class Request(NamedTuple):
    method: str
    path: str
    keep: bool
    headers: dict[str, str]


class BadRequestError(Exception):
    """What came is no request, or more than one may say."""


class GoneError(Exception):
    """The line ended between requests."""


class Line:
    """One connection; its thread reads and writes, others may only shut it."""

    def __init__(self, plain: socket.socket, peer: str) -> None:
        self.plain = plain
        self.peer = peer
        self.secure: ssl.SSLSocket | None = None
        self.board = ""
        self.manifest = ""  # of the version that was asked for last
        self.idle_since = 0.0
        self._rest = b""

    def shut(self) -> None:
        """Make every call that another thread waits in fail."""
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would let its thread go on without TLS.
            socket.socket.shutdown(self.secure or self.plain, socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            (self.secure or self.plain).close()

    def request(self, limits: Limits) -> Request:
        """The next request; raises GoneError at the end of the line, BadRequestError, OSError."""
        data, self.idle_since = self._rest, time.monotonic()
        ends = 0.0 if not data else time.monotonic() + limits.head_time
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_HEAD:
                break
            got = self._read(limits.idle if not ends else ends - time.monotonic())
            if not got and not data:
                raise GoneError
            if not got:
                raise BadRequestError("the request ends early")
            ends, data = ends or time.monotonic() + limits.head_time, data + got
        self.idle_since = 0.0
        if not 0 <= end <= MAX_HEAD:
            raise BadRequestError(f"the head of a request has {MAX_HEAD} bytes at most")
        self._rest = data[end + 4 :]
        return read_head(data[:end])

    def say(self, status: int, headers: str = "", body: bytes = b"", *, keep: bool) -> None:
        """A short answer."""
        self.send(memoryview(head_of(status, headers, len(body), keep) + body), PIECE_TIME)

    def send(self, data: memoryview, seconds: float) -> None:
        """All of `data` within so many seconds; raises OSError."""
        assert self.secure is not None  # noqa: S101 - who answers has been greeted
        ends = time.monotonic() + seconds
        while data:
            self.secure.settimeout(max(0.001, ends - time.monotonic()))
            data = data[self.secure.send(data) :]

    def _read(self, seconds: float) -> bytes:
        assert self.secure is not None  # noqa: S101 - as above
        self.secure.settimeout(max(0.001, seconds))
        return self.secure.recv(MAX_HEAD)


def read_head(head: bytes) -> Request:
    """A request out of its head; raises BadRequestError. It has no body: nobody who only asks sends one."""
    first, *lines = head.split(b"\r\n")
    match = _REQUEST.fullmatch(first)
    if match is None:
        raise BadRequestError("this is no request of HTTP/1.1")
    try:
        headers = read_fields(lines)
    except FieldError as error:
        raise BadRequestError(str(error)) from error
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequestError("a request has no body here")
    keep = match[3] == b"1" and headers.get("connection", "").lower() != "close"
    return Request(match[1].decode(), match[2].decode(), keep, headers)


def head_of(status: int, headers: str, length: int, keep: bool) -> bytes:
    last = "" if keep else "Connection: close\r\n"
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\n{headers}{last}Content-Length: {length}\r\n\r\n".encode("latin-1")


def defer(line: socket.socket) -> None:
    """Say to every link on the way that these bytes may wait behind others; and send the ends of answers at once."""
    six = line.family == socket.AF_INET6
    with contextlib.suppress(OSError):  # a wish, no more
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if six else (socket.IPPROTO_IP, socket.IP_TOS)
        line.setsockopt(level, option, _LOWER_EFFORT)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _BULK)
