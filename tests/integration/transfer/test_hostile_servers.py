"""Servers that lie, stall, flood and trickle: the board takes the next, believes nothing and hangs nowhere."""

import contextlib
import gzip
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import FailedError
from boardwright.model.software import BlobRef
from boardwright.transfer.fetch import FetchLimits, FetchResult, fetch
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from boardwright.trust.lines import Lines
from tests.integration.transfer.conftest import RunningService
from tests.tls import LAB, accepted
from tests.unit.transfer.blobs import Recorder

LINES = Lines(LAB.authority)  # without a name: nobody asks these servers for sessions
MEMBER = LAB.lines()
QUICK = FetchLimits(stall_timeout=0.3, answer_timeout=0.6, piece_timeout=0.6, give_up=0.0, give_up_busy=0.0)
# Where a healthy server stands by, it may be slow for a moment, as every process on a busy machine.
PATIENT = msgspec.structs.replace(QUICK, give_up=5.0)
BOMB = gzip.compress(bytes(1 << 24))  # made once: on a busy machine it takes longer than a stall
Behaviour = Callable[[socket.socket, int, int], None]


class Liar:
    """Accepts connections, reads one request of each and behaves as it was told: (line, first byte, end)."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(line,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        line.settimeout(20)
        with contextlib.suppress(OSError), accepted(line) as line:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += line.recv(65536) or b"\r\n\r\n"
                match = re.search(rb"bytes=(\d+)-(\d+)", request)
                if match:
                    self._behaviour(line, int(match[1]), int(match[2]) + 1)
            except OSError:
                pass  # the board has left


@pytest.fixture
def liar() -> Iterator[Callable[[Behaviour], Liar]]:
    liars: list[Liar] = []

    def start(behaviour: Behaviour) -> Liar:
        liars.append(Liar(behaviour))
        return liars[-1]

    yield start
    for one in liars:
        one.close()


def head(line: socket.socket, status: str, *headers: str) -> None:
    line.sendall("\r\n".join((f"HTTP/1.1 {status}", *headers, "", "")).encode())


def ranged(line: socket.socket, start: int, end: int, length: int | None = None) -> None:
    """The head of a right answer."""
    head(
        line,
        "206 Partial Content",
        f"Content-Range: bytes {start}-{end - 1}/*",
        f"Content-Length: {end - start if length is None else length}",
    )


def endlessly(line: socket.socket, data: bytes, pause: float = 0.0) -> None:
    until = time.monotonic() + 15.0
    while time.monotonic() < until:
        line.sendall(data)
        if pause:
            time.sleep(pause)  # the fault itself: bytes that come slowly


def wrong_bytes(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end)
    line.sendall(bytes(end - start))


def too_few(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end)
    line.sendall(b"x" * 100)


def too_many(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end)
    endlessly(line, bytes(65536))


def says_less_than_it_sends(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end, length=10)
    endlessly(line, bytes(65536))


def says_more_than_was_asked(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end + 10**15)
    endlessly(line, bytes(65536))


def chunks_without_end(line: socket.socket, start: int, end: int) -> None:
    head(line, "206 Partial Content", f"Content-Range: bytes {start}-{end - 1}/*", "Transfer-Encoding: chunked")
    endlessly(line, b"10000\r\n" + bytes(65536) + b"\r\n")


def a_chunk_of_eternity(line: socket.socket, start: int, end: int) -> None:
    head(line, "206 Partial Content", f"Content-Range: bytes {start}-{end - 1}/*", "Transfer-Encoding: chunked")
    line.sendall(b"f" * 40)
    endlessly(line, b"f" * 1024)


def trickling_bytes(line: socket.socket, start: int, end: int) -> None:
    ranged(line, start, end)
    endlessly(line, b"x", pause=0.05)


def trickling_headers(line: socket.socket, start: int, end: int) -> None:
    line.sendall(b"HTTP/1.1 206 Partial Content\r\nX-Slow: ")
    endlessly(line, b"x", pause=0.05)


def continue_for_ever(line: socket.socket, start: int, end: int) -> None:
    endlessly(line, b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.01)


def headers_without_end(line: socket.socket, start: int, end: int) -> None:
    line.sendall(b"HTTP/1.1 206 Partial Content\r\n")
    endlessly(line, b"X-More: " + b"x" * 1000 + b"\r\n")


def one_long_header(line: socket.socket, start: int, end: int) -> None:
    line.sendall(b"HTTP/1.1 206 Partial Content\r\nX-Long: ")
    endlessly(line, b"x" * 65536)


def compressed(line: socket.socket, start: int, end: int) -> None:
    head(
        line,
        "206 Partial Content",
        f"Content-Range: bytes {start}-{end - 1}/*",
        "Content-Encoding: gzip",
        f"Content-Length: {len(BOMB)}",
    )
    line.sendall(BOMB)


def silence(line: socket.socket, start: int, end: int) -> None:
    line.recv(1)


def goodbye(line: socket.socket, start: int, end: int) -> None:
    pass


def noise(line: socket.socket, start: int, end: int) -> None:
    endlessly(line, b"\x16\x03\x01\0\xff")


def the_whole_blob_for_a_range(line: socket.socket, start: int, end: int) -> None:
    head(line, "200 OK", "Content-Length: 50331969")
    endlessly(line, bytes(65536))


def status(number: int, *headers: str) -> Behaviour:
    def answer(line: socket.socket, start: int, end: int) -> None:
        head(line, f"{number} Something", "Content-Length: 0", *headers)

    return answer


def a_range_of_eternity(line: socket.socket, start: int, end: int) -> None:
    head(line, "206 Partial Content", f"Content-Range: bytes {start}-{'9' * 5000}/*", "Content-Length: 0")


def a_length_of_eternity(line: socket.socket, start: int, end: int) -> None:
    head(line, "200 OK", f"Content-Length: {'9' * 5000}")
    line.sendall(bytes(end - start))


def without_content_range(line: socket.socket, start: int, end: int) -> None:
    head(line, "206 Partial Content", f"Content-Length: {end - start}")
    line.sendall(bytes(end - start))


FAULTS: dict[str, tuple[Behaviour, str]] = {
    "sends wrong bytes": (wrong_bytes, "other bytes as piece"),
    "sends too few": (too_few, "ended the answer .* bytes early"),
    "sends too many": (too_many, "other bytes as piece"),
    "says less than it sends": (says_less_than_it_sends, "ended the answer|other bytes"),
    "says more than was asked": (says_more_than_was_asked, "answered bytes"),
    "says where in a number without end": (a_range_of_eternity, "answered bytes"),
    "says how long in a number without end": (a_length_of_eternity, "other bytes|answered 200|broke the connection"),
    "says nothing of where": (without_content_range, "no Content-Range"),
    "sends chunks without end": (chunks_without_end, "an answer in chunks"),
    "sends the length of a chunk without end": (a_chunk_of_eternity, "broke the connection"),
    "sends byte after byte": (trickling_bytes, "too slow|other bytes"),
    "sends the head byte after byte": (trickling_headers, "did not answer"),
    "says continue for ever": (continue_for_ever, "broke the connection"),
    "sends headers without end": (headers_without_end, "broke the connection"),
    "sends one header without end": (one_long_header, "broke the connection"),
    "compresses": (compressed, "ended the answer|other bytes|broke the connection"),
    "accepts and is silent": (silence, "sent nothing"),
    "accepts and hangs up": (goodbye, "broke the connection"),
    "makes noise": (noise, "broke the connection|did not answer"),
    "sends the whole blob from its start": (the_whole_blob_for_a_range, "answered 200|other bytes"),
    "moved": (status(301, "Location: http://127.0.0.1:1/"), "answered 301"),
    "moved for now": (status(302, "Location: //127.0.0.1:1/"), "answered 302"),
    "wants a password": (status(401, "WWW-Authenticate: Basic"), "answered 401"),
    "forbids": (status(403), "answered 403"),
    "lacks it": (status(404), "has no blob"),
    "had it once": (status(410), "answered 410"),
    "says it is shorter": (status(416, "Content-Range: bytes */5"), "answered 416"),
    "is busy": (status(429), "busy"),
    "fails": (status(500), "answered 500"),
    "is busy until the end of time": (status(503, "Retry-After: 99999999999999999999"), "busy"),
    "is busy in words": (status(503, "Retry-After: soon"), "busy"),
    "is busy for no number of seconds": (status(503, "Retry-After: nan"), "busy"),
    "says nothing with many words": (status(204), "answered 204"),
    "answers with a number that is no status": (status(999), "answered 999"),
}


def bring(
    blob: BlobRef, store: BlobStore, observer: Recorder, *urls: str, limits: FetchLimits = PATIENT
) -> FetchResult:
    sources = SourceList([HttpSource(str(rank), url, LINES if rank == 0 else MEMBER) for rank, url in enumerate(urls)])
    try:
        return fetch([blob], sources, store, limits=limits, observer=observer)
    finally:
        sources.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_board_takes_the_next_server_and_says_why(
    liar: Callable[[Behaviour], Liar], service: RunningService, store: BlobStore, blob: BlobRef, fault: str
) -> None:
    behaviour, reason = FAULTS[fault]
    recorder = Recorder()
    begun = time.monotonic()
    result = bring(blob, store, recorder, liar(behaviour).url, service.url)
    assert time.monotonic() - begun < 8.0
    assert result.complete
    assert result.refetched == 0
    assert result.bytes["1"] == blob.size
    assert recorder.left[0][0] == "0"
    assert re.search(reason, recorder.left[0][1]), recorder.left


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "sends byte after byte"])
def test_with_nobody_else_there_is_one_sentence_and_nothing_hangs(
    liar: Callable[[Behaviour], Liar], store: BlobStore, blob: BlobRef, fault: str
) -> None:
    behaviour, reason = FAULTS[fault]
    begun = time.monotonic()
    with pytest.raises(FailedError, match="the download failed at every server") as caught:
        bring(blob, store, Recorder(), liar(behaviour).url, limits=QUICK)
    assert time.monotonic() - begun < 8.0
    assert re.search(reason, str(caught.value))
    assert not store.has(blob.sha256)


def test_a_blob_port_that_cannot_be_reached_though_its_offers_can_costs_a_second(
    service: RunningService, store: BlobStore, blob: BlobRef
) -> None:
    """Its backlog is full, so connections are neither accepted nor refused: like a filter that drops them."""
    with socket.socket() as black:
        black.bind(("127.0.0.1", 0))
        black.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(black.getsockname())
            fillers.append(filler)
        recorder = Recorder()
        begun = time.monotonic()
        result = bring(blob, store, recorder, f"https://127.0.0.1:{black.getsockname()[1]}", service.url)
        seconds = time.monotonic() - begun
        for filler in fillers:
            filler.close()
    assert result.bytes["1"] == blob.size
    assert seconds < 5.0
    assert re.search("did not accept a connection|did not answer|cannot be reached", recorder.left[0][1])


def test_what_a_liar_sends_is_never_kept(liar: Callable[[Behaviour], Liar], tmp_path: Path, blob: BlobRef) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(FailedError):
        bring(blob, store, Recorder(), liar(wrong_bytes).url, limits=QUICK)
    with store.partial(blob) as partial:
        assert partial.verified_bytes == 0


def in_drips(line: socket.socket, start: int, end: int) -> None:
    """What wakes a reader up comes in 0.4 s, a few bytes always before a reader that waits for 0.3 s gives up."""
    ranged(line, start, end)
    for at in range(start, end, 30 * 1024):
        line.sendall(b"x" * min(30 * 1024, end - at))
        time.sleep(0.1)  # the fault itself


def test_a_server_that_is_slow_is_not_taken_for_silent(liar: Callable[[Behaviour], Liar], blob: BlobRef) -> None:
    buffer = memoryview(bytearray(400 * 1024))
    with contextlib.closing(HttpSource("0", liar(in_drips).url, LINES)) as source:
        reader = source.open_range(blob.sha256, 0, len(buffer), 0.3)
        assert reader.readinto(buffer) == len(buffer)
        reader.close()
    assert bytes(buffer) == b"x" * len(buffer)
