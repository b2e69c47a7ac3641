"""Versions that boards rolled back from: recorded once, offered no more, let go by the operator."""

import time
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import ConflictError, FailedError
from boardwright.model.api import DeploymentRequest, RolloutStatus
from boardwright.model.audit import Action
from boardwright.model.report import BoardReport, GroupReport
from boardwright.server import held as held_versions
from boardwright.server.board_reports import LATE_WINDOW
from boardwright.server.deployments import Deployments
from boardwright.server.facts import encoded, read_facts
from boardwright.server.held import LOGS_KEPT, PER_ROUND, HeldVersions
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.state.kv import Transaction
from boardwright.state.records import HELD, MAX_HELD_LOG, HeldRecord, RetryRecord
from tests.unit.server.builders import Version, act, audited, board, confirmed, failed, fill
from tests.unit.server.test_executor import IDENTITIES, Bench

ONE, TWO = Version(), Version(version="2")


class Held(Bench):
    """Version 2 is planned for two boards that run 1; `says` is a board's next word."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sequence = 0
        self.versions = HeldVersions(
            self.kv, self.commit, audited(self.kv, self.commit), self.mirror, self.board_reports
        )
        self.mirror.wait_for = lambda revision, timeout: True  # type: ignore[method-assign]
        both = ("platform", "routing")
        fill(self.kv, ONE, TWO, Version("routing", "8"), boards=(board(groups=both), board("c1s4", groups=both)))
        self.deploy("2")
        self.round()

    def says(self, group: GroupReport, name: str = "c1s3", *, generation: int | None = None, retry: int = 0) -> None:
        self.sequence += 1
        known = self.mirror.state.plan.generation if generation is None else generation
        both = board(name, groups=("platform", "routing"))
        self.board_reports.take([BoardReport(both, known, self.sequence, {"platform": group}, retry=retry)])

    def records(self) -> dict[str, HeldRecord]:
        return self.round().held

    def retry(self, group: str | None = None) -> int:
        count = self.versions.retry("c1s3", act(Action.RETRY), group).retry
        self.round()
        return count


def bad(version: Version = TWO, log: str = "boom") -> GroupReport:
    return msgspec.structs.replace(failed(version.manifest.version), held=version.digest, log=log)


@pytest.fixture
def bench(tmp_path: Path) -> Held:
    return Held(tmp_path)


class TestABoardThatRolledBack:
    def test_is_recorded_with_the_reason_and_the_end_of_the_log(self, bench: Held) -> None:
        bench.says(bad(log="x" * 9000 + "boom"))
        (record,) = bench.records().values()
        assert (record.manifest, record.version, record.reason) == (TWO.digest, "2", "health check said no")
        assert len(record.log) == MAX_HELD_LOG
        assert record.log.endswith("boom")

    def test_is_written_once_however_often_it_says_so(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        commits = len(bench.commits)
        for _ in range(3):
            bench.says(bad())
            bench.round()
        assert len(bench.commits) == commits

    def test_a_local_copy_that_lags_is_no_cause_to_write_again(self, bench: Held) -> None:
        bench.says(bad())
        bench.versions.write()
        commits = len(bench.commits)
        bench.versions.write()
        assert len(bench.commits) == commits

    def test_is_told_that_the_version_is_withheld_and_the_others_go_on(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        told = bench.mirror.state.board_plan("c1s3")
        assert told.groups == {}
        assert told.withheld["platform"].target.manifest == TWO.digest
        assert told.withheld["platform"].reason == "health check said no"
        assert bench.mirror.state.board_plan("c1s4").groups["platform"].manifest == TWO.digest

    @pytest.mark.parametrize("generation", [0, 99])
    def test_is_not_believed_while_it_speaks_of_another_plan(self, bench: Held, generation: int) -> None:
        bench.says(bad(), generation=generation)
        assert bench.records() == {}

    def test_is_not_believed_of_another_version_than_the_planned_one(self, bench: Held) -> None:
        bench.says(bad(ONE))
        assert bench.records() == {}

    def test_is_not_believed_while_two_computers_speak_as_it(self, bench: Held) -> None:
        bench.contested = True
        bench.says(bad())
        assert bench.records() == {}
        bench.contested = False
        assert set(bench.records()) == {"c1s3/platform"}

    def test_a_failure_that_is_tried_again_by_itself_is_not_held(self, bench: Held) -> None:
        bench.says(failed("2"))
        assert bench.records() == {}

    def test_is_let_go_when_the_plan_names_another_version(self, bench: Held) -> None:
        bench.says(bad())
        assert bench.records()
        bench.deploy("1")
        assert bench.records() == {}
        assert bench.mirror.state.board_plan("c1s3").groups["platform"].version == "1"

    def test_is_let_go_when_it_runs_the_version_all_the_same(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        bench.says(confirmed("2"))
        assert bench.records() == {}

    def test_a_dry_run_names_it(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        dry = DeploymentRequest("platform", "2", dry_run=True)
        deployments = Deployments(
            bench.kv, audited(bench.kv, bench.commit), bench.mirror, IDENTITIES.signing(), time.time
        )
        (change,) = deployments.deploy(dry, act(Action.DEPLOY)).changes
        assert (change.board, change.before, change.after) == ("c1s3", "2", "2")
        assert change.reason == "held: it rolled back from this version; `boardwright retry c1s3` lets it try again"

    def test_and_ten_thousand_others_do_not_write_all_at_once(self, bench: Held) -> None:
        """What the engine and the local copies take is bounded by round, the output altogether."""
        puts = {
            f"{HELD}b{number}/platform": encoded(HeldRecord(TWO.digest, "2", log="boom")) for number in range(PER_ROUND)
        }
        for key, value in puts.items():
            bench.kv.commit(Transaction({key: 0}, {key: value}))
        bench.says(bad())
        bench.round()  # the records of boards that the plan does not name go first
        assert set(bench.records()) == {"c1s3/platform"}

    def test_only_the_first_keep_the_output(self, bench: Held, monkeypatch: pytest.MonkeyPatch) -> None:
        assert LOGS_KEPT > 1
        monkeypatch.setattr(held_versions, "LOGS_KEPT", 1)
        bench.says(bad())
        bench.says(bad(), "c1s4")
        assert sorted(record.log for record in bench.records().values()) == ["", "boom"]


class TestRetry:
    def test_removes_the_record_and_raises_the_count_at_once(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        before = bench.kv.range("").revision
        assert bench.retry() == 1
        facts = read_facts(bench.kv)
        assert (facts.held, facts.retries) == ({}, {"c1s3": RetryRecord(1)})
        assert bench.kv.range("").revision == before + 1
        told = bench.mirror.state.board_plan("c1s3")
        assert (told.retry, told.withheld, told.groups["platform"].version) == (1, {}, "2")

    def test_a_late_word_from_before_it_does_not_hold_again(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        bench.retry()
        bench.says(bad())
        assert bench.records() == {}

    def test_a_failure_after_it_is_held_again(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        bench.retry()
        bench.says(bad(), retry=1)
        assert set(bench.records()) == {"c1s3/platform"}
        assert bench.retry() == 2

    def test_a_word_that_a_retry_overtook_while_the_copy_lagged_is_not_written(self, bench: Held) -> None:
        bench.says(bad())
        bench.versions.retry("c1s3", act(Action.RETRY))  # the local copy does not know of it yet
        bench.versions.write()
        assert read_facts(bench.kv).held == {}

    def test_counts_on_from_what_the_board_has_heard_when_the_state_was_restored(self, bench: Held) -> None:
        bench.says(bad(), retry=7)
        bench.round()
        assert bench.retry() == 8

    def test_of_a_board_that_failed_and_holds_nothing_makes_it_try_at_once(self, bench: Held) -> None:
        bench.says(failed("2"))
        assert bench.versions.retry("c1s3", act(Action.RETRY)).versions == {"platform": "2"}

    def test_of_one_group_leaves_the_others(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        with pytest.raises(FailedError, match="nothing to try again on routing on c1s3"):
            bench.retry("routing")
        assert bench.records()
        assert bench.retry("platform") == 1

    def test_nothing_held_an_unknown_board_and_an_unknown_group_are_named(self, bench: Held) -> None:
        with pytest.raises(FailedError, match="nothing to try again on c1s3: no version is held"):
            bench.retry()
        with pytest.raises(FailedError, match="no board 'c1s33' is known") as unknown:
            bench.versions.retry("c1s33", act(Action.RETRY))
        assert "c1s3" in (unknown.value.hint or "")
        with pytest.raises(FailedError, match="does not run the group 'fpga'"):
            bench.versions.retry("c1s3", act(Action.RETRY), "fpga")

    def test_that_lost_against_another_change_is_decided_anew(self, bench: Held) -> None:
        bench.says(bad())
        bench.round()
        bench.fault = ConflictError("lost")
        with pytest.raises(ConflictError):
            bench.versions.retry("c1s3", act(Action.RETRY))
        bench.fault = None
        assert bench.retry() == 1

    def test_the_rollout_that_failed_for_it_is_done_after_it(self, bench: Held) -> None:
        bench.says(confirmed("2"), "c1s4")
        bench.says(bad())
        assert bench.round().rollouts["r1"].outcome == "failed"
        bench.retry()
        bench.now += LATE_WINDOW
        bench.says(confirmed("2"), retry=1)
        assert bench.round().rollouts["r1"].outcome == "done"
        found: tuple[RolloutStatus, ...] = RolloutWatch(
            bench.mirror, bench.board_reports, lambda: 0.0, lambda: bench.now
        ).statuses()
        assert [(one.state, one.failed) for one in found] == [("done", 0)]
