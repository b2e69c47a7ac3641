"""`deploy`: policy, plan and rollout in one transaction, or a refusal that says what there is."""

from collections.abc import Callable

import msgspec
import pytest

from boardwright.errors import BoardwrightError, ConflictError, FailedError, RefusedError, UsageError
from boardwright.model.api import DeploymentRequest
from boardwright.model.audit import Action
from boardwright.model.plan import Plan
from boardwright.model.policy import Policy
from boardwright.server.deployments import ATTEMPTS, KEPT_ROLLOUTS, Deployments
from boardwright.server.facts import encoded, read_facts
from boardwright.server.mirror import Mirror
from boardwright.state.kv import Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import PLAN, POLICY, ROLLOUTS, RolloutRecord
from tests.identities import Identities
from tests.unit.server.builders import Version, act, audited, board, fill

IDENTITIES = Identities()


class NoWait(Mirror):
    """A local copy that nobody feeds: the tests read the state itself."""

    def __init__(self) -> None:
        pass

    def wait_for(self, revision: int, timeout: float) -> bool:
        return True


@pytest.fixture
def kv() -> MemoryKV:
    kv = MemoryKV()
    boards = (board("c1s3"), board("c1s4", type="rp"), board("c2s3", groups=("platform", "routing")))
    fill(kv, Version(), Version(version="2"), Version("routing", "8", requires={"platform": ">= 2"}), boards=boards)
    return kv


def deployments(kv: MemoryKV, commit: Callable[[Transaction], int] | None = None) -> Deployments:
    return Deployments(kv, audited(kv, commit), NoWait(), IDENTITIES.signing(), lambda: 1000.0)


def test_policy_plan_and_rollout_are_committed_as_one_change(kv: MemoryKV) -> None:
    before = kv.range("").revision
    done = deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    facts = read_facts(kv)
    assert kv.range("").revision == before + 1
    assert (done.rollout, done.generation) == ("r1", 1)
    assert [(change.board, change.after) for change in done.changes] == [("c1s3", "1"), ("c1s4", "1"), ("c2s3", "1")]
    assert facts.plan.generation == 1
    assert facts.policy.assignments[0].version == "1"
    assert facts.rollouts["r1"].generation == 1


def test_a_selector_limits_it_and_repeated_ones_are_or(kv: MemoryKV) -> None:
    done = deployments(kv).deploy(DeploymentRequest("platform", "1", ("chassis=2", "type=rp")), act(Action.DEPLOY))
    assert [change.board for change in done.changes] == ["c1s4", "c2s3"]


class TestBoardsThatCannotTakeIt:
    @pytest.fixture
    def kv(self) -> MemoryKV:
        kv = MemoryKV()
        both = ("platform", "routing")
        boards = (board("c1s1"), board("c1s3", groups=both), board("c1s4", groups=both), board("c1s5", groups=("odd",)))
        routing = Version("routing", "8", requires={"platform": ">= 2"}, board_types=("lc",))
        fill(kv, Version(), Version(version="2"), routing, Version("odd", "1", board_types=("rp",)), boards=boards)
        deployments(kv).deploy(DeploymentRequest("platform", "2", ("c1s3",)), act(Action.DEPLOY))
        return kv

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_one_that_stays_as_it_is_has_its_reason_beside_those_that_change(self, kv: MemoryKV, dry_run: bool) -> None:
        request = DeploymentRequest("routing", "8", ("chassis=1",), dry_run=dry_run)
        reasons = {
            change.board: change.reason for change in deployments(kv).deploy(request, act(Action.DEPLOY)).changes
        }
        assert reasons["c1s3"] == ""
        assert "requires platform >= 2" in reasons["c1s4"]
        assert "does not run routing" in reasons["c1s1"]

    def test_what_was_held_back_follows_when_its_requirement_is_met(self, kv: MemoryKV) -> None:
        deployments(kv).deploy(DeploymentRequest("routing", "8"), act(Action.DEPLOY))
        done = deployments(kv).deploy(DeploymentRequest("platform", "2"), act(Action.DEPLOY))
        assert ("c1s4", "routing", "8") in {(change.board, change.group, change.after) for change in done.changes}

    @pytest.mark.parametrize("dry_run", [False, True])
    @pytest.mark.parametrize(
        ("group", "selectors", "words"),
        [
            ("routing", ("c1s1", "c1s4"), ("c1s1: this board does not run routing", "c1s4: routing 8 requires")),
            ("odd", (), ("c1s5: odd 1 has no variant for board type lc",)),
        ],
    )
    def test_if_none_can_it_failed_with_every_reason_and_nothing_is_changed(
        self, kv: MemoryKV, group: str, selectors: tuple[str, ...], words: tuple[str, ...], dry_run: bool
    ) -> None:
        before = kv.range("")
        version = {"routing": "8", "odd": "1"}[group]
        with pytest.raises(FailedError) as failed:
            deployments(kv).deploy(DeploymentRequest(group, version, selectors, dry_run=dry_run), act(Action.DEPLOY))
        assert all(word in str(failed.value) for word in words)
        assert kv.range("") == before

    def test_boards_that_have_the_same_reason_are_named_together(self, kv: MemoryKV) -> None:
        with pytest.raises(FailedError, match="c1s1, c1s5: this board does not run routing"):
            deployments(kv).deploy(DeploymentRequest("routing", "8", ("c1s1", "c1s5")), act(Action.DEPLOY))

    def test_a_group_that_no_board_runs_is_an_error(self, kv: MemoryKV) -> None:
        fill(kv, Version("lonely", "1"))
        with pytest.raises(FailedError, match="no board runs the group 'lonely'"):
            deployments(kv).deploy(DeploymentRequest("lonely", "1"), act(Action.DEPLOY))

    def test_the_same_again_is_fine_when_those_that_can_have_it(self, kv: MemoryKV) -> None:
        request = DeploymentRequest("routing", "8", ("chassis=1",))
        deployments(kv).deploy(request, act(Action.DEPLOY))
        assert deployments(kv).deploy(request, act(Action.DEPLOY)).rollout == "r3"


