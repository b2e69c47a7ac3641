"""A board as people see it."""

import msgspec

from boardwright.model.location import Tier
from boardwright.model.plan import Plan
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.model.software import Target
from boardwright.server.board_reports import BoardView
from boardwright.server.board_status import board_status, board_statuses
from boardwright.server.mirror import MirrorState
from boardwright.state.records import HeldRecord
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


def test_boardwright_s_own_groups_are_shown_only_where_they_are_in_use() -> None:
    nothing = {"boardwright": GroupReport(), "boardwright-agent": GroupReport(state=DeploymentState.IDLE)}
    state = MirrorState(boards={"c1s3": board()})
    status = board_status("c1s3", state, BoardView(board(), 1, 2.5, {"platform": GroupReport(), **nothing}))
    assert status is not None
    assert set(status.groups) == {"platform"}
    wanted = {**nothing, "boardwright": GroupReport(wanted="2"), "boardwright-agent": confirmed("1")}
    status = board_status("c1s3", state, BoardView(board(), 1, 2.5, wanted))
    assert status is not None
    assert set(status.groups) == {"boardwright", "boardwright-agent"}


class TestAHeldVersion:
    STATE = MirrorState(
        plan=PLAN, boards={"c1s3": board()}, held={"c1s3/platform": HeldRecord("a" * 64, "2", "it was sick", "boom")}
    )

    def test_failed_with_the_board_s_reason_and_how_to_go_on(self) -> None:
        for said in (None, confirmed("1"), GroupReport(state=DeploymentState.REQUESTING)):
            view = None if said is None else BoardView(board(), 2, 1.0, {"platform": said})
            status = board_status("c1s3", self.STATE, view)
            assert status is not None
            shown = status.groups["platform"]
            assert (shown.wanted, shown.state, shown.log) == ("2", DeploymentState.FAILED, "boom")
            assert shown.reason == "it was sick; held until `boardwright retry c1s3`"
            assert shown.held == "a" * 64

    def test_the_board_s_own_words_come_first(self) -> None:
        said = GroupReport("1", "2", DeploymentState.FAILED, "rolled back to 1", log="exit code 3")
        status = board_status("c1s3", self.STATE, BoardView(board(), 2, 1.0, {"platform": said}))
        assert status is not None
        assert status.groups["platform"].reason.startswith("rolled back to 1; held")
        assert status.groups["platform"].log == "exit code 3"

    def test_of_another_version_than_the_planned_one_says_nothing(self) -> None:
        state = msgspec.structs.replace(self.STATE, held={"c1s3/platform": HeldRecord("b" * 64, "1")})
        status = board_status("c1s3", state, None)
        assert status is not None
        assert status.groups["platform"].state is DeploymentState.IDLE


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
