"""`boardwright demo`: what a newcomer runs first, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BOARDWRIGHT = Path(sys.executable).parent / "boardwright"
SMALL = ("--chassis", "2", "--control-boards", "1", "--boards", "1")
TIMEOUT = 90.0  # seconds for a whole small demo on a slow machine


@pytest.fixture
def software(tmp_path: Path) -> Path:
    path = tmp_path / "software"
    path.mkdir()
    (path / "data").write_bytes(os.urandom(1_000_000))
    (path / "probe").write_text("#!/bin/sh\ntest -s data\n")
    (path / "probe").chmod(0o755)
    (path / "boardwright.toml").write_text('[health]\ncommand = ["probe"]\n')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its folder, so that tests see what is left of it."""
    path = tmp_path / "tmp"
    path.mkdir()
    return path


@pytest.fixture
def start(folder: Path, software: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def starts(*words: str) -> subprocess.Popen[str]:
        what = [] if "--upgrade" in words else ["--software", str(software)]
        process = subprocess.Popen(
            [str(BOARDWRIGHT), "demo", *SMALL, *what, *words],
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield starts
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def processes_of(folder: Path) -> list[str]:
    """Command lines of the programs whose configuration lies below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/boardwright-demo-" in words:
                found.append(words.replace("\0", " "))
    return found


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_nothing_is_left(folder: Path) -> None:
    until(lambda: not processes_of(folder) and not list(folder.glob("boardwright-demo-*")))


def read_until(process: subprocess.Popen[str], word: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if word in line:
            return said
    raise AssertionError(f"the demo ended without {word!r}:\n{said}")


def report_of(process: subprocess.Popen[str], file: Path) -> Any:
    said, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
    return json.loads(file.read_text())


def test_every_board_ends_confirmed_on_the_second_version_though_a_server_died(
    start: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    """M1 to M7 in one run: boards find their servers, one dies in mid-download, everything is deployed."""
    report = report_of(start("--rate", "0", "--report", str(tmp_path / "report")), tmp_path / "report")
    assert {board["id"] for board in report["boards"]} == {"c1s1", "c1s2", "c2s1", "c2s2"}
    for board in report["boards"]:
        group = board["groups"]["platform"]
        assert (group["version"], group["wanted"], group["state"]) == ("2.0", "2.0", "confirmed")
        assert set(group["bytes"]) == {"same-board", "same-chassis", "elsewhere"}
    assert [server["id"] for server in report["servers"]] == ["c1s1", "c2s1"]
    assert report["killed"] in ("c1s1", "c2s1")
    assert report["failovers"] >= 1
    assert report["seconds"] > 0
    assert_nothing_is_left(folder)


def test_with_a_cap_the_server_dies_while_boards_are_seen_to_download(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    report = report_of(start("--report", str(tmp_path / "report")), tmp_path / "report")
    assert report["killed"] is not None
    assert report["failovers"] >= 1


def test_all_servers_become_another_release_of_this_installation_while_boards_download(
    start: Callable[..., subprocess.Popen[str]], folder: Path, tmp_path: Path
) -> None:
    """M8: the release is a real bundle, with nothing but its own packages."""
    words = ("--upgrade", "--chassis", "1", "--control-boards", "2", "--rate", "0", "--report")
    report = report_of(start(*words, str(tmp_path / "report")), tmp_path / "report")
    told = report["upgrade"]
    assert told["status"]["state"] == "done"
    assert {server["release"] for server in report["servers"]} == {"1.0"}
    assert told["least"] >= 1
    assert told["looks"] > 20
    assert told["deployments"] > 1
    assert told["refetched"] == 0
    assert_nothing_is_left(folder)


def test_ctrl_c_leaves_neither_a_process_nor_a_folder(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    demo = start()
    read_until(demo, "downloading")
    assert processes_of(folder)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(TIMEOUT) == 130
    assert processes_of(folder) == []
    assert list(folder.iterdir()) == []


def test_even_sigkill_leaves_neither_a_process_nor_a_folder(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    demo = start()
    read_until(demo, "downloading")
    demo.kill()
    assert_nothing_is_left(folder)


def test_software_that_is_not_healthy_ends_with_1_its_reason_and_the_logs(
    start: Callable[..., subprocess.Popen[str]], folder: Path, software: Path
) -> None:
    (software / "probe").write_text("#!/bin/sh\necho no light\nexit 7\n")
    said, _ = start("--rate", "0").communicate(timeout=TIMEOUT)
    assert "failed to run platform 1.0" in said
    assert "no light" in said
    [logs] = folder.iterdir()
    assert str(logs) in said
    assert (logs / "agent-c1s2.log").stat().st_size > 0


def test_a_cluster_that_is_kept_can_be_looked_at_and_stopped(
    start: Callable[..., subprocess.Popen[str]], folder: Path
) -> None:
    said, _ = start("--rate", "0", "--keep").communicate(timeout=TIMEOUT)
    lines = [line.strip() for line in said.splitlines()]
    guard = int(next(line for line in lines if line.startswith("kill ")).split()[1])
    try:
        boards = next(line for line in lines if line.endswith(" boards")).split()
        looked = subprocess.run(boards, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert looked.returncode == 0
        assert looked.stdout.count("confirmed") == 4
    finally:
        os.kill(guard, signal.SIGTERM)
    assert_nothing_is_left(folder)


def test_bad_software_is_wrong_usage_before_anything_starts(
    start: Callable[..., subprocess.Popen[str]], folder: Path, software: Path
) -> None:
    (software / "boardwright.toml").write_text("[health]\nprobe = 1\n")
    demo = start()
    said, _ = demo.communicate(timeout=TIMEOUT)
    assert demo.returncode == 2
    assert "unknown key" in said
    assert list(folder.iterdir()) == []
