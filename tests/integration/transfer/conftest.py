"""A store with a blob, a blob service in a thread of this process, and service processes."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.transfer.listen import Listener
from boardwright.transfer.serve import BlobService
from boardwright.transfer.store import BlobStore
from tests.integration.transfer.programs import Program, program
from tests.tls import LAB
from tests.unit.transfer.blobs import blob_of, some_bytes


class RunningService:
    """A blob service on a port of its own, in a loop of its own thread."""

    def __init__(self, store: BlobStore, admission: int, locks: Path, **options: Any) -> None:
        self.service = BlobService(store, admission, LAB.callers(), **options)
        self._listener = Listener(self.service, ("127.0.0.1", 0), "rsgi", locks, LAB.keys(locks))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listener.start(), self._loop).result(20)
        self.url = self._listener.url
        self.address = self._listener.address
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._listener.stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture(scope="session")
def data() -> bytes:
    return some_bytes(48 * PIECE_SIZE + 321)


@pytest.fixture(scope="session")
def blob(data: bytes) -> BlobRef:
    return blob_of(data)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, blob: BlobRef, data: bytes) -> BlobStore:
    """A server's store that holds the blob."""
    store = BlobStore(tmp_path_factory.mktemp("served"))
    store.put(blob.sha256, [data])
    return store


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    """A board's empty store."""
    return BlobStore(tmp_path / "board")


@pytest.fixture
def service(served: BlobStore, tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(served, 2, tmp_path / "locks") as running:
        yield running


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server, by which programs of a test know each other."""
    folder = tmp_path_factory.mktemp("identity")
    LAB.keys(folder)
    return folder


@pytest.fixture
def server_process(served: BlobStore, identity: Path) -> Iterator[Callable[[], Program]]:
    """Starts blob services as processes, all on the same store."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(program("serve", str(served.root), str(identity)))
