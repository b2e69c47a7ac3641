"""What every engine promises (state/kv.py); each engine runs through all of it."""

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boardwright.errors import ConflictError, UsageError
from boardwright.state.engine import open_kv
from boardwright.state.kv import (
    KV,
    MAX_OPERATIONS,
    MAX_VALUE,
    Change,
    CompactedError,
    EngineError,
    Entry,
    Snapshot,
    Transaction,
)
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.sqlite_kv import SqliteKV
from tests.etcd_members import EtcdMembers, members


class Engine:
    """Makes empty states of one kind; `base` is the revision of one that was just made."""

    def __init__(self, kind: str, folder: Path, etcd: EtcdMembers | None) -> None:
        self.base = 0
        self._kind = kind
        self._folder = folder
        self._etcd = etcd
        self._made: list[KV] = []

    def make(self, history: int = 1000) -> KV:
        if self._kind == "memory":
            kv: KV = MemoryKV(history=history)
        elif self._kind == "sqlite":
            kv = SqliteKV(self._folder / f"state{len(self._made)}.db", boot_id="this-boot", history=history)
        else:
            assert self._etcd is not None
            kv = self._etcd.kv(f"test-{secrets.token_hex(8)}")
        self._made.append(kv)
        self.base = kv.range("").revision
        return kv

    def forget(self, revision: int) -> None:
        """The others forget by themselves (`history`), etcd is told to."""
        if self._etcd is not None:
            self._etcd.compact(revision)

    def close(self) -> None:
        for kv in self._made:
            kv.close()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    with members(tmp_path_factory.mktemp("etcd")) as one:
        yield one


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(request.param, tmp_path, request.getfixturevalue("etcd") if request.param == "etcd" else None)
    yield made
    made.close()


@pytest.fixture
def kv(engine: Engine) -> KV:
    return engine.make()


@pytest.fixture
def base(engine: Engine, kv: KV) -> int:  # the state must be there
    """The revision of the empty state; 0, but in an etcd that others use."""
    return engine.base


def put(kv: KV, key: str, value: bytes) -> int:
    entry = kv.get(key)
    return kv.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))


def delete(kv: KV, key: str) -> int:
    entry = kv.get(key)
    return kv.commit(Transaction({key: entry.revision if entry else 0}, {key: None}))


class TestReading:
    def test_an_empty_state_has_nothing_in_it(self, kv: KV, base: int) -> None:
        assert kv.range("") == Snapshot((), base)
        assert kv.get("policy") is None

    def test_what_was_committed_is_read_back_with_its_revision(self, kv: KV) -> None:
        revision = put(kv, "policy", b"\x00\xff")
        assert kv.get("policy") == Entry("policy", b"\x00\xff", revision)

    def test_a_range_is_sorted_and_holds_only_what_is_below_its_prefix(self, kv: KV, base: int) -> None:
        for key in ("boards/c1s2", "boards/c1s10", "boards", "boardsx/1", "boards/~", "catalog/a"):
            put(kv, key, key.encode())
        snapshot = kv.range("boards/")
        assert [entry.key for entry in snapshot.entries] == ["boards/c1s10", "boards/c1s2", "boards/~"]
        assert snapshot.revision == base + 6

    def test_the_empty_prefix_is_everything(self, kv: KV) -> None:
        put(kv, "a", b"1")
        put(kv, "b/c", b"2")
        assert [entry.key for entry in kv.range("").entries] == ["a", "b/c"]

    def test_an_empty_value_is_not_a_missing_one(self, kv: KV, base: int) -> None:
        revision = put(kv, "a", b"")
        assert kv.get("a") == Entry("a", b"", revision)
        assert kv.watch("", base, 0) == (Change("a", b"", revision),)

    def test_a_large_range_is_whole(self, kv: KV) -> None:
        keys = [f"boards/{number:04d}" for number in range(1100)]
        for start in range(0, len(keys), 100):
            part = keys[start : start + 100]
            kv.commit(Transaction(dict.fromkeys(part, 0), {key: key.encode() for key in part}))
        snapshot = kv.range("boards/")
        assert [(entry.key, entry.value.decode()) for entry in snapshot.entries] == [(key, key) for key in keys]
        assert snapshot.entries[-1].revision == snapshot.revision


