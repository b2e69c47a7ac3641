"""Servers copy from each other under caps: a real blob service answers with less than was asked for."""

import random
from pathlib import Path

from boardwright.model.software import digest_of
from boardwright.server.manifest_copy import copy_manifest
from boardwright.transfer.caps import Caps
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from tests.integration.transfer.conftest import RunningService
from tests.tls import LAB


def test_a_manifest_that_is_larger_than_a_grant_arrives_whole_from_another_chassis(tmp_path: Path) -> None:
    manifest = random.Random(1).randbytes(200_000)
    theirs, ours = BlobStore(tmp_path / "theirs"), BlobStore(tmp_path / "ours")
    theirs.put(digest_of(manifest), [manifest])
    caps = Caps(inter_chassis=400_000)
    with RunningService(theirs, 4, tmp_path / "locks", caps=caps) as peer:
        sources = SourceList([HttpSource("c1s1", peer.url, LAB.lines(LAB.server("c2s1", "2")))])
        copy_manifest(digest_of(manifest), sources, ours)
        sources.close()
        assert peer.service.bytes_far == len(manifest)
    assert ours.path(digest_of(manifest)).read_bytes() == manifest
