"""The agent's HTTP client against servers that behave, and that do not."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Self

import msgspec
import pytest

from boardwright.errors import FailedError, MalformedError, UnreachableError
from boardwright.model.api import ReportsTaken
from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport
from boardwright.model.software import Target, digest_of
from boardwright.net import agent_client
from boardwright.net.agent_client import AgentClient, BusyError
from boardwright.transfer.caps import Caps
from boardwright.transfer.store import BlobStore
from boardwright.trust.lines import Lines
from tests.integration.agent.lab import BOARD
from tests.integration.transfer.conftest import RunningService
from tests.tls import LAB, accepted, over_tls

LINES = Lines(LAB.authority)  # without a name: nobody asks these servers for sessions


@contextmanager
def answers(status: int, body: bytes, *, promised: int | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers everything alike; what was posted is in the list."""
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if promised is None else promised))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = over_tls(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield url, posted
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client() -> Iterator[AgentClient]:
    made = AgentClient(LINES)
    yield made
    made.close()


def test_reads_the_boards_plan(client: AgentClient) -> None:
    plan = BoardPlan(7, {"platform": Target("platform", "1", "*", "a" * 64)})
    with answers(200, msgspec.json.encode(plan)) as (url, _):
        assert client.plan(url, "c1s3") == plan


def test_posts_reports(client: AgentClient) -> None:
    report = BoardReport(BOARD, 7, 1)
    with answers(202, b"") as (url, posted):
        client.report(url, [report])
    assert msgspec.json.decode(posted[0], type=list[BoardReport]) == [report]


@pytest.mark.parametrize(
    ("body", "generation"), [(b'{"generation":9,"more":1}', 9), (b"", 0), (b"null", 0), (b'{"generation":"x"}', 0)]
)
def test_a_server_that_took_reports_says_its_generation_or_nothing(
    client: AgentClient, body: bytes, generation: int
) -> None:
    with answers(202, body) as (url, _):
        assert client.report(url, [BoardReport(BOARD, 7, 1)]) == ReportsTaken(generation)


def test_takes_a_manifest_only_with_the_bytes_that_its_digest_is_of(client: AgentClient) -> None:
    with answers(200, b"manifest") as (url, _):
        assert client.manifest(url, digest_of(b"manifest")) == b"manifest"
        with pytest.raises(MalformedError, match="sent other bytes"):
            client.manifest(url, "a" * 64)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"generation": "x"}', b"\xff"])
def test_a_plan_that_is_none_is_malformed(client: AgentClient, body: bytes) -> None:
    with answers(200, body) as (url, _), pytest.raises(MalformedError, match="not of the documented form"):
        client.plan(url, "c1s3")


def test_more_than_the_bound_is_not_read(client: AgentClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_client, "MAX_PLAN_BYTES", 1000)
    with answers(200, b"x" * 100_000) as (url, _), pytest.raises(MalformedError, match="more than 1000 bytes"):
        client.plan(url, "c1s3")


def test_an_answer_that_breaks_off_is_no_answer(client: AgentClient) -> None:
    with answers(200, b"{", promised=100) as (url, _), pytest.raises(UnreachableError, match="broke off"):
        client.plan(url, "c1s3")


def test_a_problem_is_passed_on_in_its_own_words(client: AgentClient) -> None:
    with answers(404, b'{"error": "there is no such thing"}') as (url, _):
        with pytest.raises(FailedError, match="answered 404: there is no such thing"):
            client.plan(url, "c1s3")


def test_a_full_server_is_told_from_a_broken_one(client: AgentClient) -> None:
    with answers(503, b"") as (url, _), pytest.raises(BusyError):
        client.manifest(url, "a" * 64)


def test_redirects_are_not_followed(client: AgentClient) -> None:
    with answers(302, b"") as (url, _), pytest.raises(FailedError, match="answered 302"):
        client.plan(url, "c1s3")


class Endless:
    """A server that sends `start` and then `more` again and again."""

    def __init__(self, start: bytes, more: bytes) -> None:
        self._start, self._more = start, more
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        line, _ = self._socket.accept()
        with suppress(OSError), accepted(line) as line:
            line.recv(65536)
            line.sendall(self._start)
            for _ in range(2000 if self._more else 0):
                line.sendall(self._more)
                time.sleep(0.01)  # the fault itself: never silent for long, never done


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_a_server_that_is_never_silent_and_never_done_is_left(
    monkeypatch: pytest.MonkeyPatch, start: bytes, more: bytes
) -> None:
    monkeypatch.setattr(agent_client, "ANSWER_TIMEOUT", 0.5)
    client = AgentClient(LINES)
    with Endless(start, more) as server:
        begun = time.monotonic()
        with pytest.raises(UnreachableError):
            client.plan(server.url, "c1s3")
        assert time.monotonic() - begun < 3.0
    client.close()


def test_a_bomb_is_not_unpacked(client: AgentClient) -> None:
    with Endless(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(bytes(1 << 24)), b""
    ) as server:
        with pytest.raises((MalformedError, UnreachableError)):
            client.plan(server.url, "c1s3")


def test_a_long_manifest_comes_in_ranges(client: AgentClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(agent_client, "RANGE_SIZE", 1000)
    data = b"manifest" * 700
    store = BlobStore(tmp_path / "store")
    store.put(digest_of(data), [data])
    with RunningService(store, 4, tmp_path / "locks", caps=Caps(total=10_000_000)) as service:
        assert AgentClient(LAB.lines()).manifest(service.url, digest_of(data)) == data
        assert service.service.bytes_served == len(data)


def test_a_server_that_is_not_there_is_unreachable(client: AgentClient) -> None:
    with pytest.raises(UnreachableError, match="cannot be reached"):
        client.plan("https://127.0.0.1:1", "c1s3")


@pytest.mark.parametrize("url", ["gopher://x", "http://127.0.0.1", "https://[::1", "https://x:99999"])
def test_a_url_that_is_none_is_unreachable(client: AgentClient, url: str) -> None:
    with pytest.raises(UnreachableError):
        client.plan(url, "c1s3")
