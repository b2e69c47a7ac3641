"""What is refused is summed up, so that nobody fills the audit log."""

import pytest

from boardwright.model.audit import Act, Action, Actor
from boardwright.server.refusals import FIRST_PAUSE, LONGEST, MAX_ROWS, Refusals


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def tried(who: str = "ana", action: Action = Action.DEPLOY, why: str = "may not") -> Act:
    return Act(Actor(who, "viewer", f"key of {who}"), action).on("POST /v1/deployments", why=why)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock)


def record(refusals: Refusals) -> list[tuple[str, int]]:
    found = []
    for act, count in refusals.due():
        refusals.recorded(act, count)
        found.append((act.actor.id, count))
    return found


class TestRefusals:
    def test_the_first_is_due_at_once(self, refusals: Refusals) -> None:
        refusals.note(tried())
        assert record(refusals) == [("ana", 1)]
        assert record(refusals) == []

    def test_those_that_follow_are_summed_up_with_what_was_said_last(self, refusals: Refusals, clock: Clock) -> None:
        refusals.note(tried())
        record(refusals)
        for number in range(50):
            refusals.note(tried(why=f"no {number}"))
        assert refusals.due() == []
        clock.now += FIRST_PAUSE
        assert refusals.due() == [(tried(why="no 49"), 50)]

    def test_one_action_hides_no_other(self, refusals: Refusals) -> None:
        refusals.note(tried())
        refusals.note(tried(action=Action.TOKEN_CREATE))
        assert sorted(act.action.value for act, _ in refusals.due()) == ["deploy", "token-create"]

    def test_what_could_not_be_recorded_is_due_again(self, refusals: Refusals) -> None:
        refusals.note(tried())
        assert refusals.due() == refusals.due() != []

    def test_what_comes_between_looking_and_recording_is_not_lost(self, refusals: Refusals, clock: Clock) -> None:
        refusals.note(tried())
        ((act, count),) = refusals.due()
        refusals.note(tried())
        refusals.recorded(act, count)
        clock.now += FIRST_PAUSE
        assert record(refusals) == [("ana", 1)]

    def test_who_goes_on_for_a_day_leaves_some_thirty_records(self, refusals: Refusals, clock: Clock) -> None:
        records = []
        for _ in range(86_400):
            refusals.note(tried())
            records += record(refusals)
            clock.now += 1.0
        assert len(records) < 40
        assert sum(count for _, count in records) > 86_400 - LONGEST - 1

    def test_many_callers_share_a_bounded_table(self, refusals: Refusals, clock: Clock) -> None:
        for number in range(MAX_ROWS + 1000):
            refusals.note(tried(f"b{number}"))
        due = record(refusals)
        assert len(due) == MAX_ROWS + 1
        assert ("*", 1000) in due

    def test_who_was_quiet_for_long_makes_room(self, refusals: Refusals, clock: Clock) -> None:
        for number in range(MAX_ROWS):
            refusals.note(tried(f"b{number}"))
        record(refusals)
        clock.now += 2 * FIRST_PAUSE + 1
        refusals.note(tried("late"))
        assert record(refusals) == [("late", 1)]

    def test_a_server_that_is_not_active_records_nothing_later(self, refusals: Refusals) -> None:
        refusals.note(tried())
        refusals.drop()
        assert refusals.due() == []
        assert refusals.counts == {"refused": 1}

    def test_who_has_proven_nothing_is_counted_only(self, refusals: Refusals) -> None:
        for _ in range(1000):
            refusals.unproven()
        assert refusals.due() == []
        assert refusals.counts == {"unproven": 1000}
