"""M3: downloads from the selected server over real HTTP, with servers that die or hang and fetchers that are killed."""

import contextlib
import http.server
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import FailedError
from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.transfer.fetch import FetchLimits, FetchResult, fetch
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from tests.integration.transfer.conftest import RunningService
from tests.integration.transfer.programs import Program, program
from tests.tls import LAB, over_tls
from tests.unit.transfer.blobs import Recorder, blob_of

LINES = LAB.lines()
QUICK = FetchLimits(give_up=0.0, give_up_busy=0.0)


@pytest.fixture
def run(store: BlobStore, blob: BlobRef) -> Iterator[Callable[..., FetchResult]]:
    """Fetches the blob from URLs, the first the best; their ids are "0", "1", ..."""
    with contextlib.ExitStack() as stack:

        def fetching(*urls: str, limits: FetchLimits = QUICK, observer: Recorder | None = None) -> FetchResult:
            sources = SourceList([HttpSource(str(rank), url, LINES) for rank, url in enumerate(urls)])
            stack.callback(sources.close)
            return fetch([blob], sources, store, limits=limits, observer=observer)

        yield fetching


class Saboteur(Recorder):
    """Sends a signal to a server when a share of the blob has come."""

    def __init__(self, server: Program, number: signal.Signals, after: int) -> None:
        super().__init__()
        self._server, self._number, self._after = server, number, after
        self._once = threading.Lock()

    def on_bytes(self, source_id: str, count: int) -> None:
        super().on_bytes(source_id, count)
        if sum(self.bytes.values()) >= self._after and self._once.acquire(blocking=False):
            self._server.send(self._number)


def test_m3_a_board_downloads_from_the_server_it_selected(
    run: Callable[..., FetchResult], service: RunningService, store: BlobStore, blob: BlobRef, data: bytes
) -> None:
    result = run(service.url)
    assert result.bytes == {"0": blob.size}
    assert store.path(blob.sha256).read_bytes() == data
    assert service.service.bytes_served == blob.size
    assert service.service.clients == ("c1s9",)


def test_connections_are_kept(run: Callable[..., FetchResult], service: RunningService) -> None:
    limits = FetchLimits(rate=1 << 29, workers=1)
    with _counting(service) as (url, connections):
        run(url, limits=limits)
    assert len(connections) == 1


@pytest.mark.parametrize(("number", "most"), [(signal.SIGKILL, 1.0), (signal.SIGSTOP, 3.0)], ids=["is killed", "hangs"])
def test_m3_a_server_that_fails_in_mid_download_costs_little_and_no_verified_byte(
    run: Callable[..., FetchResult],
    server_process: Callable[[], Program],
    store: BlobStore,
    blob: BlobRef,
    data: bytes,
    number: signal.Signals,
    most: float,
) -> None:
    victim, other = server_process(), server_process()
    saboteur = Saboteur(victim, number, blob.size // 3)
    begun = time.monotonic()
    result = run(victim.line(), other.line(), observer=saboteur, limits=FetchLimits())
    assert (
        time.monotonic() - begun < most + 5.0
    )  # the download itself takes a tenth of a second; the machine may be busy
    assert store.path(blob.sha256).read_bytes() == data
    assert result.refetched == 0
    assert result.failovers == 1
    assert set(result.bytes) == {"0", "1"}
    # What came twice are at most the unverified parts of the three pieces that were under way.
    assert blob.size <= sum(result.bytes.values()) < blob.size + 3 * PIECE_SIZE


def test_m3_a_killed_download_goes_on_from_any_other_server_without_a_verified_piece_again(
    run: Callable[..., FetchResult],
    server_process: Callable[[], Program],
    service: RunningService,
    store: BlobStore,
    blob: BlobRef,
    data: bytes,
    tmp_path: Path,
    identity: Path,
) -> None:
    description = tmp_path / "blob"
    description.write_bytes(msgspec.msgpack.encode(blob))
    with program("fetch", str(store.root), str(description), server_process().line(), str(identity)) as fetcher:
        while int(fetcher.line()) < blob.size // 3:
            pass
        fetcher.send(signal.SIGKILL)
        fetcher.process.wait(10)
    with store.partial(blob) as partial:
        there = partial.verified_bytes
    assert there >= blob.size // 3 - 3 * PIECE_SIZE
    result = run(service.url)
    assert result.resumed == there
    assert result.bytes == {"0": blob.size - there}
    assert store.path(blob.sha256).read_bytes() == data


def test_a_full_server_sends_the_board_to_the_next_and_is_not_worse_for_it(
    run: Callable[..., FetchResult], service: RunningService, server_process: Callable[[], Program], blob: BlobRef
) -> None:
    for board in ("a", "b"):
        with contextlib.closing(HttpSource("x", service.url, LAB.lines(LAB.board(board)))) as source:
            source.open_range(blob.sha256, 0, 1, 5.0).close()
    recorder = Recorder()
    assert run(service.url, server_process().line(), observer=recorder).bytes == {"1": blob.size}
    assert "busy (503)" in recorder.left[0][1]


def test_every_server_and_its_fault_is_named(run: Callable[..., FetchResult], tmp_path: Path) -> None:
    with RunningService(BlobStore(tmp_path / "empty"), 2, tmp_path / "locks") as empty:
        dead = f"https://127.0.0.1:{_closed_port()}"
        with pytest.raises(FailedError) as caught:
            run(dead, empty.url)
    assert f"0: {dead} refused the connection" in str(caught.value)
    assert f"1: {empty.url} has no blob" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "ftp://127.0.0.1", "http://127.0.0.1", "https://[::1", "https://127.0.0.1:99999"]
)
def test_a_source_with_a_bad_url_is_only_a_bad_source(
    run: Callable[..., FetchResult], service: RunningService, blob: BlobRef, url: str
) -> None:
    recorder = Recorder()
    assert run(url, service.url, observer=recorder).bytes == {"1": blob.size}
    assert recorder.left[0][0] == "0"


