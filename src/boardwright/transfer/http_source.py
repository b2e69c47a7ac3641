"""A blob service of the cluster as a source: HTTP with ranges (RFC 9110 section 14).

Rules:

* One range per request, connections kept; no redirects and no retries here: what fails is the next source's turn.
* An answer may be shorter than asked (RFC 9110 section 15.3.7), never from elsewhere; a server that ignores ranges
  is used as long as the start is the start of the blob.
* What a server that sends byte after byte without an end keeps a thread busy with, another thread can break off.
* Bytes go from the socket straight into the caller's buffer.
"""

import contextlib
import http.client
import re
import socket
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from boardwright.errors import BoardwrightError
from boardwright.transfer.sources import SourceError

CONNECT_TIMEOUT = 1.0  # seconds; a live board on the control network accepts in milliseconds
CONNECTIONS = 4  # kept per source; a fetch has three workers
# 18 digits: no blob is longer, and Python refuses to read numbers of thousands of digits with a ValueError.
_NUMBER = r"[0-9]{1,18}"
_SIZE = re.compile(_NUMBER)
_CONTENT_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)")
MAX_SHOWN = 100  # characters of a header that a reason repeats
_BUSY = (429, 503)


class LacksError(SourceError):
    """It has not what it was asked for."""


class Lines(Protocol):
    """What is needed of ``trust.lines``: TLS to the servers of the cluster and to nobody else."""

    def pool(self, url: str, **options: Any) -> urllib3.HTTPSConnectionPool: ...


class HttpSource:
    """Blobs at `url` (base URL of a blob port, no slash at the end), over `lines`."""

    def __init__(self, source_id: str, url: str, lines: Lines, *, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.id = source_id
        self.url = url
        self._connect_timeout = connect_timeout
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "boardwright"}
        self._prefix = ""
        self._pool: urllib3.HTTPSConnectionPool | None = None
        # A URL comes from the network: a bad one is a bad source when it is asked, no reason to fall over now.
        with contextlib.suppress(HTTPError, ValueError):
            self._prefix = urllib3.util.parse_url(url).path or ""
            self._pool = lines.pool(url, maxsize=CONNECTIONS, block=False, retries=False)
        self._lines: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        if self._pool is not None:
            self._make: Callable[..., Any] = self._pool.ConnectionCls
            self._pool.ConnectionCls = self._connection  # type: ignore[assignment]  # only called, to make one

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> "HttpRange":
        """Ask for a range; raises SourceError with a sentence that names the status or the cause."""
        response = self.get(f"/v1/blobs/{sha256}", {"Range": f"bytes={start}-{start + length - 1}"}, timeout)
        try:
            return HttpRange(self.url, response, _length(self.url, sha256, response, start, length), timeout)
        except SourceError:
            if response.headers.get("Content-Length") == "0":
                response.read()  # nothing: the line is as good as before
            else:
                response.close()
            response.release_conn()
            raise

    def get(self, path: str, headers: dict[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
        """The answer, its body not read yet. Raises SourceError."""
        if self._pool is None:
            raise SourceError(f"{self.url[:200]!r} is no URL of a blob port", wait=None)
        try:
            return self._pool.urlopen(
                "GET",
                f"{self._prefix}{path}",
                headers={**self._headers, **headers},
                timeout=urllib3.Timeout(connect=self._connect_timeout, read=timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise SourceError(f"{self.url} {_cause(error, timeout)}") from error
        except BoardwrightError as error:  # it is no server of this cluster
            raise SourceError(f"{self.url}: {error}", wait=None) from error

    def break_off(self) -> None:
        """Shut down every line to this server, under whoever waits for it."""
        for connection in tuple(self._lines):
            _shut_down(connection)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()

    def _connection(self, *arguments: Any, **options: Any) -> HTTPConnection:
        connection: HTTPConnection = self._make(*arguments, **options)
        self._lines.add(connection)
        return connection


class HttpRange:
    """The open answer; `length` bytes will come."""

    def __init__(self, url: str, response: urllib3.BaseHTTPResponse, length: int, timeout: float) -> None:
        self.length = length
        self._url = url
        self._left = length
        self._timeout = timeout
        self._response = response
        self._raw = _raw(response)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as this range reaches; raises SourceError."""
        try:
            count: int = self._raw.readinto(buffer[: self._left])
        except (HTTPError, OSError, http.client.HTTPException) as error:
            raise SourceError(f"{self._url} {_cause(error, self._timeout)}") from error
        if not count:
            raise SourceError(f"{self._url} ended the answer {self._left} bytes early")
        self._left -= count
        return count

    def abort(self) -> None:
        """Shut the line down under a reader in another thread."""
        if isinstance(connection := self._response.connection, HTTPConnection):
            _shut_down(connection)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else close it."""
        if self._left or not self._raw.isclosed():
            self._response.close()
        self._response.release_conn()


def _shut_down(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):  # it broke by itself
            # Not the method of a TLS socket, which would let the reader go on without TLS.
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _raw(response: urllib3.BaseHTTPResponse) -> Any:
    """The http.client response below urllib3's.

    urllib3's own `readinto` reads into new bytes and copies them (measured: 7 % more time for a whole fetch of 1 GiB).
    Nothing is encoded here, so its decoding is not needed.
    """
    return getattr(response, "_fp")  # noqa: B009 - private, and the only way to recv_into the caller's buffer


def _length(url: str, sha256: str, response: urllib3.BaseHTTPResponse, start: int, length: int) -> int:
    """Bytes that the answer will bring; raises SourceError if it is not an answer to the question."""
    status = response.status
    if status in _BUSY:
        raise SourceError(f"{url} is busy ({status})", wait=_retry_after(response), busy=True)
    if status == 404:
        raise LacksError(f"{url} has no blob {sha256} (404)", wait=None)
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start or not start <= int(match[2]) < start + length:
            raise SourceError(
                f"{url} answered bytes {start}-{start + length - 1} of blob {sha256} with "
                f"{response.headers.get('Content-Range', 'no Content-Range')[:MAX_SHOWN]!r}",
                wait=None,
            )
        return int(match[2]) - start + 1
    if status == 200 and start == 0:
        whole = response.headers.get("Content-Length", "")
        return min(length, int(whole)) if _SIZE.fullmatch(whole) else length
    raise SourceError(f"{url} answered {status} to a range of blob {sha256}", wait=None if status < 500 else -1.0)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds to leave a busy server alone: 0.2 to 30, 1 if it does not say (RFC 9110 section 10.2.3)."""
    try:
        return min(max(float(response.headers.get("Retry-After", "1")), 0.2), 30.0)
    except ValueError:
        return 1.0


def _cause(error: BaseException, timeout: float) -> str:
    """What happened, in words, without addresses of objects."""
    if isinstance(error, (TimeoutError, ReadTimeoutError)):
        return f"sent nothing for {timeout:g} s"
    if isinstance(error, NewConnectionError):  # before its base class, the timeout of a connect
        if isinstance(error.__cause__, ConnectionRefusedError):
            return "refused the connection"
        return f"cannot be reached ({getattr(error.__cause__, 'strerror', None) or 'no reason given'})"
    if isinstance(error, ConnectTimeoutError):
        return "did not accept a connection in time"
    return f"broke the connection ({type(error).__name__})"
