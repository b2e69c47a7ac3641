"""A manifest is copied without knowing its size, and believed only by its digest."""

import random
from pathlib import Path

import pytest

from boardwright.errors import FailedError
from boardwright.model.software import RANGE_SIZE, digest_of
from boardwright.server.manifest_copy import copy_manifest
from boardwright.transfer.sources import SourceError, SourceList
from boardwright.transfer.store import BlobStore


class Range:
    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._data), 100_000)
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


class Source:
    def __init__(self, name: str, data: bytes | None) -> None:
        self.id = name
        self._data = data
        self.most = RANGE_SIZE  # bytes of an answer, as with a cap
        self.full_from, self.full_times, self.refusals = 0, 0, 0

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> Range:
        if self._data is None:
            raise SourceError(f"{self.id} is down")
        length = min(length, self.most)
        if start and start >= self.full_from:
            self.refusals += 1
            if self.refusals <= self.full_times:
                raise SourceError(f"{self.id} is busy (503)", wait=1.0, busy=True)
        if start >= len(self._data):
            raise SourceError(f"{self.id} answered 416", wait=None)
        return Range(self._data[start : start + length])

    def break_off(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


@pytest.mark.parametrize("size", [1, 500, RANGE_SIZE - 1, RANGE_SIZE, RANGE_SIZE + 1, 2 * RANGE_SIZE])
def test_any_size_arrives_whole(store: BlobStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    copy_manifest(digest_of(data), SourceList([Source("a", data)]), store)
    assert store.path(digest_of(data)).read_bytes() == data


def test_the_next_source_is_taken_when_one_is_down_or_sends_other_bytes(store: BlobStore) -> None:
    sources = SourceList([Source("down", None), Source("liar", b"other"), Source("good", b"manifest")])
    copy_manifest(digest_of(b"manifest"), sources, store)
    assert store.has(digest_of(b"manifest"))


def test_without_any_good_source_every_reason_is_named(store: BlobStore) -> None:
    with pytest.raises(FailedError, match=r"down.*liar") as failure:
        copy_manifest(digest_of(b"manifest"), SourceList([Source("down", None), Source("liar", b"other")]), store)
    assert "digest" in str(failure.value)
    assert store.digests() == set()


def test_a_server_that_keeps_caps_and_answers_less_than_a_range_is_asked_on(store: BlobStore) -> None:
    data = random.Random(7).randbytes(300_000)
    capped = Source("capped", data)
    capped.most = 16 * 1024
    copy_manifest(digest_of(data), SourceList([capped]), store)
    assert store.path(digest_of(data)).read_bytes() == data


def test_a_server_that_is_full_in_the_middle_is_asked_again_and_what_came_is_kept(store: BlobStore) -> None:
    data, waits = random.Random(8).randbytes(100_000), list[float]()
    capped = Source("capped", data)
    capped.most, capped.full_from, capped.full_times = 40_000, 40_000, 3
    copy_manifest(digest_of(data), SourceList([capped]), store, sleep=waits.append)
    assert store.path(digest_of(data)).read_bytes() == data
    assert waits == [1.0, 1.0, 1.0]


def test_a_server_that_stays_full_is_left_after_a_bounded_time(store: BlobStore) -> None:
    data, waits = random.Random(9).randbytes(100_000), list[float]()
    capped = Source("capped", data)
    capped.most, capped.full_from, capped.full_times = 40_000, 40_000, 10_000
    with pytest.raises(FailedError, match="capped is busy"):
        copy_manifest(digest_of(data), SourceList([capped]), store, sleep=waits.append)
    assert sum(waits) == 60.0


def test_a_server_that_answers_with_nothing_is_not_asked_for_ever(store: BlobStore) -> None:
    nothing = Source("nothing", b"manifest")
    nothing.most = 0
    with pytest.raises(FailedError, match="nothing"):
        copy_manifest(digest_of(b"manifest"), SourceList([nothing]), store)
