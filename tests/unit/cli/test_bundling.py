"""A release of Boardwright needs its board's interpreter and nothing else, and says so where that is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import boardwright
from boardwright.cli.bundling import add_launcher, agent_release, main
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import pack


def run(program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, "--version"], check=False, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("dist") / "agent"
    agent_release(destination, "1.2")
    return destination


def test_its_programs_run_without_anything_else_that_is_installed(agents: Path) -> None:
    done = run(agents / "bin/boardwright-agent", PATH="/usr/bin:/bin", PYTHONPATH="/nowhere", HOME="/nowhere")
    assert (done.returncode, done.stdout) == (0, f"boardwright-agent {boardwright.__version__}\n"), done.stderr
    assert run(agents / "bin/fits", PATH="/usr/bin:/bin").returncode == 0


def test_that_of_the_agents_carries_no_server_framework(agents: Path) -> None:
    library = {path.name for path in (agents / "lib").iterdir()}
    assert {"boardwright", "tuf", "cryptography"} <= library
    assert not {"litestar", "granian", "rich"} & library


def test_it_is_published_without_a_word_more(agents: Path, tmp_path: Path) -> None:
    packed = pack(agents, SoftwareOptions(), workdir=tmp_path)
    manifest = packed.manifest
    assert (manifest.group, manifest.version) == ("boardwright-agent", "1.2")


@pytest.fixture
def launcher(tmp_path: Path) -> Path:
    add_launcher(tmp_path, "boardwright-server", "boardwright.server.program")
    return tmp_path / "boardwright-server"


def test_a_board_without_the_interpreter_hears_which_one_is_needed(launcher: Path, tmp_path: Path) -> None:
    text = launcher.read_text().replace(f'"{Path(sys.executable).resolve()}"', "/nowhere/python")
    launcher.write_text(text)
    for name in ("dirname", "uname"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = run(launcher, PATH=str(tmp_path))
    assert done.returncode == 127
    assert f"needs python{sys.version_info.major}.{sys.version_info.minor}" in done.stderr


def test_a_board_of_another_kind_hears_that(launcher: Path, tmp_path: Path) -> None:
    other = tmp_path / "uname"
    other.write_text("#!/bin/sh\necho riscv64\n")
    other.chmod(0o755)
    done = run(launcher, PATH=f"{tmp_path}:{os.defpath}")
    assert done.returncode == 126
    assert "this board is riscv64" in done.stderr


def test_both_are_made_at_once_and_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["--out", str(tmp_path), "--version", "7"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"boardwright-7", "boardwright-agent-7"}
    assert f"boardwright publish {tmp_path}/boardwright-7" in capsys.readouterr().out
