"""The real programs under a service manager: ready, alive, hung, ending."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import TIMEOUT, Cluster

WATCHDOG = 0.6  # seconds


class Manager:
    """A service manager's socket and one program that it has started."""

    def __init__(self, cluster: Cluster, program: str, board: str) -> None:
        path = cluster.directory / f"{program}.notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        environ = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        self.process = subprocess.Popen(cluster.command(program, board), env=environ, stdin=subprocess.DEVNULL)

    def hear(self, word: str, seconds: float = TIMEOUT) -> str:
        """The next message with this word; "" if none came in this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                said = self._socket.recv(4096).decode()
            except TimeoutError:
                break
            if word in said:
                return said
        return ""

    def drain(self) -> None:
        while self.hear("", 0.01):
            pass

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()


@pytest.fixture(params=["server", "agent"])
def manager(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Manager]:
    cluster.init([(1, 1, True)])
    drop_in = cluster.directory / "out/c1s1/server.toml.d/quiet.toml"
    drop_in.parent.mkdir()
    drop_in.write_text('[server]\nscrub = "0"\n')  # a loop that has nothing to do is no trouble
    made = Manager(cluster, request.param, "c1s1")
    yield made
    made.close()


def test_it_says_when_it_is_ready_that_it_lives_and_that_it_ends_and_nothing_while_it_hangs(manager: Manager) -> None:
    assert "c1s1" in manager.hear("READY=1")
    for _ in range(3):
        assert manager.hear("WATCHDOG=1", 2 * WATCHDOG)
    manager.process.send_signal(signal.SIGSTOP)
    manager.drain()
    assert not manager.hear("WATCHDOG=1", 2 * WATCHDOG)
    manager.process.send_signal(signal.SIGCONT)
    assert manager.hear("WATCHDOG=1", 4 * WATCHDOG)
    manager.process.terminate()
    assert manager.hear("STOPPING=1")
    assert manager.process.wait(TIMEOUT) == 0


def test_one_cycle_of_an_agent_is_nobody_s_service(cluster: Cluster, tmp_path: Path) -> None:
    cluster.init([(1, 1, True)])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.1)
        environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [*cluster.command("agent", "c1s1"), "--once"]
        ended = subprocess.run(command, env=environ, capture_output=True, timeout=TIMEOUT, check=False)
        assert ended.returncode == 4
        with pytest.raises(TimeoutError):
            manager.recv(4096)
