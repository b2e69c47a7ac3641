"""Where the demo's folder lies: in memory if there is plenty of it, else in the temporary directory.

Rules:

* TMPDIR, if set, is where the operator wants it.
* Memory is taken if /dev/shm may hold programs, and three times the need is free in it and in the machine's memory,
  whose bound may be a container's (control groups v2 and v1). Gigabytes of small files are written and removed
  there in a second; a disk that is told of every freed block (mount option `discard`) took half a minute.
* Too little space is said before anything is started.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from boardwright.cli import output
from boardwright.errors import FailedError

MEMORY = Path("/dev/shm")
PLENTY = 3  # times the need: the machine has other things to do
RESERVE = 256 * 1024 * 1024  # bytes for databases, logs and whoever else writes
_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def needed(first: int, added: int, boards: int, servers: int) -> int:
    """Bytes for both versions on every board and server, if the first has `first` and the second `added` more."""
    both = 2 * first + added
    return boards * both + servers * (first + added) + both + RESERVE


def folder_for(need: int, environment: Mapping[str, str]) -> Path:
    """The directory in which to make the demo's folder of about `need` bytes."""
    if not environment.get("TMPDIR") and _memory_fits(PLENTY * need):
        return MEMORY
    return Path(tempfile.gettempdir())


def check(folder: Path, need: int) -> None:
    """Raise FailedError if `need` bytes do not fit into `folder`."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise FailedError(
            f"the demo needs {output.size(need)} in {folder.parent}, {output.size(free)} are free",
            hint="take fewer boards, or name another directory by the environment variable TMPDIR",
        )


def _memory_fits(need: int) -> bool:
    try:
        if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or not os.access(MEMORY, os.W_OK):
            return False
        return min(shutil.disk_usage(MEMORY).free, _available_memory()) >= need
    except (OSError, ValueError):
        return False


def _available_memory() -> int:
    """Bytes of memory that can still be used (proc(5), MemAvailable), within the bound of the control group."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024
    for limit, used in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such control groups, or "max"
            available = min(available, int(limit.read_text()) - int(used.read_text()))
    return available
