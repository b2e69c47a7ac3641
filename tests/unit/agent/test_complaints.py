"""A server that sent wrong bytes is told, once, and never waited for."""

import threading

from boardwright.agent.complaints import Complaints
from boardwright.agent.downloads import Download
from boardwright.errors import UnreachableError
from boardwright.model.location import Tier
from boardwright.model.report import Source
from boardwright.model.software import Target
from boardwright.protocol.choose import Candidate
from tests.unit.transfer.blobs import MemorySource

TARGET = Target("platform", "1", "*", "f" * 64)
SERVER = Candidate(Source("c1s1", "1", "1", Tier.SAME_CHASSIS), "https://10.0.1.1:6689", "https://10.0.1.1:6688", 0)
RELAY = Candidate(Source("c1s4", "1", "4", Tier.SAME_CHASSIS), "https://10.0.1.4:6690", "", 0, relay=True)


def download(heard: list[tuple[str, str]]) -> Download:
    made = Download(lambda source, url: MemorySource(source), TARGET, [SERVER, RELAY])
    made.complain = lambda api, sha256: heard.append((api, sha256))
    return made


def test_one_complaint_for_each_server_and_blob_however_many_workers_saw_it() -> None:
    heard: list[tuple[str, str]] = []
    made = download(heard)
    for _ in range(3):
        made.on_wrong("c1s1", "a" * 64)
    made.on_wrong("c1s1", "b" * 64)
    assert heard == [(SERVER.api, "a" * 64), (SERVER.api, "b" * 64)]


def test_a_manifest_with_other_bytes_is_a_complaint_about_the_manifest() -> None:
    heard: list[tuple[str, str]] = []
    download(heard).wrong_manifest(SERVER.blobs)
    assert heard == [(SERVER.api, TARGET.manifest)]


def test_who_has_no_api_is_told_nothing() -> None:
    heard: list[tuple[str, str]] = []
    download(heard).on_wrong("c1s4", "a" * 64)
    assert heard == []


class Client:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.done = threading.Event()

    def verify(self, api: str, sha256: str) -> None:
        self.sent.append(api)
        if len(self.sent) == 2:
            self.done.set()
        raise UnreachableError(f"{api} {sha256} cannot be reached")


def test_a_server_that_does_not_answer_a_complaint_is_no_trouble() -> None:
    client = Client()
    complaints = Complaints("c1s3", client)  # type: ignore[arg-type]
    complaints.post("https://one", "a" * 64)
    complaints.post("https://two", "a" * 64)
    assert client.done.wait(10)
    assert complaints.close(10)
    assert client.sent == ["https://one", "https://two"]
