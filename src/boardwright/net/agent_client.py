"""What an agent asks a server over HTTP: its plan, a manifest's bytes, and to take a report.

Rules:

* Times are short, nothing is tried again here and no redirect is followed: the caller has other servers to go to.
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
from boardwright.model.software import MAX_MANIFEST_BYTES, digest_of

CONNECT_TIMEOUT = 1.0  # seconds; a live server on the control network accepts in milliseconds
READ_TIMEOUT = 2.0  # seconds without a byte; a plan and a report are answered from memory
MAX_PLAN_BYTES = 1024 * 1024  # a board has tens of groups, not thousands
MAX_PROBLEM_BYTES = 16 * 1024
SERVERS = 8  # connections are kept to this many servers


_BUSY = (429, 503)


class BusyError(FailedError):
    """The server lives and has no room now; ask again in a second or so."""

    retry: ClassVar[bool] = True


class AgentClient:
    """HTTP to any server, by the URLs that its offers name."""

    def __init__(self, board: str) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=SERVERS,
            maxsize=2,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            headers={"Boardwright-Board": board, "User-Agent": "boardwright", "Accept-Encoding": "identity"},
        )

    def plan(self, api: str, board: str) -> BoardPlan:
        """GET the board's part of the plan; raises UnreachableError, FailedError, MalformedError."""
        data = self._get(f"{api}/v1/plan/boards/{quote(board, safe='')}", MAX_PLAN_BYTES)
        try:
            return msgspec.json.decode(data, type=BoardPlan)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(f"the plan that {api} sent for {board} is not of the documented form") from error

    def manifest(self, blobs: str, digest: str) -> bytes:
        """GET a manifest by its SHA-256; raises UnreachableError, BusyError, FailedError, MalformedError."""
        data = self._get(f"{blobs}/v1/blobs/{digest}", MAX_MANIFEST_BYTES)
        if digest_of(data) != digest:
            raise MalformedError(f"{blobs} sent other bytes than the manifest {digest}")
        return data

    def report(self, api: str, reports: Sequence[BoardReport]) -> int:
        """POST reports; the generation of the server's plan, or 0. Raises UnreachableError, FailedError."""
        body = msgspec.json.encode(reports)
        headers = {**self._pool.headers, "Content-Type": "application/json"}
        data = self._call("POST", f"{api}/v1/reports", MAX_PROBLEM_BYTES, body, headers)
        try:
            return msgspec.json.decode(data, type=ReportsTaken).generation
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 0  # the reports were taken; what a server says beside that is no reason to send them again

    def verify(self, api: str, sha256: str) -> None:
        """Ask a server to check a blob on its disk; raises UnreachableError, FailedError."""
        self._call("POST", f"{api}/v1/blobs/{sha256}/verify", MAX_PROBLEM_BYTES, None, None)

    def close(self) -> None:
        self._pool.clear()

    def _get(self, url: str, limit: int) -> bytes:
        return self._call("GET", url, limit, None, None)

    def _call(self, method: str, url: str, limit: int, body: bytes | None, headers: dict[str, str] | None) -> bytes:
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, redirect=False, preload_content=False)
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
        return data


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
