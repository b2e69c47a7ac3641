"""Which time the active signs when clocks disagree."""

import pytest

from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.clocks import AHEAD, HEARD, PATIENCE, Clocks, median

NOW = 1.8e9
YEAR = 365 * 86_400.0


class Bench:
    """The active c1s1; every clock runs on with `passed`."""

    def __init__(self) -> None:
        self.passed, self.off = 0.0, 0.0
        self.alarms = Alarms("c1s1", lambda: self.passed)
        self.clocks = Clocks("c1s1", lambda: NOW + self.off + self.passed, lambda: 50.0 + self.passed, self.alarms)

    def hear(self, **off: float) -> None:
        for server, seconds in off.items():
            self.clocks.take(server, NOW + self.passed + seconds)

    def signs(self, *, alone: bool = False) -> float | None:
        """How far the signed time is off; None for no judgement."""
        found = self.clocks.judged(alone=alone)
        return None if found is None else found - NOW - self.passed

    @property
    def alarmed(self) -> frozenset[str]:
        return self.alarms.subjects(AlarmKind.CLOCK)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestAServerWhoseClockIsRight:
    def test_signs_it_and_nobody_is_alarmed(self, bench: Bench) -> None:
        bench.hear(c2s1=3.0, c3s1=-60.0)
        assert bench.signs() == 0.0
        assert bench.alarmed == frozenset()

    @pytest.mark.parametrize("off", [YEAR, 30 * YEAR, -30 * YEAR, 1e300])
    def test_is_not_led_astray_by_one_that_is_wrong_and_names_it(self, bench: Bench, off: float) -> None:
        bench.hear(c2s1=5.0, c3s1=off)
        assert bench.signs() == 0.0
        assert bench.alarmed == ({"c3s1"} if NOW + off > 0 else frozenset())

    def test_is_not_led_into_the_future_by_its_only_peer(self, bench: Bench) -> None:
        bench.hear(c2s1=YEAR)
        assert bench.signs() == 0.0
        assert bench.alarmed == {"c2s1"}


class TestAServerWhoseClockIsWrong:
    @pytest.mark.parametrize("off", [AHEAD + 60, 30 * YEAR, -30 * YEAR])
    def test_signs_what_the_most_say_and_is_named(self, bench: Bench, off: float) -> None:
        bench.off = off
        bench.hear(c2s1=0.0, c3s1=0.0)
        assert bench.signs() == 0.0
        assert bench.alarmed == {"c1s1"}
        (alarm,) = bench.alarms.listing()
        hours = f"{abs(off) / 3600:.0f} hours {'ahead of' if off > 0 else 'behind'}"
        assert alarm.sentence == f"the clock of c1s1 is {hours} those of the other servers"

    def test_is_held_back_by_one_peer_and_not_more_than_by_a_day(self, bench: Bench) -> None:
        bench.off = 30 * YEAR
        bench.hear(c2s1=0.0)
        assert bench.signs() == 0.0
        bench.off = AHEAD - 60
        assert bench.signs() == AHEAD - 60


class TestWhoHasHeardNobody:
    def test_has_no_judgement_until_its_patience_is_over(self, bench: Bench) -> None:
        assert bench.signs() is None
        bench.passed = PATIENCE + 1
        assert bench.signs() == 0.0

    def test_waits_anew_when_it_becomes_the_active_again(self, bench: Bench) -> None:
        bench.passed = PATIENCE + 1
        bench.clocks.begin()
        assert bench.signs() is None
        bench.hear(c2s1=0.0)
        assert bench.signs() == 0.0

    def test_waits_for_nobody_if_nobody_else_signs(self, bench: Bench) -> None:
        assert bench.signs(alone=True) == 0.0

    def test_forgets_who_was_silent_for_long(self, bench: Bench) -> None:
        bench.off = YEAR
        bench.hear(c2s1=0.0)
        bench.passed = HEARD - 1
        assert bench.signs() == 0.0
        bench.passed = HEARD + 1
        assert bench.signs() == YEAR

    def test_counts_no_clock_that_says_nothing_and_not_its_own_twice(self, bench: Bench) -> None:
        bench.clocks.take("c2s1", 0.0)
        bench.clocks.take("c1s1", NOW)
        assert bench.signs() is None


@pytest.mark.parametrize(("clocks", "found"), [((5.0,), 5.0), ((9.0, 1.0), 1.0), ((1.0, 1e12, 2.0), 2.0)])
def test_the_median_is_the_one_in_the_middle_the_lower_of_two(clocks: tuple[float, ...], found: float) -> None:
    assert median(clocks) == found
