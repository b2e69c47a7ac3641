"""The trial of an agent's new release: how often it may be started, how long it may take, who runs after it.

One file beside the link, ``trial.json``, replaced as a whole and durably. Rules:

* A release that is not the `confirmed` one is on trial: every start is counted, durably, before it is entered. After
  ``STARTS`` starts, or ``DEADLINE`` seconds after the first one, it has fallen and the confirmed one is entered.
* The verdict is written before the link is pointed back, so the release before finds it whatever cuts that off.
* On the way forward the link is switched first and the release confirmed when it has proved itself; on the way back
  the release to go back to is made the confirmed one first. So at every moment the file or the link leads to an agent.
* A file that cannot be read counts as one that says nothing: then the installed program is the confirmed one.
* Time counts from the machine's start, sleep included; after another start only the starts count.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

FILE = "trial.json"
SCHEMA = 1
STARTS = 3  # as many as the machine's own restarts in the middle of a take-over (agent/timing.py)
PROOF = 60.0  # seconds for a new agent to join, get a plan and report: a server that was just restarted has 30
DEADLINE = 90  # seconds; more than the proof takes, less than systemd waits for a start (TimeoutStartSec)
_MAX = 64 * 1024  # bytes of the file
_MAX_REASON = 300


class Moment(NamedTuple):
    """The machine's start and the seconds since."""

    boot: str
    seconds: float


class Trial(NamedTuple):
    """`confirmed`: where a fall ends, '' is the installed program. `starts` are those of `release` since `first`."""

    confirmed: str = ""
    release: str = ""
    starts: int = 0
    first: Moment = Moment("", 0.0)
    fallen: str = ""
    reason: str = ""

    def begin(self) -> "Trial":
        """What is activated next begins with a clean slate."""
        return Trial(self.confirmed)

    def confirm(self, release: str) -> "Trial":
        """`release` is where a fall ends from now on."""
        return self._replace(confirmed=release)

    def fall(self, release: str, reason: str) -> "Trial":
        """`release` is not entered any more."""
        return self._replace(fallen=release, reason=reason[:_MAX_REASON])

    def on_trial(self, release: str) -> bool:
        return bool(release) and release != self.confirmed


def start(trial: Trial, named: str, now: Moment) -> tuple[Trial, str]:
    """The link names `named`: the trial after this start, and the release to enter ('': the installed program)."""
    if not trial.on_trial(named):
        return trial, named
    if trial.fallen == named:
        return trial, trial.confirmed
    if trial.release != named:
        trial = trial._replace(release=named, starts=0, first=now)
    if trial.starts >= STARTS:
        return trial.fall(named, f"it was started {trial.starts} times and did not prove itself"), trial.confirmed
    if trial.first.boot == now.boot and now.seconds - trial.first.seconds >= DEADLINE:
        return trial.fall(named, f"it did not prove itself within {DEADLINE} s"), trial.confirmed
    return trial._replace(starts=trial.starts + 1), named


def left(trial: Trial, now: Moment) -> int:
    """Seconds that a release on trial has from now on; at least one."""
    gone = now.seconds - trial.first.seconds if trial.first.boot == now.boot else 0.0
    return max(1, min(DEADLINE, round(DEADLINE - gone)))


def read_trial(directory: Path) -> Trial:
    """The file in the group's `directory`, an empty one if it says nothing that can be read."""
    try:
        with (directory / FILE).open("rb") as file:
            said = json.loads(file.read(_MAX))
        boot, seconds = said["first"]
        return Trial(
            str(said["confirmed"]),
            str(said["release"]),
            int(said["starts"]),
            Moment(str(boot), float(seconds)),
            str(said["fallen"]),
            str(said["reason"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Trial()


def write_trial(directory: Path, trial: Trial) -> None:
    """Replace the file durably if that changes it. Raises OSError."""
    if trial == read_trial(directory):
        return
    temporary = directory / f".{FILE}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump({"schema": SCHEMA, **trial._asdict()}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / FILE)
    _sync(directory)


def point(directory: Path, link: str, target: str) -> None:
    """Let the link `link` lead to `target`, or to nothing (''), durably. Raises OSError."""
    if target:
        temporary = directory / f".{link}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(target)
        temporary.replace(directory / link)
    else:
        (directory / link).unlink(missing_ok=True)
    _sync(directory)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
