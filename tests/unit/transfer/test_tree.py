"""Building a version's tree: from packs, whole blobs and the previous tree; durable, and again after any crash."""

import os
from pathlib import Path

import pytest

from boardwright.errors import FailedError
from boardwright.model.software import BlobRef, DirectoryEntry, FileEntry, Manifest, check_manifest, digest_of
from boardwright.transfer import tree as tree_module
from boardwright.transfer.store import BlobStore
from boardwright.transfer.tree import build_tree, needed_blobs, remove_tree, reusable
from tests.unit.transfer.blobs import blob_of, some_bytes

BIG = some_bytes(3_000_000)
A, B, C = b"alpha", b"beta" * 100, b"gamma"
PACK = A + B
OTHER_PACK = C + b"filler"


def file(path: str, data: bytes, blob: int, offset: int = 0, mode: int = 0o644) -> FileEntry:
    return FileEntry(path, mode, len(data), digest_of(data), blob if data else -1, offset)


def version(*files: FileEntry, blobs: tuple[BlobRef, ...], directories: tuple[DirectoryEntry, ...] = ()) -> Manifest:
    manifest = Manifest(1, "g", "1", files=files, blobs=blobs, directories=directories)
    check_manifest(manifest)
    return manifest


FIRST = version(
    file("bin/run", BIG, 0, mode=0o755),
    file("etc/a", A, 1),
    file("etc/deep/er/b", B, 1, len(A), mode=0o600),
    file("etc/empty", b"", -1),
    FileEntry("lib", 0o777, link="bin"),
    blobs=(blob_of(BIG), blob_of(PACK)),
    directories=(DirectoryEntry("etc", 0o750), DirectoryEntry("var", 0o2775), DirectoryEntry("etc/deep", 0o555)),
)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "store")
    for data in (BIG, PACK):
        store.put(digest_of(data), [data])
    return store


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_mode & 0o7777 for path in root.rglob("*")}


def test_m3_a_tree_has_the_files_modes_links_and_empty_directories(store: BlobStore, tmp_path: Path) -> None:
    root = tmp_path / "versions" / "1"
    build_tree(FIRST, store, root)
    assert (root / "bin/run").read_bytes() == BIG
    assert (root / "etc/a").read_bytes() == A
    assert (root / "etc/deep/er/b").read_bytes() == B
    assert (root / "etc/empty").read_bytes() == b""
    assert (root / "lib").readlink() == Path("bin")
    assert list((root / "var").iterdir()) == []
    found = modes(root)
    assert found["bin/run"] == 0o755
    assert found["etc/a"] == 0o644
    assert found["etc/deep/er/b"] == 0o600
    assert (found["etc"], found["var"], found["etc/deep"]) == (0o750, 0o2775, 0o555)
    remove_tree(root)


def test_modes_do_not_depend_on_the_umask(store: BlobStore, tmp_path: Path) -> None:
    manifest = version(
        file("a", A, 0, mode=0o666), file("b", B, 0, len(A), mode=0o4755), blobs=(blob_of(PACK),)
    )  # set-id bits would be lost by the write after the open
    before = os.umask(0o077)
    try:
        build_tree(manifest, store, tmp_path / "t")
    finally:
        os.umask(before)
    assert modes(tmp_path / "t") == {"a": 0o666, "b": 0o4755}


def test_a_tree_leaves_one_copy_on_the_disk(store: BlobStore, tmp_path: Path) -> None:
    inode = store.path(digest_of(BIG)).stat().st_ino
    build_tree(FIRST, store, tmp_path / "t")
    assert (tmp_path / "t/bin/run").stat().st_ino == inode


def test_files_with_the_same_content_are_files_of_their_own(store: BlobStore, tmp_path: Path) -> None:
    manifest = version(file("one", BIG, 0), file("two", BIG, 0, mode=0o755), blobs=(blob_of(BIG),))
    build_tree(manifest, store, tmp_path / "t")
    assert (tmp_path / "t/one").read_bytes() == (tmp_path / "t/two").read_bytes() == BIG
    assert modes(tmp_path / "t") == {"one": 0o644, "two": 0o755}


def test_a_tree_does_not_share_a_file_with_one_that_a_crash_left_linked_to_the_store(
    store: BlobStore, tmp_path: Path
) -> None:
    build_tree(FIRST, store, tmp_path / "1")
    build_tree(FIRST, store, tmp_path / "2")
    assert (tmp_path / "2/bin/run").read_bytes() == BIG
    assert not (tmp_path / "2/bin/run").samefile(tmp_path / "1/bin/run")