class TestCommitting:
    def test_every_commit_is_a_revision(self, kv: KV, base: int) -> None:
        """By one each, because nobody else uses this etcd; what relies on revisions may only rely on their order."""
        assert [put(kv, "a", b"1"), put(kv, "b", b"2"), put(kv, "a", b"3")] == [base + 1, base + 2, base + 3]
        assert kv.range("").entries == (Entry("a", b"3", base + 3), Entry("b", b"2", base + 2))

    def test_all_puts_of_a_transaction_share_its_revision(self, kv: KV, base: int) -> None:
        put(kv, "c", b"old")
        revision = kv.commit(Transaction({"a": 0}, {"a": b"1", "b": b"2", "c": None}))
        assert revision == base + 2
        assert kv.range("") == Snapshot((Entry("a", b"1", revision), Entry("b", b"2", revision)), revision)

    def test_a_compare_that_does_not_hold_changes_nothing(self, kv: KV) -> None:
        revision = put(kv, "a", b"1")
        with pytest.raises(ConflictError, match=f"a is at revision {revision}, the change expects 7000"):
            kv.commit(Transaction({"b": 0, "a": 7000}, {"a": b"2", "b": b"2"}))
        assert kv.range("") == Snapshot((Entry("a", b"1", revision),), revision)

    def test_revision_0_means_that_the_key_must_not_exist(self, kv: KV) -> None:
        put(kv, "a", b"1")
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"a": 0}, {"a": b"2"}))

    def test_a_key_that_does_not_exist_fits_no_revision_but_0(self, kv: KV) -> None:
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"a": 1}, {"a": b"2"}))

    def test_a_key_that_was_deleted_and_made_again_has_a_new_revision(self, kv: KV) -> None:
        first = put(kv, "a", b"1")
        delete(kv, "a")
        put(kv, "a", b"1")
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"a": first}, {"a": b"2"}))

    def test_compares_may_name_keys_that_are_not_written(self, kv: KV) -> None:
        lease = put(kv, "lease/active", b"me")
        kv.commit(Transaction({"lease/active": lease}, {"plan": b"1"}))
        put(kv, "lease/active", b"you")
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"lease/active": lease}, {"plan": b"2"}))

    def test_a_transaction_that_changes_nothing_leaves_the_revision(self, kv: KV) -> None:
        revision = put(kv, "a", b"1")
        assert kv.commit(Transaction({"a": revision}, {})) == revision
        assert kv.commit(Transaction({"b": 0}, {"b": None})) == revision
        assert kv.watch("", revision, 0) == ()

    def test_a_transaction_without_puts_still_compares(self, kv: KV) -> None:
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"a": 1}, {}))

    def test_an_unconditional_write_is_a_programming_error(self, kv: KV) -> None:
        with pytest.raises(ValueError, match="compares"):
            kv.commit(Transaction({}, {"a": b"1"}))

    @pytest.mark.parametrize("key", ["", "boards/ü", "boards/c 1", "a\0b", "x" * 1025, "a\x7f"])
    def test_a_key_that_some_engine_would_not_take_is_refused_by_all(self, kv: KV, key: str) -> None:
        with pytest.raises(UsageError):
            kv.commit(Transaction({key: 0}, {key: b"1"}))
        assert kv.range("").entries == ()

    def test_as_many_operations_as_every_engine_takes_and_no_more(self, kv: KV) -> None:
        keys = [f"boards/{number}" for number in range(MAX_OPERATIONS + 1)]
        for many in (dict.fromkeys(keys, 0), {"a": 0}):
            with pytest.raises(UsageError, match=f"more than the {MAX_OPERATIONS}"):
                kv.commit(Transaction(many, dict.fromkeys(keys, b"1")))
        assert kv.range("").entries == ()
        kv.commit(Transaction(dict.fromkeys(keys[1:], 0), dict.fromkeys(keys[1:], b"1")))
        assert len(kv.range("").entries) == MAX_OPERATIONS

    def test_a_value_that_some_engine_would_not_take_is_refused_by_all(self, kv: KV) -> None:
        with pytest.raises(UsageError, match="plan of the state has 16777217 bytes"):
            kv.commit(Transaction({"plan": 0}, {"plan": bytes(MAX_VALUE + 1)}))
        assert kv.get("plan") is None


