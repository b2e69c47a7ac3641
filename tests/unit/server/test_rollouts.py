"""How far a rollout is."""

import msgspec

from boardwright.model.api import RolloutStatus
from boardwright.model.inventory import Board
from boardwright.model.plan import Plan
from boardwright.model.policy import parse_selector
from boardwright.model.report import SILENT_AFTER, DeploymentState, GroupReport
from boardwright.model.software import Target
from boardwright.server.board_reports import BoardView
from boardwright.server.mirror import MirrorState
from boardwright.server.rollouts import Hearing, ordered, statuses
from boardwright.state.records import RolloutRecord
from tests.unit.server.builders import Version, board, confirmed, failed

BOARDS = (board("c1s3"), board("c1s4"), board("c2s3"))


def rollout(number: int = 1, version: str = "1", *selectors: str, generation: int = 1) -> RolloutRecord:
    return RolloutRecord(
        f"r{number}", "platform", version, tuple(map(parse_selector, selectors)), "all-at-once", generation, 0.0
    )


def state(*versions: Version, boards: tuple[Board, ...] = BOARDS) -> MirrorState:
    planned = versions[0].manifest
    target = Target(planned.group, planned.version, planned.variant, versions[0].digest)
    return MirrorState(
        plan=Plan(1, 0, (target,), {one.id: (0,) for one in boards}),
        boards={one.id: one for one in boards},
        catalog={version.key: version.record for version in versions},
    )


def view(facts: Board, group: GroupReport, *, generation: int = 1, age: float = 1.0) -> BoardView:
    return BoardView(facts, generation, age, {"platform": group})


def computed(
    record: RolloutRecord,
    views: dict[str, BoardView],
    *later: RolloutRecord,
    known: MirrorState | None = None,
    age: float = 5.0,
    listening: float = 5.0,
) -> RolloutStatus:
    found = statuses(
        [*later, record],
        known or state(Version()),
        Hearing(views, listening, dict.fromkeys((one.id for one in (*later, record)), age)),
    )
    return next(one for other, one in found if other is record)


def all_views(*groups: GroupReport, age: float = 1.0) -> dict[str, BoardView]:
    return {one.id: view(one, group, age=age) for one, group in zip(BOARDS, groups, strict=True)}


def test_it_runs_until_every_board_confirmed() -> None:
    moving = GroupReport(version="0", wanted="1", state=DeploymentState.DOWNLOADING)
    running = computed(rollout(), all_views(confirmed("1"), moving, confirmed("1")))
    assert (running.state, running.boards, running.confirmed, running.failed) == ("running", 3, 2, 0)
    done = computed(rollout(), all_views(*[confirmed("1")] * 3))
    assert (done.state, done.confirmed) == ("done", 3)


def test_it_failed_when_a_board_did_and_no_other_is_moving() -> None:
    moving = GroupReport(version="0", wanted="1", state=DeploymentState.PROBING)
    assert computed(rollout(), all_views(failed("1"), moving, confirmed("1"))).state == "running"
    ended = computed(rollout(), all_views(failed("1"), confirmed("1"), confirmed("1")))
    assert (ended.state, ended.failed) == ("failed", 1)
    assert ended.reasons == {"c1s3": "health check said no"}


def test_a_board_that_runs_the_version_but_does_not_know_that_it_is_wanted_still_moves() -> None:
    stale = GroupReport(version="1", wanted="0", state=DeploymentState.CONFIRMED)
    assert computed(rollout(), all_views(stale, confirmed("1"), confirmed("1"))).state == "running"


def test_a_failure_of_an_older_plan_does_not_count() -> None:
    views = all_views(confirmed("1"), confirmed("1"), confirmed("1"))
    views["c1s3"] = view(BOARDS[0], failed("1"), generation=1)
    assert computed(rollout(generation=2), views).state == "running"


