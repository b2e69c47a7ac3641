"""One setting: its network, its contenders, round after round, and nothing left of any of it.

Rules:

* Whatever ends it (an error, Ctrl-C, SIGTERM), programs, namespaces and the directory are removed; what a killed run
  has left is removed by the next. Names carry the process id.
* The contenders take turns; each round begins with another one.
* The boards' disks lie in memory where there is enough: on one disk for all, that would be what is measured.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.lab.contender import Boardwright, Contender, Lab, Payload, Running
from bench.lab.network import PREFIX, Network
from bench.lab.peers import Downloads, Torrent, Udpcast
from bench.lab.programs import LabError, Programs
from bench.lab.result import Result, Round
from bench.lab.settings import OURS, PLAIN, Setting
from tests import namespaces

MEMORY = Path("/dev/shm")
COPIES = 5  # of the payload on a board and on a server: two versions in the store and as trees, and one under way
RESERVE = 512 * 1024 * 1024  # bytes for databases, logs, and everybody else
SIGNALS = (signal.SIGINT, signal.SIGTERM)
NEEDED = ("ip", "tc", "nsenter", "setpriv")


def missing() -> str:
    """Why there can be no lab here, in one sentence; '' if there can."""
    if os.geteuid() != 0:
        return "needs root: chassis and boards of the lab are network namespaces"
    lacking = [word for word in NEEDED if shutil.which(word) is None]
    return f"needs root with the commands {', '.join(lacking)}" if lacking else ""


def contenders(names: Sequence[str]) -> list[Contender]:
    running = Running()
    known: dict[str, Callable[[], Contender]] = {
        OURS: lambda: Boardwright(OURS, running, relay=True),
        PLAIN: lambda: Boardwright(PLAIN, running, relay=False),
        "nginx": lambda: Downloads("nginx"),
        "nearest": lambda: Downloads("nearest"),
        "udpcast": lambda: Udpcast("udpcast", tuned=False),
        "udpcast-tuned": lambda: Udpcast("udpcast-tuned", tuned=True),
        "libtorrent": Torrent,
    }
    return [known[name]() for name in names]


def race(setting: Setting, taking_part: Sequence[Contender], say: Callable[[str], None]) -> Result:
    """All rounds; raises LabError. `say` hears what goes on."""
    absent = {one.name: reason for one in taking_part if (reason := one.missing())}
    for name, reason in absent.items():
        say(f"{name.upper()} IS LEFT OUT: {reason}")
    there = [one for one in taking_part if one.name not in absent]
    rounds = []
    with built(setting) as lab:
        for one in there:
            one.open(lab)
        for number in range(setting.rounds):
            first = number % max(1, len(there))
            for one in there[first:] + there[:first]:
                rounds.append(_round(lab, one, number))
                say(f"{setting.title}, round {number + 1}: {one.name} {rounds[-1].seconds:.2f} s")
        whole = {one.name: one.figures() for one in there}
    return Result(setting, tuple(rounds), whole, absent)


def _round(lab: Lab, contender: Contender, number: int) -> Round:
    payload = _payload(lab, contender.name, number)
    try:
        contender.prepare(payload)
        _touch(lab)
        before, traffic = contender.cost(), lab.network.traffic()
        seconds = contender.run()
        after, traffic = contender.cost(), lab.network.traffic().since(traffic)
        figures = contender.finish()
    finally:
        payload.path.unlink(missing_ok=True)
    boards, servers = after.boards - before.boards, after.servers - before.servers
    return Round(contender.name, seconds, traffic, boards, servers, figures)


def _touch(lab: Lab) -> None:
    """Use and free as much memory as the boards are about to write.

    A virtual machine gives free pages back to its host; the first write to a page that it has to fetch again takes
    seven times as long as to others (2.0 instead of 0.28 s for each GiB).
    """
    if not lab.directory.is_relative_to(MEMORY):
        return
    block = bytes(1024 * 1024)
    with tempfile.TemporaryFile(dir=lab.directory) as file:
        for _ in range(lab.setting.size * len(lab.setting.shape.line_boards)):
            file.write(block)


@contextmanager
def built(setting: Setting) -> Iterator[Lab]:
    """The network, wired, and this thread on the operator's host."""
    sweep()
    with contextlib.ExitStack() as undo:
        undo.enter_context(_undisturbed())
        network = Network(setting.shape)
        place, mark = _place(setting), f"{network.spaces.mark}-"
        undo.callback(_remove, place.glob(f"{mark}*"))  # a signal may come as soon as there is something
        undo.callback(network.remove)
        directory = Path(tempfile.mkdtemp(prefix=mark, dir=place))
        directory.chmod(0o755)  # some programs read as another user
        (directory / "logs").mkdir()
        programs = Programs(network.spaces, directory / "logs")
        undo.callback(programs.stop)
        undo.callback(_deafen)
        with _held():
            network.wire()
        with network.operating():
            yield Lab(setting, network, programs, directory)


def sweep() -> None:
    """Remove what killed runs have left."""
    namespaces.sweep(PREFIX)
    for place in {MEMORY, Path(tempfile.gettempdir())}:
        _remove(one for one in place.glob(f"{PREFIX}*-*") if namespaces.is_left(PREFIX, one.name))


def _remove(directories: Iterable[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals are as they were when this ends; ``_deafen`` may have switched them off meanwhile."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _held() -> Iterator[None]:
    """Signals come when this ends: a namespace must not be made by a command that nobody waits for any more."""
    noted: list[int] = []
    before = {number: signal.signal(number, lambda one, _: noted.append(one)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in noted:
            signal.raise_signal(number)


def _deafen() -> None:
    """A second Ctrl-C must not leave half of it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _place(setting: Setting) -> Path:
    """Raises LabError if there is no room."""
    hosts = len(setting.shape.line_boards) * COPIES + len(setting.shape.servers) * (setting.rounds + 2)
    need = hosts * setting.bytes + RESERVE
    directory = Path(tempfile.gettempdir()) if os.environ.get("TMPDIR") or not MEMORY.is_dir() else MEMORY
    free = shutil.disk_usage(directory).free
    if directory == MEMORY:
        available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line)
        free = min(free, int(available.split()[1]) * 1024)
    if free < need:
        raise LabError(
            f"{directory} needs {need >> 20} MiB free and has {free >> 20}: take fewer boards, or set TMPDIR"
        )
    return directory


def _payload(lab: Lab, contender: str, number: int) -> Payload:
    rng, digest = random.Random(f"{lab.setting.seed} {contender} {number}"), hashlib.sha256()
    path = lab.directory / "payload"
    with path.open("wb") as file:
        for _ in range(lab.setting.size):
            block = rng.randbytes(1024 * 1024)
            digest.update(block)
            file.write(block)
    return Payload(number, path, digest.hexdigest())
