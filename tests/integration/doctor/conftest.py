"""One cluster for all of it: the nodes are examined first, then the cluster is broken."""

from collections.abc import Iterator

import pytest

from tests.integration.server.processes import ServerCluster


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerCluster]:
    """Two servers in two chassis."""
    made = ServerCluster(tmp_path_factory.mktemp("lab"))
    made.add(1, 1)
    made.add(2, 1)
    yield made
    made.stop()
