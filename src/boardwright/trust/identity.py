"""Who somebody is and where they sit, as the cluster's certificate authority has signed it (design section 4).

Rules:

* A certificate names one subject by a URI in its subject alternative name (RFC 5280 section 4.2.1.6):
  ``boardwright://CLUSTER/ID?role=ROLE&chassis=C&slot=S``. The place is a fact that the cluster signs; who claims
  another in a message is not believed.
* Keys are P-256, signatures ECDSA with SHA-256: small enough for a datagram of 1,200 bytes beside four groups.
* A certificate is signed by the authority, whose key stays with the operator, or by an enroller: a control board's
  online key that the authority has certified. An enroller's signature is good for line boards only, never for a server
  or an operator, so that a stolen control board cannot make itself company.
* Whom a revoked enroller has let in is revoked with it, whenever that was: a thief can have signed at any time.
* Validity dates are not looked at: boards may have no clock. A certificate ends by revocation.
* What is decoded is bounded first, and whatever is wrong with it is ``UntrustedError`` with one sentence.
"""

import enum
import threading
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.errors import MalformedError
from boardwright.model.location import Location
from boardwright.model.software import check_name
from boardwright.trust.errors import RevokedError, UntrustedError

SCHEME = "boardwright"
MAX_CERTIFICATE = 800  # bytes of DER; ours have some 400, and the rest of a datagram is for groups and the signature
MAX_SIGNATURE = 80  # bytes; a DER ECDSA signature of P-256 has at most 72
MAX_PLACE = 64  # characters of a chassis or a slot
_HASH = hashes.SHA256()


class Role(enum.Enum):
    """What the bearer of a certificate may be."""

    AUTHORITY = "authority"
    SERVER = "server"
    BOARD = "board"
    ENROLLER = "enroller"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Identity(msgspec.Struct, frozen=True):
    """What a verified certificate says; `key` is the SHA-256 of its public key (hex), by which it is revoked.

    `enroller` is that of the enroller's key which signed the certificate, '' if the authority's did.
    """

    cluster: str
    id: str
    role: Role
    location: Location
    serial: int
    key: str
    enroller: str = ""

    def check_revoked(self, revoked: frozenset[str]) -> None:
        """Raise RevokedError if the key, or the one that enrolled it, is among `revoked` (digests in hex)."""
        if self.key in revoked:
            raise RevokedError(f"the key of {self.id} is revoked")
        if self.enroller and self.enroller in revoked:
            raise RevokedError(f"the key that enrolled {self.id} is revoked")


class Verified(msgspec.Struct, frozen=True):
    """An identity and the key that proves it."""

    identity: Identity
    public_key: ec.EllipticCurvePublicKey

    def check(self, signature: bytes, data: bytes) -> None:
        """Raise UntrustedError unless the identity's key has signed `data`."""
        check_signature(self.public_key, signature, data)


def uri(cluster: str, subject: str, role: Role, location: Location) -> str:
    """The name in a certificate."""
    query = urlencode({"role": role.value, "chassis": location.chassis, "slot": location.slot})
    return f"{SCHEME}://{quote(cluster, safe='')}/{quote(subject, safe='')}?{query}"


def read_uri(text: str) -> tuple[str, str, Role, Location]:
    """Cluster, id, role and place out of a certificate's name; raises UntrustedError."""
    try:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True, max_num_fields=8))
        cluster, subject = unquote(parts.netloc), unquote(parts.path.removeprefix("/"))
        check_name("cluster", cluster)
        check_name("board", subject)
        role = Role(query["role"])
        location = Location(query["chassis"], query["slot"])
    except (ValueError, KeyError, MalformedError) as error:
        raise UntrustedError(f"a certificate names {text[:200]!r}, which is no name of a board") from error
    if parts.scheme != SCHEME or uri(cluster, subject, role, location) != text:
        raise UntrustedError(f"a certificate names {text[:200]!r}, which is no name of a board")
    if any(len(word) > MAX_PLACE for word in (location.chassis, location.slot)):
        raise UntrustedError(f"the certificate of {subject} has a place of more than {MAX_PLACE} characters")
    return cluster, subject, role, location


