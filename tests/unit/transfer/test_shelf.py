"""What a board may serve of: verified pieces only, no second copy, and nothing that was written to."""

import os
from pathlib import Path

import pytest

from boardwright.model.software import PIECE_SIZE, Target
from boardwright.transfer.shelf import Shelf
from boardwright.transfer.store import BlobStore
from tests.unit.transfer.blobs import blob_of, some_bytes

DATA = some_bytes(2 * PIECE_SIZE + 7)
BLOB = blob_of(DATA)
SMALL = some_bytes(100, seed=1)
PACK = blob_of(SMALL)
TARGET = Target("os", "1.0", "*", "a" * 64)
OTHER = Target("fw", "1.0", "*", "b" * 64)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def shelf(store: BlobStore) -> Shelf:
    return Shelf(store)


def opens(shelf: Shelf, start: int, end: int, sha256: str = BLOB.sha256) -> bytes | None:
    found = shelf.open(sha256, start, end)
    if found is None:
        return None
    try:
        return os.pread(found.fd, end - start, start)
    finally:
        os.close(found.fd)


class TestWhileItIsDownloaded:
    def test_only_the_pieces_of_the_bitmap(self, store: BlobStore, shelf: Shelf) -> None:
        with store.partial(BLOB) as partial:
            assert partial.write(1, DATA[PIECE_SIZE : 2 * PIECE_SIZE])
        shelf.begin(TARGET, (PACK, BLOB), lambda: b"\x04")  # the pack's is piece 0
        assert opens(shelf, PIECE_SIZE, 2 * PIECE_SIZE) == DATA[PIECE_SIZE : 2 * PIECE_SIZE]
        assert opens(shelf, PIECE_SIZE + 5, PIECE_SIZE + 6) == DATA[PIECE_SIZE + 5 : PIECE_SIZE + 6]
        for start, end in ((0, 1), (PIECE_SIZE - 1, PIECE_SIZE + 1), (PIECE_SIZE, 2 * PIECE_SIZE + 1), (5, 5)):
            assert opens(shelf, start, end) is None
        assert opens(shelf, PIECE_SIZE, len(DATA) + 1) is None
        assert opens(shelf, 0, 1, PACK.sha256) is None

    def test_the_bitmap_has_as_many_bytes_as_the_version_needs(self, shelf: Shelf) -> None:
        shelf.begin(TARGET, (PACK, BLOB), lambda: b"")
        assert shelf.bitmap(TARGET.manifest) == b"\0"
        shelf.begin(TARGET, (PACK, BLOB), lambda: b"\x01\xff\xff")
        assert shelf.bitmap(TARGET.manifest) == b"\x01"
        assert shelf.version(TARGET.manifest) == (TARGET, 4)
        assert shelf.bitmap(OTHER.manifest) is None

    def test_a_blob_is_found_wherever_it_is_in_the_store(self, store: BlobStore, shelf: Shelf) -> None:
        shelf.begin(TARGET, (BLOB,), lambda: b"\x07")
        with store.partial(BLOB) as partial:
            for index in range(3):
                start, length = BLOB.piece_span(index)
                assert partial.write(index, DATA[start : start + length])
            assert opens(shelf, 0, len(DATA)) == DATA
            store.finish(partial)
        assert opens(shelf, 0, len(DATA)) == DATA
        store.sync()
        assert opens(shelf, 0, len(DATA)) == DATA
        store.remove(BLOB.sha256)
        assert opens(shelf, 0, len(DATA)) is None

    def test_what_two_versions_share_is_served_if_one_has_it(self, store: BlobStore, shelf: Shelf) -> None:
        store.put(BLOB.sha256, [DATA])
        shelf.begin(TARGET, (BLOB,), lambda: b"")
        shelf.begin(OTHER, (PACK, BLOB), lambda: b"\x0e")
        assert opens(shelf, 0, len(DATA)) == DATA


class TestWhenItIsStaged:
    def test_what_is_in_the_store_stays(self, store: BlobStore, shelf: Shelf) -> None:
        shelf.begin(TARGET, (PACK, BLOB), lambda: b"\x0f")
        store.put(BLOB.sha256, [DATA])
        shelf.staged(TARGET.manifest)
        assert shelf.bitmap(TARGET.manifest) == b"\x0e"
        assert opens(shelf, 0, len(DATA)) == DATA
        assert opens(shelf, 0, 1, PACK.sha256) is None

    def test_bytes_to_which_a_program_has_written_are_gone(
        self, store: BlobStore, shelf: Shelf, tmp_path: Path
    ) -> None:
        shelf.begin(TARGET, (BLOB,), lambda: b"\x07")
        store.put(BLOB.sha256, [DATA])
        os.link(store.path(BLOB.sha256), tmp_path / "file")
        os.utime(tmp_path / "file", ns=(0, 0))  # the clock of files is coarse
        shelf.staged(TARGET.manifest)
        (tmp_path / "file").chmod(0o755)
        assert opens(shelf, 0, len(DATA)) == DATA
        with (tmp_path / "file").open("r+b") as file:
            file.write(b"!")
        assert opens(shelf, 0, len(DATA)) is None

    def test_what_is_dropped_is_gone(self, store: BlobStore, shelf: Shelf) -> None:
        store.put(BLOB.sha256, [DATA])
        shelf.begin(TARGET, (BLOB,), lambda: b"\x07")
        shelf.drop(TARGET.manifest)
        shelf.staged(TARGET.manifest)
        assert opens(shelf, 0, 1) is None
        assert shelf.targets() == ()
        assert shelf.size(BLOB.sha256) is None
