"""The guard: whatever becomes of the demo, nothing is left of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardwright.cli.demo import guard

TIMEOUT = 20.0


class Guarded:
    """A folder, its guard, and one process of the group that ends only by a signal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "demo"
        self.directory.mkdir()
        (self.directory / "file").touch()
        self.guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self.directory)], stdin=subprocess.PIPE, process_group=0
        )
        stubborn = (
            "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
        )
        self.member = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", stubborn], stdout=subprocess.PIPE, process_group=self.guard.pid
        )
        assert self.member.stdout is not None
        self.member.stdout.readline()

    def say(self, word: bytes) -> None:
        assert self.guard.stdin is not None
        os.write(self.guard.stdin.fileno(), word)

    def leave(self) -> None:
        assert self.guard.stdin is not None
        self.guard.stdin.close()

    def assert_nothing_is_left(self) -> None:
        assert self.member.wait(TIMEOUT) == -signal.SIGKILL
        assert self.guard.wait(TIMEOUT) == 0
        assert not self.directory.exists()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    try:
        yield made
    finally:
        for process in (made.member, made.guard):
            process.kill()
            process.wait()
        for stream in (made.member.stdout, made.guard.stdin):
            if stream is not None:
                stream.close()


def test_when_the_pipe_ends_the_group_dies_and_the_folder_goes(guarded: Guarded) -> None:
    guarded.leave()
    guarded.assert_nothing_is_left()


def test_a_cluster_that_is_kept_lives_until_the_guard_is_told(guarded: Guarded) -> None:
    guarded.say(guard.KEEP)
    guarded.leave()
    with pytest.raises(subprocess.TimeoutExpired):
        guarded.guard.wait(0.3)
    assert guarded.member.poll() is None
    guarded.guard.terminate()
    guarded.assert_nothing_is_left()
