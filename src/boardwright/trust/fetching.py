"""Signed metadata over HTTP, bounded before it is believed.

Rules:

* No redirect is followed: what a board says of itself goes to the server it chose and to nobody else.
* The whole answer has a deadline, not only the pause between bytes: a server that sends one byte a second must not hold
  a board for ever (TUF specification section 1.5.1, slow retrieval). The length is bounded by python-tuf, what it may
  hold by ``density``.
"""

import time
from collections.abc import Callable, Iterator

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from boardwright.trust.density import MAX_VALUES, values_of

CONNECT_TIMEOUT = 2.0  # seconds; a live server of the control network accepts in milliseconds
READ_TIMEOUT = 5.0  # seconds without a byte
DEADLINE = 60.0  # seconds for one file; the largest, 5 MB of targets, comes in so over a line of 1 Mbit/s
_CHUNK = 64 * 1024
_ENDED = 200


class MetadataFetcher(FetcherInterface):
    """GETs with `pool`, which the caller makes (TLS, headers) and closes."""

    def __init__(self, pool: urllib3.PoolManager, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Raises DownloadHTTPError for every status but 200, SlowRetrievalError, DownloadError."""
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        try:
            answer = self._pool.request(
                "GET", url, redirect=False, retries=False, timeout=timeout, preload_content=False
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise DownloadError(f"{url} cannot be reached") from error
        if answer.status != _ENDED:
            answer.close()
            raise DownloadHTTPError(f"{url} answered {answer.status}", answer.status)
        return self._chunks(url, answer)

    def _chunks(self, url: str, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        until, values = self._clock() + DEADLINE, 0
        try:
            while part := answer.read1(_CHUNK):
                if self._clock() > until:
                    raise SlowRetrievalError(f"{url} took longer than {DEADLINE:g} s")
                values += values_of(part)
                if values > MAX_VALUES:
                    raise DownloadLengthMismatchError(f"{url} answers more than {MAX_VALUES} values")
                yield part
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url} broke off its answer") from error
        finally:
            answer.close()
