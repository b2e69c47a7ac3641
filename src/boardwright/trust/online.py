"""What the active signs: plans, snapshot and timestamp, over what the operator has signed (design section 4).

Rules:

* ``SignedRoles`` is one consistent set of everything that boards are given; a change makes the next set, or nothing.
  The caller commits it together with what it says, so nobody sees the one without the other.
* Version numbers grow by one for every role that changes; they are the caller's to compare and set.
* What comes from outside (root, targets, software) is taken only as TUF lets a client take it: signed by whom the set
  trusts, exactly one version newer (of software: newer, because a vendor signs for many
  clusters), and no version of software that vanishes or changes.
* What online keys sign lasts ``LIFE`` and is renewed after ``RENEW_AFTER``; the timestamp says when it was signed.
* What is signed never ends sooner than what it takes the place of, whatever the signer's clock says: else boards that
  have seen a later time would take nothing any more.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from securesystemslib.signer import Signer
from tuf.api import exceptions
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from boardwright.errors import ConflictError, RefusedError
from boardwright.model.software import Target, digest_of
from boardwright.trust.errors import UntrustedError
from boardwright.trust.floor import FIELD, LATEST, signed_time
from boardwright.trust.names import PLANS, ROOT, SNAPSHOT, SOFTWARE, TARGETS, TIMESTAMP, group_role, version_path
from boardwright.trust.offline import put_signature, read_role, signed_bytes, to_bytes
from boardwright.trust.shards import COUNT, shard_path

LIFE = 90 * 86_400.0  # seconds; a cluster whose control boards are off for a summer still boots
RENEW_AFTER = 86_400.0  # seconds; a frozen repository shows after a day to who compares, after 90 to who does not
MAX_LEAP = 1_000  # versions that a vendor signed for others; bounded, so that a stolen key cannot use numbers up
MAX_ROOTS = 1024  # what a client walks (python-tuf stops at 256 a refresh)
_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


class SignedRoles(msgspec.Struct, frozen=True):
    """`roots` are all of them, the first one first; `roles` the newest bytes of every other role by its name."""

    roots: tuple[bytes, ...] = ()
    roles: dict[str, bytes] = {}

    @property
    def files(self) -> dict[str, bytes]:
        """Everything by the name under which a client asks for it (TUF section 5, consistent snapshots)."""
        files = {f"{number}.root.json": data for number, data in enumerate(self.roots, start=1)}
        for name, data in self.roles.items():
            version = _read(name, data).signed.version
            files["timestamp.json" if name == TIMESTAMP else f"{version}.{name}.json"] = data
        return files

    @property
    def signing_keys(self) -> frozenset[str]:
        """Ids of the keys that may sign snapshot and timestamp; empty without a root. Raises UntrustedError."""
        return frozenset(read_role(self.roots[-1], Root).signed.roles[TIMESTAMP].keyids) if self.roots else frozenset()

    @property
    def expires(self) -> dict[str, str]:
        """Until when every role holds, as dates (RFC 3339)."""
        dates = {name: _read(name, data).signed.expires for name, data in self.roles.items()}
        if self.roots:
            dates[ROOT] = self._root.signed.expires
        return {name: date.strftime("%Y-%m-%dT%H:%M:%SZ") for name, date in dates.items()}

    def names(self, target: Target) -> bool:
        """Whether the role of the target's group names this very manifest."""
        data = self.roles.get(group_role(target.group))
        info = None if data is None else read_role(data, Targets).signed.targets.get(version_path(target))
        return info is not None and info.hashes.get("sha256") == target.manifest

    @classmethod
    def of(cls, roots: Iterable[bytes], roles: Mapping[str, bytes]) -> "SignedRoles":
        """A set that somebody sent: its roots follow one from the other and sign the rest. Raises UntrustedError."""
        found = cls()
        for root in roots:
            found = found.with_root(root)
        found = msgspec.structs.replace(found, roles=dict(roles))
        found.check()
        return found

    @classmethod
    def newest(cls, sets: Iterable["SignedRoles"]) -> "SignedRoles":
        """Of sets of one cluster the longest way of roots and the newest of every role.

        Raises ConflictError if their roots part: then they are two clusters, or one was forked.
        """
        found = cls()
        for one in sets:
            shorter, longer = sorted((found.roots, one.roots), key=len)
            if longer[: len(shorter)] != shorter:
                raise ConflictError("two sets of signed metadata have roots that part: they are not of one cluster")
            newer = {name: data for name, data in one.roles.items() if one.version(name) > found.version(name)}
            found = cls(longer, {**found.roles, **newer})
        return found

    def with_root(self, data: bytes) -> "SignedRoles":
        """The set with the next root; raises UntrustedError, ConflictError if it is not the next."""
        made = read_role(data, Root)
        if made.signed.version != len(self.roots) + 1 or made.signed.version > MAX_ROOTS:
            raise ConflictError(f"root {made.signed.version} was sent, the next is {len(self.roots) + 1}")
        _check(made, ROOT, made)
        if self.roots:
            _check(read_role(self.roots[-1], Root), ROOT, made)
        return msgspec.structs.replace(self, roots=(*self.roots, data))

    def with_targets(self, data: bytes) -> "SignedRoles":
        """The set with the next targets role; raises UntrustedError, ConflictError."""
        made = read_role(data, Targets)
        _check(self._root, TARGETS, made)
        return self._with(TARGETS, made.signed.version, data)

    def with_software(self, group: str, data: bytes, revived: str = "") -> "SignedRoles":
        """The set with the next role of a group; `revived` is the path of a version that may be packed otherwise now.

        Raises UntrustedError, ConflictError, RefusedError.
        """
        name, made = group_role(group), read_role(data, Targets)
        _check(read_role(self._role(TARGETS), Targets), name, made)
        known = read_role(self.roles[name], Targets).signed.targets if name in self.roles else {}
        for path, info in known.items():
            if path != revived and made.signed.targets.get(path) != info:
                raise RefusedError(f"{path} is signed already, and the new signature changes it or leaves it out")
        if made.signed.delegations is not None:
            raise UntrustedError(f"the signed versions of {group} hand signing on to others, which nobody may")
        return self._with(name, made.signed.version, data, MAX_LEAP)

    def signed(
        self, shards: Mapping[str, bytes] | None, signer: Signer, now: float, *, anew: bool = False, least: int = 0
    ) -> "SignedRoles":
        """The set with plans (if `shards` are given: path -> bytes), snapshot and timestamp signed at `now` (epoch).

        `anew`: how long the old signatures last counts no more, because a key that may have made them was dropped.
        `least`: the version numbers that are given out are not below it. Raises UntrustedError if this signer may not.
        """
        now = min(now, LATEST)
        expires = _date(now + LIFE if anew else max([now + LIFE, *self._ends()]))
        roles = dict(self.roles)
        if shards is not None:
            custom = {"custom": {COUNT: len(shards)}}
            targets = {
                path: TargetFile(
                    len(data), {"sha256": digest_of(data)}, path, custom if path == shard_path(0) else None
                )
                for path, data in shards.items()
            }
            version = max(self.version(PLANS) + 1, least)
            roles[PLANS] = _sign(Targets(version=version, expires=expires, targets=targets), signer)
        meta = {
            f"{name}.json": MetaFile(read_role(data, Targets).signed.version)
            for name, data in roles.items()
            if name in (TARGETS, PLANS) or name.startswith(SOFTWARE)
        }
        snapshot = Snapshot(version=max(self.version(SNAPSHOT) + 1, least), expires=expires, meta=meta)
        roles[SNAPSHOT] = _sign(snapshot, signer)
        timestamp = Timestamp(
            version=max(self.version(TIMESTAMP) + 1, least),
            expires=expires,
            snapshot_meta=MetaFile(snapshot.version),
            unrecognized_fields={FIELD: int(now)},
        )
        roles[TIMESTAMP] = _sign(timestamp, signer)
        made = msgspec.structs.replace(self, roles=roles)
        made.check()
        return made

    def check(self) -> None:
        """Raise UntrustedError unless every role is signed by whom the root, or targets, lets sign it."""
        for name in (TARGETS, SNAPSHOT, TIMESTAMP):
            _check(self._root, name, _read(name, self._role(name)))
        judge = read_role(self._role(TARGETS), Targets)
        for name in self.roles.keys() - {TARGETS, SNAPSHOT, TIMESTAMP}:
            _check(judge, name, read_role(self.roles[name], Targets))

    def due(self, now: float) -> bool:
        """Whether it is time to sign anew: the signed time is off by a day, or what is signed will not hold."""
        time = self.time
        if time is None or abs(now - time) > RENEW_AFTER:
            return True
        return now > min(self._ends()) - LIFE + RENEW_AFTER

    @property
    def time(self) -> float | None:
        """When the timestamp says that it was signed, in seconds since the epoch."""
        data = self.roles.get(TIMESTAMP)
        return None if data is None else signed_time(read_role(data, Timestamp).signed.unrecognized_fields.get(FIELD))

    def _ends(self) -> list[float]:
        """When what online keys have signed ends, in seconds since the epoch."""
        names = [name for name in (PLANS, SNAPSHOT, TIMESTAMP) if name in self.roles]
        return [_read(name, self.roles[name]).signed.expires.timestamp() for name in names]

    @property
    def _root(self) -> Metadata[Root]:
        if not self.roots:
            raise UntrustedError(
                "there is no root yet",
            )
        return read_role(self.roots[-1], Root)

    def _role(self, name: str) -> bytes:
        data = self.roles.get(name)
        if data is None:
            raise UntrustedError(f"there is no signed role {name} yet")
        return data

    def version(self, name: str) -> int:
        """Of a role, 0 if it is not there."""
        data = self.roles.get(name)
        return 0 if data is None else _read(name, data).signed.version

    def _with(self, name: str, version: int, data: bytes, leap: int = 0) -> "SignedRoles":
        due = self.version(name) + 1
        if not due <= version <= due + leap:
            raise ConflictError(
                f"version {version} of the signed role {name} was sent, the next is {due}",
                hint="somebody signed meanwhile: sign again, on what the cluster has now",
            )
        return msgspec.structs.replace(self, roles={**self.roles, name: data})


def _read(name: str, data: bytes) -> Metadata[Any]:
    """A role of the kind that its name says."""
    if name == SNAPSHOT:
        return read_role(data, Snapshot)
    return read_role(data, Timestamp) if name == TIMESTAMP else read_role(data, Targets)


def _check(judge: Metadata[Any], role: str, made: Metadata[Any]) -> None:
    try:
        judge.signed.verify_delegate(role, signed_bytes(made), made.signatures)
    except (exceptions.UnsignedMetadataError, ValueError) as error:
        raise UntrustedError(f"the role {role} is not signed by whom this cluster lets sign it") from error


def _sign(signed: _S, signer: Signer) -> bytes:
    metadata: Metadata[_S] = Metadata(signed)
    put_signature(metadata, signer)
    return to_bytes(metadata)


def _date(time: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(min(time, LATEST), dt.UTC).replace(microsecond=0)
