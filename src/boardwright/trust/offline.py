"""What is signed away from the cluster: root and targets by the operator, software by whom a group is delegated to.

Rules:

* Functions from signed bytes and signers to signed bytes: nothing is written or remembered here.
* Every change makes the next version of one role; the versions before it stay valid until somebody publishes the next.
* Root is signed by the keys that it names and by those of the root before it (TUF specification section 5.3.4).
* Online keys (one per control board) sign snapshot, timestamp and ``plans``: never software.
* A version that is named stays what it is: other content under its name is refused.
* What is signed here lasts ``LIFE``: what ends sooner is what the cluster renews by itself.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.exceptions import Error as SignerError
from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api import exceptions
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import DeserializationError, SerializationError
from tuf.api.serialization.json import JSONSerializer

from boardwright.errors import BoardwrightError, RefusedError, UsageError
from boardwright.model.software import Target
from boardwright.trust.density import MAX_VALUES, values_of
from boardwright.trust.errors import UntrustedError
from boardwright.trust.names import (
    PLAN_PATHS,
    PLANS,
    ROOT,
    SNAPSHOT,
    SOFTWARE,
    TARGETS,
    TIMESTAMP,
    group_paths,
    group_role,
    version_path,
)

LIFE = 10 * 365 * 86_400.0  # seconds; the operator's keys are used by hand, and boards lie on shelves for years
MAX_METADATA = 5_000_000  # bytes of one role, what python-tuf takes of targets; 15,000 versions of a group
SigningKey = Signer  # what signs, wherever its private half is; for rooms that know no securesystemslib
_NO_FORM = "signed metadata holds what no signature can be over"  # fractions, halves of characters
_compact = JSONSerializer(compact=True)
_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


SERVER = "x-boardwright-server"  # field of an online key: whose it is


def online_key(signer: Signer, server: str) -> Key:
    """The public half of a control board's online key, with the server's id in it."""
    key = signer.public_key
    key.unrecognized_fields[SERVER] = server
    return key


def server_of(key: Key) -> str:
    """Whose online key this is; '' for one that does not say."""
    return str(key.unrecognized_fields.get(SERVER, ""))


class RootKeys:
    """Who signs what: `root` and `targets` are the operator's, `online` those of the control boards."""

    def __init__(self, root: Sequence[Key], targets: Sequence[Key], online: Sequence[Key]) -> None:
        self.root, self.targets, self.online = tuple(root), tuple(targets), tuple(online)

    @classmethod
    def of(cls, root: bytes) -> "RootKeys":
        """Those of a signed root; raises UntrustedError."""
        signed = read_role(root, Root).signed

        def keys(role: str) -> list[Key]:
            return [signed.keys[keyid] for keyid in signed.roles[role].keyids]

        return cls(keys(ROOT), keys(TARGETS), keys(TIMESTAMP))

    @property
    def servers(self) -> dict[str, Key]:
        """The online keys by the ids of their servers."""
        return {server_of(key) or key.keyid: key for key in self.online}

    def with_server(self, key: Key) -> "RootKeys":
        """The same with an online key; one that its server had before is gone."""
        others = [one for one in self.online if server_of(one) != server_of(key) and one.keyid != key.keyid]
        return RootKeys(self.root, self.targets, [*others, key])

    def without(self, server: str) -> "RootKeys":
        """The same without the online key of this server (or of this key id); RefusedError if there is none other."""
        left = [key for key in self.online if server not in (server_of(key), key.keyid)]
        if len(left) == len(self.online):
            known = ", ".join(sorted(self.servers))
            raise RefusedError(f"{server} has no key that signs", hint=f"servers that sign: {known}")
        if not left:
            raise RefusedError("this is the last control board that signs", hint="add another one first")
        return RootKeys(self.root, self.targets, left)


def new_root(keys: RootKeys, signers: Sequence[Signer], now: float) -> bytes:
    """The first root; `signers` are those of its root role, `now` is seconds since the epoch."""
    return _sign_root(Root(version=1, consistent_snapshot=True), keys, signers, now)


def next_root(current: bytes, keys: RootKeys, signers: Sequence[Signer], now: float) -> bytes:
    """The root after `current` with these keys; `signers` are those of both. Raises UntrustedError, RefusedError."""
    root = read_role(current, Root)
    root.signed.version += 1
    data = _sign_root(root.signed, keys, signers, now)
    made = read_role(data, Root)
    try:
        for judge in (read_role(current, Root), made):
            judge.signed.verify_delegate(ROOT, signed_bytes(made), made.signatures)
    except exceptions.UnsignedMetadataError as error:
        raise RefusedError(
            "the new root is not signed by the keys of the old and of the new one", hint="bring the keys of both"
        ) from error
    return data


def new_targets(online: Sequence[Key], signer: Signer, now: float) -> bytes:
    """The first targets role: nothing but the delegation of plans to the online keys."""
    targets = Targets(version=1, delegations=Delegations({}, {}))
    _delegate(targets, PLANS, PLAN_PATHS, online)
    return _sign(targets, [signer], now)


def delegate_group(current: bytes, group: str, keys: Sequence[Key], signer: Signer, now: float) -> bytes:
    """Targets after `current`: versions of `group` are signed by one of `keys` and by nobody else."""

    def change(targets: Targets) -> None:
        _delegate(targets, group_role(group), group_paths(group), keys)

    return _next_targets(current, change, signer, now)


def delegate_plans(current: bytes, online: Sequence[Key], signer: Signer, now: float) -> bytes:
    """Targets after `current`: plans are signed by one of these online keys."""
    return _next_targets(current, lambda targets: _delegate(targets, PLANS, PLAN_PATHS, online), signer, now)