def read_certificate(data: bytes) -> x509.Certificate:
    """A certificate from DER; raises UntrustedError."""
    if len(data) > MAX_CERTIFICATE:
        raise UntrustedError(f"a certificate has {len(data)} bytes, at most {MAX_CERTIFICATE} are read")
    try:
        return x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise UntrustedError("a certificate is none") from error


def identity_of(certificate: x509.Certificate) -> Verified:
    """What the certificate says, without looking who signed it; raises UntrustedError."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key = certificate.public_key()
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise UntrustedError("a certificate lacks the name or the key that ours have") from error
    if len(uris) != 1 or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UntrustedError("a certificate has not one name and a P-256 key")
    cluster, subject, role, location = read_uri(uris[0])
    return Verified(Identity(cluster, subject, role, location, certificate.serial_number, key_digest(key)), key)


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER) in hex."""
    digest = hashes.Hash(_HASH)
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    """Raise UntrustedError unless `key` has signed `data` (ECDSA, SHA-256, DER)."""
    if len(signature) > MAX_SIGNATURE:
        raise UntrustedError(f"a signature has {len(signature)} bytes, at most {MAX_SIGNATURE} are read")
    try:
        key.verify(signature, data, ec.ECDSA(_HASH))
    except InvalidSignature as error:
        raise UntrustedError("a signature is not by the key of its certificate") from error


class Authority:
    """Verifies certificates of one cluster against its authority's; keeps the last ones, because they come again.

    Whether a key is revoked is asked every time. Thread-safe.
    """

    def __init__(self, certificate: bytes, cluster: str) -> None:
        """Raises UntrustedError if `certificate` (DER) is not the authority of `cluster`."""
        self.certificate = certificate
        self._root = identity_of(read_certificate(certificate))
        said = self._root.identity
        if said.role is not Role.AUTHORITY or said.cluster != cluster:
            raise UntrustedError(f"this is the certificate of {said.id} ({said.role.value}) of {said.cluster}")
        _check_signed(read_certificate(certificate), self._root)
        self._cluster = cluster
        self._lock = threading.Lock()
        self._known: dict[tuple[bytes, bytes], Verified] = {}

    def verify(self, certificate: bytes, enroller: bytes = b"", revoked: frozenset[str] = frozenset()) -> Verified:
        """Whom the certificate (DER) belongs to; `enroller` is the certificate of who signed it, if not the authority.

        Raises UntrustedError: another cluster, a wrong signature, a role that the signer may not give, a revoked key.
        """
        found = self._known.get((certificate, enroller))
        if found is None:
            found = self._verify(certificate, enroller)
            with self._lock:
                if len(self._known) >= MAX_KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[certificate, enroller] = found
        found.identity.check_revoked(revoked)
        return found

    def _verify(self, certificate: bytes, enroller: bytes) -> Verified:
        signer = self._root
        if enroller:
            signer = self._verify(enroller, b"")
            if signer.identity.role is not Role.ENROLLER:
                raise UntrustedError(f"{signer.identity.id} ({signer.identity.role.value}) may not enroll anybody")
        parsed = read_certificate(certificate)
        found = identity_of(parsed)
        said = found.identity
        _check_signed(parsed, signer)
        if said.cluster != self._cluster:
            raise UntrustedError(f"{said.id} is of the cluster {said.cluster}, not of {self._cluster}")
        if said.role is Role.AUTHORITY or (enroller and said.role is not Role.BOARD):
            raise UntrustedError(f"{said.id} says that it is {said.role.value}, which its signer may not give")
        if not enroller:
            return found
        return Verified(msgspec.structs.replace(said, enroller=signer.identity.key), found.public_key)


MAX_KNOWN = 1024  # certificates; the servers of a large cluster and their neighbours, 1 MiB


def _check_signed(certificate: x509.Certificate, signer: Verified) -> None:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise UntrustedError("a certificate is signed in a way that is not known here") from error
    if not isinstance(digest, hashes.SHA256):
        raise UntrustedError("a certificate is signed with another digest than SHA-256")
    check_signature(signer.public_key, certificate.signature, certificate.tbs_certificate_bytes)
