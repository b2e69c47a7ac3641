"""From files to versions: the same files give the same manifest, whatever they come in; bad input is refused."""

import gzip
import io
import lzma
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from boardwright.errors import UsageError
from boardwright.model.software import PIECE_SIZE, Manifest, digest_of, encode_manifest
from boardwright.transfer import archive as archive_module
from boardwright.transfer import contents as contents_module
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import SMALL, Packed, pack
from boardwright.transfer.store import BlobStore
from boardwright.transfer.tree import build_tree
from tests.unit.transfer.blobs import blob_of, some_bytes

OPTIONS = SoftwareOptions(group="routing", version="1")
BIG = some_bytes(2 * PIECE_SIZE + 5)
Pack = Callable[..., Packed]


@pytest.fixture
def packed(tmp_path: Path) -> Pack:
    """Packs with a fresh work directory each time."""

    def run(path: Path, options: SoftwareOptions = OPTIONS, base: tuple[Manifest, ...] = ()) -> Packed:
        workdir = tmp_path / f"work{len(list(tmp_path.glob('work*')))}"
        workdir.mkdir()
        return pack(path, options, workdir=workdir, base=base)

    return run


@pytest.fixture
def software(tmp_path: Path) -> Path:
    """Files small, large, empty and equal, links, modes and an empty directory."""
    root = tmp_path / "software"
    for name in ("bin", "etc/conf.d", "var/empty"):
        (root / name).mkdir(parents=True)
    (root / "bin/run").write_bytes(BIG)
    (root / "bin/run").chmod(0o755)
    (root / "bin/start").symlink_to("run")
    (root / "etc/up").symlink_to("../bin")
    (root / "etc/empty").touch()
    for number in range(40):
        (root / f"etc/conf.d/{number:02d}.conf").write_bytes(some_bytes(50_000 + number, number % 35))
    (root / "etc/secret").write_bytes(b"secret")
    (root / "etc/secret").chmod(0o600)
    (root / "var/empty").chmod(0o700)
    return root


