"""M7: the control-board side sends the files on request; any HTTP client understands it (RFC 9110)."""

import http.client
from collections.abc import Iterator
from typing import Self

import pytest

from boardwright.model.software import RANGE_SIZE, BlobRef
from boardwright.trust.lines import client_context
from tests.integration.transfer.conftest import RunningService
from tests.tls import LAB

Answer = tuple[int, dict[str, str], bytes]


class Client:
    def __init__(self, service: RunningService, blob: BlobRef) -> None:
        self.connection = http.client.HTTPSConnection(
            *service.address, timeout=10, context=client_context(LAB.authority)
        )
        self.path = f"/v1/blobs/{blob.sha256}"

    def ask(self, method: str = "GET", path: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path or self.path, headers=named)
        response = self.connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


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
        assert client.ask(Range="bytes=0-0", Boardwright_Board=board)[0] == 206
    status, headers, _ = client.ask(Range="bytes=0-0", Boardwright_Board="c1s3")
    assert status == 503
    assert headers["retry-after"] == "1"
    assert client.ask("HEAD", Boardwright_Board="c1s3")[0] == 200
    assert service.service.load == 1000
    assert service.service.refused["slots"] == 1
    assert service.service.clients == ("c1s2", "c1s1")


def test_clients_that_do_not_say_who_they_are_are_known_by_their_address(
    client: Client, service: RunningService
) -> None:
    for _ in range(5):
        assert client.ask(Range="bytes=0-0")[0] == 206
    assert service.service.clients == ("127.0.0.1",)


def test_granted_bytes_are_counted(client: Client, service: RunningService, blob: BlobRef) -> None:
    client.ask(Range="bytes=0-99")
    client.ask(Range="bytes=0-")
    client.ask("HEAD")
    client.ask(Range=f"bytes={blob.size}-")
    assert service.service.bytes_served == 100 + RANGE_SIZE
    client.ask()
    assert service.service.bytes_served == 100 + RANGE_SIZE + blob.size
