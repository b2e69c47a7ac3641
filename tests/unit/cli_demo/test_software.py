"""The two versions that the demo deploys."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from boardwright import __version__
from boardwright.cli.demo import software
from boardwright.model.software import check_manifest
from boardwright.transfer.pack import Packed

MEBIBYTE = 1024 * 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    (path / "small").write_text("small")
    (path / "large").write_bytes(os.urandom(MEBIBYTE))
    (path / "boardwright.toml").write_text('[software]\ngroup = "other"\nboard_types = ["lc-*"]\n')
    return path


def both(path: Path, workdir: Path) -> tuple[Packed, Packed]:
    first = software.first_version(path, workdir)
    return first, software.second_version(first, workdir)


def test_whatever_it_is_called_it_becomes_the_group_platform_for_every_board(directory: Path, tmp_path: Path) -> None:
    first, second = both(directory, tmp_path / "work")
    assert [
        (version.manifest.group, version.manifest.version, version.manifest.variant) for version in (first, second)
    ] == [
        ("platform", "1.0", "*"),
        ("platform", "2.0", "*"),
    ]


def test_the_second_version_is_the_first_and_32_mib(directory: Path, tmp_path: Path) -> None:
    first, second = both(directory, tmp_path / "work")
    check_manifest(second.manifest)
    assert second.manifest.size - first.manifest.size == 32 * MEBIBYTE
    assert set(second.manifest.blobs) > set(first.manifest.blobs)
    assert {file.path for file in second.manifest.files} == {"small", "large", software.ADDED}
    assert all(second.blobs[blob.sha256].path.stat().st_size == blob.size for blob in second.manifest.blobs)


def test_an_archive_gives_the_same_versions_as_its_directory(directory: Path, tmp_path: Path) -> None:
    archive = tmp_path / "in.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(directory, ".")
    unpacked, _ = both(directory, tmp_path / "one")
    first, second = both(archive, tmp_path / "two")
    assert first.manifest.blobs == unpacked.manifest.blobs
    assert len(second.manifest.files) == len(first.manifest.files) + 1


def test_an_image_changes_its_bytes_and_stays_an_image(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(MEBIBYTE + 17))
    first, second = both(image, tmp_path / "work")
    assert [version.manifest.kind for version in (first, second)] == ["image", "image"]
    assert second.manifest.files[0].path == first.manifest.files[0].path
    [blob] = second.manifest.blobs
    assert blob.size == 33 * MEBIBYTE + 17
    with second.blobs[blob.sha256].path.open("rb") as file:
        assert file.read(MEBIBYTE + 17) == image.read_bytes()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "boardwright"
    software.own_packages(path)
    return path


class TestBoardwrightItself:
    def test_runs_out_of_the_tree_alone(self, tree: Path, tmp_path: Path) -> None:
        moved = tmp_path / "elsewhere"
        tree.rename(moved)
        try:
            ran = subprocess.run(
                ["bin/boardwright", "--version"],
                cwd=moved,
                env={"PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            moved.rename(tree)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"boardwright {__version__}\n", "")

    def test_is_real_software_of_30_mib_and_more(self, tree: Path, tmp_path: Path) -> None:
        packed = software.first_version(tree, tmp_path / "work")
        assert packed.manifest.size >= 30 * MEBIBYTE
        assert packed.manifest.health is not None
        assert packed.manifest.health.command == ("bin/boardwright", "--version")

    def test_needs_what_is_broken_when_a_package_is_missing(self, tree: Path) -> None:
        hidden = tree / "lib" / "typer"
        hidden.rename(tree / "lib" / "typer.hidden")
        try:
            ran = subprocess.run(
                [tree / "bin" / "boardwright", "--version"], capture_output=True, timeout=60, check=False
            )
        finally:
            (tree / "lib" / "typer.hidden").rename(hidden)
        assert ran.returncode != 0

    def test_its_size_is_known_before_it_is_copied(self, tree: Path) -> None:
        copied = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
        assert software.size_of(None) == pytest.approx(copied, rel=0.5)