def tar_of(root: Path, path: Path, opener: Callable[..., object] = open) -> Path:
    with opener(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:  # type: ignore[attr-defined]
        archive.add(root, ".")
    return path


def archive_with(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
            else:
                archive.addfile(member)
    return path


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o644
    return info


class TestWhatComesOut:
    def test_the_tree_built_of_a_version_is_the_directory(self, software: Path, packed: Pack, tmp_path: Path) -> None:
        version = packed(software)
        store = BlobStore(tmp_path / "store")
        for sha256, source in version.blobs.items():
            store.put_file(sha256, source.path, move=source.temporary)
        build_tree(version.manifest, store, tmp_path / "built")
        assert _listing(tmp_path / "built") == _listing(software)

    def test_blobs_are_named_by_their_bytes_and_their_pieces_fit(self, software: Path, packed: Pack) -> None:
        version = packed(software)
        assert set(version.blobs) == {blob.sha256 for blob in version.manifest.blobs}
        for blob in version.manifest.blobs:
            assert blob == blob_of(version.blobs[blob.sha256].path.read_bytes())

    def test_small_files_share_packs_of_at_most_a_piece_and_large_ones_stay_where_they_are(
        self, software: Path, packed: Pack
    ) -> None:
        version = packed(software)
        sources = version.blobs.values()
        assert [source.path for source in sources if not source.temporary] == [software / "bin/run"]
        assert len(version.manifest.blobs) == 1 + 2  # 35 different files of 50 kB
        assert all(source.size <= PIECE_SIZE for source in sources if source.temporary)

    def test_the_same_files_give_the_same_manifest(self, software: Path, packed: Pack) -> None:
        assert encode_manifest(packed(software).manifest) == encode_manifest(packed(software).manifest)

    @pytest.mark.parametrize(
        ("name", "opener"), [("tar", open), ("tgz", gzip.open), ("tar.xz", lzma.open), ("wrong-name", zstd.open)]
    )
    def test_an_archive_packs_like_its_directory(
        self, software: Path, packed: Pack, tmp_path: Path, name: str, opener: Callable[..., object]
    ) -> None:
        archive = tar_of(software, tmp_path / f"software.{name}", opener)
        from_archive, from_directory = packed(archive), packed(software)
        assert from_archive.manifest == from_directory.manifest
        assert all(source.temporary for source in from_archive.blobs.values())
        for sha256, source in from_archive.blobs.items():
            assert digest_of(source.path.read_bytes()) == sha256

    def test_an_image_is_one_file(self, packed: Pack, tmp_path: Path) -> None:
        image = tmp_path / "router.img"
        image.write_bytes(b"tiny but an image")
        manifest = packed(image).manifest
        assert manifest.kind == "image"
        assert [(entry.path, entry.size) for entry in manifest.files] == [("router.img", 17)]

    def test_a_compressed_file_that_is_no_archive_is_an_image(self, packed: Pack, tmp_path: Path) -> None:
        image = tmp_path / "router.img.gz"
        image.write_bytes(gzip.compress(bytes(100_000)))
        assert packed(image).manifest.kind == "image"

    def test_hard_links_in_an_archive_become_files(self, packed: Pack, tmp_path: Path) -> None:
        archive = archive_with(tmp_path / "a.tar", ("one", b"same"), member("two", tarfile.LNKTYPE, "./one"))
        files = packed(archive).manifest.files
        assert [(entry.path, entry.sha256) for entry in files] == [
            ("one", digest_of(b"same")),
            ("two", files[0].sha256),
        ]

    def test_two_members_of_one_name_are_refused(self, packed: Pack, tmp_path: Path) -> None:
        archive = archive_with(tmp_path / "a.tar", ("f", b"old"), ("./f", b"new"))
        with pytest.raises(UsageError, match=r"a\.tar: 'f' stands in it twice"):
            packed(archive)


class TestTheVersionsOwnWords:
    TOML = b'[software]\ngroup = "own"\nversion = "7"\nboard_types = ["b", "a", "a"]\n[install]\nbefore = ["bin/run"]\n'

    def test_the_description_is_read_and_not_deployed(self, software: Path, packed: Pack, tmp_path: Path) -> None:
        (software / "boardwright.toml").write_bytes(self.TOML)
        for path in (software, tar_of(software, tmp_path / "s.tar")):
            manifest = packed(path, SoftwareOptions()).manifest
            assert (manifest.group, manifest.version, manifest.board_types) == ("own", "7", ("a", "b"))
            assert manifest.install.before == ("bin/run",)
            assert "boardwright.toml" not in [entry.path for entry in manifest.files]

    def test_an_image_has_its_description_beside_it(self, packed: Pack, tmp_path: Path) -> None:
        (tmp_path / "i").mkdir()
        (tmp_path / "i/image").write_bytes(b"x")
        (tmp_path / "i/boardwright.toml").write_bytes(b'[software]\ngroup = "own"\n')
        assert packed(tmp_path / "i/image", SoftwareOptions(version="1")).manifest.group == "own"

    def test_options_win(self, software: Path, packed: Pack) -> None:
        (software / "boardwright.toml").write_bytes(self.TOML)
        assert packed(software, OPTIONS).manifest.group == "routing"

    @pytest.mark.parametrize("missing", ["group", "version"])
    def test_a_version_without_a_name_is_refused(self, software: Path, packed: Pack, missing: str) -> None:
        given = {"group": "g", "version": "1", missing: None}
        with pytest.raises(UsageError, match=missing) as caught:
            packed(software, SoftwareOptions(**given))
        assert f"--{missing}" in (caught.value.hint or "")

    def test_a_hook_that_is_not_there_is_refused(self, software: Path, packed: Pack) -> None:
        (software / "boardwright.toml").write_bytes(b'[install]\nafter = ["bin/chekc"]\n')
        with pytest.raises(UsageError, match="bin/chekc"):
            packed(software)

    def test_a_wrong_name_is_refused(self, software: Path, packed: Pack) -> None:
        with pytest.raises(UsageError, match=r"'\.\./x'"):
            packed(software, SoftwareOptions(group="../x", version="1"))


class TestTheBase:
    def test_unchanged_small_files_keep_their_old_packs(self, software: Path, packed: Pack) -> None:
        first = packed(software)
        (software / "etc/conf.d/07.conf").write_bytes(b"changed")
        second = packed(software, base=(first.manifest,))
        new = {blob.sha256 for blob in second.manifest.blobs} - {blob.sha256 for blob in first.manifest.blobs}
        assert [second.blobs[sha256].size for sha256 in new] == [len(b"changed")]
        assert encode_manifest(second.manifest) == encode_manifest(packed(software, base=(first.manifest,)).manifest)

    def test_an_unchanged_version_brings_no_new_blob(self, software: Path, packed: Pack) -> None:
        first = packed(software)
        again = packed(software, SoftwareOptions(group="routing", version="2"), base=(first.manifest,))
        assert again.manifest.blobs == first.manifest.blobs
        assert set(again.blobs) <= {digest_of(BIG)}

    def test_a_pack_that_is_mostly_unused_is_not_kept(self, software: Path, packed: Pack) -> None:
        first = packed(software)
        for path in sorted((software / "etc/conf.d").iterdir())[1:]:
            path.unlink()
        second = packed(software, base=(first.manifest,))
        assert second.manifest.size < len(BIG) + SMALL


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (("../up", b"x"), "'../up'"),
            (("/etc/passwd", b"x"), "'/etc/passwd'"),
            (("a/../../b", b"x"), "leaves its tree"),
            (("x" * 300, b"x"), "a name of more than 255 bytes"),
            (member("dev", tarfile.CHRTYPE), "'dev' is neither a file"),
            (member("dev", tarfile.BLKTYPE), "'dev' is neither a file"),
            (member("pipe", tarfile.FIFOTYPE), "'pipe' is neither a file"),
            (member("l", tarfile.SYMTYPE, "/etc"), "absolute"),
            (member("a/l", tarfile.SYMTYPE, "../../etc"), "leaves the tree"),
            (member("h", tarfile.LNKTYPE, "nothing"), "hard link to 'nothing'"),
            (member("h", tarfile.LNKTYPE, "../../etc/passwd"), "hard link"),
        ],
        ids=lambda value: str(getattr(value, "name", value))[:20],
    )
    def test_a_member_that_leaves_the_tree_or_is_no_file_is_refused(
        self, packed: Pack, tmp_path: Path, bad: tarfile.TarInfo | tuple[str, bytes], words: str
    ) -> None:
        archive = archive_with(tmp_path / "bad.tar", ("good", b"x"), bad)
        with pytest.raises(UsageError) as caught:
            packed(archive)
        assert words in str(caught.value)
        assert "bad.tar" in str(caught.value)

    def test_a_file_behind_a_link_is_refused(self, packed: Pack, tmp_path: Path) -> None:
        archive = archive_with(
            tmp_path / "a.tar", member("d", tarfile.DIRTYPE), member("l", tarfile.SYMTYPE, "d"), ("l/f", b"x")
        )
        with pytest.raises(UsageError, match="through the link 'l'"):
            packed(archive)

    @pytest.mark.parametrize("opener", [open, gzip.open, lzma.open, zstd.open])
    @pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
    def test_a_torn_archive_is_refused(
        self, software: Path, packed: Pack, tmp_path: Path, opener: Callable[..., object], share: float
    ) -> None:
        archive = tar_of(software, tmp_path / "s.tar", opener)
        os.truncate(archive, int(archive.stat().st_size * share))
        with pytest.raises(UsageError, match=r"s\.tar is broken"):
            packed(archive)

    def test_a_compressed_archive_with_a_flipped_bit_is_refused(
        self, software: Path, packed: Pack, tmp_path: Path
    ) -> None:
        archive = tar_of(software, tmp_path / "s.tgz", gzip.open)
        data = bytearray(archive.read_bytes())
        data[-6] ^= 1  # in the checksum at the very end
        archive.write_bytes(data)
        with pytest.raises(UsageError, match="broken"):
            packed(archive)

    def test_more_entries_or_bytes_than_the_bounds_are_refused(
        self, software: Path, packed: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = tar_of(software, tmp_path / "s.tar")
        with monkeypatch.context() as patch:
            patch.setattr(archive_module, "MAX_BYTES", len(BIG))
            with pytest.raises(UsageError, match="more than 2097157 bytes"):
                packed(archive)
        monkeypatch.setattr(contents_module, "MAX_ENTRIES", 10)
        for path in (software, archive):
            with pytest.raises(UsageError, match="more than 10 files"):
                packed(path)

    def test_a_socket_in_a_directory_is_refused(
        self, packed: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "d").mkdir()
        monkeypatch.chdir(tmp_path / "d")  # socket names are short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("s")
            with pytest.raises(UsageError, match="'s' is neither a file"):
                packed(tmp_path / "d")

    def test_a_link_that_leaves_the_directory_is_refused(self, software: Path, packed: Pack) -> None:
        (software / "out").symlink_to("../elsewhere")
        with pytest.raises(UsageError, match=r"'out' -> '\.\./elsewhere' leaves the tree"):
            packed(software)

    def test_a_name_that_is_not_utf8_is_refused(self, software: Path, packed: Pack) -> None:
        Path(os.fsdecode(bytes(software) + b"/\xff")).touch()
        with pytest.raises(UsageError, match="not UTF-8"):
            packed(software)

    def test_what_is_not_there_or_empty_is_refused(self, packed: Pack, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="neither a directory nor a file"):
            packed(tmp_path / "nothing")
        (tmp_path / "empty.img").touch()
        with pytest.raises(UsageError, match="is empty"):
            packed(tmp_path / "empty.img")

    def test_a_file_that_changes_while_it_is_read_is_refused(
        self, software: Path, packed: Pack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take_over = pack.__globals__["_Packer"]._take_over

        def meddle(self: object, base: object) -> None:
            (software / "etc/secret").write_bytes(b"SECRET")
            take_over(self, base)

        monkeypatch.setattr(pack.__globals__["_Packer"], "_take_over", meddle)
        with pytest.raises(UsageError, match="'etc/secret' changed"):
            packed(software)


def _listing(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    listing: dict[str, tuple[int, bytes | str | None]] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content: bytes | str | None = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        listing[str(path.relative_to(root))] = (mode, content)
    return listing
