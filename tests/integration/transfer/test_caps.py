"""Caps of a real blob service: what it sends over real sockets, how boards get on with it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boardwright.model.software import RANGE_SIZE, BlobRef, digest_of
from boardwright.transfer.caps import Caps
from boardwright.transfer.fetch import FetchResult, fetch
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from tests.integration.transfer.conftest import RunningService
from tests.integration.transfer.test_service import Client
from tests.tls import LAB
from tests.unit.transfer.blobs import blob_of

MB = 1_000_000


@pytest.fixture
def capped(served: BlobStore, tmp_path: Path) -> Iterator[Callable[[Caps], RunningService]]:
    running: list[RunningService] = []

    def start(caps: Caps) -> RunningService:
        service = RunningService(
            served,
            64,
            tmp_path / f"locks{len(running)}",
            caps=caps,
        )
        running.append(service)
        return service.__enter__()

    yield start
    for service in running:
        service.__exit__()


def download(url: str, board: str, blob: BlobRef, folder: Path) -> FetchResult:
    sources = SourceList(
        [HttpSource("c1s1", url, LAB.lines(LAB.board(board, "2" if board.startswith("far") else "1")))]
    )
    try:
        return fetch([blob], sources, BlobStore(folder / board))
    finally:
        sources.close()


def test_boards_at_a_capped_server_share_it_and_none_of_them_takes_it_for_dead(
    capped: Callable[[Caps], RunningService], blob: BlobRef, tmp_path: Path
) -> None:
    """48 MiB to each of three boards at 60 MB/s take 2.5 s, however much faster the line is."""
    service = capped(Caps(total=60 * MB))
    results: list[FetchResult] = []
    begun = time.monotonic()
    boards = [
        threading.Thread(target=lambda name=f"b{number}": results.append(download(service.url, name, blob, tmp_path)))
        for number in range(3)
    ]
    for board in boards:
        board.start()
    for board in boards:
        board.join(60)
    seconds = time.monotonic() - begun
    assert [result.failovers for result in results] == [0, 0, 0]
    assert seconds >= (3 * blob.size - 60 * MB / 2) / (60 * MB)
    assert service.service.waited > 0
    assert service.service.refused["caps"] == 0


def test_a_board_of_another_chassis_is_slowed_and_one_of_the_own_is_not(
    capped: Callable[[Caps], RunningService], blob: BlobRef, tmp_path: Path
) -> None:
    service = capped(Caps(inter_chassis=40 * MB))
    near = download(service.url, "near", blob, tmp_path)
    assert service.service.waited == 0
    assert service.service.bytes_far == 0
    far = download(service.url, "far", blob, tmp_path)
    assert far.seconds >= (blob.size - 40 * MB / 2) / (40 * MB)
    assert service.service.waited > 0
    assert service.service.bytes_far == blob.size
    assert near.failovers == far.failovers == 0


def test_ranges_of_a_capped_server_are_shorter_than_asked_and_the_bytes_are_right(
    capped: Callable[[Caps], RunningService], blob: BlobRef, data: bytes
) -> None:
    with Client(capped(Caps(per_board=MB)), blob) as client:
        status, headers, body = client.ask(Range=f"bytes=100-{RANGE_SIZE}")
    assert status == 206
    assert headers["content-range"] == f"bytes 100-{99 + len(body)}/{blob.size}"
    assert int(headers["content-length"]) == len(body) < RANGE_SIZE
    assert body == data[100 : 100 + len(body)]


def test_a_whole_blob_that_is_longer_than_a_range_is_refused_under_a_cap_with_what_to_do(
    capped: Callable[[Caps], RunningService], blob: BlobRef
) -> None:
    with Client(capped(Caps(total=MB)), blob) as client:
        status, headers, body = client.ask()
    assert status == 429
    assert headers["retry-after"] == "1"
    assert body.decode() == f"this server keeps caps: ask for ranges of at most {RANGE_SIZE} bytes\n"


def test_who_asks_for_more_at_once_than_the_cap_serves_in_time_is_told_when_to_come_back(
    capped: Callable[[Caps], RunningService], blob: BlobRef
) -> None:
    service = capped(Caps(per_board=16_000))
    statuses: list[int] = []

    def ask() -> None:
        with Client(service, blob) as client:
            statuses.append(client.ask(Range="bytes=0-", Boardwright_Board="b")[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert time.monotonic() - begun < 2.0
    assert set(statuses) == {206, 503}
    assert service.service.refused["caps"] == statuses.count(503)


def test_small_blobs_that_are_asked_for_whole_keep_the_cap_too(tmp_path: Path) -> None:
    packed = b"pack" * 50_000
    store = BlobStore(tmp_path / "served")
    store.put(digest_of(packed), [packed])
    with RunningService(store, 64, tmp_path / "locks", caps=Caps(per_board=len(packed) // 8)) as service:
        with Client(service, blob_of(packed)) as client:
            answers = [client.ask() for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 503]
    assert answers[0][2] == packed
    assert answers[1][1]["retry-after"] == "1"