def delegated_keys(targets: bytes, group: str) -> tuple[str, ...]:
    """Ids of the keys that may sign `group`; empty if nobody may yet. Raises UntrustedError."""
    delegations = read_role(targets, Targets).signed.delegations
    role = (delegations.roles or {}).get(group_role(group)) if delegations else None
    return () if role is None else tuple(role.keyids)


def delegated_groups(targets: bytes) -> tuple[str, ...]:
    """The groups that somebody may sign, sorted. Raises UntrustedError."""
    delegations = read_role(targets, Targets).signed.delegations
    roles = (delegations.roles or {}) if delegations else {}
    return tuple(sorted(name.removeprefix(SOFTWARE) for name in roles if name.startswith(SOFTWARE)))


def add_version(
    current: bytes | None, target: Target, length: int, signer: Signer, now: float, *, revive: bool = False
) -> bytes:
    """The role of the target's group after `current` (None: the first): it names the manifest, `length` bytes, too.

    Unchanged if it names it already. Raises RefusedError for another manifest under a known name, unless it is to
    `revive` a version that was retired and is packed otherwise now; UntrustedError.
    """
    role = Targets(version=1) if current is None else read_role(current, Targets).signed
    path = version_path(target)
    known = role.targets.get(path)
    if known is not None and current is not None:
        if (known.length, known.hashes.get("sha256")) == (length, target.manifest):
            return current
        if not revive:
            raise _immutable(target)
    role.targets[path] = TargetFile(length, {"sha256": target.manifest}, path)
    role.version += current is not None
    return _sign(role, [signer], now)


def signed_by(data: bytes, key: Key) -> bool:
    """Whether this key has signed a role of targets; raises UntrustedError."""
    role = read_role(data, Targets)
    signature = role.signatures.get(key.keyid)
    try:
        if signature is not None:
            key.verify_signature(signature, signed_bytes(role))
    except SignerError:
        return False
    return signature is not None


def read_signed_file(path: Path) -> bytes | None:
    """Signed metadata in a file, None if there is none; raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA + 1)
        read_role(data, Targets)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint="name another file") from error
    except UntrustedError as error:
        raise UsageError(f"{path}: {error}", hint="name the role of the group") from error
    return data


def _immutable(target: Target) -> RefusedError:
    return RefusedError(
        f"{target.group} {target.version} for {target.variant} is signed with other content",
        hint="a version is immutable; sign under another version name",
    )


def signer_of(private_key: ec.EllipticCurvePrivateKey) -> Signer:
    """A signer with a key in memory (``credentials.load_key``, ``issuing.new_key``)."""
    return CryptoSigner(private_key)


def read_role(data: bytes, kind: type[_S]) -> Metadata[_S]:
    """Signed metadata of this kind, whoever signed it; raises UntrustedError."""
    if len(data) > MAX_METADATA:
        raise UntrustedError(f"signed metadata has {len(data)} bytes, at most {MAX_METADATA} are read")
    if values_of(data) > MAX_VALUES:
        raise UntrustedError(f"signed metadata has more than {MAX_VALUES} values")
    try:
        metadata: Metadata[_S] = Metadata.from_bytes(data)
    except (DeserializationError, RecursionError) as error:
        raise UntrustedError(f"this is no signed metadata of the kind {kind.type}") from error
    if not isinstance(metadata.signed, kind):
        raise UntrustedError(f"this is signed metadata of the kind {metadata.signed.type}, not {kind.type}")
    return metadata


def _next_targets(current: bytes, change: Callable[[Targets], None], signer: Signer, now: float) -> bytes:
    targets = read_role(current, Targets).signed
    change(targets)
    targets.version += 1
    return _sign(targets, [signer], now)


def _delegate(targets: Targets, name: str, paths: str, keys: Sequence[Key]) -> None:
    delegations = targets.delegations or Delegations({}, {})
    targets.delegations = delegations
    roles = delegations.roles if delegations.roles is not None else {}
    delegations.roles = roles
    roles[name] = DelegatedRole(name, [key.keyid for key in keys], threshold=1, terminating=True, paths=[paths])
    delegations.keys.update({key.keyid: key for key in keys})
    used = {keyid for role in roles.values() for keyid in role.keyids}
    for keyid in set(delegations.keys) - used:
        del delegations.keys[keyid]


def _sign_root(root: Root, keys: RootKeys, signers: Sequence[Signer], now: float) -> bytes:
    root.keys.clear()
    for name in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        root.roles[name].keyids.clear()
        for key in {ROOT: keys.root, TARGETS: keys.targets}.get(name, keys.online):
            root.add_key(key, name)
    return _sign(root, signers, now)


def _sign(signed: _S, signers: Iterable[Signer], now: float) -> bytes:
    signed.expires = dt.datetime.fromtimestamp(now + LIFE, dt.UTC).replace(microsecond=0)
    metadata: Metadata[_S] = Metadata(signed)
    for signer in signers:
        put_signature(metadata, signer)
    return to_bytes(metadata)


def put_signature(metadata: Metadata[_S], signer: Signer) -> None:
    """Add a signature; raises what the signer raises of ours, UntrustedError for what no signature can be over."""
    try:
        metadata.sign(signer, append=True)
    except (exceptions.UnsignedMetadataError, SerializationError) as error:
        if isinstance(error.__cause__, BoardwrightError):
            raise error.__cause__ from error.__cause__.__cause__
        raise UntrustedError(_NO_FORM) from error


def signed_bytes(metadata: Metadata[_S]) -> bytes:
    """What signatures are over; raises UntrustedError."""
    try:
        return metadata.signed_bytes
    except SerializationError as error:
        raise UntrustedError(_NO_FORM) from error


def to_bytes(metadata: Metadata[_S]) -> bytes:
    """As it travels: compact JSON."""
    return metadata.to_bytes(_compact)
