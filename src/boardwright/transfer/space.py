"""Free space: asked for before the first byte and again on the way, because others fill the same disk.

Rules:

* A **reserve** stays free whatever is downloaded, uploaded or built: ``LEAST``, or a hundredth of the file system if
  that is more, up to ``MOST``. Logs, the ledger and what runs beside must be able to write; an image that fills the
  disk kills the running system.
* Of a file system smaller than ten times ``LEAST`` a tenth is reserved.
* Who comes too late to find out before the first byte stops between two pieces, with a sentence; what is verified
  stays, and goes on when there is space again.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from boardwright.errors import FailedError

LEAST = 16 * 1024 * 1024  # bytes; the ledger, logs and hooks of one board need less
MOST = 1024 * 1024 * 1024  # bytes; on a large disk a hundredth is more than logs fill in a day
HINT = "remove what is not needed from this file system or give the program another directory"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoSpaceError(FailedError):
    """Something does not fit: onto the disk, or into a quota. Worth trying again when there is room."""

    retry = True


class Space:
    """The file system of the directory `path`; `reserve` in bytes stays free (None: by the rule above)."""

    def __init__(self, path: Path, reserve: int | None = None, free: Callable[[Path], int] | None = None) -> None:
        self.path = path
        self._free = free or free_bytes
        self._reserve = reserve

    @property
    def reserve(self) -> int:
        """Bytes that stay free; raises OSError."""
        if self._reserve is None:
            figures = os.statvfs(self.path)
            size = figures.f_blocks * figures.f_frsize
            self._reserve = min(max(LEAST, size // 100), MOST, size // 10)
        return self._reserve

    @property
    def free(self) -> int:
        """Bytes that this process may still write, the reserve included; raises OSError."""
        return self._free(self.path)

    def check(self, needed: int, what: str = "the download") -> None:
        """Before the first byte: raise NoSpaceError unless `needed` bytes fit."""
        if needed <= 0:
            return
        free = self.free
        if needed + self.reserve > free:
            raise NoSpaceError(
                f"{what} does not fit: it needs {amount(needed)}, {amount(free)} are free on {self.path} and "
                f"{amount(self.reserve)} of it are kept for the system",
                hint=HINT,
            )

    def take(self, count: int, what: str = "the download") -> None:
        """On the way: raise NoSpaceError if writing `count` bytes now would touch the reserve."""
        free = self.free
        if count + self.reserve > free:
            raise NoSpaceError(
                f"{what} was stopped because the disk is nearly full: {amount(free)} are free on {self.path}, "
                f"{amount(self.reserve)} are kept for the system",
                hint=HINT,
            )


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write to the file system of `path`; raises OSError."""
    figures = os.statvfs(path)
    share = figures.f_bavail if os.geteuid() else figures.f_bfree
    return share * figures.f_frsize


def is_full(error: OSError) -> bool:
    """Whether a write failed for want of space or of somebody's quota (errno(3))."""
    return error.errno in _FULL


def amount(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
