"""The cap on bytes per second, in virtual time."""

from boardwright.model.software import RANGE_SIZE
from boardwright.transfer.rate import MIN_RANGE, TokenBucket
from tests.unit.transfer.blobs import Clock


def test_the_mean_rate_holds_whatever_the_sizes() -> None:
    clock = Clock()
    bucket = TokenBucket(1_000_000, clock=clock, sleep=clock.sleep)
    begun = clock.now
    for size in [250_000, 10_000, 3_000_000, 500, 739_500] * 5:
        bucket.take(size)
    bucket.take(1)
    assert 19.7 <= clock.now - begun <= 20.1


def test_what_was_not_used_is_not_saved_for_more_than_a_quarter_second() -> None:
    clock = Clock()
    bucket = TokenBucket(1_000_000, clock=clock, sleep=clock.sleep)
    clock.sleep(3600)
    begun = clock.now
    for _ in range(10):
        bucket.take(250_000)
    assert clock.now - begun >= 2.0


def test_without_a_cap_nobody_waits() -> None:
    clock = Clock()
    bucket = TokenBucket(0, clock=clock, sleep=clock.sleep)
    bucket.take(1 << 40)
    assert clock.now == Clock().now
    assert bucket.range_limit(RANGE_SIZE) == RANGE_SIZE


def test_ranges_shrink_with_the_cap_to_a_quarter_second_but_not_below_sense() -> None:
    assert TokenBucket(4_000_000).range_limit(RANGE_SIZE) == 1_000_000
    assert TokenBucket(1_000).range_limit(RANGE_SIZE) == MIN_RANGE
    assert TokenBucket(1 << 40).range_limit(RANGE_SIZE) == RANGE_SIZE
