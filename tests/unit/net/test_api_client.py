"""The API as typed calls: what servers refuse, and what they should not have said."""

import hashlib
import io

import msgspec
import pytest

from boardwright.errors import BoardwrightError, FailedError, MalformedError, RefusedError, UnreachableError, UsageError
from boardwright.model.api import DeploymentRequest, Health, Problem, VersionSummary
from boardwright.model.software import Manifest, digest_of, encode_manifest
from boardwright.net.api_client import ApiClient, counted
from boardwright.net.servers import Upload
from boardwright.trust.lines import Lines
from tests.tls import LAB
from tests.unit.net.fake_servers import Reply, fake_servers

LINES = Lines(LAB.authority)  # without a name: nobody asks these servers for sessions


@pytest.mark.parametrize(
    ("code", "kind"), [(1, FailedError), (2, UsageError), (3, RefusedError), (4, UnreachableError), (99, FailedError)]
)
def test_a_problem_becomes_the_error_with_its_exit_code(code: int, kind: type[BoardwrightError]) -> None:
    problem = msgspec.json.encode(Problem("it is so", "do that", code))
    with fake_servers(lambda *_: (409, {}, problem)) as [server], ApiClient.of([server.base], LINES) as client:
        with pytest.raises(kind, match="it is so") as caught:
            client.deploy(DeploymentRequest("platform", "1"))
    assert caught.value.hint == "do that"


def test_a_refusal_that_is_no_problem_names_server_call_and_status() -> None:
    with fake_servers(lambda *_: (500, {}, b"<html>oops")) as [server], ApiClient.of([server.base], LINES) as client:
        with pytest.raises(FailedError, match=r"GET /v1/servers with status 500: '<html>oops'"):
            client.servers()


def test_an_answer_of_another_form_is_malformed() -> None:
    with fake_servers(lambda *_: (200, {}, b"[1]")) as [server], ApiClient.of([server.base], LINES) as client:
        with pytest.raises(MalformedError, match="something else than documented"):
            client.software()


def test_names_cannot_lead_out_of_their_path() -> None:
    with fake_servers(lambda *_: (200, {}, b'{"boards":[]}')) as [server], ApiClient.of([server.base], LINES) as client:
        client.boards("../servers?x")
        assert server.asked[0][1] == "/v1/boards/..%2Fservers%3Fx"


@pytest.mark.parametrize(("status", "created"), [(201, True), (200, False)])
def test_publishing_tells_whether_the_version_is_new(status: int, created: bool) -> None:
    summary = VersionSummary("platform", "1", "*", "ab", 3, 0.0)
    with fake_servers(lambda *_: (status, {}, msgspec.json.encode(summary))) as [server]:
        with ApiClient.of([server.base], LINES) as client:
            published = client.publish(b"{}")
    assert (published.version, published.created) == (summary, created)


def test_healths_are_of_every_server_that_answers() -> None:
    said = [Health(server, "c", "standby", 1, "0", engine="down") for server in ("c1s1", "c2s1")]
    first, second = ((lambda *_, one=one: (200, {}, msgspec.json.encode(one))) for one in said)
    with fake_servers(first, second) as [one, two]:
        with ApiClient.of([one.base, "https://127.0.0.1:1", two.base], LINES) as client:
            assert client.healths() == tuple(said)


def test_an_upload_counts_its_bytes() -> None:
    counts: list[int] = []
    upload = counted(Upload(lambda: io.BytesIO(b"x" * 3_000_000), 3_000_000), counts.append)
    with fake_servers(lambda *_: (201, {}, b"")) as [server], ApiClient.of([server.base], LINES) as client:
        client.upload(hashlib.sha256(b"").hexdigest(), upload)
    assert sum(counts) == 3_000_000


class TestManifestOfAPublishedVersion:
    MANIFEST = Manifest(schema=1, group="platform", version="1")

    def of(self, stored: bytes) -> Manifest | None:
        digest = digest_of(encode_manifest(self.MANIFEST))
        base: list[str] = []

        def answer(method: str, path: str, body: bytes) -> Reply:
            if path == "/v1/health":
                return 200, {}, msgspec.json.encode(Health("s", "c", "active", 1, "0", blobs=base[0]))
            assert path == f"/v1/blobs/{digest}"
            return 200, {}, stored

        with fake_servers(answer) as [server]:
            base.append(server.base)
            with ApiClient.of(["https://127.0.0.1:1", server.base], LINES) as client:
                return client.manifest(digest)

    def test_it_comes_from_the_blob_port_of_whoever_has_it(self) -> None:
        assert self.of(encode_manifest(self.MANIFEST)) == self.MANIFEST

    def test_other_bytes_than_asked_for_are_not_believed(self) -> None:
        assert self.of(b"{}") is None
