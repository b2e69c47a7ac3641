"""What boards say: kept in memory, bounded, passed on once."""

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import DeploymentState, Explanation, GroupReport
from boardwright.server.board_reports import (
    CHANGE_EVERY,
    LATE_WINDOW,
    MAX_LOG,
    STRANGERS_BURST,
    STRANGERS_RATE,
    BoardReports,
)
from boardwright.server.sightings import sighting
from tests.unit.server.builders import board, confirmed, report, request


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_last_report_and_the_age_of_the_last_word_are_kept() -> None:
    clock = Clock()
    board_reports = BoardReports(clock)
    board_reports.take([report(board(), 1, 3, platform=GroupReport()), report(board(), 2, 4, platform=confirmed("1"))])
    clock.now += 7
    view = board_reports.view("c1s3")
    assert view is not None
    assert (view.generation, view.age, view.groups["platform"].version) == (4, 7.0, "1")
    assert board_reports.view("c9s9") is None


def test_a_late_report_is_dropped_and_counted() -> None:
    board_reports = BoardReports(Clock())
    board_reports.take([report(board(), 5, platform=confirmed("2"))])
    assert (
        board_reports.take([report(board(), 4, platform=confirmed("1")), report(board(), 5, platform=confirmed("1"))])
        == 0
    )
    assert board_reports.late == 2
    assert board_reports.views()["c1s3"].groups["platform"].version == "2"


def test_an_agent_that_lost_its_disk_is_believed_after_the_time_that_a_report_can_be_late() -> None:
    clock = Clock()
    board_reports = BoardReports(clock)
    board_reports.take([report(board(), 500)])
    clock.now += LATE_WINDOW
    assert board_reports.take([report(board(), 1, platform=confirmed("1"))]) == 1


def test_the_key_that_a_board_proved_itself_with_is_recorded_and_the_first_one_stays() -> None:
    first, second = (msgspec.structs.replace(board(), key=letter * 64) for letter in "ab")
    board_reports = BoardReports(Clock(), key_of=lambda _board, said: "a" * 64 if said else None)
    board_reports.take([report(first, 1)])
    assert board_reports.facts({"c1s3": board()}) == {"c1s3": first}
    board_reports.take([report(second, 2)])
    assert board_reports.facts({"c1s3": first}) == {}
    board_reports.take([report(board(), 3)])
    assert board_reports.facts({"c1s3": first}) == {}


def test_why_nothing_may_take_over_on_a_board_is_shown_and_passed_on() -> None:
    board_reports = BoardReports(Clock())
    board_reports.take([msgspec.structs.replace(report(board(), 1), conflict="location-conflict: " + "x" * 1000)])
    view = board_reports.view("c1s3")
    assert view is not None
    assert view.conflict.startswith("location-conflict")
    assert len(view.conflict) < 500
    assert [one.conflict for one in board_reports.outgoing(10)] == [view.conflict]


def test_a_request_shows_that_a_board_lives_and_does_not_touch_what_it_reported() -> None:
    clock = Clock()
    board_reports = BoardReports(clock)
    facts = board(groups=("platform", "routing"))
    board_reports.take([report(facts, 1, 5, platform=confirmed("1"))])
    clock.now += 60
    seen = sighting(request(board()))
    assert seen is not None
    board_reports.take([seen])
    view = board_reports.view("c1s3")
    assert view is not None
    assert (view.age, view.generation, view.board) == (0.0, 5, facts)
    assert view.groups["platform"].version == "1"


def test_a_server_that_copies_is_no_board() -> None:
    assert sighting(request(board("c1s1"), board_type="")) is None


def test_words_that_no_board_can_have_are_dropped_and_counted() -> None:
    board_reports = BoardReports(Clock())
    for facts in (
        Board("../c1s3", Location("1", "3"), "lc"),
        Board("c1s3", Location("", "3"), "lc"),
        Board("c1s3", Location("1", "3" * 65), "lc"),
        Board("c1s3", Location("1", "3"), "lc", ("bad group",)),
        Board("c1s3", Location("1", "3"), "lc", tuple(f"g{number}" for number in range(33))),
    ):
        board_reports.take([report(facts, 1)])
    assert board_reports.views() == {}
    assert board_reports.implausible == 5


def test_strangers_push_out_whoever_was_silent_the_longest_and_no_more() -> None:
    board_reports = BoardReports(Clock(), max_boards=3)
    for name in ("c1s1", "c1s2", "c1s3"):
        board_reports.take([report(board(name), 1)])
    board_reports.take([report(board("c1s1"), 2), report(board("c9s9"), 1)])
    assert set(board_reports.views()) == {"c1s1", "c1s3", "c9s9"}
    assert {one.board.id for one in board_reports.outgoing(10)} == {"c1s1", "c1s3", "c9s9"}


def test_long_logs_keep_their_tail() -> None:
    board_reports = BoardReports(Clock())
    log = "x" * MAX_LOG + "the end"
    board_reports.take([report(board(), 1, platform=GroupReport(state=DeploymentState.FAILED, log=log))])
    kept = board_reports.views()["c1s3"].groups["platform"].log
    assert len(kept) == MAX_LOG
    assert kept.endswith("the end")


