"""Who does not belong any more: a numbered list of keys, signed by the authority.

Rules:

* Servers take the list from anybody, pass it on and keep it on disk: its signature tells, so revocation needs no
  engine.
* The higher number wins; an older list than the one in hand is ``StaleError``. Lists only grow: one with a higher
  number that lacks a key of the one before is refused, so that a mistake at the operator's desk lets nobody in again.
* Keys are named by their digest (``identity.key_digest``); a certificate made anew for the same key is revoked, too.
"""

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.model.software import is_digest
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.identity import Verified

MAX_KEYS = 10_000  # as many as boards; 640 kB
MAX_LIST = 1024 * 1024  # bytes
_PURPOSE = b"boardwright revocations\0"  # what the authority signs here can be taken for nothing else


class Revocations(msgspec.Struct, frozen=True):
    """`keys` are digests of public keys in hex; number 0 is the list before the first."""

    cluster: str
    number: int = 0
    keys: frozenset[str] = frozenset()


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    body: bytes
    signature: bytes


def sign_revocations(revocations: Revocations, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The list as bytes that everybody passes on."""
    fields = {"cluster": revocations.cluster, "number": revocations.number, "keys": sorted(revocations.keys)}
    body = msgspec.json.encode(fields)
    return msgspec.msgpack.encode(_Envelope(body, key.sign(_PURPOSE + body, ec.ECDSA(hashes.SHA256()))))


def read_revocations(data: bytes, authority: Verified) -> Revocations:
    """The list in `data`; raises UntrustedError."""
    if len(data) > MAX_LIST:
        raise UntrustedError(f"a list of revoked keys has {len(data)} bytes, at most {MAX_LIST} are read")
    try:
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UntrustedError("a list of revoked keys is none") from error
    authority.check(envelope.signature, _PURPOSE + envelope.body)
    try:
        found = msgspec.json.decode(envelope.body, type=Revocations)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UntrustedError("a list of revoked keys is none, though the authority signed it") from error
    if found.cluster != authority.identity.cluster:
        raise UntrustedError(f"this list of revoked keys is of the cluster {found.cluster}")
    if found.number < 1 or len(found.keys) > MAX_KEYS or not all(is_digest(key) for key in found.keys):
        raise UntrustedError(f"the list of revoked keys number {found.number} is not of the documented form")
    return found


def newer(known: Revocations, offered: Revocations) -> Revocations:
    """The list to go on with; raises StaleError (an older one), UntrustedError (it lets somebody in again)."""
    if offered.number < known.number:
        raise StaleError(f"the list of revoked keys is number {offered.number}, here is number {known.number}")
    forgotten = known.keys - offered.keys
    if forgotten or (offered.number == known.number and offered != known):
        raise UntrustedError(
            f"the list of revoked keys number {offered.number} says other than number {known.number} before it"
        )
    return offered
