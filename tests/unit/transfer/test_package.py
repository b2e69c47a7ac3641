"""A package file: what goes in comes out, and whoever lies in one is told so in a sentence."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.errors import FailedError, UsageError
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import pack
from boardwright.transfer.package import (
    MAGIC,
    MAX_ROLE,
    check_blobs,
    is_package,
    read_package,
    write_package,
    write_role,
)

HEAD = struct.Struct(">16sIII")


def made(folder: Path, name: str = "routing.pkg") -> Path:
    software = folder / "software"
    if not software.exists():
        software.mkdir()
        (software / "large").write_bytes(bytes(range(256)) * 8192)
        (software / "small").write_bytes(b"small")
    workdir = folder / f"work-{name}"
    workdir.mkdir()
    path = folder / name
    write_package(path, pack(software, SoftwareOptions(group="routing", version="1"), workdir=workdir))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return made(tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.fixture
def path(tmp_path: Path, whole: bytes) -> Path:
    path = tmp_path / "routing.pkg"
    path.write_bytes(whole)
    return path


class TestAPackage:
    def test_holds_the_manifest_and_every_blob(self, path: Path) -> None:
        package = read_package(path)
        check_blobs(package)
        assert (package.target.group, package.target.version, package.role) == ("routing", "1", b"")
        blobs = {}
        for blob in package.manifest.blobs:
            with package.open_blob(blob.sha256) as file:
                blobs[blob.size] = file.read()
        assert blobs == {2_097_152: bytes(range(256)) * 8192, 5: b"small"}

    def test_is_the_same_for_the_same_version(self, tmp_path: Path, whole: bytes) -> None:
        assert made(tmp_path, "again.pkg").read_bytes() == whole

    def test_takes_a_signed_role_and_another_in_its_place(self, path: Path) -> None:
        for role in (b"first and longer", b"second"):
            write_role(read_package(path), role)
            package = read_package(path)
            assert package.role == role
            check_blobs(package)

    def test_that_cannot_be_written_is_as_it_was(
        self, path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_fd: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(FailedError, match="cannot be written: No space left"):
                write_role(read_package(path), b"role")
        assert path.read_bytes() == whole
        assert list(path.parent.iterdir()) == [path]

    def test_is_known_by_its_first_bytes(self, path: Path, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.write_bytes(b"boardwright")
        assert is_package(path)
        assert not is_package(image)
        assert not is_package(tmp_path)
        assert not is_package(tmp_path / "missing")


class TestAHostilePackage:
    @pytest.mark.parametrize(
        ("at", "change", "sentence"),
        [
            (0, b"x", "is no package"),
            (16, struct.pack(">I", 2), "has schema 2, this release reads 1"),
            (20, b"\xff\xff\xff\xff", "a manifest of 4294967295 bytes"),
            (20, struct.pack(">I", 40), "manifest is not of the documented form"),
            (24, struct.pack(">I", MAX_ROLE + 1), "a role of 5000001 bytes"),
            (24, struct.pack(">I", 9), "its manifest says"),
        ],
    )
    def test_is_refused_before_anything_of_it_is_used(self, path: Path, at: int, change: bytes, sentence: str) -> None:
        data = bytearray(path.read_bytes())
        data[at : at + len(change)] = change
        path.write_bytes(data)
        with pytest.raises(UsageError, match=sentence):
            read_package(path)

    @pytest.mark.parametrize("cut", [0, 10, 27, 100, -1])
    def test_that_was_cut_off_is_refused(self, path: Path, whole: bytes, cut: int) -> None:
        path.write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"is no package|is broken"):
            read_package(path)

    def test_with_something_behind_it_is_refused(self, path: Path, whole: bytes) -> None:
        path.write_bytes(whole + b"x")
        with pytest.raises(UsageError, match="its manifest says"):
            read_package(path)

    @pytest.mark.parametrize("at", [-1, -100_000])
    def test_with_other_bytes_in_a_blob_is_refused(self, path: Path, whole: bytes, at: int) -> None:
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(UsageError, match="is broken: piece"):
            check_blobs(read_package(path))

    @settings(max_examples=200, deadline=None)
    @given(at=st.integers(0, 1500), change=st.binary(min_size=1, max_size=8))
    def test_of_whatever_kind_ends_in_a_declared_error(
        self, tmp_path_factory: pytest.TempPathFactory, whole: bytes, at: int, change: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "odd.pkg"
        path.write_bytes(whole[:at] + change + whole[at + len(change) :])
        with contextlib.suppress(UsageError):
            check_blobs(read_package(path))


def test_the_layout_is_the_documented_one(whole: bytes) -> None:
    magic, schema, manifest, role = HEAD.unpack(whole[: HEAD.size])
    assert (magic, schema, role) == (MAGIC, 1, 0)
    assert whole[HEAD.size :][:manifest].startswith(b"{")
    assert len(whole) == HEAD.size + manifest + 2_097_152 + 5
