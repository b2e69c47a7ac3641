"""Sizes, rates and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.config import parse_duration, parse_rate, parse_size
from boardwright.errors import UsageError, shown


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", 0),
        (0, 0),
        (4096, 4096),
        ("512", 512),
        ("512B", 512),
        ("20kB", 20_000),
        ("20KB", 20_000),
        ("50GB", 50_000_000_000),
        ("50 GB", 50_000_000_000),
        ("1.5 GiB", 1_610_612_736),
        ("4KiB", 4096),
        ("2T", 2_000_000_000_000),
    ],
)
def test_a_size_is_a_number_and_a_unit_of_bytes(written: object, expected: int) -> None:
    assert parse_size(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("20MB/s", 20_000_000),
        ("20MB", 20_000_000),
        ("100Mbit/s", 12_500_000),
        ("1Gbit", 125_000_000),
        ("8 MiB/s", 8388608),
    ],
)
def test_a_rate_counts_bytes_or_bits_per_second(written: str, expected: int) -> None:
    assert parse_rate(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [("250ms", 0.25), ("10s", 10), (10, 10), (0.5, 0.5), ("5min", 300), ("1h", 3600), ("2d", 172800)],
)
def test_a_duration_is_a_number_and_a_unit_of_time(written: object, expected: float) -> None:
    assert parse_duration(written) == pytest.approx(expected)


@pytest.mark.parametrize(
    "written", ["", "fast", "-1", "1e9", "20XB", "1..5GB", "MB", "20MB/h", "20MB/s", True, None, [], "٣"]
)
def test_what_is_not_a_size_is_refused_with_its_value(written: object) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(written)
    assert shown(written) in str(caught.value)
    assert caught.value.hint


def test_megabits_and_megabytes_are_not_mixed_up() -> None:
    with pytest.raises(UsageError, match="bits or bytes"):
        parse_rate("100Mb/s")


def test_a_size_beyond_what_a_file_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="too large"):
        parse_size("10000000000 GB")


def test_less_than_a_byte_is_not_taken_for_no_limit() -> None:
    with pytest.raises(UsageError, match="less than one byte"):
        parse_rate("0.0001B/s")


@given(st.text(max_size=30) | st.integers() | st.floats() | st.booleans())
def test_no_value_does_anything_but_parse_or_be_refused(value: object) -> None:
    for parse in (parse_size, parse_rate, parse_duration):
        try:
            assert parse(value) >= 0
        except UsageError:
            pass
