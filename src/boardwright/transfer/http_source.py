"""A blob service of the cluster as a source: HTTP with ranges (RFC 9110 section 14).

Rules:

* One range per request, connections kept; no redirects here, and what fails is the next source's turn. Only a question
  on a line that had ended meanwhile is asked once more, on a new one.
* An answer may be shorter than asked (RFC 9110 section 15.3.7), never from elsewhere; a server that ignores ranges
  is used as long as the start is the start of the blob.
* What a server that sends byte after byte without an end keeps a thread busy with, another thread can break off.
"""

import contextlib
import re
import ssl
import threading
import weakref
from collections.abc import Iterable
from typing import Protocol

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from boardwright.errors import BoardwrightError
from boardwright.transfer.source_line import AnswerError, Head, SourceLine, Trusted
from boardwright.transfer.sources import SourceError

CONNECT_TIMEOUT = 1.0  # seconds; a live board on the control network accepts in milliseconds
CONNECTIONS = 4  # kept per source; a fetch has four workers
MAX_SENTENCE = 4096  # bytes of an answer without a range that are read so that its line can be used again
# 18 digits: no blob is longer, and Python refuses to read numbers of thousands of digits with a ValueError.
_NUMBER = r"[0-9]{1,18}"
_CONTENT_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)")
_PLAIN = re.compile(r"[\x21-\x7e]*")
MAX_SHOWN = 100  # characters of a header that a reason repeats
_BUSY = (429, 503)


class LacksError(SourceError):
    """It has not what it was asked for."""


class Lines(Protocol):
    """What is needed of ``trust.lines``: TLS to the servers of the cluster and to nobody else."""

    def line(self, url: str, seconds: float) -> Trusted: ...


