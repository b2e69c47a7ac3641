"""One agent per state directory: a lock that the kernel drops with the process, however it ends."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from boardwright.errors import RefusedError, UsageError


class StateLock:
    """Holds ``STATE_DIR/lock`` from enter to exit; a file that a dead agent has left is no obstacle."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises RefusedError if another agent runs, UsageError if the directory cannot be used."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"the state directory {self._path.parent} cannot be used: {os.strerror(error.errno or 0)}",
                hint="set [agent] state_dir to a directory that this user may write",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise RefusedError(
                f"another agent runs on the state directory {self._path.parent}",
                hint="stop that agent first, or set another [agent] state_dir",
            ) from None
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
