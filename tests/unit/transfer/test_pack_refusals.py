"""What looks like a version and would only fail on the boards is refused where it is packed."""

import tarfile
from pathlib import Path

import pytest

from boardwright.errors import UsageError
from boardwright.model.software import HealthSpec, InstallSpec
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import Packed, pack


@pytest.fixture
def software(tmp_path: Path) -> Path:
    folder = tmp_path / "software"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/run").write_text("#!/bin/sh\n")
    (folder / "bin/run").chmod(0o755)
    (folder / "notes").write_text("not a program")
    return folder


def packed(path: Path, tmp_path: Path, **options: object) -> Packed:
    workdir = tmp_path / "work"
    workdir.mkdir()
    return pack(path, SoftwareOptions(group="g", version="1", **options), workdir=workdir)  # type: ignore[arg-type]


def refused(path: Path, tmp_path: Path, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        packed(path, tmp_path, **options)
    return f"{caught.value} {caught.value.hint}"


def test_a_directory_without_files(tmp_path: Path) -> None:
    (tmp_path / "empty/bin").mkdir(parents=True)
    (tmp_path / "empty/boardwright.toml").write_text("[software]\n")
    assert "empty holds no files" in refused(tmp_path / "empty", tmp_path)


def test_an_archive_without_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    assert "a.tar holds no files" in refused(path, tmp_path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "A.TGZ", "a.tar.zst", "a.tar.bz2"])
def test_what_is_named_like_an_archive_and_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>404 not found</html>")
    assert f"{name} is named like a tar archive, but is none" in refused(tmp_path / name, tmp_path)


@pytest.mark.parametrize("board_type", ["", "lc rp", "lc,rp", "lc/1", "l\u00e9"])
def test_a_board_type_that_no_board_could_have(software: Path, tmp_path: Path, board_type: str) -> None:
    assert f"board type {board_type!r}" in refused(software, tmp_path, board_types=(board_type,))


@pytest.mark.parametrize("board_type", ["*", "lc-*", "lc-[14]00g", "rp~2+b.c_?"])
def test_globs_of_board_types_are_fine(software: Path, tmp_path: Path, board_type: str) -> None:
    assert packed(software, tmp_path, board_types=(board_type,)).manifest.board_types == (board_type,)


def test_a_hook_that_is_not_executable(software: Path, tmp_path: Path) -> None:
    assert "hook 'notes' is not executable" in refused(software, tmp_path, install=InstallSpec(before=("notes",)))


def test_a_health_check_that_is_not_executable(software: Path, tmp_path: Path) -> None:
    assert "health check 'notes' is not executable" in refused(
        software, tmp_path, health=HealthSpec(command=("notes",))
    )


@pytest.mark.parametrize("program", ["bin/run", "true", "/bin/true", "bin/made-by-a-hook"])
def test_a_health_check_in_the_version_or_on_the_board_is_fine(software: Path, tmp_path: Path, program: str) -> None:
    assert packed(software, tmp_path, health=HealthSpec(command=(program,))).manifest.health is not None
