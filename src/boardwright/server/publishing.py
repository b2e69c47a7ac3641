"""A new version enters the catalog.

Rules:

* The manifest is checked and every blob it names is in the store, with the size and the piece digests that it says,
  before anything is written: a piece digest that is wrong would fail on every board.
* A name (group, version, variant) is immutable: the same content again is fine, other content is refused. Of a version
  that was retired, too, and its content revives it, however its small files are packed this time.
* The manifest must be named by the signed role of its group; what the publisher has signed for it comes along and
  enters the state in the same transaction. Nobody else's word puts a version into the catalog.
* The catalog record is the last thing written, in a transaction that only the active can commit. A publish that is
  cut off leaves blobs that nobody names, never a version that nobody has.
"""

from collections.abc import Callable, Iterable

import msgspec

from boardwright.errors import ConflictError, FailedError, MalformedError, RefusedError
from boardwright.model.api import Publication
from boardwright.model.audit import Act
from boardwright.model.software import Manifest, is_digest, same_content
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.facts import encoded
from boardwright.server.holdings import stored_manifest
from boardwright.server.mirror import Mirror
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.planning import target_of
from boardwright.server.signing import Signing, read_signed
from boardwright.state.kv import KV, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.records import CatalogRecord, catalog_key
from boardwright.transfer.store import BlobStore
from boardwright.trust.names import version_path

SEEN_WITHIN = 3.0  # seconds in which the own copy shows what was just committed; then the answer goes out anyway
NAMED_BLOBS = 5  # how many of the missing blobs the sentence names


class PublishEvents(msgspec.Struct, frozen=True):
    """`begun` is told of all blobs before they are looked at, so that nobody collects them meanwhile; `whole` of every
    version that is published, which is then complete in the store."""

    begun: Callable[[Iterable[str]], None]
    whole: Callable[[CatalogRecord], None]


class Publishing:
    """Publishes into `store` and, by `commit` (see ``audit_log``), the state; `wall` is seconds since the epoch."""

    def __init__(  # noqa: PLR0913 - what a publish touches, each part handed in
        self,
        kv: KV,
        commit: AuditedCommit,
        mirror: Mirror,
        store: BlobStore,
        pieces: PieceDigests,
        events: PublishEvents,
        signing: Signing,
        wall: Callable[[], float],
    ) -> None:
        self._kv = kv
        self._commit = commit
        self._mirror = mirror
        self._store = store
        self._pieces = pieces
        self._events = events
        self._signing = signing
        self._wall = wall

    def publish(self, publication: Publication, act: Act) -> tuple[CatalogRecord, bool]:
        """Take a version in whose manifest is in the store; answers the record and whether it is new.

        MalformedError for a bad manifest, FailedError for missing blobs, RefusedError for another content or one that
        nobody signed, UntrustedError for a signature of somebody else.
        """
        digest = publication.manifest
        manifest = stored_manifest(self._store, digest) if is_digest(digest) else None
        if manifest is None:
            raise FailedError(f"this server lacks the manifest {digest[:80]}", hint="upload it first, as a blob")
        self._events.begun([digest, *(blob.sha256 for blob in manifest.blobs)])
        self._check_blobs(manifest)
        record = CatalogRecord(
            group=manifest.group,
            version=manifest.version,
            variant=manifest.variant,
            manifest=digest,
            size=manifest.size,
            published=self._wall(),
            requires=dict(manifest.requires),
        )
        known = self._add(record, manifest, publication, act)
        self._events.whole(record)
        return (record, True) if known is None else (known, False)

    def _check_blobs(self, manifest: Manifest) -> None:
        missing = [blob.sha256 for blob in self._store.missing(manifest)]
        if missing:
            named = ", ".join(missing[:NAMED_BLOBS]) + (" ..." if len(missing) > NAMED_BLOBS else "")
            raise FailedError(
                f"{manifest.group} {manifest.version} names {len(missing)} blobs that this server lacks: {named}",
                hint="upload them first",
            )
        for blob in manifest.blobs:
            size = self._store.size(blob.sha256)
            if size != blob.size:
                raise FailedError(f"blob {blob.sha256} has {size} bytes, the manifest says {blob.size}")
        for blob in manifest.blobs:
            if not self._pieces.match(blob):
                raise MalformedError(
                    f"the manifest of {manifest.group} {manifest.version} has piece digests of blob {blob.sha256} that "
                    "its bytes do not have"
                )

    def _add(
        self, record: CatalogRecord, manifest: Manifest, publication: Publication, act: Act
    ) -> CatalogRecord | None:
        """None if the record is new or revived, else the one that was there."""
        key = catalog_key(record.group, record.version, record.variant)
        revision, known = self._known(key, record, manifest)
        if known is not None:
            return known
        change = Transaction({key: revision}, {key: encoded(record)})
        revived = version_path(target_of(record)) if revision else ""
        try:
            name = f"{record.group} {record.version} {record.variant}"
            done = act.on(name, manifest=record.manifest, revived="yes" if revived else "")
            revision = self._commit(self._signed(change, record, publication, revived), done)
        except DeposedError:
            raise
        except ConflictError:
            _, known = self._known(key, record, manifest)  # somebody published the same name at the same moment
            if known is None:
                raise
            return known
        self._mirror.wait_for(revision, SEEN_WITHIN)
        return None

    def _signed(
        self, change: Transaction, record: CatalogRecord, publication: Publication, revived: str
    ) -> Transaction:
        """The change with what the publisher signed, and signed over."""
        state = read_signed(self._kv)
        before = after = self._signing.begun(state.signed)
        if publication.targets is not None:
            after = after.with_targets(publication.targets)
        if publication.software is not None:
            after = after.with_software(record.group, publication.software, revived)
        if not after.names(target_of(record)):
            raise RefusedError(
                f"{record.group} {record.version} for {record.variant} is not signed: nobody whom this cluster "
                f"lets sign {record.group} has named the manifest {record.manifest[:12]}",
                hint="publish with the operator's folder, or let the vendor sign it",
            )
        return change if after is before else self._signing.signed(state, after, change, None)

    def _known(self, key: str, record: CatalogRecord, manifest: Manifest) -> tuple[int, CatalogRecord | None]:
        """The revision of what the name is bound to, 0 for nothing, and the version itself unless it was retired."""
        entry = self._kv.get(key)
        if entry is None:
            return 0, None
        known = msgspec.json.decode(entry.value, type=CatalogRecord)
        same = known.manifest == record.manifest or (known.retired and self._same_content(known.manifest, manifest))
        if not same:
            raise RefusedError(
                f"{record.group} {record.version} for {record.variant} is published with other content "
                f"(manifest {known.manifest[:12]}, yours {record.manifest[:12]})",
                hint="a version is immutable; publish under another version name",
            )
        return entry.revision, None if known.retired else known

    def _same_content(self, digest: str, manifest: Manifest) -> bool:
        try:
            retired = stored_manifest(self._store, digest)
        except MalformedError:
            return False
        return retired is not None and same_content(retired, manifest)
