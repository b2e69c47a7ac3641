"""Fixtures of the tests with real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server.processes import ServerCluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ServerCluster]:
    made = ServerCluster(tmp_path)
    yield made
    made.stop()
