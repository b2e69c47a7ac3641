"""A TUF repository in memory: signs what a test wants to be true, serves it without a network."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface

from boardwright.trust.floor import FIELD

DAY = 86_400.0
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
ROLES = ("root", "targets", "snapshot", "timestamp")


class Repository(FetcherInterface):
    """Counts what is asked for in `asked`; `publish` signs everything anew."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.operator = CryptoSigner.generate_ecdsa()
        self.online = [CryptoSigner.generate_ecdsa()]
        self.time = START
        self.life = 90 * DAY  # of what online keys sign
        self.root = Root(consistent_snapshot=True, expires=_date(START + 3650 * DAY))
        self.root.version = 0
        self.targets = Targets(expires=_date(START + 3650 * DAY))
        self.targets.version = 0
        self.snapshot = Snapshot()
        self.snapshot.version = 0
        self.timestamp = Timestamp()
        self.timestamp.version = 0
        self.roots: list[bytes] = []
        self.new_root([self.operator], self.online)
        self.publish()

    def new_root(self, operators: list[CryptoSigner], online: list[CryptoSigner], threshold: int = 1) -> None:
        """Sign a root that trusts these keys, with the operator's keys of before as well."""
        signers = {signer.public_key.keyid: signer for signer in (self.operator, *operators)}
        self.root.keys.clear()
        for role in self.root.roles.values():
            role.keyids.clear()
        for role in ROLES:
            for signer in operators if role in ("root", "targets") else online:
                self.root.add_key(signer.public_key, role)
        self.root.roles["root"].threshold = threshold
        self.root.version += 1
        data = _signed(self.root, list(signers.values()))
        self.files[f"{self.root.version}.root.json"] = data
        self.roots.append(data)
        self.operator, self.online = operators[0], online

    def add_target(self, path: str, data: bytes, custom: dict[str, Any] | None = None) -> None:
        target = TargetFile.from_data(path, data)
        if custom:
            target.unrecognized_fields["custom"] = custom
        self.targets.targets[path] = target

    def publish(self, *, signed_time: object = None, signer: CryptoSigner | None = None) -> None:
        """Sign targets, snapshot and timestamp; `signed_time` None: the repository's time."""
        online = [signer or self.online[0]]
        self.targets.version += 1
        self.files[f"{self.targets.version}.targets.json"] = _signed(self.targets, [self.operator])
        self.snapshot.version += 1
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.snapshot.expires = _date(self.time + self.life)
        self.files[f"{self.snapshot.version}.snapshot.json"] = _signed(self.snapshot, online)
        self.sign_timestamp(signed_time=signed_time, signer=signer)

    def sign_timestamp(self, *, signed_time: object = None, signer: CryptoSigner | None = None) -> None:
        self.timestamp.version += 1
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self.timestamp.expires = _date(self.time + self.life)
        self.timestamp.unrecognized_fields[FIELD] = int(self.time) if signed_time is None else signed_time
        self.files["timestamp.json"] = _signed(self.timestamp, [signer or self.online[0]])

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        self.asked.append(name)
        if name not in self.files:
            raise DownloadHTTPError(f"{url} is not there", 404)
        return iter((self.files[name],))


def _signed(signed: Signed, signers: list[CryptoSigner]) -> bytes:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def _date(time: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(time, dt.UTC).replace(microsecond=0)