@pytest.mark.parametrize(
    ("group", "version", "selectors", "meant"),
    [
        ("plattform", "1", (), "'platform'"),
        ("platform", "22", (), "'2'"),
        ("platform", "1", ("board=c1s33",), "'c1s3'"),
    ],
)
def test_what_is_nearly_a_name_is_answered_with_the_one_that_was_meant(
    kv: MemoryKV, group: str, version: str, selectors: tuple[str, ...], meant: str
) -> None:
    before = kv.range("")
    with pytest.raises(FailedError) as failed:
        deployments(kv).deploy(DeploymentRequest(group, version, selectors), act(Action.DEPLOY))
    assert f"did you mean {meant}?" in (failed.value.hint or "")
    assert failed.value.exit_code == 1
    assert kv.range("") == before


def test_a_dry_run_says_the_same_and_changes_nothing(kv: MemoryKV) -> None:
    before = kv.range("")
    dry = deployments(kv).deploy(DeploymentRequest("platform", "1", dry_run=True), act(Action.DEPLOY))
    assert dry.rollout is None
    assert kv.range("") == before
    done = deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    assert (done.generation, done.changes) == (dry.generation, dry.changes)


def test_the_same_again_is_a_rollout_without_a_new_plan(kv: MemoryKV) -> None:
    deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    again = deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    assert (again.rollout, again.generation, again.changes) == ("r2", 1, ())


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (DeploymentRequest("boardwright", "1"), RefusedError, "upgrade"),
        (DeploymentRequest("platform", "1", strategy="canary"), UsageError, "all-at-once"),
        (DeploymentRequest("platform", "1", ("rack=1",)), UsageError, "chassis"),
        (DeploymentRequest("switching", "1"), FailedError, "platform, routing"),
        (DeploymentRequest("platform", "9"), FailedError, "1, 2"),
        (DeploymentRequest("platform", "1", ("type=x*",)), FailedError, "lc, rp"),
        (DeploymentRequest("platform", "1", ("board=c1s3", "c7*")), FailedError, "c1s3, c1s4, c2s3"),
        (DeploymentRequest("platform", "1", ("chassis=1,slot=9",)), FailedError, "slot of chassis=1: 3, 4"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_there_is(
    kv: MemoryKV, request_: DeploymentRequest, kind: type[BoardwrightError], words: str
) -> None:
    before = kv.range("")
    with pytest.raises(kind) as refused:
        deployments(kv).deploy(request_, act(Action.DEPLOY))
    assert words in f"{refused.value} {refused.value.hint}"
    assert kv.range("") == before


def test_a_change_that_came_between_is_read_and_decided_anew(kv: MemoryKV) -> None:
    interruptions = iter([Transaction({PLAN: 0}, {PLAN: encoded(Plan(generation=40))})])

    def commit(transaction: Transaction) -> int:
        for interruption in interruptions:
            kv.commit(interruption)
        return kv.commit(transaction)

    assert deployments(kv, commit).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY)).generation == 41


def test_it_gives_up_after_some_lost_commits_and_at_once_when_deposed(kv: MemoryKV) -> None:
    tried: list[Transaction] = []

    def commit(error: ConflictError) -> Callable[[Transaction], int]:
        def refuse(transaction: Transaction) -> int:
            tried.append(transaction)
            raise error

        return refuse

    with pytest.raises(ConflictError):
        deployments(kv, commit(ConflictError("lost"))).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    assert len(tried) == ATTEMPTS
    with pytest.raises(DeposedError):
        deployments(kv, commit(DeposedError("not the active"))).deploy(
            DeploymentRequest("platform", "1"), act(Action.DEPLOY)
        )
    assert len(tried) == ATTEMPTS + 1


def test_only_the_newest_rollouts_are_kept(kv: MemoryKV) -> None:
    old = [RolloutRecord(f"r{number}", "platform", "1", (), "all-at-once", 0, 0.0) for number in range(1, 251)]
    for start in range(0, len(old), 50):
        part = {f"{ROLLOUTS}{one.id}": encoded(one) for one in old[start : start + 50]}
        kv.commit(Transaction(dict.fromkeys(part, 0), part))
    assert deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY)).rollout == "r251"
    kept = read_facts(kv).rollouts
    assert len(kept) == KEPT_ROLLOUTS
    assert {"r251", "r52"} <= kept.keys()
    assert "r51" not in kept


def test_a_policy_that_cannot_be_read_stops_everything_and_is_not_overwritten(kv: MemoryKV) -> None:
    kv.commit(Transaction({POLICY: 0}, {POLICY: b'{"assignments": "newer"}'}))
    with pytest.raises(FailedError, match="policy"):
        deployments(kv).deploy(DeploymentRequest("platform", "1"), act(Action.DEPLOY))
    entry = kv.get(POLICY)
    assert entry is not None
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(entry.value, type=Policy)
