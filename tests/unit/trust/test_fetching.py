"""Signed metadata over HTTP from servers that trickle, break off, send elsewhere or say no."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from boardwright.trust.fetching import DEADLINE, MetadataFetcher

URL = "https://c1s1/v1/metadata/timestamp.json"


class Line(urllib3.PoolManager):
    """Answers with `parts`, one at each read; every read takes `seconds`."""

    def __init__(self, parts: Iterator[bytes], *, status: int = 200, seconds: float = 0.0) -> None:
        super().__init__()
        self.parts, self.status, self.seconds = parts, status, seconds
        self.now, self.closed = 0.0, False
        self.asked: dict[str, Any] = {}

    def request(self, method: str, url: str, **asked: Any) -> Any:  # type: ignore[override]
        self.asked = {"method": method, "url": url, **asked}
        return self

    def read1(self, size: int) -> bytes:
        self.now += self.seconds
        part = next(self.parts, b"")
        if part == b"broken":
            raise urllib3.exceptions.ProtocolError("the line broke")
        assert len(part) <= size
        return part

    def close(self) -> None:
        self.closed = True


def fetched(line: Line) -> Callable[[], bytes]:
    return lambda: b"".join(MetadataFetcher(line, lambda: line.now).fetch(URL))


def endless() -> Iterator[bytes]:
    while True:
        yield b"x"


def test_what_comes_in_parts_is_one_file() -> None:
    line = Line(iter((b"ab", b"cd")))
    assert fetched(line)() == b"abcd"
    assert line.closed


def test_a_server_that_sends_a_byte_now_and_then_is_left_after_a_bounded_time() -> None:
    """Slow retrieval (TUF specification 1.5.2): every pause is short, and the whole would never end."""
    line = Line(endless(), seconds=1.0)
    with pytest.raises(SlowRetrievalError):
        fetched(line)()
    assert line.now <= DEADLINE + 1.0
    assert line.closed


def test_an_answer_of_more_values_than_a_board_has_memory_for_is_left_before_it_is_parsed() -> None:
    """Endless data (TUF specification 1.5.2) that is short: a value of two bytes takes a hundred in memory."""
    line = Line(iter([b"[]," * 20_000] * 10))
    with pytest.raises(DownloadLengthMismatchError):
        fetched(line)()
    assert line.closed


def test_a_line_that_breaks_is_an_error_that_the_next_server_follows() -> None:
    line = Line(iter((b"ab", b"broken")))
    with pytest.raises(DownloadError):
        fetched(line)()
    assert line.closed


@pytest.mark.parametrize("status", [206, 301, 302, 404, 500])
def test_nothing_but_an_answer_counts_and_nobody_is_sent_elsewhere(status: int) -> None:
    line = Line(iter((b"ab",)), status=status)
    with pytest.raises(DownloadHTTPError) as raised:
        fetched(line)()
    assert raised.value.status_code == status
    assert line.closed
    assert line.asked["redirect"] is False
