"""Asks servers one by one for the doctor: each for itself, the whole answer bounded, and nothing is tried again.

Unlike ``servers``, nobody is waited for: a server that does not answer now is what the doctor wants to know.
"""

from typing import TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from boardwright.errors import FailedError, MalformedError, UnreachableError
from boardwright.model.api import CLUSTER_HEADER, Problem
from boardwright.net.lines import Lines

CONNECT_TIMEOUT = 1.0  # seconds; a control network answers within milliseconds
READ_TIMEOUT = 3.0  # seconds; a server examines itself for two at most
MAX_ANSWER = 256 * 1024 * 1024  # bytes; the list of all boards is the largest answer
_Content = TypeVar("_Content")


class Diagnosing:
    """GETs of any server's API. Thread-safe; blocking."""

    def __init__(self, lines: Lines, cluster: str) -> None:
        self._pool = lines.manager(
            CONNECT_TIMEOUT + READ_TIMEOUT,
            num_pools=64,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
            headers={"User-Agent": "boardwright", CLUSTER_HEADER: cluster},
        )

    def get(self, base: str, path: str, kind: type[_Content]) -> _Content:
        """What the server at `base` answers; UnreachableError, MalformedError (UntrustedError), FailedError."""
        url = base + path
        try:
            answer = self._pool.request("GET", url, redirect=False, preload_content=False)
            try:
                data = answer.read(MAX_ANSWER + 1)
            finally:
                answer.release_conn()
        except (HTTPError, OSError, ValueError) as error:
            raise UnreachableError(f"{base} does not answer") from error
        if answer.status != 200:
            raise FailedError(f"{base} answered {answer.status} to {path}{_problem(data)}")
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(f"{base} answered {path} with something else than documented") from error

    def close(self) -> None:
        self._pool.clear()


def _problem(data: bytes) -> str:
    try:
        return f": {msgspec.json.decode(data, type=Problem).error}"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
