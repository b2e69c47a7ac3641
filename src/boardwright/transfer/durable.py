"""What survives a power cut: the few system calls behind every promise of durability in this room.

Rules:

* A name is durable after its directory is synced, bytes are durable after their file is (fsync(2), rename(2)).
* Many files at once are made durable by one ``syncfs`` of their file system: thousands of fsyncs, one per small
  file, are what makes such systems slow.
* What was written but not synced is sound as long as the machine has not started anew: a killed process loses
  nothing that it handed to the kernel. ``boot_id`` tells the two cases apart.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_libc = ctypes.CDLL(None, use_errno=True)  # `os` has no syncfs; os.sync would wait for every disk of the host


@contextmanager
def directory_fd(path: Path) -> Iterator[int]:
    """An open descriptor of the directory `path`; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Make the names in the directory `path` durable."""
    with directory_fd(path) as fd:
        os.fsync(fd)


def sync_file(path: Path) -> None:
    """Make the bytes and the size of the file `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: Path) -> None:
    """Make everything durable that was written to the file system of the directory `path` (syncfs(2))."""
    with directory_fd(path) as fd:
        if _libc.syncfs(fd) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data` so that after a power cut the old or the new content is there.

    Raises OSError; then the content is the old one (or the new one, its name not durable yet), and nothing half
    written occupies a disk that may be full.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make the directory `path` and its parents as far as they are missing, each with a durable name."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def boot_id() -> str:
    """The kernel's name of this boot; empty where it has none, then nothing unsynced is believed."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
