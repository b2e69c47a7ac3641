"""What an agent asks a server over HTTP: its plan, a manifest's bytes, and to take a report.

Rules:

* Times are short, for every pause and for the whole answer. Nothing is tried again here and no redirect is followed:
  the caller has other servers to go to.
* What a server sends is bounded before it is believed.
* Thread-safe; blocking.
"""

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import quote

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from boardwright.errors import FailedError, MalformedError, UnreachableError
from boardwright.model.api import Problem, ReportsTaken
from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport
from boardwright.model.software import MAX_MANIFEST_BYTES, RANGE_SIZE, digest_of
from boardwright.net.lines import Lines

CONNECT_TIMEOUT = 1.0  # seconds; a live server on the control network accepts in milliseconds
READ_TIMEOUT = 2.0  # seconds without a byte; a plan and a report are answered from memory
ANSWER_TIMEOUT = 10.0  # seconds for a whole plan or answer to a report; some kilobytes
MANIFEST_TIMEOUT = 120.0  # seconds for a whole manifest; one of 100,000 files, 15 MB, comes in so over 1 Mbit/s
MAX_PLAN_BYTES = 1024 * 1024  # a board has tens of groups, not thousands
MAX_PROBLEM_BYTES = 16 * 1024
SERVERS = 8  # connections are kept to this many servers


PARTIAL = 206
MAX_DIGITS = 19  # of a size that fits into 64 bits
_BUSY = (429, 503)


class BusyError(FailedError):
    """The server lives and has no room now; ask again in a second or so."""

    retry: ClassVar[bool] = True


class _Answer(msgspec.Struct, frozen=True):
    """`whole` is the size of which `data` is a range, 0 if the server does not say."""

    status: int
    data: bytes
    whole: int


class AgentClient:
    """HTTP to any server, by the URLs that its offers name, over `lines`."""

    def __init__(self, lines: Lines) -> None:
        self._headers = {"User-Agent": "boardwright", "Accept-Encoding": "identity"}
        self._pool, self._manifests = (
            lines.manager(
                seconds,
                num_pools=SERVERS,
                maxsize=2,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
                headers=self._headers,
            )
            for seconds in (ANSWER_TIMEOUT, MANIFEST_TIMEOUT)
        )

    def plan(self, api: str, board: str) -> BoardPlan:
        """GET the board's part of the plan; raises UnreachableError, FailedError, MalformedError."""
        url = f"{api}/v1/plan/boards/{quote(board, safe='')}"
        data = self._call(self._pool, "GET", url, MAX_PLAN_BYTES).data
        try:
            return msgspec.json.decode(data, type=BoardPlan)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(f"the plan that {api} sent for {board} is not of the documented form") from error

    @property
    def pool(self) -> urllib3.PoolManager:
        """For who speaks a protocol of its own to servers: signed metadata."""
        return self._pool

    def signed_file(self, url: str, limit: int) -> bytes:
        """GET a file of at most `limit` bytes; raises UnreachableError, BusyError, FailedError, MalformedError."""
        return self._call(self._pool, "GET", url, limit).data

    def manifest(self, blobs: str, digest: str) -> bytes:
        """GET a manifest by its SHA-256, in ranges; raises UnreachableError, BusyError, FailedError, MalformedError."""
        url, data = f"{blobs}/v1/blobs/{digest}", b""
        while True:
            asked = {**self._headers, "Range": f"bytes={len(data)}-{len(data) + RANGE_SIZE - 1}"}
            answer = self._call(self._manifests, "GET", url, MAX_MANIFEST_BYTES - len(data), headers=asked)
            data = data + answer.data if answer.status == PARTIAL else answer.data
            # What is not cut along the range that was asked for is found out by the digest.
            if answer.status != PARTIAL or not answer.data or len(data) >= answer.whole:
                break
        if digest_of(data) != digest:
            raise MalformedError(f"{blobs} sent other bytes than the manifest {digest}")
        return data

    def report(self, api: str, reports: Sequence[BoardReport]) -> ReportsTaken:
        """POST reports; what the server knows beside that, or nothing. Raises UnreachableError, FailedError."""
        body = msgspec.json.encode(reports)
        headers = {**self._headers, "Content-Type": "application/json"}
        data = self._call(self._pool, "POST", f"{api}/v1/reports", MAX_PROBLEM_BYTES, body, headers).data
        try:
            return msgspec.json.decode(data, type=ReportsTaken)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return (
                ReportsTaken()
            )  # the reports were taken; what a server says beside that is no reason to send them again

    def verify(self, api: str, sha256: str) -> None:
        """Ask a server to check a blob on its disk; raises UnreachableError, FailedError."""
        self._call(self._pool, "POST", f"{api}/v1/blobs/{sha256}/verify", MAX_PROBLEM_BYTES)

    def close(self) -> None:
        self._pool.clear()
        self._manifests.clear()

    def _call(
        self,
        pool: urllib3.PoolManager,
        method: str,
        url: str,
        limit: int,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        try:
            answer = pool.request(
                method, url, body=body, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
        except (HTTPError, OSError, ValueError) as error:
            raise UnreachableError(f"{url} cannot be reached") from error
        try:
            data = _bounded(answer, url, limit)
        except (HTTPError, OSError) as error:
            raise UnreachableError(f"{url} broke off its answer") from error
        finally:
            answer.release_conn()
        if answer.status in _BUSY:
            raise BusyError(f"{url} is busy ({answer.status})")
        if not 200 <= answer.status < 300:
            raise FailedError(f"{url} answered {answer.status}{_problem(data)}")
        return _Answer(answer.status, data, _whole(answer.headers.get("Content-Range", "")))


def _whole(content_range: str) -> int:
    """The size of the whole in a Content-Range, 0 if it is not said (RFC 9110 section 14.4)."""
    size = content_range.rpartition("/")[2]
    return int(size) if size.isascii() and size.isdecimal() and len(size) < MAX_DIGITS else 0


def _bounded(answer: urllib3.BaseHTTPResponse, url: str, limit: int) -> bytes:
    parts, left = [], limit
    while part := answer.read(min(left + 1, 256 * 1024)):
        left -= len(part)
        if left < 0:
            answer.close()
            raise MalformedError(f"{url} sent more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _problem(data: bytes) -> str:
    try:
        return f": {msgspec.json.decode(data, type=Problem).error}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
