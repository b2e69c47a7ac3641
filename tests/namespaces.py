"""Network namespaces of one run: made, entered, removed; those of runs that are no more, too.

Rules:

* A name is PREFIX, the process id of the run, "-", and the host: so leftovers of a run that was killed are known.
* A namespace is removed with the processes that live in it: what a killed run has started may have children.
* Needs root and the commands ip and nsenter. Where the kernel lets everybody have a user namespace, ``OWN_ROOT`` is the
  beginning of a command that is root there, with networks and mounts of its own and nobody else's.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000  # setns(2)
SPACES = Path("/run/netns")
OWN_ROOT = (
    *("unshare", "--user", "--map-root-user", "--mount", "--net", "--kill-child", "--fork"),
    *("sh", "-c", f'mount -t tmpfs none /run && mkdir {SPACES} && exec "$@"', "sh"),
)


def has_root() -> bool:
    """Whether this user is root, or may be in a namespace of its own."""
    if os.geteuid() == 0:
        return True
    try:
        return subprocess.run([*OWN_ROOT, "true"], check=False, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class Spaces:
    """The namespaces of this process, by host."""

    def __init__(self, prefix: str) -> None:
        self.mark = f"{prefix}{os.getpid()}"

    def name(self, host: str) -> str:
        return f"{self.mark}-{host}"

    def add(self, host: str) -> str:
        """Make it; its name."""
        run("ip", "netns", "add", self.name(host))
        return self.name(host)

    def on(self, host: str) -> list[str]:
        """What a command begins with that is to run on this host."""
        return ["nsenter", f"--net={SPACES / self.name(host)}"]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """This thread, and the threads and programs that it starts, are on that host meanwhile."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(SPACES / self.name(host), os.O_RDONLY | os.O_CLOEXEC)
            try:
                _enter(there)
                yield
            finally:
                _enter(home)
                os.close(there)
        finally:
            os.close(home)

    def remove(self) -> None:
        """All of them, and whoever is left in them."""
        _remove(space for space in _spaces() if space.name.startswith(f"{self.mark}-"))


def sweep(prefix: str) -> None:
    """Remove the namespaces of runs that are no more."""
    _remove(space for space in _spaces() if is_left(prefix, space.name))


def is_left(prefix: str, name: str) -> bool:
    """Whether something of this name belongs to a run that is no more."""
    found = re.fullmatch(rf"{prefix}(\d+)(-.*)?", name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


def run(*words: str, text: str = "") -> str:
    """A short command and its input; its output. AssertionError with its words if it fails."""
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=text, timeout=30)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout


def _spaces() -> Iterable[Path]:
    return sorted(SPACES.iterdir()) if SPACES.is_dir() else ()


def _remove(spaces: Iterable[Path]) -> None:
    found = list(spaces)
    for process in _inhabitants(found):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    for space in found:
        subprocess.run(["ip", "netns", "delete", space.name], check=False, capture_output=True)


def _inhabitants(spaces: list[Path]) -> list[int]:
    """Processes other than this one whose network is one of these."""
    networks = set()
    for space in spaces:
        with contextlib.suppress(OSError):
            networks.add(_identity(space))
    found = []
    for entry in Path("/proc").iterdir() if networks else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended
                if _identity(entry / "ns" / "net") in networks:
                    found.append(int(entry.name))
    return found


def _identity(space: Path) -> tuple[int, int]:
    found = space.stat()
    return found.st_dev, found.st_ino


def _enter(space: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
