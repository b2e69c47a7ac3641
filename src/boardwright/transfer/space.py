"""Free space, asked for before the first byte: a full disk must not be found out half way."""

import os
from collections.abc import Iterable
from pathlib import Path

from boardwright.errors import FailedError
from boardwright.model.software import BlobRef
from boardwright.transfer.store import BlobStore


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write to the file system of `path`; raises OSError."""
    figures = os.statvfs(path)
    share = figures.f_bavail if os.geteuid() else figures.f_bfree
    return share * figures.f_frsize


def check_space(blobs: Iterable[BlobRef], store: BlobStore, reserve: int = 0) -> None:
    """Raise FailedError unless what is missing of `blobs`, and `reserve` bytes beside it, fits onto the disk."""
    sizes = {blob.sha256: blob.size for blob in blobs if not store.has(blob.sha256)}
    needed = sum(max(0, size - store.partial_bytes(sha256)) for sha256, size in sizes.items())
    if not needed:
        return
    free = free_bytes(store.root)
    if needed + reserve > free:
        raise FailedError(
            f"the download needs {_amount(needed + reserve)}, {_amount(free)} are free on {store.root}",
            hint="remove what is not needed from this file system or give the program another directory",
        )


def _amount(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