def test_a_store_on_another_file_system_is_copied_from(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crossing(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", crossing)
    monkeypatch.setattr(os, "copy_file_range", crossing)
    build_tree(FIRST, store, tmp_path / "t")
    assert (tmp_path / "t/bin/run").read_bytes() == BIG


def test_a_large_blob_with_several_files_is_not_read_as_a_whole(tmp_path: Path) -> None:
    data = some_bytes(6_000_000)
    store = BlobStore(tmp_path / "store")
    store.put(digest_of(data), [data])
    manifest = version(file("a", data[:10], 0), file("b", data[10:5_500_000], 0, 10), blobs=(blob_of(data),))
    build_tree(manifest, store, tmp_path / "t")
    assert (tmp_path / "t/a").read_bytes() == data[:10]
    assert (tmp_path / "t/b").read_bytes() == data[10:5_500_000]


def test_a_tree_keeps_its_blobs_in_the_store_until_the_version_counts_as_staged(
    store: BlobStore, tmp_path: Path
) -> None:
    """M3: a crash before the installer has noted the version must not cost the download."""
    build_tree(FIRST, store, tmp_path / "t")
    assert store.holds(FIRST)


def test_a_tree_that_stands_is_left_alone(store: BlobStore, tmp_path: Path) -> None:
    root = tmp_path / "t"
    root.mkdir()
    (root / "mark").touch()
    build_tree(FIRST, store, root)
    assert [path.name for path in root.iterdir()] == ["mark"]


def test_a_missing_blob_is_said_and_leaves_no_tree(store: BlobStore, tmp_path: Path) -> None:
    store.remove(digest_of(PACK))
    with pytest.raises(FailedError, match=r"'etc/a' of g 1 lies in a blob that is not here"):
        build_tree(FIRST, store, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    assert store.has(digest_of(BIG))


@pytest.mark.parametrize("step", ["sync_file_system", "sync_directory"])
def test_a_build_interrupted_at_any_sync_is_done_again_without_a_download(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tree_module, step, lambda _: (_ for _ in ()).throw(OSError(5, "power cut")))
        with pytest.raises(FailedError) as caught:
            build_tree(FIRST, store, tmp_path / "t")
        assert isinstance(caught.value.__cause__, OSError)
    assert store.holds(FIRST)
    build_tree(FIRST, store, tmp_path / "t")
    assert (tmp_path / "t/bin/run").read_bytes() == BIG
    assert not list(tmp_path.glob(".building-*"))


@pytest.mark.parametrize("files", range(5))
def test_a_build_interrupted_after_any_file_is_done_again_without_a_download(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    count = 0
    parent = tree_module._Builder._parent

    def cut(self: tree_module._Builder, path: str) -> tuple[int, str]:
        nonlocal count
        count += 1
        if count > files:
            raise KeyboardInterrupt
        return parent(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(tree_module._Builder, "_parent", cut)
        with pytest.raises(KeyboardInterrupt):
            build_tree(FIRST, store, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    build_tree(FIRST, store, tmp_path / "t")
    assert (tmp_path / "t/etc/a").read_bytes() == A


class TestThePreviousVersion:
    SECOND = version(
        file("bin/run", BIG, 0, mode=0o700),
        file("etc/b", B, 1, len(A)),
        file("etc/c", C, 2),
        blobs=(blob_of(BIG), blob_of(PACK), blob_of(OTHER_PACK)),
    )

    def built(self, store: BlobStore, tmp_path: Path) -> Path:
        build_tree(FIRST, store, tmp_path / "1")
        for blob in FIRST.blobs:
            store.remove(blob.sha256)
        return tmp_path / "1"

    def test_only_blobs_with_a_changed_file_are_needed(self, store: BlobStore, tmp_path: Path) -> None:
        have = reusable(self.SECOND, FIRST, self.built(store, tmp_path))
        assert have == {digest_of(BIG), digest_of(B)}
        assert needed_blobs(self.SECOND, have) == [blob_of(OTHER_PACK)]
        assert needed_blobs(self.SECOND) == list(self.SECOND.blobs)

    def test_a_pack_is_needed_as_soon_as_one_of_its_files_is(self, store: BlobStore, tmp_path: Path) -> None:
        assert needed_blobs(FIRST, {digest_of(A), digest_of(BIG)}) == [blob_of(PACK)]

    def test_unchanged_files_come_from_the_previous_tree(self, store: BlobStore, tmp_path: Path) -> None:
        old = self.built(store, tmp_path)
        store.put(digest_of(OTHER_PACK), [OTHER_PACK])
        build_tree(self.SECOND, store, tmp_path / "2", (FIRST, old))
        assert (tmp_path / "2/bin/run").read_bytes() == BIG
        assert (tmp_path / "2/etc/b").read_bytes() == B
        assert (tmp_path / "2/etc/c").read_bytes() == C
        assert (tmp_path / "2/bin/run").stat().st_mode & 0o777 == 0o700
        assert (old / "bin/run").stat().st_mode & 0o777 == 0o755  # a copy, not the same file

    @pytest.mark.parametrize("alteration", ["other bytes", "other size", "gone", "a link", "a fifo"])
    def test_a_file_that_was_altered_is_not_reused(self, store: BlobStore, tmp_path: Path, alteration: str) -> None:
        old = self.built(store, tmp_path)
        altered = old / "bin/run"
        if alteration == "other bytes":
            altered.write_bytes(BIG[:-1] + b"x")
        elif alteration == "other size":
            altered.write_bytes(BIG + b"x")
        else:
            altered.unlink()
            if alteration == "a link":
                altered.symlink_to(tmp_path / "elsewhere")
                (tmp_path / "elsewhere").write_bytes(BIG)
            elif alteration == "a fifo":
                os.mkfifo(altered)
        assert reusable(self.SECOND, FIRST, old) == {digest_of(B)}

    def test_a_file_altered_after_the_check_is_found_while_copying(self, store: BlobStore, tmp_path: Path) -> None:
        old = self.built(store, tmp_path)
        store.put(digest_of(OTHER_PACK), [OTHER_PACK])
        (old / "bin/run").write_bytes(bytes(len(BIG)))
        with pytest.raises(FailedError, match="was altered"):
            build_tree(self.SECOND, store, tmp_path / "2", (FIRST, old))
        assert not (tmp_path / "2").exists()