class TestExplanations:
    def test_the_newest_of_each_group_stays_though_later_reports_bring_none(self) -> None:
        board_reports = BoardReports(Clock())
        facts = board(groups=("platform", "routing"))
        first, second = Explanation("platform", "m1", (), "near", 3.0), Explanation("routing", "m2", (), "far", 4.0)
        newer = Explanation("platform", "m3", (), "nearer", 2.0)
        for sequence, explanations in enumerate([(first,), (second,), (), (newer,)], start=1):
            board_reports.take([type(report(facts, 1))(facts, 1, sequence, {}, explanations)])
        assert sorted(board_reports.explanations("c1s3"), key=lambda one: one.group) == [newer, second]
        assert board_reports.explanations("c9s9") == ()


class TestPassingOn:
    def test_the_newest_word_of_each_board_goes_out_once(self) -> None:
        board_reports = BoardReports(Clock())
        board_reports.take([report(board(), 1), report(board(), 2), report(board("c1s4"), 1)])
        assert sorted((one.board.id, one.sequence) for one in board_reports.outgoing(10)) == [("c1s3", 2), ("c1s4", 1)]
        assert board_reports.outgoing(10) == []

    def test_what_another_server_passed_on_does_not_go_in_circles(self) -> None:
        board_reports = BoardReports(Clock())
        board_reports.take([report(board(), 1)], passed_on=True)
        assert board_reports.outgoing(10) == []

    def test_what_did_not_arrive_goes_out_again_as_its_newest_word(self) -> None:
        board_reports = BoardReports(Clock())
        board_reports.take([report(board(), 1), report(board("c1s4"), 1)])
        lost = board_reports.outgoing(1)
        board_reports.take([report(board(), 2)])
        board_reports.pass_on_again(one.board.id for one in lost)
        assert sorted((one.board.id, one.sequence) for one in board_reports.outgoing(10)) == [("c1s3", 2), ("c1s4", 1)]

    def test_a_new_active_is_told_everything(self) -> None:
        board_reports = BoardReports(Clock())
        board_reports.take([report(board(), 1)], passed_on=True)
        board_reports.pass_on_again()
        assert [one.board.id for one in board_reports.outgoing(10)] == ["c1s3"]


class TestFacts:
    def test_an_unknown_board_is_known_by_its_report_and_not_by_its_request(self) -> None:
        board_reports = BoardReports(Clock())
        seen = sighting(request(board()))
        assert seen is not None
        board_reports.take([seen])
        assert board_reports.facts({}) == board_reports.facts({}, everything=True) == {}
        board_reports.take([report(board(), 1)])
        assert board_reports.facts({}) == {"c1s3": board()}
        assert board_reports.facts({}) == {}
        assert board_reports.facts({}, everything=True) == {"c1s3": board()}

    def test_a_request_for_a_part_of_the_groups_changes_no_known_board(self) -> None:
        board_reports = BoardReports(Clock())
        seen = sighting(request(board()))
        assert seen is not None
        board_reports.take([seen])
        assert board_reports.facts({"c1s3": board(groups=("platform", "routing"))}) == {}

    def test_a_board_that_moved_is_recorded_and_keeps_what_the_operator_said(self) -> None:
        board_reports = BoardReports(Clock())
        known = Board("c1s3", Location("1", "3"), "lc", ("platform",), server=True, pair="rp")
        moved = Board("c1s3", Location("2", "5"), "lc", ("platform",))
        board_reports.take([report(moved, 1)])
        assert board_reports.facts({"c1s3": known}) == {
            "c1s3": Board("c1s3", Location("2", "5"), "lc", ("platform",), server=True, pair="rp")
        }

    def test_a_board_that_says_what_is_known_is_no_news(self) -> None:
        board_reports = BoardReports(Clock())
        board_reports.take([report(board(), 1)])
        assert board_reports.facts({"c1s3": board()}) == {}

    def test_what_changes_again_and_again_is_news_now_and_then_and_its_last_word_is_not_lost(self) -> None:
        clock = Clock()
        board_reports = BoardReports(clock)
        known = {"c1s3": board()}
        news = []
        for sequence in range(1, 61):
            clock.now += 1
            board_reports.take([report(Board("c1s3", Location("9", str(sequence)), "lc"), sequence)])
            news += [said.location.slot for said in board_reports.facts(known).values()]
        assert news == ["1", "31"]
        clock.now += CHANGE_EVERY
        assert board_reports.facts(known)["c1s3"].location.slot == "60"

    def test_of_a_contested_board_nothing_is_news_until_that_is_over(self) -> None:
        contested = {"c1s3"}
        board_reports = BoardReports(Clock(), contested=lambda board: board in contested)
        board_reports.take([report(board(), 1)])
        assert board_reports.facts({}) == {}
        assert board_reports.facts({}, everything=True) == {}
        contested.clear()
        assert board_reports.facts({}) == {"c1s3": board()}


class TestStrangers:
    def test_boards_that_nobody_knows_are_taken_in_at_a_bounded_rate(self) -> None:
        clock = Clock()
        board_reports = BoardReports(clock)
        taken = board_reports.take([report(board(f"c9s{slot}"), 1) for slot in range(5000)])
        assert taken == STRANGERS_BURST
        assert board_reports.crowded_out == 5000 - STRANGERS_BURST
        clock.now += 1
        assert board_reports.take([report(board(f"c9s{slot}"), 2) for slot in range(4000, 5000)]) == STRANGERS_RATE

    def test_boards_of_the_cluster_are_heard_in_the_midst_of_them(self) -> None:
        board_reports = BoardReports(Clock(), known=lambda board: board.startswith("c1"))
        board_reports.take([report(board(f"c9s{slot}"), 1) for slot in range(5000)])
        assert board_reports.take([report(board(f"c1s{slot}"), 1) for slot in range(100)]) == 100
