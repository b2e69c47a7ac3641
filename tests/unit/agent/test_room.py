"""A version that does not fit is found out before its first byte; a disk that fills on the way stops the building."""

import os
from pathlib import Path

import pytest

from boardwright.agent import room
from boardwright.agent.room import check_room
from boardwright.model.software import FileEntry, Manifest, digest_of
from boardwright.transfer.space import NoSpaceError, Space
from boardwright.transfer.store import BlobStore
from boardwright.transfer.tree import build_tree, bytes_to_build
from tests.unit.transfer.blobs import blob_of, some_bytes

LARGE, PACK = some_bytes(300_000), some_bytes(50_000, 1)
BLOBS = (blob_of(LARGE), blob_of(PACK))
FILES = (
    FileEntry("large", 0o644, len(LARGE), BLOBS[0].sha256, 0),
    FileEntry("twin", 0o644, len(LARGE), BLOBS[0].sha256, 0),
    *(
        FileEntry(f"small{at}", 0o644, 10_000, digest_of(PACK[at : at + 10_000]), 1, at)
        for at in range(0, 50_000, 10_000)
    ),
)
MANIFEST = Manifest(1, "platform", "1", files=FILES, blobs=BLOBS)


def store_with(folder: Path, free: int) -> BlobStore:
    return BlobStore(folder / "store", Space(folder / "store", 1000, lambda _: free))


class TestBeforeTheFirstByte:
    def test_linked_files_count_once_and_all_others_twice(self) -> None:
        assert bytes_to_build(MANIFEST, BLOBS, links=True) == len(LARGE) + len(PACK)
        assert bytes_to_build(MANIFEST, BLOBS, links=False) == 2 * len(LARGE) + len(PACK)
        assert bytes_to_build(MANIFEST, (), links=True) == 2 * len(LARGE) + len(PACK)

    def test_the_tree_needs_room_beside_the_download(self, tmp_path: Path) -> None:
        needed = 2 * len(LARGE) + 2 * len(PACK) + 1000
        check_room(MANIFEST, BLOBS, store_with(tmp_path, needed), tmp_path / "root" / "platform")
        with pytest.raises(NoSpaceError, match=r"platform 1 does not fit: it needs 0\.7 MB"):
            check_room(MANIFEST, BLOBS, store_with(tmp_path, needed - 1), tmp_path / "root" / "platform")

    def test_a_tree_on_another_file_system_is_checked_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = Path("/dev/shm")
        if elsewhere.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs two file systems")
        asked: list[Path] = []

        class Full(Space):
            def check(self, needed: int, what: str = "") -> None:
                asked.append(self.path)
                raise NoSpaceError(f"{what} does not fit: {needed}")

        monkeypatch.setattr(room, "Space", Full)
        with pytest.raises(NoSpaceError, match=f"the tree of platform 1 does not fit: {2 * len(LARGE) + len(PACK)}"):
            check_room(MANIFEST, BLOBS, store_with(tmp_path, 10**9), elsewhere / "boardwright-none" / "platform")
        assert asked == [elsewhere]


class TestOnTheWay:
    def test_a_tree_that_a_filling_disk_stops_leaves_nothing_and_is_built_when_there_is_space(
        self, tmp_path: Path
    ) -> None:
        store, tree = store_with(tmp_path, 10**9), tmp_path / "root" / "tree"
        for data in (LARGE, PACK):
            store.put(digest_of(data), [data])
        free = iter([10**9, 10**9, 10**9, 500])
        with pytest.raises(NoSpaceError, match="building platform 1 was stopped because the disk is nearly full"):
            build_tree(MANIFEST, store, tree, space=Space(tmp_path, 1000, lambda _: next(free)))
        assert list(tree.parent.iterdir()) == []
        build_tree(MANIFEST, store, tree, space=Space(tmp_path, 1000, lambda _: 10**9))
        assert (tree / "twin").read_bytes() == LARGE
        assert (tree / "small10000").read_bytes() == PACK[10_000:20_000]

    def test_the_reserve_follows_the_size_of_the_file_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mib = 1024 * 1024
        for size, reserve in ((50, 5), (200, 16), (4_000, 40), (10**6, 1024)):
            figures = os.statvfs_result((mib, mib, size, size, size, 1, 1, 1, 0, 255))
            monkeypatch.setattr(os, "statvfs", lambda _, figures=figures: figures)
            assert Space(tmp_path).reserve == reserve * mib
