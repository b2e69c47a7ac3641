"""The alarm `flood`: raised by what is dropped, cleared when it is over."""

from boardwright.server.alarms import Alarms
from boardwright.server.flood_watch import LIMIT, QUIET, FloodWatch


class Bench:
    def __init__(self) -> None:
        self.now = 50.0
        self.dropped = {"malformed": 7}
        self.sender = "10.0.9.9"
        self.alarms = Alarms("c1s1", lambda: self.now)
        self.watch = FloodWatch(self.alarms, lambda: dict(self.dropped), lambda: self.sender)
        self.watch.look(self.now)

    def second(self, reason: str = "malformed", count: float = 0) -> list[str]:
        self.now += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + int(count)
        self.watch.look(self.now)
        return [alarm.sentence for alarm in self.alarms.listing()]


def test_a_flood_is_an_alarm_with_its_rate_its_reason_and_a_sender() -> None:
    bench = Bench()
    (sentence,) = bench.second("over-budget", 19_000)
    assert "19,000" in sentence
    assert "one sender" in sentence
    assert "10.0.9.9" in sentence


def test_a_little_junk_is_none() -> None:
    bench = Bench()
    for _ in range(60):
        assert bench.second(count=LIMIT - 1) == []


def test_it_is_cleared_some_time_after_the_flood_and_does_not_flicker() -> None:
    bench = Bench()
    for count in (20_000, 0, 20_000):
        assert bench.second(count=count)
    for _ in range(int(QUIET) - 1):
        assert bench.second()
    assert bench.second() == []


def test_what_was_dropped_before_the_first_look_is_not_counted_as_one_moment() -> None:
    bench = Bench()
    watch = FloodWatch(bench.alarms, lambda: {"malformed": 1_000_000}, str)
    watch.look(0.0)
    watch.look(1.0)
    assert bench.alarms.listing() == ()
