"""Three real members of etcd that die, hang and come back: no change is lost, none is seen twice, none is missed."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from boardwright.errors import ConflictError
from boardwright.state.active import ActiveRole
from boardwright.state.etcd_client import ENDPOINT_SECONDS
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.kv import CompactedError, EngineError, Transaction
from tests.etcd_members import EtcdMembers, members, until

SLACK = 1.0  # seconds that a busy machine may add to anything that is measured
BACK = 15.0  # seconds for a cluster to elect on a busy machine; far more than it needs


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    with members(tmp_path_factory.mktemp("etcd"), 3) as made:
        yield made


@pytest.fixture
def etcd(three: EtcdMembers) -> Iterator[EtcdMembers]:
    """All three running, before and after."""
    yield three
    three.start()
    three.wait()


@pytest.fixture
def kv(etcd: EtcdMembers, request: pytest.FixtureRequest) -> Iterator[EtcdKV]:
    made = etcd.kv(request.node.name)
    yield made
    made.close()


def patiently(kv: EtcdKV, key: str, value: bytes) -> int:
    """Write as every writer does: what nobody knows is read, and what lost is decided anew; the revision."""
    deadline = time.monotonic() + BACK
    while True:
        try:
            entry = kv.get(key)
            if entry is not None and entry.value == value:
                return entry.revision
            return kv.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))
        except (EngineError, ConflictError):
            assert time.monotonic() < deadline, "changes are not taken again"


class Witness:
    """Follows a counter as a watcher of another server does: every change counts."""

    def __init__(self, kv: EtcdKV) -> None:
        self.seen: list[int] = []
        self.troubles = 0
        self._kv = kv
        self._stop = threading.Event()
        self._revision = kv.range("").revision

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                changes = self._kv.watch("counter", self._revision, 0.3)
            except CompactedError:
                raise
            except EngineError:
                self.troubles += 1
                self._stop.wait(0.05)
                continue
            self.seen += [int(change.value or b"0") for change in changes]
            self._revision = changes[-1].revision if changes else self._revision

    @contextmanager
    def watching(self, last: int) -> Iterator[None]:
        """Watch meanwhile; at the end everything up to `last` was seen, in order and once."""
        with ThreadPoolExecutor(1) as pool:
            running: Future[None] = pool.submit(self.run)
            try:
                yield
                until("the watch has it all", lambda: running.done() or self.seen[-1:] == [last])
            finally:
                self._stop.set()
            running.result(BACK)
        assert self.seen == list(range(1, last + 1))


class TestAMemberThatDies:
    def test_changes_go_on_after_the_leader_is_killed_and_what_was_committed_is_there(
        self, etcd: EtcdMembers, kv: EtcdKV
    ) -> None:
        before = patiently(kv, "policy", b"kept")
        etcd.kill(etcd.leader())
        assert patiently(kv, "plan", b"1") > before
        entry = kv.get("policy")
        assert entry is not None
        assert (entry.value, entry.revision) == (b"kept", before)
        assert kv.health() == ""

    def test_an_active_stays_active_meanwhile(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        role = ActiveRole(kv, "c1s1")
        until("the role is won", lambda: role.tick() and role.held)
        held = role.held
        assert held is not None
        etcd.kill(etcd.leader())

        def renewed() -> bool:
            role.tick()
            return role.held is not None and role.held.beat >= held.beat + 2

        until("the lease is renewed", renewed)
        assert role.held is not None
        assert role.held.epoch == held.epoch

    @pytest.mark.parametrize("silences", [1, 2])
    def test_a_member_that_dies_after_a_silence_is_not_asked_again_and_again(
        self, etcd: EtcdMembers, kv: EtcdKV, silences: int
    ) -> None:
        watcher = etcd.kv(kv.cluster)
        revision = patiently(kv, "x", b"before")
        for _ in range(silences):  # after each, another member is asked
            assert watcher.watch("x", revision, ENDPOINT_SECONDS + 0.1) == ()
        etcd.kill(watcher.endpoints[silences][0])
        patiently(kv, "x", b"after")
        (change,) = watcher.watch("x", revision, BACK)
        assert change.value == b"after"
        watcher.close()

    def test_members_that_restart_one_after_another_cost_a_watcher_nothing(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        watcher = etcd.kv(kv.cluster)
        number = 0
        with Witness(watcher).watching(3 * 2 + 1):
            for host in etcd.hosts:
                etcd.kill(host)
                number += 1
                patiently(kv, "counter", b"%d" % number)
                etcd.start(host)
                number += 1
                patiently(kv, "counter", b"%d" % number)
                etcd.wait()
            patiently(kv, "counter", b"%d" % (number + 1))
        watcher.close()


class TestAMemberThatHangs:
    def test_costs_one_call_half_a_second_and_the_next_ones_nothing(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        revision = patiently(kv, "a", b"1")
        hung = kv.endpoints[0][0]
        other = etcd.kv("elsewhere")
        with halted(etcd, hung):
            patiently(other, "a", b"")  # where it was the leader, the others elect
            began = time.monotonic()
            entry = kv.get("a")
            assert entry is not None
            assert entry.revision == revision
            assert time.monotonic() - began < ENDPOINT_SECONDS + SLACK
            assert kv.endpoints[-1][0] == hung
            patiently(kv, "a", b"2")
            assert kv.endpoints[-1][0] == hung
        other.close()

    def test_a_watch_at_it_goes_on_at_another(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        watcher = etcd.kv(kv.cluster)
        with Witness(watcher).watching(3):
            patiently(kv, "counter", b"1")
            with halted(etcd, watcher.endpoints[0][0]):
                patiently(kv, "counter", b"2")
                patiently(kv, "counter", b"3")
        watcher.close()


class TestWithoutAQuorum:
    def test_every_call_says_in_one_sentence_what_each_endpoint_does(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        revision = patiently(kv, "a", b"1")
        first, second, last = etcd.hosts
        etcd.kill(first)
        etcd.kill(second)
        with pytest.raises(EngineError) as caught:
            kv.get("a")
        for host, words in ((first, "cannot be reached"), (second, "cannot be reached"), (last, "")):
            assert f"{host}:2379 {words}" in str(caught.value)
        assert "most members of etcd" in (caught.value.hint or "")
        with pytest.raises(EngineError):
            kv.commit(Transaction({"a": revision}, {"a": b"2"}))
        with pytest.raises(EngineError, match="etcd does not answer"):
            kv.watch("", revision, 1.0)  # the last one says that it has no leader, instead of nothing
        assert kv.health().startswith("etcd does not answer")

    def test_all_down_and_back_leaves_no_gap_for_a_watcher(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        watcher = etcd.kv(kv.cluster)
        witness = Witness(watcher)
        with witness.watching(3):
            patiently(kv, "counter", b"1")
            etcd.stop()
            with pytest.raises(EngineError, match="etcd does not answer"):
                kv.get("counter")
            until("the watcher is told, too", lambda: witness.troubles)
            etcd.start()
            patiently(kv, "counter", b"2")
            patiently(kv, "counter", b"3")
        watcher.close()


@contextmanager
def halted(etcd: EtcdMembers, host: str) -> Iterator[None]:
    etcd.halt(host)
    try:
        yield
    finally:
        etcd.go_on(host)
