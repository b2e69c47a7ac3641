"""What time it is on a board whose clock may be wrong."""

import math

import pytest

from boardwright.trust.floor import LATEST, Floor, now, signed_time

NEW_YEAR = 1_767_225_600.0  # 2026-01-01


class TestTheTimeOfABoard:
    def test_a_clock_that_is_ahead_of_the_floor_is_believed(self) -> None:
        assert now(NEW_YEAR + 5.0, Floor(NEW_YEAR)) == NEW_YEAR + 5.0

    def test_a_board_that_boots_in_1970_is_at_its_floor_and_goes_on_from_there(self) -> None:
        assert now(10.0, Floor(NEW_YEAR)) == NEW_YEAR
        assert now(10.0, Floor(NEW_YEAR), passed=3600.0) == NEW_YEAR + 3600.0

    def test_without_a_floor_the_clock_is_all_there_is(self) -> None:
        assert now(10.0, Floor(), passed=3600.0) == 10.0

    def test_the_time_stays_within_what_a_date_can_say(self) -> None:
        assert now(1e300, Floor()) == LATEST
        assert now(-5.0, Floor()) == 0.0


class TestAFloor:
    def test_only_rises_while_its_keys_stay(self) -> None:
        floor = Floor(0.0, ("a",)).seen(NEW_YEAR).seen(5.0)
        assert floor.under(frozenset("a")).time == NEW_YEAR

    def test_is_kept_when_a_key_is_added(self) -> None:
        assert Floor(NEW_YEAR, ("a",)).under(frozenset("ab")) == Floor(NEW_YEAR, ("a", "b"))

    def test_says_the_same_era_while_no_key_is_dropped(self) -> None:
        assert Floor(NEW_YEAR, ("a",), 4).under(frozenset("ab")).seen(NEW_YEAR + 1).era == 4

    def test_starts_anew_when_a_key_is_dropped(self) -> None:
        assert Floor(NEW_YEAR, ("a", "b"), 4).under(frozenset("b")) == Floor(0.0, ("b",), 5)


@pytest.mark.parametrize("value", [None, True, "2026", [], 1.5, -1, 0, math.nan, math.inf, 10**12, 10**400])
def test_what_is_no_time_is_as_if_it_were_not_there(value: object) -> None:
    assert signed_time(value) is None
