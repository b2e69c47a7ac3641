"""What every engine promises (state/kv.py); each engine runs through all of it."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boardwright.errors import ConflictError, UsageError
from boardwright.state.engine import open_kv
from boardwright.state.kv import KV, Change, CompactedError, EngineError, Entry, Snapshot, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.sqlite_kv import SqliteKV

MakeKV = Callable[..., KV]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeKV]:
    made: list[KV] = []

    def make_kv(history: int = 1000) -> KV:
        if request.param == "memory":
            kv: KV = MemoryKV(history=history)
        else:
            kv = SqliteKV(tmp_path / f"state{len(made)}.db", boot_id="this-boot", history=history)
        made.append(kv)
        return kv

    yield make_kv
    for kv in made:
        kv.close()


@pytest.fixture
def kv(make: MakeKV) -> KV:
    return make()


def put(kv: KV, key: str, value: bytes) -> int:
    entry = kv.get(key)
    return kv.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))


def delete(kv: KV, key: str) -> int:
    entry = kv.get(key)
    return kv.commit(Transaction({key: entry.revision if entry else 0}, {key: None}))


class TestReading:
    def test_an_empty_state_is_at_revision_0(self, kv: KV) -> None:
        assert kv.range("") == Snapshot((), 0)
        assert kv.get("policy") is None

    def test_what_was_committed_is_read_back_with_its_revision(self, kv: KV) -> None:
        revision = put(kv, "policy", b"\x00\xff")
        assert kv.get("policy") == Entry("policy", b"\x00\xff", revision)

    def test_a_range_is_sorted_and_holds_only_what_is_below_its_prefix(self, kv: KV) -> None:
        for key in ("boards/c1s2", "boards/c1s10", "boards", "boardsx/1", "boards/~", "catalog/a"):
            put(kv, key, key.encode())
        snapshot = kv.range("boards/")
        assert [entry.key for entry in snapshot.entries] == ["boards/c1s10", "boards/c1s2", "boards/~"]
        assert snapshot.revision == 6

    def test_the_empty_prefix_is_everything(self, kv: KV) -> None:
        put(kv, "a", b"1")
        put(kv, "b/c", b"2")
        assert [entry.key for entry in kv.range("").entries] == ["a", "b/c"]

    def test_an_empty_value_is_not_a_missing_one(self, kv: KV) -> None:
        put(kv, "a", b"")
        assert kv.get("a") == Entry("a", b"", 1)
        assert kv.watch("", 0, 0) == (Change("a", b"", 1),)


class TestCommitting:
    def test_every_commit_is_one_revision(self, kv: KV) -> None:
        assert [put(kv, "a", b"1"), put(kv, "b", b"2"), put(kv, "a", b"3")] == [1, 2, 3]
        assert kv.range("").entries == (Entry("a", b"3", 3), Entry("b", b"2", 2))

    def test_all_puts_of_a_transaction_share_its_revision(self, kv: KV) -> None:
        put(kv, "c", b"old")
        assert kv.commit(Transaction({"a": 0}, {"a": b"1", "b": b"2", "c": None})) == 2
        assert kv.range("") == Snapshot((Entry("a", b"1", 2), Entry("b", b"2", 2)), 2)

    def test_a_compare_that_does_not_hold_changes_nothing(self, kv: KV) -> None:
        put(kv, "a", b"1")
        with pytest.raises(ConflictError, match="a is at revision 1, the change expects 7"):
            kv.commit(Transaction({"b": 0, "a": 7}, {"a": b"2", "b": b"2"}))
        assert kv.range("") == Snapshot((Entry("a", b"1", 1),), 1)

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
        put(kv, "a", b"1")
        assert kv.commit(Transaction({"a": 1}, {})) == 1
        assert kv.commit(Transaction({"b": 0}, {"b": None})) == 1
        assert kv.watch("", 1, 0) == ()

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
        assert kv.range("").revision == 0


class TestWatching:
    def test_changes_come_in_order_and_without_gaps(self, kv: KV) -> None:
        put(kv, "a", b"1")
        put(kv, "a", b"2")
        put(kv, "b", b"3")
        delete(kv, "a")
        assert kv.watch("", 0, 0) == (
            Change("a", b"1", 1),
            Change("a", b"2", 2),
            Change("b", b"3", 3),
            Change("a", None, 4),
        )
        assert kv.watch("", 2, 0) == (Change("b", b"3", 3), Change("a", None, 4))

    def test_only_what_is_below_the_prefix_comes(self, kv: KV) -> None:
        put(kv, "boards/a", b"1")
        put(kv, "boardsx", b"2")
        assert kv.watch("boards/", 0, 0) == (Change("boards/a", b"1", 1),)

    def test_the_changes_of_one_commit_come_together(self, kv: KV) -> None:
        kv.commit(Transaction({"a": 0}, {"b": b"2", "a": b"1"}))
        assert kv.watch("", 0, 0) == (Change("a", b"1", 1), Change("b", b"2", 1))

    def test_a_range_and_a_watch_from_its_revision_miss_nothing(self, kv: KV) -> None:
        put(kv, "a", b"1")
        snapshot = kv.range("")
        put(kv, "a", b"2")
        assert kv.watch("", snapshot.revision, 0) == (Change("a", b"2", 2),)

    def test_a_watch_that_sees_nothing_ends_at_its_timeout(self, kv: KV) -> None:
        began = time.monotonic()
        assert kv.watch("", 0, 0.1) == ()
        assert 0.09 < time.monotonic() - began < 5

    def test_a_waiting_watch_wakes_at_a_commit(self, kv: KV) -> None:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(kv.watch, "b", 0, 30)
            put(kv, "a", b"not below the prefix")
            put(kv, "b", b"1")
            assert waiting.result(10) == (Change("b", b"1", 2),)

    def test_a_watcher_that_lags_too_far_is_told_to_read_again(self, make: MakeKV) -> None:
        kv = make(history=3)
        for number in range(5):
            put(kv, "a", b"%d" % number)
        with pytest.raises(CompactedError):
            kv.watch("", 1, 0)
        assert [change.revision for change in kv.watch("", 2, 0)] == [3, 4, 5]
        assert kv.watch("", kv.range("").revision, 0) == ()

    def test_a_watcher_ahead_of_the_state_is_told_to_read_again(self, kv: KV) -> None:
        put(kv, "a", b"1")
        with pytest.raises(CompactedError):
            kv.watch("", 2, 0)


class TestThreads:
    def test_no_update_of_a_counter_is_lost(self, kv: KV) -> None:
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
        assert final.revision == threads * each

    def test_a_reader_never_sees_half_a_transaction(self, kv: KV) -> None:
        stop = threading.Event()
        kv.commit(Transaction({"x": 0}, {"x": b"0", "y": b"0"}))

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
                kv.commit(Transaction({"x": number + 1}, {"x": b"%d" % number, "y": b"%d" % number}))
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
            waiting = pool.submit(kv.watch, "", 0, 30)
            kv.close()
            with pytest.raises(EngineError):
                waiting.result(10)


class TestNames:
    def test_memory_and_sqlite_are_opened_by_name(self, tmp_path: Path) -> None:
        for engine in ("memory:", f"sqlite:{tmp_path}/new/folder/state.db"):
            kv = open_kv(engine)
            assert put(kv, "a", b"1") == 1
            kv.close()

    @pytest.mark.parametrize(
        ("engine", "sentence"),
        [
            ("etcd://10.0.1.1:2379", "this release has no etcd engine"),
            ("sqlite", "names no file"),
            ("sqlite:state.db", "names no file"),
            ("postgres:x", "not known"),
            ("", "not known"),
        ],
    )
    def test_any_other_name_is_wrong_usage(self, engine: str, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            open_kv(engine)
