"""One connection to a source of bytes: questions out, heads and bytes in (HTTP/1.1, RFC 9112; the other end of
``relay_line``).

Rules:

* One question at a time, without a body, and an answer with a Content-Length; what is no such answer ends the line.
* The head is bounded in bytes before it is looked at. Each read waits so many seconds for bytes, not longer.
* Bytes go from the socket straight into the caller's buffer. The kernel wakes the reader for ``BATCH`` bytes and not
  for each packet; if they do not come soon, for any.
* One thread asks and reads; others may only shut it under that thread.
* Who let the other end in, and whether it may still be asked, is the matter of the ``Trusted`` connection below.
"""

import contextlib
import re
import select
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from boardwright.transfer.fields import FieldError, read_fields

MAX_HEAD = 16 * 1024  # bytes: one record of TLS (RFC 8446 section 5.1); of a relay's answer some two thousand are head
BATCH = 128 * 1024  # bytes; eight records of TLS: each waking up costs as much as opening a record
SOON = 0.25  # seconds; a line that brings a batch later brings a piece in two seconds, and is not short of CPU
RECORD = 16 * 1024 + 256  # bytes, of which the TLS below may have taken a part already (RFC 8446 section 5.2)
_STATUS = re.compile(rb"HTTP/1\.([01]) ([0-9]{3})(?: [^\r\n]*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")  # no blob is longer
UNPROVEN = 401


class Trusted(Protocol):
    """What is needed of ``trust.lines``: a connection to somebody who was let in."""

    sock: socket.socket | None

    @property
    def is_closed(self) -> bool: ...

    def ready(self) -> ssl.SSLSocket:
        """The line, connected if it was not, to who may be asked now. Raises BoardwrightError, OSError, HTTPError."""
        ...

    @property
    def authorization(self) -> str:
        """The header's value that the next question bears, '' if it needs none."""
        ...

    def renew(self) -> bool:
        """The other end does not take that value (any more): get another one. False: there is none to get."""
        ...

    def close(self) -> None: ...


class AnswerError(Exception):
    """What came is no answer to a question of HTTP/1.1."""


class Head(NamedTuple):
    """`headers` by their names in small letters."""

    status: int
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body; raises AnswerError if it is not said."""
        said = self.headers.get("content-length", "")
        if not _LENGTH.fullmatch(said):
            raise AnswerError(f"Content-Length {said[:20]!r}" if said else "no Content-Length")
        return int(said)


class SourceLine:
    """Asks over `trusted` the host that `host` names in the head of a question."""

    def __init__(self, trusted: Trusted, host: str) -> None:
        self.left = 0  # bytes of the answer that did not come yet
        self.shut_down = False  # by another thread
        self._trusted = trusted
        self._host = host
        self._rest = b""  # what came with the head
        self._keep = False
        self._sock: ssl.SSLSocket | None = None
        self._seconds = 0.0
        self._batches = False  # this answer is worth it
        self._mark = 1

    @property
    def connected(self) -> bool:
        return not self._trusted.is_closed

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, and the next question may be asked here."""
        return self._keep and not self.left and not self._rest and not self.shut_down and self.connected

    @property
    def stale(self) -> bool:
        """Whether the other end has said something, or hung up, since the last answer."""
        if self._sock is None:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def ask(self, path: str, headers: Iterable[tuple[str, str]], seconds: float) -> Head:
        """The head of the answer to a GET. Raises AnswerError, OSError and what ``Trusted.ready`` raises."""
        self._keep, self._rest, self.left = False, b"", 0
        sock = self._sock = self._trusted.ready()
        head = self._exchange(sock, path, headers, seconds)
        if head.status == UNPROVEN and self._trusted.authorization:
            self.read(MAX_HEAD)
            if self.reusable and self._trusted.renew():
                head = self._exchange(sock, path, headers, seconds)
        return head

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the answer reaches; fewer bytes only at an early end. Raises OSError."""
        wanted = buffer[: self.left]
        filled = min(len(self._rest), len(wanted))
        wanted[:filled], self._rest = self._rest[:filled], self._rest[filled:]
        sock = self._sock
        while sock is not None and filled < len(wanted):
            self._wake_for(sock, self.left - filled)
            try:
                count: int = sock.read(len(wanted) - filled, wanted[filled:])  # type: ignore[assignment]  # an int with a buffer
            except TimeoutError:
                if self._mark == 1:
                    raise
                self._batches = False
                continue
            if not count:
                break
            filled += count
        self.left -= filled
        return filled

    def read(self, most: int) -> bytes:
        """The body of a short answer, of `most` bytes at most; of a longer one the line cannot be used again."""
        buffer = bytearray(min(self.left, most))
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def shut(self) -> None:
        """Make every call that another thread waits in fail."""
        self.shut_down = True
        sock = self._trusted.sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it broke by itself
                # Not the method of a TLS socket, which would let the reader go on without TLS.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._trusted.close()
        self._sock = None

    def _wake_for(self, sock: ssl.SSLSocket, left: int) -> None:
        """A read returns, while so many bytes are to come, when there is a batch of them, or else any."""
        mark = BATCH if self._batches and left > BATCH + RECORD else 1
        if mark != self._mark:
            self._mark = mark
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
            sock.settimeout(self._seconds if mark == 1 else min(SOON, self._seconds))

    def _exchange(self, sock: ssl.SSLSocket, path: str, headers: Iterable[tuple[str, str]], seconds: float) -> Head:
        said = [("Host", self._host), ("Accept-Encoding", "identity"), ("User-Agent", "boardwright"), *headers]
        if authorization := self._trusted.authorization:
            said.append(("Authorization", authorization))
        question = "".join([f"GET {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in said), "\r\n"])
        self._seconds, self._batches = seconds, False
        self._wake_for(sock, 0)
        sock.settimeout(seconds)
        sock.sendall(question.encode("latin-1"))
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0 and len(data) <= MAX_HEAD:
            got = sock.read(MAX_HEAD)
            if not got:
                raise ConnectionResetError("the line ended")
            data += got
        if not 0 <= end <= MAX_HEAD:
            raise AnswerError(f"a head of more than {MAX_HEAD} bytes")
        head, keep = read_head(data[:end])
        self._keep, self._rest, self.left = keep, data[end + 4 :], head.length
        self._rest = self._rest[: self.left]  # what comes behind the answer was not asked for
        if len(data) - end - 4 > self.left:
            self._keep = False
        self._batches = True
        return head


def read_head(data: bytes) -> tuple[Head, bool]:
    """The head of an answer, and whether its line may be used again. Raises AnswerError."""
    first, *lines = data.split(b"\r\n")
    match = _STATUS.fullmatch(first)
    if match is None:
        raise AnswerError("no answer of HTTP/1.1")
    try:
        headers = read_fields(lines)
    except FieldError as error:
        raise AnswerError(str(error)) from error
    if "transfer-encoding" in headers:
        raise AnswerError("an answer in chunks")
    keep = match[1] == b"1" and headers.get("connection", "").lower() != "close"
    return Head(int(match[2]), headers), keep
