"""M7: the control-board side sends the files on request; any HTTP client understands it (RFC 9110)."""

import socket
import ssl
from collections.abc import Iterator
from typing import Self

import pytest
import urllib3

from boardwright.model.sessions import Proof
from boardwright.model.software import RANGE_SIZE, BlobRef
from boardwright.trust.lines import Lines, client_context
from boardwright.trust.sessions import proof
from tests.integration.transfer.conftest import RunningService
from tests.tls import LAB

Answer = tuple[int, dict[str, str], bytes]


class Client:
    def __init__(self, service: RunningService, blob: BlobRef) -> None:
        self.pools: dict[str, urllib3.HTTPSConnectionPool] = {}
        self.url = service.url
        self.path = f"/v1/blobs/{blob.sha256}"

    def ask(self, method: str = "GET", path: str | None = None, board: str = "c1s9", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if board not in self.pools:
            self.pools[board] = LAB.lines(LAB.board(board)).manager(retries=False).connection_from_url(self.url)
        response = self.pools[board].urlopen(method, path or self.path, headers=named, timeout=10)
        return response.status, {name.lower(): value for name, value in response.headers.items()}, response.data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self.pools.values():
            pool.close()


@pytest.fixture
def client(service: RunningService, blob: BlobRef) -> Iterator[Client]:
    with Client(service, blob) as client:
        yield client


def test_m7_a_plain_get_sends_the_whole_blob(client: Client, blob: BlobRef, data: bytes) -> None:
    status, headers, body = client.ask()
    assert status == 200
    assert body == data
    assert headers["content-length"] == str(blob.size)
    assert headers["etag"] == f'"{blob.sha256}"'
    assert headers["accept-ranges"] == "bytes"
    assert "immutable" in headers["cache-control"]


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 1000), (12345, 999_999)])
def test_m7_a_range_sends_just_these_bytes(client: Client, blob: BlobRef, data: bytes, start: int, end: int) -> None:
    status, headers, body = client.ask(Range=f"bytes={start}-{end - 1}")
    assert status == 206
    assert body == data[start:end]
    assert headers["content-range"] == f"bytes {start}-{end - 1}/{blob.size}"
    assert headers["content-length"] == str(end - start)


def test_a_range_to_the_end_and_from_the_end(client: Client, blob: BlobRef, data: bytes) -> None:
    assert client.ask(Range=f"bytes={blob.size - 10}-")[2] == data[-10:]
    assert client.ask(Range="bytes=-10")[2] == data[-10:]


def test_a_long_range_is_answered_shorter(client: Client, data: bytes) -> None:
    status, headers, body = client.ask(Range="bytes=100-")
    assert status == 206
    assert body == data[100 : 100 + RANGE_SIZE]
    assert headers["content-range"].startswith(f"bytes 100-{100 + RANGE_SIZE - 1}/")


def test_a_range_behind_the_end_is_416_with_the_size(client: Client, blob: BlobRef) -> None:
    status, headers, _ = client.ask(Range=f"bytes={blob.size}-")
    assert status == 416
    assert headers["content-range"] == f"bytes */{blob.size}"


def test_head_says_the_size_without_the_bytes(client: Client, blob: BlobRef) -> None:
    status, headers, body = client.ask("HEAD")
    assert (status, body) == (200, b"")
    assert headers["content-length"] == str(blob.size)
    assert headers["accept-ranges"] == "bytes"


def test_who_has_the_blob_is_not_sent_it_again(client: Client, blob: BlobRef) -> None:
    assert client.ask(If_None_Match=f'"other", W/"{blob.sha256}"')[0] == 304
    assert client.ask("HEAD", If_None_Match="*")[0] == 304
    assert client.ask("HEAD", If_None_Match='"other"')[0] == 200


def test_a_range_of_another_blob_is_answered_with_the_whole(client: Client, blob: BlobRef) -> None:
    assert client.ask(Range="bytes=0-9", If_Range=f'"{blob.sha256}"')[0] == 206
    status, _, body = client.ask(Range="bytes=0-9", If_Range='"other"')
    assert (status, len(body)) == (200, blob.size)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/blobs/", "/v1/blobs/" + "0" * 64, "/v1/blobs/../boot", "/v1/blobs/%2e%2e/boot", "/v1/blobs/" + "A" * 64],
)
def test_what_is_not_here_is_404(client: Client, path: str) -> None:
    assert client.ask(path=path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_blobs_are_only_read(client: Client, method: str) -> None:
    status, headers, _ = client.ask(method)
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


def test_a_full_server_says_so_and_when_to_come_back(client: Client, service: RunningService) -> None:
    for board in ("c1s1", "c1s2", "c1s1"):
        assert client.ask(Range="bytes=0-0", board=board)[0] == 206
    status, headers, _ = client.ask(Range="bytes=0-0", board="c1s3")
    assert status == 503
    assert headers["retry-after"] == "1"
    assert client.ask("HEAD", board="c1s3")[0] == 200
    assert service.service.load == 1000
    assert service.service.refused["slots"] == 1
    assert service.service.clients == ("c1s2", "c1s1")


@pytest.mark.parametrize(
    "token", [None, "", "Bearer", "Bearer ", "Bearer nonsense", "Bearer " + "A" * 5000, "Basic YTpi"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_does_not_prove_itself_gets_nothing(
    service: RunningService, blob: BlobRef, method: str, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": token}
    with Lines(LAB.authority).manager().connection_from_url(service.url) as stranger:
        answer = stranger.urlopen(method, f"/v1/blobs/{blob.sha256}", headers=headers, retries=False)
    assert answer.status == 401
    assert service.service.bytes_served == 0
    assert service.service.clients == ()


def test_a_token_of_another_server_is_good_for_nothing(service: RunningService, blob: BlobRef) -> None:
    other, board = LAB.callers(LAB.server("c2s1", "2")), LAB.board("c1s9")
    nonce = other.nonce().nonce
    token = other.open(Proof(board.chain, nonce, proof("c2s1", nonce, board.key)), "").token
    with Lines(LAB.authority).manager().connection_from_url(service.url) as line:
        headers = {"Authorization": f"Bearer {token}"}
        assert line.urlopen("GET", f"/v1/blobs/{blob.sha256}", headers=headers, retries=False).status == 401


def test_nobody_is_spoken_to_in_an_older_tls(service: RunningService) -> None:
    context = client_context(None)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with socket.create_connection(service.address, timeout=10) as line, pytest.raises(ssl.SSLError):
        context.wrap_socket(line)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    with (
        socket.create_connection(service.address, timeout=10) as line,
        context.wrap_socket(line) as secured,
    ):
        assert secured.version() == "TLSv1.3"


def test_a_proof_is_bounded_before_it_is_read(service: RunningService) -> None:
    with Lines(LAB.authority).manager().connection_from_url(service.url) as line:
        assert line.urlopen("POST", "/v1/session", body=bytes(100_000), retries=False).status == 413
        assert line.urlopen("POST", "/v1/session", body=b"{", retries=False).status == 400
        assert line.urlopen("PUT", "/v1/session", retries=False).status == 405


def test_granted_bytes_are_counted(client: Client, service: RunningService, blob: BlobRef) -> None:
    client.ask(Range="bytes=0-99")
    client.ask(Range="bytes=0-")
    client.ask("HEAD")
    client.ask(Range=f"bytes={blob.size}-")
    assert service.service.bytes_served == 100 + RANGE_SIZE
    client.ask()
    assert service.service.bytes_served == 100 + RANGE_SIZE + blob.size
