"""Archives and directories that somebody made to hurt: one sentence that says what and where, and nothing is left."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from boardwright.errors import FailedError, UsageError
from boardwright.transfer import archive as archive_module
from boardwright.transfer import contents as contents_module
from boardwright.transfer import decompress as decompress_module
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import Packed, pack

Member = tarfile.TarInfo | tuple[str, bytes]
BLOCK = 512


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", **facts: object) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, target
    for key, value in facts.items():
        setattr(one, key, value)
    return one


def tar(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for one in members:
            if isinstance(one, tuple):
                archive.addfile(member(one[0], size=len(one[1])), io.BytesIO(one[1]))
            else:
                archive.addfile(one)
    return file.getvalue()


def raw(name: str, kind: bytes, size: int) -> bytes:
    """A header of 512 bytes that claims `size` bytes, which do not follow."""
    return member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT)


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Packed]:
    """Pack `data` as an archive of `name`; whatever happens, only the work directory was written to."""

    def attempts(data: bytes | Path, name: str = "bad.tar", **options: object) -> Packed:
        path = data if isinstance(data, Path) else tmp_path / name
        if isinstance(data, bytes):
            path.write_bytes(data)
        work = tmp_path / "work"
        work.mkdir()
        before = set(tmp_path.rglob("*"))
        try:
            return pack(path, SoftwareOptions(group="g", version="1", **options), workdir=work)  # type: ignore[arg-type]
        finally:
            assert {one for one in set(tmp_path.rglob("*")) - before if work not in one.parents} == set()

    return attempts


@pytest.fixture
def refused(attempt: Callable[..., Packed]) -> Callable[..., str]:
    """The sentence and the hint."""

    def refuses(data: bytes | Path, name: str = "bad.tar", **options: object) -> str:
        with pytest.raises(UsageError) as caught:
            attempt(data, name, **options)
        sentence = str(caught.value)
        assert name in sentence
        assert "\n" not in sentence
        assert len(sentence) < 1000
        assert caught.value.hint
        return f"{sentence} {caught.value.hint}"

    return refuses


class TestNamesAndLinks:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            (("", b"x"), "''"),
            ((".", b"x"), "''"),
            (("a/../../b", b"x"), "leaves its tree"),
            (("//etc/passwd", b"x"), "not a relative path"),
            (("a\nb", b"x"), "control characters"),
            (("a\x1b[2Jb", b"x"), "control characters"),
            (("d/" * 200 + "f", b"x"), "below more than 128 directories"),
            (("n" * 256, b"x"), "a name of more than 255 bytes"),
            (("d" * 200 + ("/" + "e" * 200) * 25, b"x"), "at most 4096 bytes"),
            (member("l", tarfile.SYMTYPE, "/etc/passwd"), "is absolute"),
            (member("l", tarfile.SYMTYPE, "a/../../etc"), "leaves the tree"),
            (member("l", tarfile.SYMTYPE, "x\ny"), "control characters"),
            (member("h", tarfile.LNKTYPE, "later"), "is no earlier file"),
            (member("h", tarfile.LNKTYPE, "/etc/shadow"), "is no earlier file"),
            (member("dev", tarfile.CHRTYPE), "neither a file"),
            (member("boardwright.toml", tarfile.SYMTYPE, "elsewhere"), "boardwright.toml is not a file"),
            (member("odd", b"V", size=5), "neither a file"),
        ],
        ids=lambda value: ascii(getattr(value, "name", value))[:24],
    )
    def test_that_lead_elsewhere_or_hide_something(self, refused: Callable[..., str], bad: Member, words: str) -> None:
        assert words in refused(tar(("good", b"x"), bad))

    def test_a_name_that_is_not_utf8(self, refused: Callable[..., str]) -> None:
        data = tar(("good", b"x"), ("b\udcffd", b"x"), form=tarfile.GNU_FORMAT)
        assert "not UTF-8" in refused(data)

    def test_a_file_through_an_earlier_or_later_link(self, refused: Callable[..., str]) -> None:
        assert "through the link 'l'" in refused(tar(("l/f", b"x"), ("d/f", b"y"), member("l", tarfile.SYMTYPE, "d")))

    def test_a_file_below_a_file(self, refused: Callable[..., str]) -> None:
        assert "below the file 'a'" in refused(tar(("a", b"x"), ("a/b", b"y")))

    @pytest.mark.parametrize("again", [("f", b"new"), member("f", tarfile.SYMTYPE, "g"), member("f", tarfile.DIRTYPE)])
    def test_two_things_of_one_name(self, refused: Callable[..., str], again: Member) -> None:
        assert "'f' stands in it twice" in refused(tar(("f", b"old"), again))

    def test_two_descriptions(self, refused: Callable[..., str]) -> None:
        twice = ("boardwright.toml", b"[software]\n")
        assert "twice" in refused(tar(("f", b"x"), twice, twice))

    def test_a_directory_may_be_named_again_and_odd_names_are_fine(self, attempt: Callable[..., Packed]) -> None:
        folder = member("d", tarfile.DIRTYPE, mode=0o755)
        names = ["d/ a b ", "d/a.", "d/-rf", "d/ü", "d/CON", "n" * 255]
        packed = attempt(tar(folder, folder, *((name, b"x") for name in names)))
        assert [entry.path for entry in packed.manifest.files] == sorted(names)

    def test_modes_are_the_makers(self, attempt: Callable[..., Packed]) -> None:
        packed = attempt(tar(member("su", mode=0o4755), member("w", mode=0o1777)))
        assert [entry.mode for entry in packed.manifest.files] == [0o4755, 0o1777]


class TestNamesThatLookAlike:
    COMPOSED = unicodedata.normalize("NFC", "\u00fcber")
    APART = unicodedata.normalize("NFD", "\u00fcber")

    @pytest.mark.parametrize("case_sensitive", [None, True])
    def test_one_name_in_two_ways_of_unicode(self, refused: Callable[..., str], case_sensitive: bool | None) -> None:
        said = refused(tar((self.COMPOSED, b"x"), (self.APART, b"y")), case_sensitive=case_sensitive)
        assert "'\\xfcber'" in said
        assert "'u\\u0308ber'" in said

    @pytest.mark.parametrize(("one", "other"), [("Etc/x", "etc/y"), ("README", "readme"), ("stra\u00dfe", "STRASSE")])
    def test_names_that_differ_only_in_case(self, refused: Callable[..., str], one: str, other: str) -> None:
        said = refused(tar((one, b"x"), (other, b"y")))
        assert "differ only in case" in said
        assert "case_sensitive = true" in said

    def test_unless_the_version_means_it(self, attempt: Callable[..., Packed]) -> None:
        description = ("boardwright.toml", b"[software]\ncase_sensitive = true\n")
        packed = attempt(tar(("xt_DSCP.h", b"x"), ("xt_dscp.h", b"y"), description))
        assert len(packed.manifest.files) == 2

    def test_in_a_directory_as_well(self, refused: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "bad").mkdir()
        for name in ("A", "a"):
            (tmp_path / "bad" / name).write_text(name)
        assert "'A' and 'a' differ" in refused(tmp_path / "bad", "bad")


class TestArchivesThatLie:
    def test_a_damaged_header_in_the_middle_is_no_end(self, refused: Callable[..., str]) -> None:
        data = bytearray(tar(("one", b"x"), ("two", b"y")))
        data[2 * BLOCK + 3] ^= 0x55
        assert "is broken: bad checksum at byte 1024" in refused(bytes(data))

    @pytest.mark.parametrize("blocks", [2, 4], ids=["one", "two"])
    def test_an_archive_that_ends_without_its_end_mark_is_torn(self, refused: Callable[..., str], blocks: int) -> None:
        assert "is broken: empty header" in refused(tar(("one", b"x"), ("two", b"y"))[: blocks * BLOCK])

    @pytest.mark.parametrize("opener", [None, gzip.compress, lzma.compress, zstd.compress])
    def test_joined_archives_do_not_lose_the_second(
        self, refused: Callable[..., str], opener: Callable[[bytes], bytes] | None
    ) -> None:
        squeeze = opener or bytes
        data = squeeze(tar(("one", b"x"))) + squeeze(tar(("two", b"y")))
        assert "has more behind its end" in refused(data)

    @pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, zstd.compress])
    def test_garbage_behind_compressed_data(
        self, refused: Callable[..., str], squeeze: Callable[[bytes], bytes]
    ) -> None:
        assert "is broken" in refused(squeeze(tar(("one", b"x"))) + b"garbage" * 100)

    @pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, zstd.compress])
    def test_parts_of_one_archive_compressed_apart_are_fine(
        self, attempt: Callable[..., Packed], squeeze: Callable[[bytes], bytes]
    ) -> None:
        data = tar(("one", b"x" * 5000))
        assert attempt(squeeze(data[:3000]) + squeeze(data[3000:])).manifest.size == 5000

    def test_bzip2_is_said_to_be_unknown(self, refused: Callable[..., str]) -> None:
        assert "gzip, xz or zstd" in refused(bz2.compress(tar(("one", b"x"))), "bad.tar.bz2")

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_extended_headers_of_gigabytes(self, refused: Callable[..., str], kind: bytes) -> None:
        assert "extended header of 4294967296 bytes" in refused(tar(("a", b"x"))[:1024] + raw("n", kind, 1 << 32))

    def test_headers_of_headers_of_headers(self, refused: Callable[..., str]) -> None:
        one = raw("n", tarfile.GNUTYPE_LONGNAME, 1) + b"x" + bytes(BLOCK - 1)
        assert "is broken" in refused(tar(("a", b"x"))[:1024] + one * 2000)

    def test_a_size_below_nothing(self, refused: Callable[..., str]) -> None:
        assert "is broken" in refused(tar(("a", b"x"))[:1024] + raw("n", tarfile.REGTYPE, -512))

    def test_a_file_larger_than_every_disk(self, refused: Callable[..., str]) -> None:
        assert "holds more than" in refused(tar(("a", b"x"))[:1024] + raw("n", tarfile.REGTYPE, 1 << 50))

    def test_hard_links_count_with_their_bytes(
        self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive_module, "MAX_BYTES", 10_000)
        links = [member(f"l{number}", tarfile.LNKTYPE, "f") for number in range(10)]
        assert "holds more than 10000 bytes" in refused(tar(("f", bytes(1000)), *links))

    @pytest.mark.parametrize("form", ["old", "0.0", "0.1", "1.0"])
    def test_sparse_files_in_every_format(self, refused: Callable[..., str], form: str) -> None:
        headers = {
            "0.0": {"GNU.sparse.size": "1000000000000", "GNU.sparse.numblocks": "0"},
            "0.1": {"GNU.sparse.map": "0,0", "GNU.sparse.size": "1000000000000"},
            "1.0": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1000000000000"},
        }
        if form == "old":
            data = tar(member("hole", tarfile.GNUTYPE_SPARSE), form=tarfile.GNU_FORMAT)
        else:
            data = tar(member("hole", pax_headers=headers[form]))
        said = refused(data)
        assert "'hole' is a sparse file" in said
        assert "--sparse" in said


class TestBombs:
    @pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, zstd.compress])
    def test_that_unpack_to_too_much(
        self, refused: Callable[..., str], squeeze: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decompress_module, "MAX_STREAM", 1024 * 1024)
        data = tar(("a", b"x")) + bytes(4 * 1024 * 1024)
        assert "unpacks to more than 1048576 bytes" in refused(squeeze(data))

    @pytest.mark.parametrize("squeeze", [lzma.compress, zstd.compress])
    def test_that_unpack_to_thousands_of_times_their_size(
        self, refused: Callable[..., str], squeeze: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decompress_module, "RATIO_FROM", 1024 * 1024)
        assert "1000 times its own size" in refused(squeeze(tar(("a", bytes(32 * 1024 * 1024)))))

    def test_an_xz_that_asks_for_gigabytes_of_memory(self, refused: Callable[..., str]) -> None:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
        data = bytearray(lzma.compress(tar(("a", b"x")), filters=filters))
        data[12 + 4] = 39  # the dictionary in the block header: 3 GiB (xz file format, section 5.3.1)
        crc = zlib.crc32(bytes(data[12:20])).to_bytes(4, "little")
        data[20:24] = crc
        assert "named like a tar archive, but is none" in refused(bytes(data), "bad.tar.xz")

    def test_too_many_entries(self, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contents_module, "MAX_ENTRIES", 100)
        folder = member("d", tarfile.DIRTYPE)
        assert "more than 100 files" in refused(tar(*[folder] * 101))

    @pytest.mark.parametrize("bomb", ["zeros", "directories", "links", "pax"])
    def test_memory_stays_bounded(self, tmp_path: Path, bomb: str) -> None:
        """Bombs of a few hundred kilobytes, in a process that may not have more than 512 MiB of addresses."""
        self._run(tmp_path, bomb, "30_000")

    @pytest.mark.soak
    def test_a_million_entries_are_refused_in_bounded_memory(self, tmp_path: Path) -> None:
        self._run(tmp_path, "directories", "1_000_000")

    def _run(self, tmp_path: Path, bomb: str, count: str) -> None:
        program = Path(__file__).with_name("bombs.py")
        done = subprocess.run(
            [sys.executable, str(program), bomb, count, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        sys.stdout.write(done.stdout)


class TestTheWorkDirectory:
    def test_a_full_one_is_a_sentence(
        self, tmp_path: Path, attempt: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dir").mkdir()
        (tmp_path / "dir/f").write_bytes(b"x")

        def full(_self: Path, _data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(FailedError, match="cannot be packed in") as caught:
            attempt(tmp_path / "dir", "dir")
        assert "TMPDIR" in (caught.value.hint or "")


class TestDirectories:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "dir").mkdir()
        (tmp_path / "dir/f").write_bytes(b"x" * 1000)
        return tmp_path / "dir"

    def test_one_that_contains_itself(self, folder: Path, attempt: Callable[..., Packed]) -> None:
        (folder / "self").symlink_to(".")
        assert [entry.link for entry in attempt(folder).manifest.files] == [None, "."]

    def test_one_that_is_too_deep(self, folder: Path, refused: Callable[..., str]) -> None:
        deep = folder
        for _ in range(140):
            deep /= "d"
        deep.mkdir(parents=True)
        assert "below more than 128 directories" in refused(folder, "dir")

    def test_a_pipe_in_it(self, folder: Path, refused: Callable[..., str]) -> None:
        os.mkfifo(folder / "pipe")
        assert "'pipe' is neither a file" in refused(folder, "dir")

    def test_a_file_that_vanishes_on_the_way(
        self, folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listing = contents_module._from_disk

        def vanishing(name: str, path: str, found: os.DirEntry[str]) -> contents_module.Entry:
            entry = listing(name, path, found)
            (folder / "f").unlink()
            return entry

        monkeypatch.setattr(contents_module, "_from_disk", vanishing)
        assert "dir/f cannot be read: No such file" in refused(folder, "dir")

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
    def test_a_device_is_no_image(self, refused: Callable[..., str], device: str) -> None:
        assert "neither a directory nor a file" in refused(Path(device), device)
