"""Backup and restore of the state: interrupted anywhere, with whatever was seen before."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from boardwright.errors import ConflictError, RefusedError
from boardwright.model.api import Restoration, Restored
from boardwright.model.audit import Action
from boardwright.model.plan import Plan
from boardwright.model.policy import Policy
from boardwright.server.facts import encoded, read_facts
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.planning import target_of
from boardwright.server.restoring import MOST, Restoring
from boardwright.server.signing import read_signed
from boardwright.state.active import ActiveRole, RestoringError
from boardwright.state.follow import Follower
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import PLAN, POLICY, RESTORED, RESTORING
from boardwright.trust.names import PLANS, SNAPSHOT, TIMESTAMP
from tests.identities import Identities
from tests.unit.server.builders import Version, act, audit_records, audited, board, fill


class CutError(Exception):
    """The server dies here."""


class World:
    """One active over an engine; `cut` (n) lets it die before its n-th write."""

    def __init__(self, folder: Path, identities: Identities, kv: MemoryKV | None = None, server: str = "c1s1") -> None:
        self.kv = kv or MemoryKV()
        self.identities = identities
        self.role = ActiveRole(self.kv, server, barrier=lambda: self.mirror.doubt)
        self.mirror = Mirror(folder / f"mirror-{time.monotonic_ns()}.json")
        self.follower = Follower(self.kv, "", self.mirror)
        self.heard: list[int] = []
        self.left: int | None = None
        self.writes = 0
        self.role.tick()
        self.restoring = Restoring(
            "test",
            self.kv,
            self.commit,
            audited(self.kv, self.commit),
            self.mirror,
            Holdings(),
            identities.signing(),
            lambda: self.heard,
        )

    def commit(self, transaction: Transaction) -> int:
        if self.left == self.writes:
            raise CutError
        self.writes += 1
        return self.role.commit(transaction)

    def follow(self) -> None:
        for _ in range(3):
            self.follower.step(0)

    def restore(self, data: bytes, *, replace: bool = False) -> Restored:
        return self.restoring.restore(Restoration(backup=data, replace=replace), act(Action.RESTORE))

    @property
    def generation(self) -> int:
        return read_facts(self.kv).plan.generation


def plan_again(world: World, generation: int) -> None:
    """Commit a plan as the executor does."""
    facts = read_facts(world.kv)
    plan = Plan(generation, generation - 1, (), {"c1s3": ()})
    change = Transaction(facts.compare(PLAN, POLICY), {PLAN: encoded(plan), POLICY: encoded(Policy())})
    world.kv.commit(world.identities.signing().change(world.kv, change, plan))


@pytest.fixture(scope="module")
def identities() -> Identities:
    return Identities()


@pytest.fixture(autouse=True)
def _nobody_follows_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boardwright.server.restoring.SEEN_WITHIN", 0.0)


@pytest.fixture
def make(tmp_path: Path, identities: Identities) -> Callable[..., World]:
    return lambda kv=None, server="c1s1": World(tmp_path, identities, kv, server)


@pytest.fixture
def full(make: Callable[..., World], identities: Identities) -> World:
    world = make()
    identities.begin(world.kv)
    fill(world.kv, Version(version="1"), boards=tuple(board(f"c1s{slot}") for slot in range(3, 9)))
    plan_again(world, 37)
    world.follow()
    return world


class TestABackup:
    def test_comes_back_into_an_empty_engine_with_everything(self, full: World, make: Callable[..., World]) -> None:
        empty = make()
        done = empty.restore(full.restoring.backup())
        assert (done.boards, done.versions) == (6, 1)
        before, after = read_facts(full.kv), read_facts(empty.kv)
        assert (before.catalog, before.inventory, before.policy) == (after.catalog, after.inventory, after.policy)
        assert after.plan.boards == before.plan.boards
        empty.follow()
        assert empty.mirror.state.plan.generation == done.generation
        assert [record.action for record in audit_records(empty.kv)] == ["restore"]

    def test_has_nothing_secret_in_it(self, full: World) -> None:
        assert b"PRIVATE KEY" not in full.restoring.backup()

    def test_of_a_state_that_is_not_believed_is_refused(self, full: World) -> None:
        full.kv.commit(Transaction({RESTORING: 0}, {RESTORING: b'{"id":"x"}'}))
        with pytest.raises(RestoringError):
            full.restoring.backup()


class TestTheGeneration:
    def test_is_above_what_boards_and_servers_say(self, full: World, make: Callable[..., World]) -> None:
        empty = make()
        far = int(time.time()) + 5_000_000
        empty.heard = [far, 3]
        assert empty.restore(full.restoring.backup()).generation == far + 1

    def test_is_above_what_nobody_says_who_is_there(self, full: World, make: Callable[..., World]) -> None:
        """Boards that are switched off have seen up to one plan a second since the backup."""
        assert make().restore(full.restoring.backup()).generation >= int(time.time()) - 5

    def test_grows_when_the_same_backup_is_restored_again(self, full: World) -> None:
        data = full.restoring.backup()
        first = full.restore(data, replace=True).generation
        assert full.restore(data, replace=True).generation > first

    def test_one_that_lies_leaves_room_above_it(self, full: World, make: Callable[..., World]) -> None:
        empty = make()
        empty.heard = [2**53 - 1]
        assert empty.restore(full.restoring.backup()).generation < MOST

    def test_of_what_is_signed_jumps_as_well(self, full: World, make: Callable[..., World]) -> None:
        data = full.restoring.backup()
        for generation in range(38, 45):
            plan_again(full, generation)
        newest = read_signed(full.kv).signed
        empty = make()
        empty.restore(data)
        signed = read_signed(empty.kv).signed
        signed.check()
        assert all(signed.version(role) > newest.version(role) for role in (PLANS, SNAPSHOT, TIMESTAMP))


class TestWhatTheOperatorHasSigned:
    def test_never_goes_back_to_what_the_backup_has(self, full: World, identities: Identities) -> None:
        data = full.restoring.backup()
        signed = read_signed(full.kv).signed
        later = identities.with_version(signed, target_of(Version(version="9").record))
        full.kv.commit(identities.signing().signed(read_signed(full.kv), later, Transaction({}, {}), Plan(37, 36)))
        full.restore(data, replace=True)
        assert read_signed(full.kv).signed.names(target_of(Version(version="9").record))

    def test_another_cluster_s_is_refused(self, full: World, tmp_path: Path) -> None:
        other = World(tmp_path, Identities())
        with pytest.raises(RefusedError, match="may not sign for the cluster in this backup"):
            other.restore(full.restoring.backup())
        assert other.kv.get(RESTORING) is None

    def test_a_backup_of_another_name_is_refused(self, full: World) -> None:
        data = full.restoring.backup().replace(b'"cluster":"test"', b'"cluster":"other"', 1)
        with pytest.raises(RefusedError, match="a backup of the cluster 'other', not of 'test'"):
            full.restore(data, replace=True)


class TestAStateThatIsNotEmpty:
    def test_is_replaced_only_if_that_is_said(self, full: World) -> None:
        data = full.restoring.backup()
        with pytest.raises(RefusedError, match="the state is not empty: it has plan 37 and 1 versions"):
            full.restore(data)
        assert full.generation == 37

    def test_loses_what_the_backup_lacks_but_for_the_audit_log(self, full: World) -> None:
        data = full.restoring.backup()
        fill(full.kv, boards=(board("c2s9"),))
        audited(full.kv, full.role.commit)(Transaction({}, {}), act())
        full.restore(data, replace=True)
        assert "c2s9" not in read_facts(full.kv).inventory.boards
        assert [record.action for record in audit_records(full.kv)] == ["deploy", "restore"]


class TestCutOff:
    def test_anywhere_nobody_serves_or_changes_a_half_and_it_is_done_again(
        self, full: World, make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("boardwright.server.restoring.PUTS", 2)
        data = full.restoring.backup()
        goal = full.mirror.state.boards
        fill(full.kv, boards=tuple(board(f"c2s{slot}") for slot in range(1, 6)))
        full.follow()
        before = full.mirror.state
        steps = 0
        while True:
            world = World(full.mirror._path.parent, full.identities, _copy(full.kv))
            world.follow()
            world.left = steps
            try:
                world.restore(data, replace=True)
            except CutError:
                world.follow()
                assert world.mirror.state.plan == before.plan
                assert world.mirror.state.boards == before.boards
                assert (world.kv.get(RESTORING) is not None) == (steps > 0)
                if steps:
                    with pytest.raises(RestoringError):
                        world.role.commit(Transaction({PLAN: world.kv.range(PLAN).entries[0].revision}, {PLAN: b"{}"}))
                    newcomer = make(world.kv, "c1s2")
                    newcomer.follow()
                    assert not newcomer.mirror.state.boards, "who has no copy yet serves nothing"
                world.left = None
                world.restore(data, replace=not steps)  # what is unfinished needs no second word
            else:
                assert steps > 3
                return
            world.follow()
            assert world.kv.get(RESTORING) is None
            assert world.mirror.state.boards == goal
            assert world.mirror.state.plan.generation == world.generation > 1_000_000
            steps += 1

    def test_an_active_that_has_not_heard_of_it_yet_changes_nothing_either(self, full: World) -> None:
        full.kv.commit(Transaction({RESTORING: 0}, {RESTORING: b'{"id":"x"}'}))
        assert not full.mirror.doubt
        with pytest.raises(RestoringError, match="the state is being restored"):
            full.role.commit(Transaction({POLICY: read_facts(full.kv).revisions[POLICY]}, {POLICY: b"{}"}))

    def test_two_at_the_same_time_one_of_them_ends(self, full: World, make: Callable[..., World]) -> None:
        data = full.restoring.backup()
        world = make()
        world.left = 1
        with pytest.raises(CutError):
            world.restore(data)
        world.left = None
        began = world.kv.get(RESTORING)
        assert began is not None
        world.restore(data)
        with pytest.raises(ConflictError):  # the first one wakes up
            world.role.commit(Transaction({RESTORING: began.revision}, {PLAN: b"{}"}))

    def test_trouble_of_the_engine_is_said_and_the_next_try_ends_it(self, full: World) -> None:
        data = full.restoring.backup()
        commit, calls = full.kv.commit, 0

        def failing(transaction: Transaction) -> int:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise EngineError("no quorum")
            return commit(transaction)

        full.kv.commit = failing  # type: ignore[method-assign]
        with pytest.raises(EngineError):
            full.restore(data, replace=True)
        assert full.restore(data).boards == 6


def test_a_restore_says_in_the_state_what_it_was(full: World) -> None:
    full.restore(full.restoring.backup(), replace=True)
    entry = full.kv.get(RESTORED)
    assert entry is not None
    assert b'"source":37' in entry.value


def _copy(kv: MemoryKV) -> MemoryKV:
    made = MemoryKV()
    values = {entry.key: entry.value for entry in kv.range("").entries if not entry.key.startswith("lease/")}
    made.commit(Transaction(dict.fromkeys(values, 0), dict(values)))
    return made
