"""Bringing a packed version into a cluster: the blobs that are missing, then the manifest that names them.

Rules:

* Only what the active lacks is sent; blobs that versions share are there already.
* Whether all of it fits is asked before the first byte.
* A version is visible only when it is published with its signature: an upload that was cut off leaves nothing half
  done.
* The same content under the same name is the same version, although small files might be packed otherwise today:
  then the manifest that is published counts.
* Packs that base manifests have are used again; should the active have dropped one meanwhile, everything is packed
  anew without them.
"""

import io
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from boardwright.errors import FailedError, RefusedError
from boardwright.model.api import Publication, SignedMetadata, VersionSummary
from boardwright.model.software import Manifest, Target, digest_of, encode_manifest, same_content
from boardwright.net.api_client import ApiClient, Published, counted
from boardwright.net.servers import Upload
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import BlobSource, Packed, pack
from boardwright.transfer.package import Package

# What is signed so far, the version, its manifest's length, whether it was retired -> what signs it.
Sign = Callable[[SignedMetadata, Target, int, bool], Publication]
ATTEMPTS = 5  # several people sign for one cluster, but not often at the same moment
MAX_BASES = 4  # manifests; older versions rarely have small files that the latest ones lack


class Shipment(msgspec.Struct, frozen=True):
    """What must be sent for a version: its manifest's bytes, and the blobs that the active lacks.

    `package` is where the blobs are, if it was not packed here.
    """

    packed: Packed
    manifest: bytes
    missing: tuple[str, ...]
    package: Package | None = None

    @property
    def size(self) -> int:
        """Bytes of the missing blobs."""
        return sum(blob.size for blob in self.packed.manifest.blobs if blob.sha256 in set(self.missing))

    def upload(self, sha256: str) -> Upload:
        """The bytes of a blob."""
        package = self.package
        if package is None:
            return _upload(self.packed.blobs[sha256])
        return Upload(lambda: package.open_blob(sha256), package.places[sha256][1])

    @property
    def target(self) -> Target:
        """The version as plans and signatures name it."""
        manifest = self.packed.manifest
        return Target(manifest.group, manifest.version, manifest.variant, digest_of(self.manifest))

    @property
    def name(self) -> str:
        manifest = self.packed.manifest
        variant = "" if manifest.variant == "*" else f" for {manifest.variant}"
        return f"{manifest.group} {manifest.version}{variant}"


def pack_for(client: ApiClient, path: Path, options: SoftwareOptions, workdir: Path) -> Shipment:
    """Pack what lies at `path` and find out what must be sent; raises UsageError for bad software."""
    shipment = None
    bases = base_manifests(client, options.group)
    for base in (bases, []) if bases else ([],):
        attempt = Path(tempfile.mkdtemp(dir=workdir))
        shipment = prepare(client, pack(path, options, workdir=attempt, base=base))
        if shipment is not None:
            return as_published(client, shipment)
    raise FailedError(f"{path} could not be packed: the packed version does not hold its own blobs")


def prepare(client: ApiClient, packed: Packed) -> Shipment | None:
    """What must be sent for `packed`; None if the active lacks a blob that only a base manifest promised."""
    manifest = packed.manifest
    missing = client.missing_blobs(blob.sha256 for blob in manifest.blobs)
    if not missing <= packed.blobs.keys():
        return None
    in_order = tuple(blob.sha256 for blob in manifest.blobs if blob.sha256 in missing)
    return Shipment(packed, encode_manifest(manifest), in_order)


def shipment_of(client: ApiClient, package: Package) -> Shipment:
    """What must be sent of a package: its manifest goes as it was signed, never packed otherwise."""
    manifest = package.manifest
    missing = client.missing_blobs(blob.sha256 for blob in manifest.blobs)
    in_order = tuple(blob.sha256 for blob in manifest.blobs if blob.sha256 in missing)
    return Shipment(Packed(manifest, {}), package.manifest_bytes, in_order, package)


def as_published(client: ApiClient, shipment: Shipment) -> Shipment:
    """The shipment, or, if its very content is published under its name, that version with nothing to send."""
    known = _published(client, shipment)
    if known is None or known.manifest == digest_of(shipment.manifest):
        return shipment
    digest = known.manifest
    there = client.manifest(digest)
    if there is None or not same_content(there, shipment.packed.manifest):
        return shipment
    encoded = encode_manifest(there)
    if digest_of(encoded) != digest:
        return shipment  # a newer release wrote it with fields that this one does not know
    return prepare(client, Packed(there, shipment.packed.blobs)) or shipment


def send(client: ApiClient, shipment: Shipment, sign: Sign, on_bytes: Callable[[int], None]) -> Published:
    """Upload, sign and publish; RefusedError if the name has other content, FailedError if it does not fit.

    Whoever else signed meanwhile goes first: then it is signed again, on what the cluster has by then.
    """
    digest, length = digest_of(shipment.manifest), len(shipment.manifest)
    known = _published(client, shipment)
    revive = known is not None and known.retired
    if shipment.missing:
        client.room(shipment.size + len(shipment.manifest))
    for sha256 in shipment.missing:
        client.upload(sha256, counted(shipment.upload(sha256), on_bytes))
    client.upload(digest, Upload(lambda: io.BytesIO(shipment.manifest), length))
    for _ in range(ATTEMPTS - 1):
        signed = client.signed_metadata()
        try:
            return client.publish(sign(signed, shipment.target, length, revive))
        except RefusedError:
            if client.signed_metadata() == signed:
                raise
    return client.publish(sign(client.signed_metadata(), shipment.target, length, revive))


def refuse_other_content(client: ApiClient, shipment: Shipment) -> bool:
    """Whether this very version is published already; raises RefusedError if its name has other content."""
    known = _published(client, shipment)
    if known is None:
        return False
    if known.manifest != digest_of(shipment.manifest):
        there = client.manifest(known.manifest) if known.retired else None
        if there is None or not same_content(there, shipment.packed.manifest):
            raise RefusedError(
                f"{shipment.name} is published already with other content "
                f"(manifest {known.manifest[:12]}, yours is {digest_of(shipment.manifest)[:12]})",
                hint="versions are immutable: give the new content a new version",
            )
    return not known.retired


def _published(client: ApiClient, shipment: Shipment) -> VersionSummary | None:
    """What is published under the shipment's name, if anything."""
    manifest = shipment.packed.manifest
    name = (manifest.group, manifest.version, manifest.variant)
    there = client.software().software
    return next((one for one in there if (one.group, one.version, one.variant) == name), None)


def base_manifests(client: ApiClient, group: str | None) -> list[Manifest]:
    """Manifests of the latest versions of `group` (None: of every group), newest first, as far as they can be had."""
    latest = sorted(_of_group(client.software().software, group), key=lambda version: -version.published)
    found = (client.manifest(version.manifest) for version in latest[:MAX_BASES])
    return [manifest for manifest in found if manifest is not None]


def _of_group(versions: Iterable[VersionSummary], group: str | None) -> list[VersionSummary]:
    return [version for version in versions if group in (None, version.group) and not version.retired]


def _upload(source: BlobSource) -> Upload:
    return Upload(lambda: source.path.open("rb"), source.size)