def test_silence_counts_as_failure_and_speaking_again_mends_it() -> None:
    moving = GroupReport(version="0", wanted="1", state=DeploymentState.DOWNLOADING)
    views = all_views(moving, confirmed("1"), confirmed("1"), age=SILENT_AFTER + 1)
    silent = computed(rollout(), views, age=SILENT_AFTER + 1, listening=SILENT_AFTER + 1)
    assert silent.state == "failed"
    assert silent.reasons == {"c1s3": "silent for 31 s"}
    assert computed(rollout(), views, age=3.0, listening=100.0).state == "running"
    assert computed(rollout(), views, age=100.0, listening=3.0).state == "running"
    views["c1s3"] = view(BOARDS[0], moving)
    assert computed(rollout(), views, age=100.0, listening=100.0).state == "running"


def test_a_board_that_was_never_heard_fails_only_when_this_server_would_have_heard_it() -> None:
    views = all_views(confirmed("1"), confirmed("1"), confirmed("1"))
    del views["c2s3"]
    assert computed(rollout(), views, age=100.0, listening=3.0).state == "running"
    gone = computed(rollout(), views, age=100.0, listening=100.0)
    assert gone.state == "failed"
    assert gone.reasons == {"c2s3": "never heard from"}


def test_its_boards_are_those_that_it_selects_that_run_the_group_and_that_a_variant_fits() -> None:
    others = (board("c1s5", groups=("routing",)), board("c1s6", type="rp"))
    known = state(Version(board_types=("lc*",)), boards=(*BOARDS, *others))
    counted = computed(rollout(1, "1", "chassis=1"), {}, known=known, age=100.0, listening=100.0)
    assert set(counted.reasons) == {"c1s3", "c1s4"}


def test_a_board_that_joins_late_belongs_to_it() -> None:
    known = state(Version(), boards=(*BOARDS, board("c3s3")))
    joined = computed(rollout(), all_views(*[confirmed("1")] * 3), known=known)
    assert (joined.state, joined.boards) == ("running", 4)


class TestWhatComesLater:
    def test_a_later_rollout_takes_over_the_boards_that_it_matches(self) -> None:
        views = all_views(confirmed("1"), failed("2"), confirmed("1"))
        known = state(Version(), Version(version="2"))
        first = computed(rollout(), views, rollout(2, "2", "board=c1s4", generation=2), known=known)
        assert (first.state, first.boards, first.confirmed) == ("done", 2, 2)

    def test_one_that_lost_all_its_boards_keeps_its_outcome(self) -> None:
        known = state(Version(version="2"), Version())
        finished = msgspec.structs.replace(rollout(), outcome="done")
        assert computed(finished, all_views(*[confirmed("2")] * 3), rollout(2, "2"), known=known).state == "done"

    def test_one_that_lost_them_before_its_end_failed_and_says_to_whom(self) -> None:
        known = state(Version(version="2"), Version())
        lost = computed(rollout(), {}, rollout(2, "2"), known=known)
        assert lost.state == "failed"
        assert lost.reasons == {"*": "superseded by rollout r2"}

    def test_one_that_had_ended_is_shown_as_it_ended_whatever_is_left_of_it(self) -> None:
        views = all_views(confirmed("1"), failed("2"), confirmed("1"))
        known = state(Version(version="2"), Version())
        ended = msgspec.structs.replace(
            rollout(), outcome="failed", boards=3, confirmed=2, failed=1, reasons={"c1s4": "health check said no"}
        )
        for later in (rollout(2, "2", "board=c1s4", generation=2), rollout(2, "2", generation=2)):
            shown = computed(ended, views, later, known=known)
            assert (shown.state, shown.boards, shown.confirmed, shown.failed) == ("failed", 3, 2, 1)
            assert shown.reasons == {"c1s4": "health check said no"}

    def test_another_groups_rollout_takes_nothing_over(self) -> None:
        other = msgspec.structs.replace(rollout(2, "2"), group="routing")
        assert computed(rollout(), all_views(*[confirmed("1")] * 3), other).boards == 3


def test_rollouts_are_ordered_by_number() -> None:
    assert [one.id for one in ordered([rollout(10), rollout(9), rollout(2)])] == ["r2", "r9", "r10"]
