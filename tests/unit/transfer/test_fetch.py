"""Fetching from sources in memory: verification, failover, resume, patience, caps, space."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from boardwright.errors import FailedError
from boardwright.model.software import PIECE_SIZE, RANGE_SIZE
from boardwright.transfer.fetch import FetchLimits, fetch
from boardwright.transfer.sources import SourceError, SourceList
from boardwright.transfer.space import NoSpaceError, Space
from boardwright.transfer.store import BlobStore
from tests.unit.transfer.blobs import MemorySource, Recorder, blob_of, some_bytes

DATA = some_bytes(20 * PIECE_SIZE + 77)
BLOB = blob_of(DATA)
SMALL = [some_bytes(1000 + number, number) for number in range(30)]
QUICK = FetchLimits(give_up=0.0, give_up_busy=0.0)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


def on_disk_with(folder: Path, free: Callable[[], int], reserve: int = 0) -> BlobStore:
    """A store on a disk that has so many bytes free."""
    root = folder / "store"
    return BlobStore(root, Space(root, reserve, lambda _: free()))


def dies_after(source: MemorySource, reads: int, reason: str = "broke the connection") -> None:
    """From the given read on, the source fails at everything."""
    count = 0
    lock = threading.Lock()

    def check(_: int) -> None:
        nonlocal count
        with lock:
            count += 1
            if count > reads:
                raise SourceError(reason)

    source.before_read = check


class TestTheNearestServes:
    def test_m3_a_board_downloads_everything_from_the_server_it_selected(self, store: BlobStore) -> None:
        near, far = MemorySource("near", DATA, *SMALL), MemorySource("far", DATA, *SMALL)
        result = fetch([BLOB, *map(blob_of, SMALL)], SourceList([near, far]), store)
        assert result.complete
        assert result.bytes == {"near": len(DATA) + sum(map(len, SMALL))}
        assert far.asked == []
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert [store.path(blob_of(data).sha256).read_bytes() for data in SMALL] == SMALL

    def test_what_is_there_is_not_fetched(self, store: BlobStore) -> None:
        store.put(BLOB.sha256, [DATA])
        source = MemorySource("s", DATA)
        assert fetch([BLOB], SourceList([source]), store).complete
        assert source.asked == []

    def test_a_blob_that_is_named_twice_is_fetched_once(self, store: BlobStore) -> None:
        source = MemorySource("s", DATA)
        assert fetch([BLOB, BLOB], SourceList([source]), store).bytes == {"s": len(DATA)}

    def test_no_range_is_longer_than_the_bound(self, store: BlobStore) -> None:
        source = MemorySource("s", DATA)
        fetch([BLOB], SourceList([source]), store)
        assert max(length for _, _, length in source.asked) == RANGE_SIZE

    @pytest.mark.parametrize("most", [1, 100_001, PIECE_SIZE, PIECE_SIZE + 1])
    def test_answers_shorter_than_asked_are_put_together(self, store: BlobStore, most: int) -> None:
        data = DATA[: 5000 if most == 1 else len(DATA)]
        source = MemorySource("s", data, most=most)
        assert fetch([blob_of(data)], SourceList([source]), store).bytes == {"s": len(data)}

    def test_the_observer_hears_every_byte(self, store: BlobStore) -> None:
        recorder = Recorder()
        fetch([BLOB], SourceList([MemorySource("s", DATA, chunk=65_000)]), store, observer=recorder)
        assert recorder.bytes == {"s": len(DATA)}

    def test_unsynced_on_request_synced_otherwise(self, store: BlobStore) -> None:
        small = blob_of(SMALL[0])
        sources = SourceList([MemorySource("s", DATA, SMALL[0])])
        fetch([BLOB], sources, store, limits=FetchLimits(durable=False))
        assert store.path(BLOB.sha256).parent.name == "fresh"
        fetch([small], sources, store)
        assert store.path(small.sha256).parent.parent.name == "blobs"


class TestFailover:
    def test_m3_a_server_that_dies_is_left_and_no_verified_piece_comes_twice(self, store: BlobStore) -> None:
        near, far = MemorySource("near", DATA), MemorySource("far", DATA)
        dies_after(near, 7)
        recorder = Recorder()
        result = fetch([BLOB], SourceList([near, far]), store, observer=recorder)
        assert result.bytes == {"near": 7 * PIECE_SIZE, "far": len(DATA) - 7 * PIECE_SIZE}
        assert result.failovers == 1
        assert result.refetched == 0
        assert recorder.left == [("near", "broke the connection")]

    def test_wrong_bytes_are_never_kept_and_their_sender_never_asked_again(self, store: BlobStore) -> None:
        liar, honest = MemorySource("liar"), MemorySource("honest", DATA)
        liar.blobs[BLOB.sha256] = bytes(len(DATA))
        recorder = Recorder()
        result = fetch([BLOB], SourceList([liar, honest]), store, observer=recorder)
        assert result.bytes["honest"] == len(DATA)
        assert "other bytes as piece" in recorder.left[0][1]
        assert set(recorder.wrong) == {("liar", BLOB.sha256)}
        assert store.path(BLOB.sha256).read_bytes() == DATA

    def test_a_source_without_the_blob_is_passed_over(self, store: BlobStore) -> None:
        result = fetch([BLOB], SourceList([MemorySource("empty"), MemorySource("full", DATA)]), store)
        assert result.bytes == {"full": len(DATA)}

    def test_a_full_server_sends_the_board_to_the_next(self, store: BlobStore) -> None:
        busy, free = MemorySource("busy", DATA), MemorySource("free", DATA)

        def full(_: int) -> None:
            raise SourceError("busy (503)", wait=30.0, busy=True)

        busy.before_open = full
        assert fetch([BLOB], SourceList([busy, free]), store).bytes == {"free": len(DATA)}

    def test_a_server_that_joins_during_the_download_takes_over(self, store: BlobStore) -> None:
        first, late = MemorySource("first", DATA), MemorySource("late", DATA)
        sources = SourceList([first])
        dies_after(first, 3)
        inner = first.before_read

        def joined(offset: int) -> None:
            sources.add(late)
            inner(offset)

        first.before_read = joined
        result = fetch([BLOB], sources, store)
        assert result.bytes == {"first": 3 * PIECE_SIZE, "late": len(DATA) - 3 * PIECE_SIZE}

    def test_a_server_that_comes_back_is_asked_again(self, store: BlobStore) -> None:
        source = MemorySource("s", DATA)
        failed = threading.Event()

        def once(_: int) -> None:
            if not failed.is_set():
                failed.set()
                raise SourceError("it restarts", wait=0.01)

        source.before_read = once
        assert fetch([BLOB], SourceList([source]), store).complete

    def test_a_piece_that_trickles_is_broken_off(self, store: BlobStore) -> None:
        slow, quick = MemorySource("slow", DATA), MemorySource("quick", DATA)

        def trickle(_: int) -> None:
            if slow.aborted.wait(30):
                raise SourceError("was broken off")

        slow.before_read = trickle
        result = fetch([BLOB], SourceList([slow, quick]), store, limits=FetchLimits(piece_timeout=0.05))
        assert result.bytes == {"quick": len(DATA)}

    def test_a_piece_that_trickles_from_the_only_server_is_waited_for(self, store: BlobStore) -> None:
        slow = MemorySource("slow", DATA)
        slow.before_read = lambda _: slow.aborted.wait(0.05) and pytest.fail("was broken off")
        result = fetch([BLOB], SourceList([slow]), store, limits=FetchLimits(piece_timeout=0.01))
        assert result.bytes == {"slow": len(DATA)}

    def test_patience_grows_so_that_a_weak_line_to_everybody_is_enough(self, store: BlobStore) -> None:
        sources = [MemorySource("a", DATA), MemorySource("b", DATA)]
        for source in sources:

            def weak(_: int, source: MemorySource = source) -> None:
                source.aborted.clear()
                if source.aborted.wait(0.1):
                    raise SourceError("was broken off")

            source.before_read = weak
        result = fetch([BLOB], SourceList(sources), store, limits=FetchLimits(piece_timeout=0.03, workers=1))
        assert result.complete
        assert result.refetched == 0

    def test_a_server_that_never_ends_the_head_of_its_answer_is_broken_off(self, store: BlobStore) -> None:
        endless, quick, recorder = MemorySource("endless", DATA), MemorySource("quick", DATA), Recorder()

        def head(_: int) -> None:
            if endless.aborted.wait(30):
                raise SourceError("was broken off")

        endless.before_open = head
        result = fetch(
            [BLOB], SourceList([endless, quick]), store, limits=FetchLimits(answer_timeout=0.05), observer=recorder
        )
        assert result.bytes == {"quick": len(DATA)}
        assert recorder.left == [("endless", "endless did not answer in 0 s")]


class TestNobodyLeft:
    def test_the_error_names_every_server_and_its_reason(self, store: BlobStore) -> None:
        dead, empty = MemorySource("c1s1", DATA), MemorySource("c1s2")
        dies_after(dead, 0, "refused the connection")
        with pytest.raises(FailedError) as caught:
            fetch([BLOB], SourceList([dead, empty]), store, limits=QUICK)
        assert "c1s1: refused the connection" in str(caught.value)
        assert f"c1s2: c1s2 has no blob {BLOB.sha256}" in str(caught.value)

    def test_servers_that_all_lack_the_blob_are_not_waited_for(self, store: BlobStore) -> None:
        patient = FetchLimits(give_up=3600.0)
        with pytest.raises(FailedError, match="has no blob"):
            fetch([BLOB], SourceList([MemorySource("a"), MemorySource("b")]), store, limits=patient)

    def test_no_server_at_all_is_said(self, store: BlobStore) -> None:
        with pytest.raises(FailedError, match="no server to ask"):
            fetch([BLOB], SourceList(), store)

    def test_what_was_verified_before_the_failure_is_kept_for_any_other_server(self, store: BlobStore) -> None:
        dying, other = MemorySource("dying", DATA), MemorySource("other", DATA)
        dies_after(dying, 5)
        with pytest.raises(FailedError):
            fetch([BLOB], SourceList([dying]), store, limits=QUICK)
        result = fetch([BLOB], SourceList([other]), BlobStore(store.root))
        assert result.resumed == 5 * PIECE_SIZE
        assert result.bytes == {"other": len(DATA) - 5 * PIECE_SIZE}

    @pytest.mark.parametrize("altered", [False, True])
    def test_a_blob_that_a_crash_left_linked_into_a_tree_is_believed_only_if_it_hashes(
        self, store: BlobStore, tmp_path: Path, altered: bool
    ) -> None:
        store.put(BLOB.sha256, [DATA])
        deployed = tmp_path / "deployed"
        deployed.hardlink_to(store.path(BLOB.sha256))
        if altered:
            deployed.write_bytes(DATA[:-1] + b"?")
        source = MemorySource("s", DATA)
        assert fetch([BLOB], SourceList([source]), store).complete
        assert bool(source.asked) == altered
        assert store.path(BLOB.sha256).read_bytes() == DATA

    def test_full_servers_are_waited_for_longer_than_dead_ones(self, store: BlobStore) -> None:
        busy = MemorySource("busy", DATA)
        refusals = iter(range(3))

        def full(_: int) -> None:
            if next(refusals, None) is not None:
                raise SourceError("busy (503)", wait=0.01, busy=True)

        busy.before_open = full
        assert fetch([BLOB], SourceList([busy]), store, limits=FetchLimits(give_up=0.0)).complete

    def test_a_fault_in_a_worker_ends_the_fetch(self, store: BlobStore) -> None:
        source = MemorySource("s", DATA)

        def fault(_: int) -> None:
            raise ZeroDivisionError

        source.before_open = fault
        with pytest.raises(FailedError, match="fault of its own") as caught:
            fetch([BLOB], SourceList([source]), store)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


class TestStopping:
    def test_a_stopped_fetch_keeps_what_it_verified(self, store: BlobStore) -> None:
        source, stop = MemorySource("s", DATA), threading.Event()

        def stopping(offset: int) -> None:
            if offset >= 4 * PIECE_SIZE:
                stop.set()
                if source.aborted.wait(10):
                    raise SourceError("was broken off")

        source.before_read = stopping
        result = fetch([BLOB], SourceList([source]), store, stop=stop)
        assert not result.complete
        assert result.failovers == 0
        with store.partial(BLOB) as partial:
            assert partial.verified_bytes >= 4 * PIECE_SIZE - PIECE_SIZE

    def test_a_fetch_that_waits_for_a_server_stops_at_once(self, store: BlobStore) -> None:
        source, stop = MemorySource("s", DATA), threading.Event()

        def down(_: int) -> None:
            stop.set()
            raise SourceError("down", wait=3600.0)

        source.before_open = down
        assert not fetch([BLOB], SourceList([source]), store, limits=FetchLimits(give_up=7200.0), stop=stop).complete


class TestDisk:
    def test_m3_space_is_checked_before_the_first_byte(self, tmp_path: Path) -> None:
        source, store = MemorySource("s", DATA), on_disk_with(tmp_path, lambda: BLOB.size - 1)
        with pytest.raises(NoSpaceError, match=r"needs 21\.0 MB, 21\.0 MB are free on .*store"):
            fetch([BLOB], SourceList([source]), store)
        assert source.asked == []

    def test_space_that_a_partial_occupies_is_not_needed_again(self, tmp_path: Path) -> None:
        store = on_disk_with(tmp_path, lambda: BLOB.size)
        with store.partial(BLOB) as partial:
            partial.write(0, DATA[:PIECE_SIZE])
            partial.sync()
        store = on_disk_with(tmp_path, lambda: BLOB.size - PIECE_SIZE + 8192)
        assert fetch([BLOB], SourceList([MemorySource("s", DATA)]), store).complete

    def test_a_reserve_stays_free(self, tmp_path: Path) -> None:
        store = on_disk_with(tmp_path, lambda: BLOB.size + 999, reserve=1000)
        with pytest.raises(NoSpaceError, match="1000 bytes of it are kept for the system"):
            fetch([BLOB], SourceList([MemorySource("s", DATA)]), store)

    def test_a_disk_that_others_fill_on_the_way_stops_the_download_and_it_goes_on_when_there_is_space(
        self, tmp_path: Path
    ) -> None:
        free = [100 * BLOB.size]
        source, store = MemorySource("s", DATA), on_disk_with(tmp_path, lambda: free[0], reserve=1000)
        reads = iter(range(1000))
        source.before_read = lambda _: free.__setitem__(0, 1500) if next(reads) == 8 else None
        with pytest.raises(NoSpaceError, match="stopped because the disk is nearly full: 1500 bytes are free"):
            fetch([BLOB], SourceList([source]), store)
        with store.partial(BLOB) as partial:
            kept = partial.verified_bytes
        assert 0 < kept < BLOB.size
        free[0] = 100 * BLOB.size
        result = fetch([BLOB], SourceList([MemorySource("s", DATA)]), store)
        assert result.resumed == kept
        assert result.bytes["s"] == BLOB.size - kept

    def test_a_quota_of_the_store_is_checked_before_the_first_byte(self, store: BlobStore) -> None:
        source, old = MemorySource("s", DATA), blob_of(DATA[:5000])
        store.put(old.sha256, [DATA[:5000]])
        with pytest.raises(NoSpaceError, match=r"the store, which has 5000 bytes of at most 21\.0 MB"):
            fetch([BLOB], SourceList([source]), store, limits=FetchLimits(store_quota=BLOB.size))
        assert source.asked == []
        store.remove(old.sha256)
        assert fetch([BLOB], SourceList([source]), store, limits=FetchLimits(store_quota=BLOB.size)).complete

    def test_a_disk_that_fails_ends_the_fetch_with_its_cause(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(FailedError, match="could not be written") as caught:
            fetch([BLOB], SourceList([MemorySource("s", DATA)]), store)
        assert isinstance(caught.value.__cause__, OSError)


def test_with_a_cap_ranges_are_small_and_the_bytes_still_right(store: BlobStore) -> None:
    data = DATA[: 3 * PIECE_SIZE + 5]
    source = MemorySource("s", data)
    limits = FetchLimits(rate=8 * PIECE_SIZE)
    result = fetch([blob_of(data)], SourceList([source]), store, limits=limits)
    assert result.complete
    assert result.seconds >= 0.1  # 3 MiB at 8 MiB/s, the last range and a quarter second of it at once
    assert max(length for _, _, length in source.asked) == 2 * PIECE_SIZE
