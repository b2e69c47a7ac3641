"""The blob store: what is there, what is durable, and what is believed after a crash or a power cut."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from boardwright.errors import MalformedError
from boardwright.model.software import PIECE_SIZE, BlobRef, Manifest
from boardwright.transfer import store as store_module
from boardwright.transfer.partial import Partial
from boardwright.transfer.store import BlobStore
from tests.unit.transfer.blobs import blob_of, some_bytes

DATA = some_bytes(2 * PIECE_SIZE + 1234)
BLOB = blob_of(DATA)


def piece(index: int) -> bytes:
    start, length = BLOB.piece_span(index)
    return DATA[start : start + length]


def another_boot(monkeypatch: pytest.MonkeyPatch, name: str = "another boot") -> None:
    monkeypatch.setattr(store_module, "boot_id", lambda: name)


def fill(partial: Partial) -> None:
    for index in partial.missing():
        assert partial.write(index, piece(index))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


class TestWholeBlobs:
    def test_what_was_put_is_there_with_its_size_and_bytes(self, store: BlobStore) -> None:
        assert store.put(BLOB.sha256, [DATA[:100], DATA[100:]]) == len(DATA)
        assert store.has(BLOB.sha256)
        assert store.size(BLOB.sha256) == len(DATA)
        assert store.path(BLOB.sha256).read_bytes() == DATA

    def test_other_bytes_are_refused_and_leave_nothing(self, store: BlobStore) -> None:
        with pytest.raises(MalformedError, match=BLOB.sha256):
            store.put(BLOB.sha256, [DATA[:-1]])
        assert not store.has(BLOB.sha256)
        assert [path for path in store.root.iterdir() if path.name.startswith(".")] == []

    def test_an_interrupted_put_leaves_nothing(self, store: BlobStore) -> None:
        def torn() -> object:
            yield DATA[:10]
            raise ConnectionError

        with pytest.raises(ConnectionError):
            store.put(BLOB.sha256, torn())  # type: ignore[arg-type]
        assert store.size(BLOB.sha256) is None
        assert list(store.root.glob(".incoming-*")) == []

    @pytest.mark.parametrize("move", [True, False])
    def test_a_file_is_taken_in_after_hashing(self, store: BlobStore, tmp_path: Path, move: bool) -> None:
        file = tmp_path / "f"
        file.write_bytes(DATA)
        store.put_file(BLOB.sha256, file, move=move)
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert file.exists() is not move

    def test_a_file_with_other_bytes_stays_where_it_is(self, store: BlobStore, tmp_path: Path) -> None:
        file = tmp_path / "f"
        file.write_bytes(b"other")
        with pytest.raises(MalformedError):
            store.put_file(BLOB.sha256, file, move=True)
        assert file.exists()
        assert not store.has(BLOB.sha256)

    def test_a_file_from_another_file_system_is_copied(
        self, store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "elsewhere"
        file.write_bytes(DATA)
        rename = Path.rename

        def crossing(self: Path, target: Path) -> Path:
            if self == file:
                raise OSError(errno.EXDEV, "crosses file systems")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", crossing)
        store.put_file(BLOB.sha256, file, move=True)
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert not file.exists()

    def test_taking_a_blob_moves_it_out(self, store: BlobStore, tmp_path: Path) -> None:
        store.put(BLOB.sha256, [DATA])
        store.take(BLOB.sha256, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == DATA
        assert not store.has(BLOB.sha256)

    def test_a_removed_blob_is_gone_and_removing_it_again_is_nothing(self, store: BlobStore) -> None:
        store.put(BLOB.sha256, [DATA])
        store.remove(BLOB.sha256)
        store.remove(BLOB.sha256)
        assert not store.has(BLOB.sha256)
        assert store.digests() == set()

    def test_a_manifest_is_held_when_none_of_its_blobs_is_missing(self, store: BlobStore) -> None:
        other = blob_of(b"other")
        manifest = Manifest(1, "g", "1", blobs=(BLOB, other))
        store.put(other.sha256, [b"other"])
        assert store.missing(manifest) == [BLOB]
        assert not store.holds(manifest)
        store.put(BLOB.sha256, [DATA])
        assert store.holds(manifest)

    def test_piece_digests_that_do_not_belong_to_the_bytes_are_found_out(self, store: BlobStore) -> None:
        store.put(BLOB.sha256, [DATA])
        assert store.matches(BLOB)
        assert not store.matches(BlobRef(BLOB.sha256, BLOB.size, BLOB.pieces[:-32] + bytes(32)))
        assert not store.matches(BlobRef(BLOB.sha256, BLOB.size - 1, BLOB.pieces))
        assert not store.matches(blob_of(b"not here"))


class TestPartialBlobs:
    def test_a_blob_is_complete_when_its_last_piece_is(self, store: BlobStore) -> None:
        with store.partial(BLOB) as partial:
            assert partial.missing() == [0, 1, 2]
            for index in (2, 0, 1):
                assert not partial.complete
                assert partial.write(index, piece(index))
            assert partial.complete
            store.finish(partial)
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert store.partial_digests() == set()

    def test_wrong_bytes_are_not_written(self, store: BlobStore) -> None:
        with store.partial(BLOB) as partial:
            assert not partial.write(0, piece(1))
            assert not partial.write(2, piece(2) + b"x")
            assert partial.missing() == [0, 1, 2]
            assert partial.read(0, 10) == bytes(10)

    def test_an_incomplete_blob_cannot_be_finished(self, store: BlobStore) -> None:
        with store.partial(BLOB) as partial, pytest.raises(ValueError, match="lacks pieces"):
            store.finish(partial)

    def test_two_that_finish_the_same_blob_do_not_harm_each_other(self, store: BlobStore) -> None:
        with store.partial(BLOB) as one, store.partial(BLOB) as two:
            fill(one)
            fill(two)
            store.finish(one)
            store.finish(two)
        assert store.path(BLOB.sha256).read_bytes() == DATA

    def test_a_killed_process_resumes_behind_the_verified_pieces(self, store: BlobStore) -> None:
        with store.partial(BLOB) as partial:
            partial.write(1, piece(1))
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 2]
            assert partial.has(1)
            assert partial.verified_bytes == PIECE_SIZE

    def test_a_resumed_piece_is_not_hashed_again_in_the_same_boot(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with store.partial(BLOB) as partial:
            partial.write(1, piece(1))
        monkeypatch.setattr(hashlib, "sha256", lambda *_: pytest.fail("hashed"))
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 2]

    def test_after_a_power_cut_only_what_hashes_is_believed(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with store.partial(BLOB) as partial:
            partial.write(0, piece(0))
            partial.write(1, piece(1))
            path = partial.path
        with path.open("r+b") as file:  # the map reached the disk, this data did not
            file.write(bytes(PIECE_SIZE))
        another_boot(monkeypatch)
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 2]
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 2]

    def test_after_a_power_cut_a_file_that_lost_its_size_begins_anew(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with store.partial(BLOB) as partial:
            fill(partial)
            os.truncate(partial.path, 0)
        another_boot(monkeypatch)
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 1, 2]

    def test_a_machine_that_does_not_name_its_boots_hashes_always(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        another_boot(monkeypatch, "")
        with BlobStore(tmp_path).partial(BLOB) as partial:
            fill(partial)
            os.truncate(partial.path, PIECE_SIZE)
        with BlobStore(tmp_path).partial(BLOB) as partial:
            assert partial.missing() == [1, 2]

    def test_a_map_of_garbage_claims_nothing(self, store: BlobStore) -> None:
        with store.partial(BLOB) as partial:
            path = partial.path
        path.with_name(path.name + ".map").write_bytes(b"\xff" * 300)
        with BlobStore(store.root).partial(BLOB) as partial:
            assert partial.missing() == [0, 1, 2]


class TestFreshBlobs:
    def fetched(self, store: BlobStore) -> Path:
        with store.partial(BLOB) as partial:
            fill(partial)
            store.finish(partial)
        return store.path(BLOB.sha256)

    def test_a_fetched_blob_is_there_before_it_is_synced_and_after(self, store: BlobStore) -> None:
        before = self.fetched(store)
        store.sync()
        assert store.path(BLOB.sha256) != before
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert store.digests() == {BLOB.sha256}

    def test_a_killed_process_loses_no_fetched_blob(self, store: BlobStore) -> None:
        self.fetched(store)
        assert BlobStore(store.root).has(BLOB.sha256)

    def test_after_a_power_cut_an_unsynced_blob_is_believed_piece_by_piece(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = self.fetched(store)
        with path.open("r+b") as file:
            file.seek(PIECE_SIZE)
            file.write(b"lost")
        another_boot(monkeypatch)
        store = BlobStore(store.root)
        assert not store.has(BLOB.sha256)
        with store.partial(BLOB) as partial:
            assert partial.missing() == [1]

    def test_after_a_power_cut_a_synced_blob_is_believed(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fetched(store)
        store.sync()
        another_boot(monkeypatch)
        assert BlobStore(store.root).has(BLOB.sha256)

    def test_a_sync_that_is_interrupted_after_any_rename_loses_nothing(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fetched(store)
        monkeypatch.setattr(store_module, "sync_directory", lambda _: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            store.sync()
        assert BlobStore(store.root).path(BLOB.sha256).read_bytes() == DATA
