"""Where the fault tests work."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")


@pytest.fixture
def fast_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of small trees are written there."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="boardwright-faults-", dir=_MEMORY))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
