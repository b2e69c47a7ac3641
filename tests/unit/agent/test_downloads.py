"""What a download remembers of its sources."""

from collections.abc import Iterator

import pytest

from boardwright.agent.downloads import MAX_WRONG, Download
from boardwright.model.location import Tier
from boardwright.model.report import Source
from boardwright.model.software import Target
from boardwright.protocol.choose import Candidate
from tests.unit.transfer.blobs import MemorySource

LIAR = Candidate(Source("c1s1", "1", "1", Tier.SAME_CHASSIS), "https://10.0.1.1:6689", "https://10.0.1.1:6688", 0)


@pytest.fixture
def download() -> Iterator[Download]:
    made = Download(lambda source, url: MemorySource(source), Target("platform", "1", "*", "a" * 64), [LIAR])
    yield made
    made.sources.close()


def test_who_sent_wrong_bytes_is_known_by_its_api_once_for_each_blob(download: Download) -> None:
    for _ in range(3):
        download.on_wrong("c1s1", "b" * 64)
    download.on_wrong("c1s1", "c" * 64)
    assert download.wrong == {("https://10.0.1.1:6688", "b" * 64), ("https://10.0.1.1:6688", "c" * 64)}


def test_what_is_remembered_of_liars_is_bounded(download: Download) -> None:
    for number in range(MAX_WRONG + 10):
        download.on_wrong("c1s1", f"{number:064x}")
    assert len(download.wrong) == MAX_WRONG
