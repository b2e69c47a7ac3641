"""The programs of a lab, each on a host: started, killed, looked at, and none left.

Rules:

* Who has started a program takes it along when it dies (PDEATHSIG); whatever it has started itself ends with its
  network.
* A program that ends by itself is an error that names it, with the end of its log.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.namespaces import Spaces

STOPPING = 3.0  # seconds for an orderly end; then SIGKILL
LOG_TAIL = 3  # lines of a dead program's log that go into the error
TICKS = os.sysconf("SC_CLK_TCK")


class LabError(Exception):
    """One sentence of what did not come about."""


class Programs:
    """By names of the caller's choice; logs go to ``directory``, which must exist."""

    def __init__(self, spaces: Spaces, directory: Path) -> None:
        self._spaces = spaces
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spent: dict[str, float] = {}  # seconds of CPU of those that were ended

    def start(self, name: str, host: str, words: Sequence[object]) -> None:
        """Its output goes to its log."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                self._words(host, words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def talk(self, name: str, host: str, words: Sequence[object]) -> "subprocess.Popen[bytes]":
        """As ``start``; its input and output are pipes."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                self._words(host, words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._running[name] = process
        return process

    def runs(self, name: str) -> bool:
        return name in self._running

    def signal(self, name: str, number: int) -> None:
        self._running[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """As a power cut would, all at once; without fear of those that have ended."""
        ended = self._taken(names)
        for process in ended:
            process.kill()
        for process in ended:
            _buried(process)

    def end(self, *names: str) -> None:
        """In order; who does not end in time is killed."""
        ended = self._taken(names)
        for process in ended:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOPPING)
            process.kill()
            _buried(process)

    def check(self) -> None:
        """Raise LabError if a program has ended that nobody has killed."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise LabError(f"{name} ended by itself with exit code {process.returncode}{self.told(name)}")

    def told(self, name: str) -> str:
        """The end of its log, for a sentence."""
        tail = self.log(name).read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return ": " + " / ".join(tail) if tail else ""

    def cpu(self, names: Iterable[str]) -> float:
        """Seconds of CPU that these have used, user and system, with what they used before they were ended."""
        total = 0.0
        for name in names:
            total += self._spent.get(name, 0.0)
            with contextlib.suppress(OSError, KeyError):  # it runs no more
                stat = Path(f"/proc/{self._running[name].pid}/stat").read_text()
                total += sum(map(int, stat.rpartition(") ")[2].split()[11:13])) / TICKS
        return total

    def memory(self, name: str, figure: str) -> float:
        """MiB of `figure` ("VmRSS", "VmHWM") in /proc/PID/status."""
        lines = Path(f"/proc/{self._running[name].pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(figure)) / 1024

    def log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def stop(self) -> None:
        """Kill them all."""
        self.kill(*list(self._running))

    def _taken(self, names: Iterable[str]) -> list["subprocess.Popen[bytes]"]:
        there = [name for name in names if name in self._running]
        self._spent |= {name: self.cpu([name]) for name in there}
        return [self._running.pop(name) for name in there]

    def _words(self, host: str, words: Sequence[object]) -> list[str]:
        return ["setpriv", "--pdeathsig", "KILL", *self._spaces.on(host), *map(str, words)]


def _buried(process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # what nobody has read
                stream.close()
