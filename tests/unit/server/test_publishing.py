"""A version enters the catalog whole, once, and only through the active."""

from pathlib import Path

import msgspec
import pytest

from boardwright.errors import ConflictError, FailedError, MalformedError, RefusedError
from boardwright.model.api import Publication
from boardwright.model.audit import Action
from boardwright.model.software import PIECE_SIZE, digest_of, encode_manifest
from boardwright.server.facts import encoded, read_facts
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.publishing import PublishEvents, Publishing
from boardwright.state.kv import Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore
from tests.identities import Identities
from tests.unit.server.builders import Version, act, audited
from tests.unit.server.test_deployments import NoWait
from tests.unit.transfer.blobs import blob_of, some_bytes

IDENTITIES = Identities()


class Bench:
    def __init__(self, root: Path) -> None:
        self.kv = MemoryKV()
        self.store = BlobStore(root)
        self.before_commit: list[Transaction | ConflictError] = []
        self.whole: list[str] = []
        self.touched: list[str] = []
        self.publishing = Publishing(
            self.kv,
            audited(self.kv, self._commit),
            NoWait(),
            self.store,
            PieceDigests(self.store),
            PublishEvents(self.touched.extend, lambda record: self.whole.append(record.version)),
            IDENTITIES.signing(),
            lambda: 1000.0,
        )

    def publish(self, data: bytes, publication: Publication | None = None) -> tuple[CatalogRecord, bool]:
        """Upload the manifest and publish it, signed by the operator."""
        self.store.put(digest_of(data), [data])
        return self.publishing.publish(publication or IDENTITIES.over(self.kv, data), act(Action.PUBLISH))

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
    record, new = bench.publish(version.encoded)
    assert new
    assert (record.variant, record.requires, record.published) == ("lc*,rp", {"base": ">= 3"}, 1000.0)
    assert read_facts(bench.kv).catalog == {"platform/1/lc*,rp": record}
    assert bench.store.has(version.digest)


def test_without_its_blobs_nothing_is_written(bench: Bench) -> None:
    version = Version()
    with pytest.raises(FailedError, match="lacks"):
        bench.publish(version.encoded)
    assert bench.kv.range("").entries == ()


def test_a_blob_of_another_size_than_the_manifest_says_is_refused(bench: Bench) -> None:
    version = Version()
    bench.upload(version)
    manifest = version.manifest
    first = type(manifest.blobs[0])(manifest.blobs[0].sha256, 900, manifest.blobs[0].pieces)
    lying = type(manifest)(1, "platform", "1", blobs=(first,))
    with pytest.raises(FailedError, match="the manifest says 900"):
        bench.publish(encode_manifest(lying))


def test_what_is_no_manifest_is_malformed(bench: Bench) -> None:
    for data in (b"", b"{", b"[]", b'{"schema": 1}', Version().encoded.replace(b'"schema":1', b'"schema":99')):
        with pytest.raises(MalformedError):
            bench.publish(data, Publication(digest_of(data)))


def test_the_same_again_is_fine_and_other_content_is_refused(bench: Bench) -> None:
    version, other = Version(), Version(contents=(b"other",))
    bench.upload(version)
    bench.upload(other)
    first, _ = bench.publish(version.encoded)
    assert bench.publish(version.encoded) == (first, False)
    with pytest.raises(RefusedError, match="other content"):
        bench.publish(other.encoded)


def test_another_variant_of_the_same_version_is_another_name(bench: Bench) -> None:
    for types in (("rp",), ("lc",)):
        version = Version(board_types=types, contents=(types[0].encode(),))
        bench.upload(version)
        assert bench.publish(version.encoded)[1]
    assert len(read_facts(bench.kv).catalog) == 2


def test_two_that_publish_the_same_name_at_one_moment_are_judged_by_content(bench: Bench) -> None:
    version, other = Version(), Version(contents=(b"other",))
    bench.upload(version)
    bench.before_commit = [Transaction({version.key: 0}, {version.key: encoded(version.record)})]
    assert bench.publish(version.encoded) == (version.record, False)
    bench.kv.commit(Transaction({version.key: 1}, {version.key: None}))
    bench.before_commit = [Transaction({version.key: 0}, {version.key: encoded(other.record)})]
    with pytest.raises(RefusedError):
        bench.publish(version.encoded)


def test_a_deposed_active_publishes_nothing(bench: Bench) -> None:
    version = Version()
    bench.upload(version)
    bench.before_commit = [DeposedError("not the active")]
    with pytest.raises(DeposedError):
        bench.publish(version.encoded)
    assert bench.kv.range("").entries == ()


class TestPieces:
    """A piece digest that is wrong in the manifest would fail on every board, at every server."""

    def lying(self, version: Version) -> bytes:
        first, *others = version.manifest.blobs
        wrong = msgspec.structs.replace(first, pieces=bytes(32))
        return encode_manifest(msgspec.structs.replace(version.manifest, blobs=(wrong, *others)))

    def test_piece_digests_that_the_bytes_do_not_have_are_refused(self, bench: Bench) -> None:
        version = Version()
        bench.upload(version)
        with pytest.raises(MalformedError, match=r"piece digests of blob .* that its bytes do not have"):
            bench.publish(self.lying(version))
        assert bench.kv.range("").entries == ()

    def test_what_came_as_an_upload_is_not_read_again(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        data = some_bytes(3 * PIECE_SIZE + 1)
        blob, pieces = blob_of(data), PieceDigests(bench.store)
        blocks = [data[:10], data[10 : PIECE_SIZE + 5], data[PIECE_SIZE + 5 :]]
        bench.store.put(blob.sha256, pieces.of_upload(blob.sha256, blocks))
        monkeypatch.setattr(BlobStore, "matches", lambda *_: pytest.fail("read again"))
        assert pieces.match(blob)
        assert not pieces.match(msgspec.structs.replace(blob, pieces=bytes(len(blob.pieces))))

    def test_what_is_remembered_is_bounded(self, bench: Bench) -> None:
        pieces = PieceDigests(bench.store, most=3)
        for number in range(10):
            data = f"{number}".encode()
            bench.store.put(blob_of(data).sha256, pieces.of_upload(blob_of(data).sha256, [data]))
        assert len(pieces._known) == 3
        assert pieces.match(blob_of(b"0"))
