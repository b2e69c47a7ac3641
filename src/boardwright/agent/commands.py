"""Runs hooks, health checks and other programs of the user: bounded in time, in output and in what they leave behind.

Rules:

* A program runs in a session of its own; when its time is over, or the agent must end, its whole process group is
  killed. One that ends in time may leave a daemon behind: starting one is what some hooks are for.
* Standard output and error together: the last ``TAIL`` bytes are kept for the report, the rest is read and dropped.
* The environment is made, not inherited: a fixed list of harmless variables and the ``BOARDWRIGHT_*`` of the caller,
  so that a hook does the same whoever started the agent (and no ``PYTHONPATH`` of the agent leaks into it).
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

TAIL = 8 * 1024
KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
_LOOK = 0.25  # seconds between looks at `stop` while a program runs
_LINGER = 0.5  # seconds that output is read for after the program itself has ended (a daemon may hold the pipe)


class CommandResult(msgspec.Struct, frozen=True):
    """`problem` is empty if the program ended with exit code 0, else says in a few words how it ended."""

    problem: str
    tail: str

    @property
    def ok(self) -> bool:
        return not self.problem


def environment(inherited: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: harmless variables of `inherited`, then `own`."""
    kept = {name: inherited[name] for name in KEPT_VARIABLES if name in inherited}
    kept.setdefault("PATH", os.defpath)
    return {**kept, **own}


def run_command(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float, stop: threading.Event
) -> CommandResult:
    """Run `argv` for at most `timeout` seconds; never raises for what the program does."""
    deadline = time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return CommandResult(f"could not be started: {os.strerror(error.errno or 0)}", "")
    with process:
        tail = _Tail(process)
        problem = _wait(process, tail, deadline, timeout, stop)
        tail.drain(time.monotonic() + (_LINGER if not problem else 0.0))
        assert process.stdout is not None  # noqa: S101
        process.stdout.close()
    return CommandResult(problem, tail.text())


def _wait(
    process: "subprocess.Popen[bytes]", tail: "_Tail", deadline: float, timeout: float, stop: threading.Event
) -> str:
    while True:
        code = process.poll()
        if code is not None:
            return _how_it_ended(code)
        left = deadline - time.monotonic()
        if left <= 0 or stop.is_set():
            _kill_group(process.pid)
            process.wait()
            return "was stopped" if stop.is_set() else f"took longer than {timeout:g} s"
        if not tail.read(min(left, _LOOK)):
            # It closed its output and goes on: look again soon, without spinning.
            stop.wait(min(left, 0.02))


def _how_it_ended(code: int) -> str:
    if code == 0:
        return ""
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left, or only what has changed its user


class _Tail:
    """The last bytes of a program's output."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None  # noqa: S101
        self._fd = process.stdout.fileno()
        os.set_blocking(self._fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._kept = b""
        self._open = True

    def read(self, timeout: float) -> bool:
        """Wait for output for at most `timeout` seconds; False: there will be none any more."""
        if not self._open or not self._selector.select(max(0.0, timeout)):
            return self._open
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return True
        if not data:
            self._open = False
        self._kept = (self._kept + data)[-TAIL:]
        return self._open

    def drain(self, until: float) -> None:
        """Take what is still in the pipe, at most until `until`."""
        while self.read(0.0) and (self._selector.select(0.0) or time.monotonic() < until):
            self.read(max(0.0, until - time.monotonic()))
        self._selector.close()

    def text(self) -> str:
        return self._kept.decode(errors="replace")