class BadHandler(http.server.BaseHTTPRequestHandler):
    """A server that breaks a rule, chosen by `fault`."""

    protocol_version = "HTTP/1.1"
    fault = ""

    def do_GET(self) -> None:
        asked = self.headers["Range"].removeprefix("bytes=")
        start, last = map(int, asked.split("-"))
        length = last - start + 1
        if self.fault == "another range":
            self._head(206, length, f"bytes {start + 1}-{last + 1}/*")
        elif self.fault == "no content-range":
            self._head(206, length, None)
        elif self.fault == "ends early":
            self._head(206, length, f"bytes {asked}/*")
            self.wfile.write(b"x" * 1000)
        elif self.fault == "error":
            self._head(500, 0, None)
        elif self.fault == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.fault == "garbage":
            self.wfile.write(b"\0\0\0 not http\r\n\r\n")
        elif self.fault == "other bytes":
            self._head(206, length, f"bytes {asked}/*")
            self.wfile.write(bytes(length))
        self.close_connection = True

    def _head(self, status: int, length: int, content_range: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the fetcher has left
            super().handle()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("another range", "answered bytes"),
        ("no content-range", "no Content-Range"),
        ("ends early", "ended the answer .* bytes early"),
        ("error", "answered 500"),
        ("redirect", "answered 302"),
        ("garbage", "broke the connection"),
        ("other bytes", "other bytes as piece"),
    ],
)
def test_m3_a_server_that_breaks_the_rules_is_left_for_the_next(
    run: Callable[..., FetchResult], service: RunningService, blob: BlobRef, fault: str, reason: str
) -> None:
    handler = type("Handler", (BadHandler,), {"fault": fault})
    recorder = Recorder()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as bad:
        url = over_tls(bad)
        thread = threading.Thread(target=bad.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            result = run(url, service.url, observer=recorder)
        finally:
            bad.shutdown()
            thread.join()
    assert result.bytes["1"] == blob.size
    assert re.search(reason, recorder.left[0][1])


def test_a_server_that_ignores_ranges_is_good_for_small_blobs(
    run: Callable[..., FetchResult], tmp_path: Path, store: BlobStore, data: bytes
) -> None:
    class Whole(BadHandler):
        def do_GET(self) -> None:
            self._head(200, 1000, None)
            self.wfile.write(data[:1000])

    from_start = blob_of(data[:1000])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        url = over_tls(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        sources = SourceList([HttpSource("s", url, LINES)])
        try:
            result = fetch([from_start], sources, store, limits=QUICK)
        finally:
            sources.close()
            server.shutdown()
            thread.join()
    assert result.complete


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _counting(service: RunningService) -> Iterator[tuple[str, list[object]]]:
    """A forwarder in front of the service that remembers the connections made through it."""
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as front:

        def accept() -> None:
            while True:
                try:
                    near, peer = front.accept()
                except OSError:
                    return
                connections.append(peer)
                far = socket.create_connection(service.address)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"https://127.0.0.1:{front.getsockname()[1]}", connections
        front.shutdown(socket.SHUT_RDWR)
        thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError), source, target:
        while data := source.recv(1 << 18):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
