"""A board as people see it."""

import msgspec

from boardwright.model.location import Tier
from boardwright.model.plan import Plan
from boardwright.model.software import Target
from boardwright.server.board_reports import BoardView
from boardwright.server.board_status import board_status, board_statuses
from boardwright.server.mirror import MirrorState
from tests.unit.server.builders import board, confirmed

PLAN = Plan(2, 1, (Target("platform", "2", "*", "a" * 64),), {"c1s3": (0,)})


def test_what_it_runs_is_its_own_word_and_what_is_wanted_the_newest_plans() -> None:
    state = MirrorState(plan=PLAN, boards={"c1s3": board()})
    status = board_status("c1s3", state, BoardView(board(), 1, 2.5, {"platform": confirmed("1")}))
    assert status is not None
    assert (status.generation, status.seen) == (1, 2.5)
    assert (status.groups["platform"].version, status.groups["platform"].wanted) == ("1", "2")


def test_a_board_that_was_never_heard_shows_what_is_planned_for_it() -> None:
    status = board_status("c1s3", MirrorState(plan=PLAN, boards={"c1s3": board()}), None)
    assert status is not None
    assert (status.seen, status.groups["platform"].version, status.groups["platform"].wanted) == (None, None, "2")


def test_every_tier_is_counted_heard_or_not() -> None:
    state = MirrorState(plan=PLAN, boards={"c1s3": board()})
    near = msgspec.structs.replace(confirmed("2"), bytes={Tier.SAME_BOARD: 5})
    for view, same_board in ((None, 0), (BoardView(board(), 1, 2.5, {"platform": near}), 5)):
        status = board_status("c1s3", state, view)
        assert status is not None
        assert status.groups["platform"].bytes == {Tier.SAME_BOARD: same_board, Tier.SAME_CHASSIS: 0, Tier.ELSEWHERE: 0}


def test_a_board_that_was_heard_and_is_not_recorded_yet_is_shown() -> None:
    status = board_status("c9s9", MirrorState(), BoardView(board("c9s9"), 0, 0.0))
    assert status is not None
    assert (status.chassis, status.slot) == ("9", "9")
    assert board_status("c8s8", MirrorState(), None) is None


def test_boards_are_listed_by_place_in_the_order_that_people_count() -> None:
    names = ("c10s1", "c2s10", "c2s9", "c1s1")
    statuses = board_statuses(MirrorState(boards={name: board(name) for name in names}), {})
    assert [one.id for one in statuses] == ["c1s1", "c2s9", "c2s10", "c10s1"]
