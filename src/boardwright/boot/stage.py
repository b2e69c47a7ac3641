"""The boot stage: ``boardwright-server`` and ``boardwright-agent`` as they were installed, before anything else.

Rules:

* If the release link of the program names a release, that is started instead, with the same arguments and in the same
  process. The installed program is the boot loader, and what runs if there is no release or it cannot be started.
* A release never enters another one: whoever follows the link starts this stage anew (``release.boot_again``).
* The server follows ``[server] release``. The agent follows the group `boardwright-agent` below ``[agent] root`` of
  the first of its configurations that runs that group.
* A configuration that cannot be read names no release here; the program itself says what is wrong with it.
* An agent's release that is not confirmed is entered under guard (``trial``): the start is counted first, and an alarm
  that lasts over the exec kills one that hangs. If the start cannot be counted, the confirmed one runs.
* A server's release has an alarm, too, for its start alone: whether it is good is for its agent to find
  out, but one that hangs would not see that the link leads back.
* Nothing but the standard library, and little of it: this must start when nothing else does.
"""

import importlib
import itertools
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from boardwright.boot.names import AGENT_GROUP
from boardwright.boot.release import LINK, VARIABLE, VERSIONS, Boot, boot_of, named, told
from boardwright.boot.trial import Moment, Trial, left, point, read_trial, start, write_trial

SERVER, AGENT = "server", "agent"
START_LIMIT = 120  # seconds for a server, as TimeoutStartSec of its unit
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_FILE = 1024 * 1024  # bytes of a configuration (config/fragments.py)


class Machine(NamedTuple):
    """What the stage does to the process and asks the machine for."""

    execve: Callable[[str, Sequence[str], Mapping[str, str]], object]
    alarm: Callable[[int], object]
    now: Callable[[], Moment]
    say: Callable[[str], object]


def server() -> NoReturn:
    """The program ``boardwright-server``."""
    _boot(SERVER)


def agent() -> NoReturn:
    """The program ``boardwright-agent``."""
    _boot(AGENT)


def _boot(program: str) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # an ignored one would be ignored by the release as well
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    machine = Machine(_execve, signal.alarm, _now, sys.stderr.write)
    command = (sys.executable, *sys.orig_argv[1:])
    told_now = enter(program, sys.argv[1:], command, os.environ, machine)
    os.environ[VARIABLE] = told(told_now)
    importlib.import_module(f"boardwright.{program}.program").main()  # by name: a release may run without the other
    raise SystemExit(0)


def enter(
    program: str, arguments: Sequence[str], command: tuple[str, ...], environ: Mapping[str, str], machine: Machine
) -> Boot:
    """Become the release of `program`, if there is one; else what the installed program is to know."""
    machine.alarm(0)  # that of a trial that has ended
    pid = os.getpid()
    before = boot_of(environ, pid)
    if before is not None and before.entered:
        return before
    directory = followed(program, arguments)
    if directory is None:
        return Boot(pid, command)
    seen = named(directory)

    def become(name: str, seen: str) -> bool:
        first = directory / VERSIONS / name / "bin" / f"boardwright-{program}"
        boot = Boot(pid, command, str(directory), seen, name)
        try:
            machine.execve(str(first), [str(first), *arguments], {**environ, VARIABLE: told(boot)})
        except OSError as error:
            machine.say(f"boardwright-{program}: the release {name} cannot be started: {first}: {error.strerror}\n")
            return False
        return True  # only where nothing is really executed

    if seen and program == SERVER:
        machine.alarm(START_LIMIT)
        become(seen, seen)
        machine.alarm(0)
    elif seen:
        seen = _guarded(directory, seen, become, machine)
    return Boot(pid, command, str(directory), seen)


def _guarded(directory: Path, seen: str, become: Callable[[str, str], bool], machine: Machine) -> str:
    """Enter what the trial allows; what the link names if nothing could be entered."""
    before = read_trial(directory)
    now = machine.now()
    trial, name = start(before, seen, now)
    if not _written(directory, trial, machine):
        name = before.confirmed
    if name == seen and trial.on_trial(name):
        machine.alarm(left(trial, now))
        if become(name, seen):
            return seen
        machine.alarm(0)
        trial, name = trial.fall(name, "it could not be started"), trial.confirmed
        _written(directory, trial, machine)
    if name != seen and trial.fallen == seen:
        to = name or "the installed program"
        machine.say(f"boardwright-agent: {seen} has fallen: {trial.reason}; back to {to}\n")
        try:
            point(directory, LINK, f"{VERSIONS}/{name}" if name else "")
            seen = name
        except OSError as error:
            machine.say(f"boardwright-agent: {directory / LINK} cannot be pointed back: {error.strerror}\n")
    if name:
        become(name, seen)
    return seen


def _written(directory: Path, trial: Trial, machine: Machine) -> bool:
    try:
        write_trial(directory, trial)
    except OSError as error:
        machine.say(f"boardwright-agent: {directory} takes no start of a new release in: {error.strerror}\n")
        return False
    return True


def followed(program: str, arguments: Sequence[str]) -> Path | None:
    """The directory of the group whose release the program runs, by its configuration; None for none."""
    for path in _configurations(arguments):
        tables = _read(path)
        own = tables.get(program)
        own = own if isinstance(own, dict) else {}
        if program == SERVER:
            release = own.get("release")
            return Path(release) if isinstance(release, str) and release else None
        board = tables.get("board")
        groups = board.get("groups") if isinstance(board, dict) else None
        if isinstance(groups, list) and AGENT_GROUP in groups:
            root = own.get("root", "/opt/boardwright")  # config/agent.py
            return Path(root, AGENT_GROUP) if isinstance(root, str) else None
    return None


def _configurations(arguments: Sequence[str]) -> list[Path]:
    found = [after for word, after in itertools.pairwise(arguments) if word == "--config"]
    found += [word.removeprefix("--config=") for word in arguments if word.startswith("--config=")]
    return [Path(one).absolute() for one in found]


def _read(path: Path) -> dict[str, object]:
    """The tables of a configuration with its drop-ins, as far as they can be read."""
    merged: dict[str, object] = {}
    folder = path.with_name(path.name + ".d")
    drop_ins = sorted(one for one in folder.iterdir() if one.name.endswith(".toml")) if folder.is_dir() else []
    for one in (path, *drop_ins):
        try:
            with one.open("rb") as file:
                tables = tomllib.loads(file.read(_MAX_FILE).decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            continue
        for key, value in tables.items():
            if isinstance(value, dict):
                value = {name: _resolved(one, name, what) for name, what in value.items()}
            there = merged.get(key)
            merged[key] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value
    return merged


def _resolved(file: Path, key: str, value: object) -> object:
    """Relative paths begin at the folder of the file that says them."""
    return str(file.parent / value) if key in ("release", "root") and isinstance(value, str) and value else value


def _execve(path: str, words: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    os.execve(path, list(words), environ)


def _now() -> Moment:
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    return Moment(boot, time.clock_gettime(time.CLOCK_BOOTTIME))
