"""Fixtures of the end-to-end tests."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from boardwright.net.multicast import multicast_works
from tests.e2e.cluster import Cluster


@pytest.fixture(scope="session", autouse=True)
def multicast() -> None:
    """Everything here runs on real multicast; a machine without it is told so loudly."""
    if not asyncio.run(multicast_works("lo", ("239.255.66.87", 6687), 2.0)):
        pytest.skip("needs multicast on the loopback interface")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()
