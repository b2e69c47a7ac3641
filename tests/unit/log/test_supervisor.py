"""What a service manager is told: real datagrams over unix sockets."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardwright.log.supervisor import SHARE, Supervisor


class Manager:
    """A service manager's socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(self._socket.recv(4096).decode())
        return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@boardwright-{uuid.uuid4().hex}")
    yield made
    made.close()


class TestTelling:
    def test_the_program_says_when_it_does_its_work_and_when_it_ends(self, manager: Manager) -> None:
        supervisor = Supervisor.of({"NOTIFY_SOCKET": manager.address}, 7)
        supervisor.ready("serving as c1s1")
        supervisor.ending()
        assert manager.heard() == ["READY=1\nSTATUS=serving as c1s1", "STOPPING=1\nSTATUS=ending"]

    def test_a_status_is_one_short_line(self, manager: Manager) -> None:
        Supervisor.of({"NOTIFY_SOCKET": manager.address}, 7).ready("a\nREADY=0\n" + "x" * 1000)
        (said,) = manager.heard()
        assert said.count("\n") == 1
        assert len(said) < 300

    def test_nobody_to_tell_is_no_trouble(self, tmp_path: Path) -> None:
        for address in ("", str(tmp_path / "gone"), "/" + "x" * 999, "words"):
            supervisor = Supervisor.of({"NOTIFY_SOCKET": address}, 7)
            supervisor.ready("serving")
            supervisor.alive()
            supervisor.ending()


class TestTheWatchdog:
    @pytest.mark.parametrize(
        ("environ", "seconds"),
        [
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
            ({"WATCHDOG_USEC": "30000000"}, 30.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
            ({"WATCHDOG_USEC": "soon", "WATCHDOG_PID": "7"}, 0.0),
            ({"WATCHDOG_USEC": "-5", "WATCHDOG_PID": "7"}, 0.0),
            ({"WATCHDOG_USEC": "9" * 30, "WATCHDOG_PID": "7"}, 0.0),
            ({}, 0.0),
        ],
    )
    def test_is_what_the_environment_says_if_that_makes_sense(self, environ: dict[str, str], seconds: float) -> None:
        assert Supervisor.of({"NOTIFY_SOCKET": "/run/notify", **environ}, 7).watchdog == seconds

    def test_hears_that_the_program_lives_for_as_long_as_it_is_well(self, manager: Manager) -> None:
        supervisor = Supervisor(manager.address, watchdog=0.03)
        answers = iter(["", "", "the lease ended", "the lease ended"])

        async def life() -> None:
            await supervisor.keep(lambda: next(answers))

        with pytest.raises(RuntimeError):  # there are no answers any more
            asyncio.run(life())
        assert manager.heard() == ["WATCHDOG=1", "WATCHDOG=1"]

    def test_hears_nothing_from_a_program_that_is_not_watched(self, manager: Manager) -> None:
        asyncio.run(Supervisor(manager.address, watchdog=0.0).keep(lambda: ""))
        assert manager.heard() == []

    def test_may_miss_one_word_and_get_one_late(self) -> None:
        assert SHARE >= 3.0
