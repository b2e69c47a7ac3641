"""The driver of the lease: the engine's trouble is kept, changes are fenced, deposed servers are told so."""

import pytest

from boardwright.errors import ConflictError
from boardwright.state.active import ActiveRole, boottime
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.lease import HOLD_FOR, LOOK_EVERY, RENEW_EVERY, TAKE_AFTER, DeposedError, read_lease
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import LEASE


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class BrokenKV(MemoryKV):
    """Fails while `broken`."""

    broken = False

    def commit(self, transaction: Transaction) -> int:
        if self.broken:
            raise EngineError("the engine is down")
        return super().commit(transaction)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kv() -> BrokenKV:
    return BrokenKV()


def test_the_first_tick_takes_a_free_lease_and_says_when_to_renew(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    assert role.held is None
    assert role.tick() == RENEW_EVERY
    assert role.held is not None
    assert role.record is not None
    assert (role.record.holder, role.record.epoch) == ("c1s1", 1)


def test_a_standby_knows_who_is_active(kv: BrokenKV, clock: Clock) -> None:
    ActiveRole(kv, "c1s1", clock=clock).tick()
    standby = ActiveRole(kv, "c1s2", clock=clock)
    assert standby.tick() == LOOK_EVERY
    assert standby.held is None
    assert standby.record is not None
    assert standby.record.holder == "c1s1"


def test_a_commit_of_the_active_goes_through_also_right_after_a_renewal(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    role.tick()
    change = Transaction({"plan": 0}, {"plan": b"1"})
    clock.now += RENEW_EVERY
    role.tick()
    role.commit(change)
    assert kv.get("plan") is not None


def test_a_commit_of_a_standby_is_not_made(kv: BrokenKV, clock: Clock) -> None:
    ActiveRole(kv, "c1s1", clock=clock).tick()
    standby = ActiveRole(kv, "c1s2", clock=clock)
    standby.tick()
    with pytest.raises(DeposedError, match="c1s2 is not the active"):
        standby.commit(Transaction({"plan": 0}, {"plan": b"1"}))
    assert kv.get("plan") is None


def test_a_commit_after_time_ran_out_is_not_made(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    role.tick()
    clock.now += HOLD_FOR
    with pytest.raises(DeposedError):
        role.commit(Transaction({"plan": 0}, {"plan": b"1"}))


def test_a_compare_of_the_change_itself_is_an_ordinary_conflict(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    role.tick()
    with pytest.raises(ConflictError) as caught:
        role.commit(Transaction({"plan": 5}, {"plan": b"1"}))
    assert not isinstance(caught.value, DeposedError)
    assert role.held is not None


def test_trouble_with_the_engine_is_kept_until_a_round_succeeds(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    role.tick()
    kv.broken = True
    clock.now += RENEW_EVERY
    assert 0 < role.tick() < RENEW_EVERY
    assert role.trouble == "the engine is down"
    assert role.held is not None
    kv.broken = False
    clock.now += RENEW_EVERY
    role.tick()
    assert role.trouble == ""
    assert role.held is not None


def test_a_released_lease_is_free_for_the_next(kv: BrokenKV, clock: Clock) -> None:
    first, second = ActiveRole(kv, "c1s1", clock=clock), ActiveRole(kv, "c1s2", clock=clock)
    first.tick()
    second.tick()
    first.release()
    assert first.held is None
    second.tick()
    assert second.held is not None
    assert second.held.epoch == 2
    first.release()
    assert second.held is not None


def test_a_release_that_the_engine_does_not_take_ends_the_role_all_the_same(kv: BrokenKV, clock: Clock) -> None:
    role = ActiveRole(kv, "c1s1", clock=clock)
    role.tick()
    kv.broken = True
    role.release()
    assert role.held is None
    assert role.trouble == "the engine is down"


NOTHING = Transaction({}, {})


class TestHandingOver:
    def test_to_a_successor_says_who_took_the_role(self, kv: BrokenKV, clock: Clock) -> None:
        first, second = ActiveRole(kv, "c1s1", clock=clock), ActiveRole(kv, "c1s2", clock=clock)
        first.tick()
        revision = first.hand_over("c1s2", NOTHING)
        assert first.held is None
        second.tick()
        taken = first.next_holder(revision, 5.0)
        assert taken is not None
        assert (taken.holder, taken.epoch) == ("c1s2", 2)

    def test_is_one_transaction_with_what_is_recorded_of_it(self, kv: BrokenKV, clock: Clock) -> None:
        role = ActiveRole(kv, "c1s1", clock=clock)
        role.tick()
        kv.commit(Transaction({"record": 0}, {"record": b"another's"}))
        with pytest.raises(ConflictError):
            role.hand_over("c1s2", Transaction({"record": 0}, {"record": b"handed over"}))
        entry = kv.get(LEASE)
        assert entry is not None
        assert read_lease(entry.value).holder == "c1s1"

    def test_is_for_the_active_alone(self, kv: BrokenKV, clock: Clock) -> None:
        ActiveRole(kv, "c1s1", clock=clock).tick()
        standby = ActiveRole(kv, "c1s2", clock=clock)
        standby.tick()
        with pytest.raises(DeposedError, match="c1s2 is not the active"):
            standby.hand_over("c1s1", NOTHING)

    def test_lets_a_change_that_came_first_through_and_none_that_comes_later(self, kv: BrokenKV, clock: Clock) -> None:
        role = ActiveRole(kv, "c1s1", clock=clock)
        role.tick()
        role.commit(Transaction({"plan": 0}, {"plan": b"1"}))
        role.hand_over("c1s2", NOTHING)
        with pytest.raises(DeposedError):
            role.commit(Transaction({"policy": 0}, {"policy": b"1"}))

    def test_that_the_engine_does_not_take_is_an_error_and_ends_the_role(self, kv: BrokenKV, clock: Clock) -> None:
        role = ActiveRole(kv, "c1s1", clock=clock)
        role.tick()
        kv.broken = True
        with pytest.raises(EngineError):
            role.hand_over("c1s2", NOTHING)
        assert role.held is None

    def test_while_the_last_renewal_is_in_doubt_reads_first(self, kv: BrokenKV, clock: Clock) -> None:
        role = ActiveRole(kv, "c1s1", clock=clock)
        role.tick()
        kv.broken = True
        clock.now += RENEW_EVERY
        role.tick()
        kv.broken = False
        assert role.hand_over("c1s2", NOTHING)
        record = ActiveRole(kv, "c1s3", clock=clock)
        record.tick()
        assert record.record is not None
        assert record.record.successor == "c1s2"


def test_a_record_of_a_newer_form_stops_nobody_but_is_said(kv: BrokenKV, clock: Clock) -> None:
    kv.commit(Transaction({LEASE: 0}, {LEASE: b'["new"]'}))
    role = ActiveRole(kv, "c1s1", clock=clock)
    clock.now += TAKE_AFTER
    role.tick()
    assert role.held is None
    assert "newer release" not in role.trouble
    assert LEASE in role.trouble


def test_the_default_clock_goes_forward() -> None:
    assert 0 < boottime() <= boottime()
