"""What the active does by itself: boards join, plans follow, rollouts end."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import ConflictError
from boardwright.model.api import DeploymentRequest
from boardwright.model.audit import Action
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.board_reports import CHANGE_EVERY, BoardReports
from boardwright.server.deployments import Deployments
from boardwright.server.executor import BOARDS_PER_COMMIT, Executor
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.held import HeldVersions
from boardwright.server.listed import Listed
from boardwright.server.mirror import Mirror
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.state.follow import Follower
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import BOARDS
from tests.identities import Identities
from tests.unit.server.builders import Version, act, audited, board, confirmed, failed, fill, report

IDENTITIES = Identities()


class Bench:
    """An executor over a state in memory, with the local copy fed by hand."""

    def __init__(self, folder: Path, inventory: Path | None = None) -> None:
        self.kv = MemoryKV()
        self.mirror = Mirror(folder / "mirror.json")
        self.now, self.active_since, self.contested = 100.0, 100.0, False
        self.board_reports = BoardReports(lambda: self.now, contested=lambda _board: self.contested)
        self.epoch = 1
        self.fault: Exception | None = None
        self.commits: list[Transaction] = []
        self._follower = Follower(self.kv, "", self.mirror)
        self.executor = Executor(
            kv=self.kv,
            commit=self.commit,
            epoch=lambda: self.epoch,
            mirror=self.mirror,
            board_reports=self.board_reports,
            watch=RolloutWatch(self.mirror, self.board_reports, lambda: self.active_since, lambda: self.now),
            held=HeldVersions(
                self.kv,
                self.commit,
                audited(self.kv, self.commit),
                self.mirror,
                self.board_reports,
                lambda _board: self.contested,
            ),
            listed=Listed(inventory),
            signing=IDENTITIES.signing(),
        )
        IDENTITIES.begin(self.kv)

    def commit(self, transaction: Transaction) -> int:
        if self.fault is not None:
            raise self.fault
        if not self.epoch:
            raise DeposedError("not the active")
        self.commits.append(transaction)
        return self.kv.commit(transaction)

    def round(self) -> Facts:
        for _ in range(2):
            self._follower.step(0)
        self.executor.round()
        for _ in range(2):
            self._follower.step(0)
        return read_facts(self.kv)

    def deploy(self, version: str = "1", *selectors: str) -> None:
        class Behind(Mirror):
            def __init__(self) -> None:
                pass

            def wait_for(self, revision: int, timeout: float) -> bool:
                return True

        request = DeploymentRequest("platform", version, selectors)
        Deployments(self.kv, audited(self.kv, self.commit), Behind(), IDENTITIES.signing(), time.time).deploy(
            request, act(Action.DEPLOY)
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def written(folder: Path, *boards: str) -> Path:
    path = folder / "cluster.toml"
    rows = "".join(
        f'[[board]]\nid = "{name}"\nchassis = "{name[1]}"\nslot = "{name[3]}"\ntype = "lc"\ngroups = ["platform"]\n'
        f'address = "10.0.{name[1]}.{name[3]}"\nserver = {str(name == "c1s3").lower()}\n'
        for name in boards
    )
    path.write_text(f'[cluster]\nname = "test"\ninterface = "lo"\n{rows}')
    return path


def test_a_standby_does_nothing(bench: Bench) -> None:
    bench.epoch = 0
    bench.board_reports.take([report(board(), 1)])
    assert bench.round().inventory.boards == {}
    assert bench.commits == []


class TestBoards:
    def test_those_of_the_inventory_file_that_are_missing_are_added_on_taking_over(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, written(tmp_path, "c1s3", "c1s4"))
        known = Board("c1s3", Location("7", "7"), "rp", ("other",))
        bench.kv.commit(Transaction({f"{BOARDS}c1s3": 0}, {f"{BOARDS}c1s3": encoded(known)}))
        boards = bench.round().inventory.boards
        assert boards["c1s3"] == msgspec.structs.replace(known, location=Location("1", "3"))
        assert boards["c1s4"].location == Location("1", "4")

    def test_a_listed_board_stays_in_its_place_whatever_it_says(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, written(tmp_path, "c1s3"))
        bench.round()
        commits = len(bench.commits)
        for sequence in range(1, 10):
            liar = Board("c1s3", Location("9", str(sequence)), "lc", ("platform",), server=True)
            bench.board_reports.take([report(liar, sequence)])
            assert bench.round().inventory.boards["c1s3"].location == Location("1", "3")
        assert len(bench.commits) == commits

    def test_a_board_that_says_another_thing_every_time_causes_no_storm_of_commits(self, bench: Bench) -> None:
        bench.board_reports.take([report(board(), 1)])
        bench.round()
        for sequence in range(2, 100):
            said = Board("c1s3", Location("9", str(sequence)), f"t{sequence}", (f"g{sequence}",))
            bench.board_reports.take([report(said, sequence)])
            bench.round()
        assert len(bench.commits) == 2
        bench.now += CHANGE_EVERY
        assert bench.round().inventory.boards["c1s3"].location == Location("9", "99")  # its last word is not lost
        assert len(bench.commits) == 3

    def test_two_computers_with_one_id_cannot_make_the_plan_swing(self, bench: Bench) -> None:
        bench.board_reports.take([report(board(), 1)])
        bench.round()
        bench.contested = True
        for sequence in range(2, 100):
            bench.now += CHANGE_EVERY
            place = Location(str(sequence % 2), "3")
            bench.board_reports.take([report(Board("c1s3", place, "lc", ("platform",)), sequence)])
            bench.round()
        assert len(bench.commits) == 1
        bench.contested = False
        bench.board_reports.take([report(board(), 100)])
        assert bench.round().inventory.boards["c1s3"].location == Location("1", "3")

    def test_strangers_without_end_are_recorded_up_to_a_bound(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("boardwright.server.executor.MAX_BOARDS", 100)
        bench.board_reports.take([report(board(f"c7s{slot}"), 1) for slot in range(300)])
        assert len(bench.round().inventory.boards) == 100

    def test_a_broken_inventory_file_does_not_stop_the_active(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, tmp_path / "missing.toml")
        bench.board_reports.take([report(board(), 1)])
        assert set(bench.round().inventory.boards) == {"c1s3"}

    def test_a_board_that_spoke_is_recorded_once(self, bench: Bench) -> None:
        bench.board_reports.take([report(board(), 1)])
        bench.round()
        bench.board_reports.take([report(board(), 2)])
        bench.round()
        assert len(bench.commits) == 1

    def test_many_at_once_are_written_in_transactions_that_engines_take(self, bench: Bench) -> None:
        bench.round()
        bench.board_reports.take(report(board(f"c1s{slot}"), 1) for slot in range(3 * BOARDS_PER_COMMIT))
        assert len(bench.round().inventory.boards) == 3 * BOARDS_PER_COMMIT
        assert all(len(commit.puts) <= BOARDS_PER_COMMIT for commit in bench.commits)

    def test_what_was_heard_as_a_standby_is_recorded_on_taking_over(self, bench: Bench) -> None:
        bench.epoch = 0
        bench.board_reports.take([report(board(), 1)])
        bench.board_reports.facts({})
        bench.round()
        bench.epoch = 2
        assert set(bench.round().inventory.boards) == {"c1s3"}

    def test_a_conflict_is_made_good_in_the_next_round(self, bench: Bench) -> None:
        bench.round()
        bench.board_reports.take([report(board(), 1)])
        bench.fault = ConflictError("lost")
        bench.round()
        bench.fault = None
        bench.board_reports.take([report(board(), 2)])
        assert set(bench.round().inventory.boards) == {"c1s3"}


class TestPlans:
    def test_a_board_that_joins_late_gets_what_the_policy_says(self, bench: Bench) -> None:
        fill(bench.kv, Version(), boards=(board("c1s3"),))
        bench.round()
        bench.deploy()
        bench.board_reports.take([report(board("c2s9"), 1)])
        facts = bench.round()
        assert facts.plan.generation == 2
        assert facts.plan.for_board("c2s9").groups["platform"].version == "1"

    def test_a_variant_that_comes_later_is_planned_for_the_boards_that_it_fits(self, bench: Bench) -> None:
        fill(bench.kv, Version(board_types=("lc",)), boards=(board("c1s3"), board("c1s4", type="rp")))
        bench.deploy()
        assert bench.round().plan.for_board("c1s4").groups == {}
        for_rp = Version(board_types=("rp",), contents=(b"rp",))
        bench.kv.commit(Transaction({for_rp.key: 0}, {for_rp.key: encoded(for_rp.record)}))
        assert bench.round().plan.for_board("c1s4").groups["platform"].manifest == for_rp.digest

    def test_nothing_new_means_no_new_plan(self, bench: Bench) -> None:
        fill(bench.kv, Version(), boards=(board(),))
        bench.deploy()
        bench.round()
        commits = len(bench.commits)
        for _ in range(3):
            bench.round()
        assert len(bench.commits) == commits
        assert read_facts(bench.kv).plan.generation == 1

    def test_every_new_active_looks_once(self, bench: Bench) -> None:
        """A predecessor may have died between the change of the boards and the plan."""
        fill(bench.kv, Version(), boards=(board(),))
        bench.deploy()
        bench.round()
        late = board("c2s9")
        bench.kv.commit(Transaction({f"{BOARDS}c2s9": 0}, {f"{BOARDS}c2s9": encoded(late)}))
        bench.epoch = 2
        assert bench.round().plan.for_board("c2s9").groups


class TestRollouts:
    def test_the_end_of_a_rollout_is_written_once(self, bench: Bench) -> None:
        fill(bench.kv, Version(), boards=(board(),))
        bench.deploy()
        assert bench.round().rollouts["r1"].outcome == ""
        bench.board_reports.take([report(board(), 1, platform=confirmed("1"))])
        ended = bench.round().rollouts["r1"]
        assert (ended.outcome, ended.boards, ended.confirmed, ended.failed) == ("done", 1, 1, 0)
        commits = len(bench.commits)
        bench.round()
        assert len(bench.commits) == commits

    def test_a_failure_that_mends_itself_is_written_over(self, bench: Bench) -> None:
        fill(bench.kv, Version(), boards=(board(),))
        bench.deploy()
        bench.board_reports.take([report(board(), 1, platform=failed("1"))])
        ended = bench.round().rollouts["r1"]
        assert (ended.outcome, ended.failed, ended.reasons) == ("failed", 1, {"c1s3": "health check said no"})
        bench.board_reports.take([report(board(), 2, platform=confirmed("1"))])
        assert bench.round().rollouts["r1"].outcome == "done"


@pytest.mark.parametrize("fault", [EngineError("no quorum"), ConflictError("lost"), DeposedError("gone")])
def test_trouble_with_the_engine_ends_nothing(bench: Bench, fault: Exception) -> None:
    fill(bench.kv, Version(), boards=(board(),))
    bench.deploy()
    bench.board_reports.take([report(board("c2s9"), 1)])
    bench.fault = fault
    for _ in range(3):
        bench.round()
    bench.fault = None
    bench.epoch += 1
    assert bench.round().plan.for_board("c2s9").groups


def interrupted_after(count: int, commit: Callable[[Transaction], int]) -> Callable[[Transaction], int]:
    """`commit` that works `count` times and then is the act of a deposed active."""
    left = [count]

    def counted(transaction: Transaction) -> int:
        if not left[0]:
            raise DeposedError("deposed")
        left[0] -= 1
        return commit(transaction)

    return counted


def test_a_takeover_interrupted_after_any_step_is_finished_by_the_next_active(tmp_path: Path) -> None:
    for step in range(5):
        folder = tmp_path / str(step)
        folder.mkdir()
        bench = Bench(folder, written(folder, "c1s3", "c1s4"))
        fill(bench.kv, Version())
        policy = msgspec.json.encode({"assignments": [{"group": "platform", "version": "1", "selectors": []}]})
        bench.kv.commit(Transaction({"policy": 0}, {"policy": policy}))
        bench.board_reports.take([report(board("c2s9"), 1)])
        whole, bench.commit = bench.commit, interrupted_after(step, bench.commit)  # type: ignore[method-assign]
        bench.executor._commit = bench.commit
        bench.round()
        bench.commit = bench.executor._commit = whole  # type: ignore[method-assign]
        bench.epoch += 1
        facts = bench.round()
        assert set(facts.plan.boards) == {"c1s3", "c1s4", "c2s9"}