class HttpSource:
    """Blobs at `url` (base URL of a blob port, no slash at the end), over `lines`. Thread-safe."""

    def __init__(self, source_id: str, url: str, lines: Lines, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.id = source_id
        self.url = url
        self._lines = lines
        self._connect_timeout = connect_timeout
        self._lock = threading.Lock()
        self._free: list[SourceLine] = []
        self._all: weakref.WeakSet[SourceLine] = weakref.WeakSet()
        self._host = self._prefix = ""
        # A URL comes from the network: a bad one is a bad source when it is asked, no reason to fall over now.
        with contextlib.suppress(HTTPError, ValueError):
            parts = urllib3.util.parse_url(url)
            if parts.scheme == "https" and _PLAIN.fullmatch(parts.netloc or "") and _PLAIN.fullmatch(parts.path or ""):
                self._host, self._prefix = parts.netloc or "", parts.path or ""

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> "HttpRange":
        """Ask for a range; raises SourceError with a sentence that names the status or the cause."""
        line, head = self.get(f"/v1/blobs/{sha256}", [("Range", f"bytes={start}-{start + length - 1}")], timeout)
        try:
            return HttpRange(self, line, _length(self.url, sha256, head, start, length), timeout)
        except SourceError:
            self.drop(line)
            raise

    def get(self, path: str, headers: Iterable[tuple[str, str]], timeout: float) -> tuple[SourceLine, Head]:
        """The head of the answer, and the line on which the rest comes: to be given to ``drop``. Raises SourceError."""
        if not self._host:
            raise SourceError(f"{self.url[:200]!r} is no URL of a blob port", wait=None)
        line = self._kept() or self._new()
        again = line.connected
        try:
            try:
                return line, line.ask(f"{self._prefix}{path}", headers, timeout)
            except (ConnectionError, ssl.SSLEOFError):
                if not again or line.shut_down:
                    raise
                line.close()  # it had ended while nobody used it
                line = self._new()
                return line, line.ask(f"{self._prefix}{path}", headers, timeout)
        except (HTTPError, OSError, AnswerError) as error:
            line.close()
            raise SourceError(f"{self.url} {_cause(error, timeout)}") from error
        except BoardwrightError as error:  # it is no server of this cluster
            line.close()
            raise SourceError(f"{self.url}: {error}", wait=None) from error

    def drop(self, line: SourceLine) -> None:
        """Nothing more is read of the answer on this line: keep it for the next question, if that can be."""
        if 0 < line.left <= MAX_SENTENCE:
            with contextlib.suppress(OSError):
                line.read(MAX_SENTENCE)
        with self._lock:
            kept = line.reusable and len(self._free) < CONNECTIONS
            if kept:
                self._free.append(line)
        if not kept:
            line.close()

    def break_off(self) -> None:
        """Shut down every line to this server, under whoever waits for it."""
        for line in tuple(self._all):
            line.shut()

    def close(self) -> None:
        with self._lock:
            free, self._free = self._free, []
        for line in free:
            line.close()

    def _kept(self) -> SourceLine | None:
        """A line that has served before and still stands."""
        while True:
            with self._lock:
                if not self._free:
                    return None
                line = self._free.pop()
            if not line.shut_down and not line.stale:
                return line
            line.close()

    def _new(self) -> SourceLine:
        """A line that is not connected yet; raises SourceError."""
        try:
            line = SourceLine(self._lines.line(self.url, self._connect_timeout), self._host)
        except HTTPError as error:
            raise SourceError(f"{self.url} cannot be asked: {error}", wait=None) from error
        with self._lock:
            self._all.add(line)
        return line


class HttpRange:
    """The open answer; `length` bytes will come."""

    def __init__(self, source: HttpSource, line: SourceLine, length: int, timeout: float) -> None:
        self.length = length
        self._source = source
        self._line = line
        self._left = length
        self._timeout = timeout

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as this range reaches; raises SourceError."""
        wanted = min(len(buffer), self._left)
        try:
            count = self._line.readinto(buffer[:wanted])
        except OSError as error:
            raise SourceError(f"{self._source.url} {_cause(error, self._timeout)}") from error
        if count < wanted:
            raise SourceError(f"{self._source.url} ended the answer {self._left - count} bytes early")
        self._left -= count
        return count

    def abort(self) -> None:
        """Shut the line down under a reader in another thread."""
        self._line.shut()

    def close(self) -> None:
        """Give the line back if the answer was read to its end, else close it."""
        self._source.drop(self._line)


def _length(url: str, sha256: str, head: Head, start: int, length: int) -> int:
    """Bytes that the answer will bring; raises SourceError if it is not an answer to the question."""
    status = head.status
    if status in _BUSY:
        raise SourceError(f"{url} is busy ({status})", wait=_retry_after(head), busy=True)
    if status == 404:
        raise LacksError(f"{url} has no blob {sha256} (404)", wait=None)
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
        if match is None or int(match[1]) != start or not start <= int(match[2]) < start + length:
            raise SourceError(
                f"{url} answered bytes {start}-{start + length - 1} of blob {sha256} with "
                f"{head.headers.get('content-range', 'no Content-Range')[:MAX_SHOWN]!r}",
                wait=None,
            )
        return int(match[2]) - start + 1
    if status == 200 and start == 0:
        return min(length, head.length)
    raise SourceError(f"{url} answered {status} to a range of blob {sha256}", wait=None if status < 500 else -1.0)


def _retry_after(head: Head) -> float:
    """Seconds to leave a busy server alone: 0.2 to 30, 1 if it does not say (RFC 9110 section 10.2.3)."""
    try:
        return min(max(float(head.headers.get("retry-after", "1")), 0.2), 30.0)
    except ValueError:
        return 1.0


def _cause(error: BaseException, timeout: float) -> str:
    """What happened, in words, without addresses of objects."""
    if isinstance(error, TimeoutError):
        return f"sent nothing for {timeout:g} s"
    if isinstance(error, NewConnectionError):  # before its base class, the timeout of a connect
        if isinstance(error.__cause__, ConnectionRefusedError):
            return "refused the connection"
        return f"cannot be reached ({getattr(error.__cause__, 'strerror', None) or 'no reason given'})"
    if isinstance(error, ConnectTimeoutError):
        return "did not accept a connection in time"
    what = str(error) if isinstance(error, AnswerError) else type(error).__name__
    return f"broke the connection ({what})"
