"""Runs hooks, health checks and other programs of the user: bounded in time, in output and in what they leave behind.

Rules (docs/hooks.md tells them to users):

* A program runs in a session of its own. When its time is over, or the agent must end, its process group gets SIGTERM
  and soon after SIGKILL, and so does whatever left the group but still carries its ``BOARDWRIGHT_RUN``.
* One that ends in time may leave a daemon behind: starting one is what some hooks are for. The daemon's output is read
  for a moment, then the pipe is closed.
* Standard output and error together: the last ``TAIL`` bytes are kept for the report, the rest is read and dropped.
  What people see of it has no control characters.
* The environment is made, not inherited: a fixed list of harmless variables and the ``BOARDWRIGHT_*`` of the caller,
  so that a hook does the same whoever started the agent (and no ``PYTHONPATH`` of the agent leaks into it).
"""

import errno
import os
import re
import selectors
import signal
import subprocess
import threading
import time
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from boardwright.model.software import check_path

TAIL = 8 * 1024
_BROKEN = 512  # bytes of a first line without its beginning that may go; of a longer one the rest tells something
CONFIG = "BOARDWRIGHT_CONFIG"  # the folder of the board's agent.toml; the agent sets it in its own environment
KEPT_VARIABLES = (CONFIG, "HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER")
RUN = "BOARDWRIGHT_RUN"  # names one run of one program; what it starts carries it on
_LOOK = 0.25  # seconds between looks at `stop` while a program runs
_LINGER = 0.5  # seconds that output is read for after the program itself has ended (a daemon may hold the pipe)
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL: enough to remove a lock, nobody waits for it longer
_GRACE_AT_END = 0.3  # the same when the agent ends, which has less than a second for everything
_UNKILLABLE = 5.0  # seconds that a killed process gets to go; one that hangs in a driver never does
_PIPE = 64 * 1024  # bytes that a pipe holds: so much is taken of what was written before the end
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_]?)")
_INVISIBLE = ("Cc", "Cf", "Cs")  # controls, and formats that turn the direction of text


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
    """Run `argv` for at most `timeout` seconds and some for its end; never raises for what the program does."""
    deadline = time.monotonic() + timeout
    run = uuid.uuid4().hex
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**env, RUN: run},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return CommandResult(f"could not be started: {_why_not(error, argv[0], cwd)}", "")
    except ValueError as error:  # a null byte in an argument
        return CommandResult(f"could not be started: {error}", "")
    tail = _Tail(process)
    try:
        problem = _wait(process, tail, deadline, stop)
        if problem is None:
            problem = "was stopped" if stop.is_set() else f"took longer than {timeout:g} s"
            if not _end(process, run, tail, _GRACE_AT_END if stop.is_set() else _GRACE):
                problem += " and cannot be killed"
        tail.drain(_LINGER if not problem else 0.0)
    finally:
        tail.close()
    return CommandResult(problem, tail.text())


def located(program: str, tree: Path) -> str:
    """What `program` means for a version in `tree`: a path in it or of the board; else a word, for PATH to find.

    Raises MalformedError if it leads out of the version.
    """
    check_path(program.removeprefix("/"))
    inside = tree / program  # an absolute path stays what it is
    return str(inside) if "/" in program or inside.exists() else program


def plain(text: str) -> str:
    """`text` for people's eyes: lines and tabs stay; escape sequences and whatever moves a cursor go."""
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(one for one in lines if one in "\n\t" or unicodedata.category(one) not in _INVISIBLE)


def _wait(process: "subprocess.Popen[bytes]", tail: "_Tail", deadline: float, stop: threading.Event) -> str | None:
    """How the program ended, "" if well; None if it has not."""
    while True:
        code = process.poll()
        if code is not None:
            return _how_it_ended(code)
        left = deadline - time.monotonic()
        if left <= 0 or stop.is_set():
            return None
        if not tail.read(min(left, _LOOK)):
            # It closed its output and goes on: look again soon, without spinning.
            stop.wait(min(left, 0.02))


def _end(process: "subprocess.Popen[bytes]", run: str, tail: "_Tail", grace: float) -> bool:
    """SIGTERM, then SIGKILL to everything that the program started; whether it is gone."""
    _signal_group(process.pid, signal.SIGTERM)
    until = time.monotonic() + grace
    while process.poll() is None and time.monotonic() < until:
        if not tail.read(min(_LOOK, grace)):
            time.sleep(0.02)
    _signal_group(process.pid, signal.SIGKILL)
    for pid in _started_by(run):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended, or has changed its user
    try:
        process.wait(_UNKILLABLE)
    except subprocess.TimeoutExpired:
        return False
    return True


def _started_by(run: str) -> list[int]:
    """Processes that carry the run in their environment: those that left the group and the session, too."""
    mark, found = f"{RUN}={run}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                pass  # it has ended, or belongs to somebody else
    return found


def _how_it_ended(code: int) -> str:
    if code == 0:
        return ""
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _why_not(error: OSError, program: str, cwd: Path) -> str:
    """Why execve(2) said no; its own words name a file that is there when what is missing is its interpreter."""
    if not cwd.is_dir():
        return f"its directory {cwd} is missing"
    path = cwd / program
    if "/" in program and path.is_dir():
        return "it is a directory"
    if error.errno == errno.ENOENT and "/" in program and path.is_file():
        interpreter = _interpreter(path)
        return f"its interpreter {interpreter!r} is missing" if interpreter else "its program loader is missing"
    if error.errno == errno.ENOEXEC:
        return "it is no program for this board (built for another processor, or a script without #! line)"
    if error.errno == errno.EACCES and "/" in program and path.is_file() and not os.access(path, os.X_OK):
        return "it is not executable"
    return os.strerror(error.errno or 0)


def _interpreter(path: Path) -> str:
    """What the file's #! line names; "" if it has none."""
    try:
        with path.open("rb") as file:
            first = file.read(256).split(b"\n")[0]
    except OSError:
        return ""
    words = first[2:].strip(b" \t").split(b" ")
    return words[0].decode(errors="replace") if first.startswith(b"#!") else ""


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # nobody is left, or only what has changed its user


class _Tail:
    """The last bytes of a program's output."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None  # noqa: S101
        self._pipe = process.stdout
        self._fd = self._pipe.fileno()
        os.set_blocking(self._fd, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._fd, selectors.EVENT_READ)
        self._kept = b""
        self._taken = 0
        self._open = True

    def read(self, timeout: float) -> bool:
        """Wait for output for at most `timeout` seconds; False: there will be none any more."""
        if not self._open or not self._selector.select(max(0.0, timeout)):
            return self._open
        try:
            data = os.read(self._fd, _PIPE)
        except BlockingIOError:
            return True
        if not data:
            self._open = False
        self._taken += len(data)
        self._kept = (self._kept + data)[-TAIL:]
        return self._open

    def drain(self, linger: float) -> None:
        """Take what was written before the end, and for `linger` seconds what a daemon adds; it may never stop."""
        until, enough = time.monotonic() + linger, self._taken + _PIPE
        while self._selector.select(0.0) and self._taken < enough and self.read(0.0):
            pass
        while (left := until - time.monotonic()) > 0 and self.read(left):
            pass

    def close(self) -> None:
        self._selector.close()
        self._pipe.close()

    def text(self) -> str:
        kept = self._kept
        if self._taken > len(kept):  # cut, perhaps in an escape sequence
            kept = kept[kept.find(b"\n", 0, _BROKEN) + 1 :]
        return plain(kept.decode(errors="replace"))
