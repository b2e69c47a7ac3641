"""The times of the protocol keep what they promise, whatever the chance."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from boardwright.protocol.timing import (
    RequestTiming,
    ask_after_announcement,
    ask_after_start,
    ask_again_after,
    repeat_after,
)

TIMING = RequestTiming()
chances = st.integers(0, 2**32).map(Random)


@given(st.integers(0, 10**9), chances)
def test_repetitions_back_off_to_a_bound_and_never_overflow(attempt: int, rng: Random) -> None:
    seconds = repeat_after(attempt, TIMING, rng)
    assert TIMING.first_repeat * (1 - TIMING.jitter) <= seconds <= TIMING.longest_repeat * (1 + TIMING.jitter)


@given(chances)
def test_each_repetition_comes_later_than_the_one_before_as_long_as_it_backs_off(rng: Random) -> None:
    assert repeat_after(0, TIMING, rng) < repeat_after(1, TIMING, rng) < repeat_after(2, TIMING, rng)


@given(chances)
def test_the_first_repetition_and_the_window_fit_into_the_target_of_150_ms(rng: Random) -> None:
    assert repeat_after(0, TIMING, rng) + TIMING.window <= 0.150


@given(chances)
def test_boards_ask_within_the_jitter_after_start_and_announcement(rng: Random) -> None:
    assert 0 <= ask_after_start(TIMING, rng) <= TIMING.start_jitter
    assert 0 <= ask_after_announcement(TIMING, rng) <= TIMING.announcement_jitter


def test_the_slow_period_is_kept_on_average_and_differs_between_boards() -> None:
    rng = Random(1)
    periods = [ask_again_after(300.0, TIMING, rng) for _ in range(2000)]
    assert 295 < sum(periods) / len(periods) < 305
    assert min(periods) >= 300 * (1 - TIMING.period_jitter)
    assert len(set(periods)) == len(periods)