class TestWatching:
    def test_changes_come_in_order_and_without_gaps(self, kv: KV, base: int) -> None:
        put(kv, "a", b"1")
        put(kv, "a", b"2")
        put(kv, "b", b"3")
        delete(kv, "a")
        assert kv.watch("", base, 0) == (
            Change("a", b"1", base + 1),
            Change("a", b"2", base + 2),
            Change("b", b"3", base + 3),
            Change("a", None, base + 4),
        )
        assert kv.watch("", base + 2, 0) == (Change("b", b"3", base + 3), Change("a", None, base + 4))

    def test_a_watch_goes_on_from_what_the_last_one_brought(self, kv: KV, base: int) -> None:
        seen = base
        for number in range(5):
            revision = put(kv, "a", b"%d" % number)
            assert kv.watch("", seen, 0) == (Change("a", b"%d" % number, revision),)
            seen = revision
        assert [change.value for change in kv.watch("", base, 0)] == [b"0", b"1", b"2", b"3", b"4"]

    def test_only_what_is_below_the_prefix_comes(self, kv: KV, base: int) -> None:
        revision = put(kv, "boards/a", b"1")
        put(kv, "boardsx", b"2")
        assert kv.watch("boards/", base, 0) == (Change("boards/a", b"1", revision),)

    def test_the_changes_of_one_commit_come_together(self, kv: KV, base: int) -> None:
        revision = kv.commit(Transaction({"a": 0}, {"b": b"2", "a": b"1"}))
        assert kv.watch("", base, 0) == (Change("a", b"1", revision), Change("b", b"2", revision))

    def test_a_range_and_a_watch_from_its_revision_miss_nothing(self, kv: KV) -> None:
        put(kv, "a", b"1")
        snapshot = kv.range("")
        revision = put(kv, "a", b"2")
        assert kv.watch("", snapshot.revision, 0) == (Change("a", b"2", revision),)

    def test_a_watch_that_sees_nothing_ends_at_its_timeout(self, kv: KV, base: int) -> None:
        began = time.monotonic()
        assert kv.watch("", base, 0.1) == ()
        assert 0.09 < time.monotonic() - began < 5

    def test_a_waiting_watch_wakes_at_a_commit(self, kv: KV, base: int) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(kv.watch, "b", base, 30)
            put(kv, "a", b"not below the prefix")
            revision = put(kv, "b", b"1")
            assert waiting.result(10) == (Change("b", b"1", revision),)

    def test_a_watcher_that_lags_too_far_is_told_to_read_again(self, engine: Engine) -> None:
        kv = engine.make(history=3)
        revisions = [put(kv, "a", b"%d" % number) for number in range(5)]
        engine.forget(revisions[1])
        with pytest.raises(CompactedError):
            kv.watch("", revisions[0], 0)
        assert [change.revision for change in kv.watch("", revisions[1], 0)] == revisions[2:]
        assert kv.watch("", kv.range("").revision, 0) == ()

    def test_a_deletion_that_was_just_forgotten_is_not_passed_over(self, engine: Engine) -> None:
        kv = engine.make(history=1)
        first = put(kv, "a", b"1")
        deleted = delete(kv, "a")
        put(kv, "b", b"1")
        engine.forget(deleted)
        with pytest.raises(CompactedError):
            kv.watch("", first, 0)

    def test_a_watcher_ahead_of_the_state_is_told_to_read_again(self, kv: KV) -> None:
        revision = put(kv, "a", b"1")
        with pytest.raises(CompactedError):
            kv.watch("", revision + 1, 0)


class TestThreads:
    def test_no_update_of_a_counter_is_lost(self, kv: KV, base: int) -> None:
        threads, each = 6, 25

        def count() -> None:
            done = 0
            while done < each:
                entry = kv.get("counter")
                value = int(entry.value) if entry else 0
                try:
                    kv.commit(
                        Transaction({"counter": entry.revision if entry else 0}, {"counter": b"%d" % (value + 1)})
                    )
                    done += 1
                except ConflictError:
                    pass

        with ThreadPoolExecutor(threads) as pool:
            for running in [pool.submit(count) for _ in range(threads)]:
                running.result(60)
        final = kv.get("counter")
        assert final is not None
        assert int(final.value) == threads * each
        assert final.revision == base + threads * each

    def test_a_reader_never_sees_half_a_transaction(self, kv: KV) -> None:
        stop = threading.Event()
        revision = kv.commit(Transaction({"x": 0}, {"x": b"0", "y": b"0"}))

        def read() -> int:
            seen = 0
            while not stop.is_set():
                snapshot = kv.range("")
                assert len({entry.value for entry in snapshot.entries}) == 1
                assert {entry.revision for entry in snapshot.entries} == {snapshot.revision}
                seen += 1
            return seen

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            for number in range(100):
                revision = kv.commit(Transaction({"x": revision}, {"x": b"%d" % number, "y": b"%d" % number}))
            stop.set()
            assert reading.result(30) > 0


class TestClosing:
    def test_a_healthy_state_has_nothing_to_say(self, kv: KV) -> None:
        assert kv.health() == ""

    def test_a_closed_state_says_so(self, kv: KV) -> None:
        kv.close()
        assert "closed" in kv.health()
        with pytest.raises(EngineError):
            kv.get("a")
        with pytest.raises(EngineError):
            kv.commit(Transaction({"a": 0}, {"a": b""}))
        kv.close()

    def test_closing_wakes_a_waiting_watch(self, kv: KV) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(kv.watch, "", kv.range("").revision, 30)
            kv.close()
            with pytest.raises(EngineError):
                waiting.result(10)


class TestNames:
    def test_memory_and_sqlite_are_opened_by_name(self, tmp_path: Path) -> None:
        for engine in ("memory:", f"sqlite:{tmp_path}/new/folder/state.db"):
            kv = open_kv(engine, "test")
            assert put(kv, "a", b"1") == 1
            kv.close()

    @pytest.mark.parametrize(
        ("engine", "sentence"),
        [
            ("etcd:10.0.1.1:2379", "not known"),
            ("etcd://", "no HOST:PORT"),
            ("sqlite", "names no file"),
            ("sqlite:state.db", "names no file"),
            ("postgres:x", "not known"),
            ("", "not known"),
        ],
    )
    def test_any_other_name_is_wrong_usage(self, engine: str, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            open_kv(engine, "test")

    def test_an_etcd_that_is_down_is_opened_and_says_so(self) -> None:
        kv = open_kv("etcd://127.0.0.1:1", "test")
        with pytest.raises(
            EngineError, match=r"etcd does not answer: 127\.0\.0\.1:1 cannot be reached \(Connection refused"
        ):
            kv.get("a")
        assert kv.health().startswith("etcd does not answer")
        kv.close()
