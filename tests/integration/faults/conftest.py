"""Where the fault tests work, and how many points they visited: CI shows it."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")
_visited: Counter[str] = Counter()


@pytest.fixture
def fast_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of small trees are written there."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="boardwright-faults-", dir=_MEMORY))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def points() -> Counter[str]:
    """Counts for the summary at the end of the run."""
    return _visited


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what, count in sorted(_visited.items()):
        terminalreporter.write_line(f"faults: {count} {what}")
