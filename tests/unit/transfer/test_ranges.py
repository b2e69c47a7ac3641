"""The Range header (RFC 9110 section 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.transfer.ranges import Span, Unsatisfiable, parse_range

MOST = 100


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-9", Span(0, 10)),
        ("bytes=10-10", Span(10, 11)),
        ("bytes=990-", Span(990, 1000)),
        ("bytes=-5", Span(995, 1000)),
        ("bytes=990-5000", Span(990, 1000)),
        ("bytes=-5000", Span(0, 100)),
        ("bytes=0-", Span(0, 100)),
        ("bytes=500-999", Span(500, 600)),
        (" bytes= 0 - 9 ", Span(0, 10)),
    ],
)
def test_one_range_is_granted_and_clamped(header: str, span: Span) -> None:
    assert parse_range(header, 1000, MOST) == span


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    assert isinstance(parse_range(header, 1000, MOST), Unsatisfiable)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-1",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=a-b",
        "bytes=\u0660-\u0661",
    ],
)
def test_what_is_not_one_range_of_bytes_is_ignored(header: str | None) -> None:
    assert parse_range(header, 1000, MOST) is None


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_no_header_breaks_it_and_no_span_leaves_the_blob(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        span = parse_range(text, size, MOST)
        if isinstance(span, Span):
            assert 0 <= span.start < span.end <= size
            assert span.end - span.start <= MOST
