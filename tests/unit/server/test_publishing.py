"""A version enters the catalog whole, once, and only through the active."""

from pathlib import Path

import pytest

from boardwright.errors import ConflictError, FailedError, MalformedError, RefusedError
from boardwright.model.software import encode_manifest
from boardwright.server.facts import encoded, read_facts
from boardwright.server.holdings import Holdings
from boardwright.server.publishing import Publishing
from boardwright.state.kv import Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.transfer.store import BlobStore
from tests.unit.server.builders import Version
from tests.unit.server.test_deployments import NoWait


class Bench:
    def __init__(self, root: Path) -> None:
        self.kv = MemoryKV()
        self.store = BlobStore(root)
        self.holdings = Holdings()
        self.before_commit: list[Transaction | ConflictError] = []
        self.publishing = Publishing(self.kv, self._commit, NoWait(), self.store, self.holdings, lambda: 1000.0)

    def _commit(self, transaction: Transaction) -> int:
        while self.before_commit:
            first = self.before_commit.pop(0)
            if isinstance(first, ConflictError):
                raise first
            self.kv.commit(first)
        return self.kv.commit(transaction)

    def upload(self, version: Version) -> None:
        for content in version.contents:
            digest = next(name for name, data in version.blobs.items() if data == content)
            self.store.put(digest, [content])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_is_in_the_catalog_with_what_a_plan_needs_to_know(bench: Bench) -> None:
    version = Version(board_types=("rp", "lc*"), requires={"base": ">= 3"})
    bench.upload(version)
    record, new = bench.publishing.publish(version.encoded)
    assert new
    assert (record.variant, record.requires, record.published) == ("lc*,rp", {"base": ">= 3"}, 1000.0)
    assert read_facts(bench.kv).catalog == {"platform/1/lc*,rp": record}
    assert bench.store.has(version.digest)


def test_without_its_blobs_nothing_is_written(bench: Bench) -> None:
    version = Version()
    with pytest.raises(FailedError, match="lacks"):
        bench.publishing.publish(version.encoded)
    assert bench.kv.range("").entries == ()
    assert not bench.store.has(version.digest)


def test_a_blob_of_another_size_than_the_manifest_says_is_refused(bench: Bench) -> None:
    version = Version()
    bench.upload(version)
    manifest = version.manifest
    first = type(manifest.blobs[0])(manifest.blobs[0].sha256, 900, manifest.blobs[0].pieces)
    lying = type(manifest)(1, "platform", "1", blobs=(first,))
    with pytest.raises(FailedError, match="the manifest says 900"):
        bench.publishing.publish(encode_manifest(lying))


def test_what_is_no_manifest_is_malformed(bench: Bench) -> None:
    for data in (b"", b"{", b"[]", b'{"schema": 1}', Version().encoded.replace(b'"schema":1', b'"schema":99')):
        with pytest.raises(MalformedError):
            bench.publishing.publish(data)


def test_the_same_again_is_fine_and_other_content_is_refused(bench: Bench) -> None:
    version, other = Version(), Version(contents=(b"other",))
    bench.upload(version)
    bench.upload(other)
    first, _ = bench.publishing.publish(version.encoded)
    assert bench.publishing.publish(version.encoded) == (first, False)
    with pytest.raises(RefusedError, match="other content"):
        bench.publishing.publish(other.encoded)


def test_another_variant_of_the_same_version_is_another_name(bench: Bench) -> None:
    for types in (("rp",), ("lc",)):
        version = Version(board_types=types, contents=(types[0].encode(),))
        bench.upload(version)
        assert bench.publishing.publish(version.encoded)[1]
    assert len(read_facts(bench.kv).catalog) == 2


def test_two_that_publish_the_same_name_at_one_moment_are_judged_by_content(bench: Bench) -> None:
    version, other = Version(), Version(contents=(b"other",))
    bench.upload(version)
    bench.before_commit = [Transaction({version.key: 0}, {version.key: encoded(version.record)})]
    assert bench.publishing.publish(version.encoded) == (version.record, False)
    bench.kv.commit(Transaction({version.key: 1}, {version.key: None}))
    bench.before_commit = [Transaction({version.key: 0}, {version.key: encoded(other.record)})]
    with pytest.raises(RefusedError):
        bench.publishing.publish(version.encoded)


def test_a_deposed_active_publishes_nothing(bench: Bench) -> None:
    version = Version()
    bench.upload(version)
    bench.before_commit = [DeposedError("not the active")]
    with pytest.raises(DeposedError):
        bench.publishing.publish(version.encoded)
    assert bench.kv.range("").entries == ()
