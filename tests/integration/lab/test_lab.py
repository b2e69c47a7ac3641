"""The lab of the benchmarks: a cluster in network namespaces, and nothing left of it whatever ends it."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from bench.lab.network import PREFIX
from bench.lab.programs import LabError
from bench.lab.race import built, contenders, missing, race, sweep
from bench.lab.settings import OURS, Setting
from bench.lab.shape import SWITCH, Batch, Shape
from tests.namespaces import SPACES

ROOT = Path(__file__).parents[3]
TINY = Setting("tiny", Shape(2, 1, 1, 1000, 1000), size=4, rounds=1, contenders=(OURS,), idle=0)
LIMIT = 30.0  # seconds for a program to come up or to end on a busy machine
HOLDS_A_LAB = """
import subprocess, time
from bench.lab.race import built
from bench.lab.settings import Setting
from bench.lab.shape import SWITCH, Batch, Shape
with built(Setting(shape=Shape(1, 1, 1))) as lab:
    lab.programs.start("shell", "c1s2", ["sh", "-c", "sleep 1000; true"])
    print("ready", flush=True)
    time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def lab() -> Iterator[None]:
    """A machine on which there can be a lab; else that is said."""
    if reason := missing():
        pytest.skip(reason)
    yield
    assert left(os.getpid()) == [], "something of a lab is left"


def left(process: int) -> list[str]:
    """Namespaces, directories, and programs in them that a run of this process id has left."""
    mark = f"{PREFIX}{process}-"
    spaces = [space.name for space in SPACES.glob(f"{mark}*")]
    places = [Path("/dev/shm"), Path(tempfile.gettempdir())]
    directories = [str(found) for place in places for found in place.glob(f"{mark}*")]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [*spaces, *directories, *(line for line in listed.splitlines() if mark in line)]


def holding() -> "subprocess.Popen[str]":
    """A process with a lab, in which a program runs that has a child."""
    words = [sys.executable, "-c", HOLDS_A_LAB]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert left(process.pid)
    return process


def gone(process: "subprocess.Popen[str]") -> None:
    process.wait(LIMIT)
    assert process.stdout is not None
    process.stdout.close()


def fail_in_the_middle() -> None:
    with built(TINY) as made:
        made.programs.start("sleeper", "c1s2", ["sleep", "1000"])
        assert left(os.getpid())
        raise LabError("in the middle")


class TestALab:
    def test_stages_a_version_on_every_board_and_counts_what_the_links_carried(self) -> None:
        result = race(TINY, contenders(TINY.contenders), lambda line: None)
        (one,) = result.rounds
        assert 0 < one.seconds < LIMIT
        assert one.figures["tier same-chassis"] == 2 * TINY.bytes, "each board took one copy in its own chassis"
        assert one.traffic.received["c1s2"] > TINY.bytes
        assert one.traffic.sent["c2s1"] > TINY.bytes
        assert max(one.traffic.entered.values()) < TINY.bytes / 2
        assert result.whole[OURS]["peak MiB"] > 10


class TestAWideChassis:
    def test_is_looked_at_whole(self) -> None:
        with built(Setting(shape=Shape(1, 2, 32), size=1)) as made:
            assert made.network.received() >= 0
            assert len(made.network.traffic().received) == 34


def installed() -> list[str]:
    """Peers that are here already: a test installs nothing."""
    found = {
        "nginx": shutil.which("nginx") and shutil.which("curl"),
        "nearest": shutil.which("nginx") and shutil.which("curl"),
        "udpcast-tuned": shutil.which("udp-sender"),
        "libtorrent": importlib.util.find_spec("libtorrent"),
    }
    return [name for name, there in found.items() if there]


class TestItsPeers:
    @pytest.mark.parametrize("name", installed())
    def test_bring_every_board_its_bytes(self, name: str) -> None:
        (one,) = race(TINY, contenders([name]), lambda line: None).rounds
        assert one.seconds < LIMIT
        for board in ("c1s2", "c2s2"):
            assert one.traffic.received[board] > TINY.bytes

    def test_are_left_out_aloud_if_they_cannot_be_had(self) -> None:
        said: list[str] = []
        with mock.patch("bench._installing.program", return_value=False):
            result = race(TINY, contenders(["udpcast"]), said.append)
        assert result.contenders == []
        assert "UDPCAST IS LEFT OUT" in said[0]


class TestNothingIsLeft:
    def test_after_an_exception_in_the_middle(self) -> None:
        with pytest.raises(LabError, match="in the middle"):
            fail_in_the_middle()

    def test_after_a_network_that_could_not_be_wired(self) -> None:
        wrong = mock.patch("bench.lab.network.wiring", return_value=[Batch(SWITCH, "ip", ("link set nobody up",))])
        with wrong, pytest.raises(AssertionError, match="nobody"), built(TINY):
            pass

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_after_a_signal(self, number: signal.Signals) -> None:
        words = [sys.executable, "-m", "bench.lab", "--boards", "1", "--contenders", OURS]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        end = time.monotonic() + LIMIT
        while not left(process.pid):
            assert process.poll() is None
            assert time.monotonic() < end
        process.send_signal(number)
        gone(process)
        assert left(process.pid) == []

    def test_after_the_next_run_if_one_was_killed(self) -> None:
        process = holding()
        process.kill()
        gone(process)
        assert left(process.pid)
        sweep()
        assert left(process.pid) == []

    def test_and_a_run_that_lives_is_left_alone(self) -> None:
        process = holding()
        try:
            before = left(process.pid)
            sweep()
            assert left(process.pid) == before
        finally:
            process.terminate()
            gone(process)
            sweep()
