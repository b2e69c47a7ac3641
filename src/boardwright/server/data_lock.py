"""One server per data directory.

The lock is `flock` on an open file, so the kernel drops it with the process: a file left behind by a crash or
a power cut is no obstacle.
"""

import fcntl
import os
from pathlib import Path

from boardwright.errors import RefusedError, UsageError

LOCK_NAME = "server.lock"


class DataLock:
    """Holds `data_dir` for this process from construction to ``release``; RefusedError if another one has it."""

    def __init__(self, data_dir: Path) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"the data directory {data_dir} cannot be used: {error.strerror}",
                hint="set [server] data_dir to a directory that this user may write",
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise RefusedError(
                f"the data directory {data_dir} is in use by another server (process {owner or 'unknown'})",
                hint="stop that server first, or set another [server] data_dir",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
