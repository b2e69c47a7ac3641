"""Who this process is: its certificate, its key, and the authority whose word it takes about others.

Rules:

* A folder that ``boardwright init`` made has ``certificate.pem``, ``key.pem`` (mode 0600) and ``trust/authority.pem``.
  There is no way to run without them.
* ``certificate.pem`` holds the certificate and, if an enroller signed it, the enroller's certificate behind it.
* What is wrong with the files is ``UsageError``: file, what it says, what to do. Nothing of a key is ever
  in a sentence.
"""

import stat
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.errors import UsageError
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Identity, identity_of, read_certificate

CERTIFICATE = "certificate.pem"
KEY = "key.pem"
AUTHORITY = "authority.pem"  # in the folder of what is trusted
MAX_FILE = 64 * 1024  # bytes; ours have one or two kilobytes
OpenKey = Callable[[Path], ec.EllipticCurvePrivateKey]
_HINT = "copy the folder that `boardwright init` made, as a whole"


class Credentials:
    """An identity and the key that proves it; `chain` is the certificate (DER) and, if there is one, its enroller's."""

    def __init__(self, chain: tuple[bytes, ...], key: ec.EllipticCurvePrivateKey, authority: Authority) -> None:
        """Raises UntrustedError if the authority does not know the certificate, or the key is another's."""
        self.chain = chain
        self.authority = authority
        self._key = key
        self._own = authority.verify(chain[0], chain[1] if len(chain) > 1 else b"")
        if self._own.public_key.public_numbers() != key.public_key().public_numbers():
            raise UntrustedError(f"the key is not the one that the certificate of {self._own.identity.id} names")

    @property
    def identity(self) -> Identity:
        return self._own.identity

    @property
    def certificate(self) -> bytes:
        """DER, as it travels with what is signed."""
        return self.chain[0]

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return self._key

    def sign(self, data: bytes) -> bytes:
        """ECDSA over SHA-256 of `data`, DER; 23 microseconds."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))


def load_credentials(
    certificate: Path, key: Path, trust: Path, cluster: str, subject: str = "", open_key: OpenKey | None = None
) -> Credentials:
    """Read the files of `subject` ('': whoever it is), the key by `open_key` if it may be locked; raises UsageError."""
    authority = load_authority(trust, cluster)
    chain = load_certificates(certificate)
    private = (open_key or load_key)(key)
    try:
        found = Credentials(chain, private, authority)
    except UntrustedError as error:
        raise UsageError(f"{certificate}: {error}", hint=_HINT) from error
    if subject and found.identity.id != subject:
        raise UsageError(
            f"{certificate} is the certificate of {found.identity.id!r}, this is {subject!r}",
            hint="copy each folder to its own board",
        )
    return found


def load_authority(trust: Path, cluster: str) -> Authority:
    """The authority of `cluster` in the folder `trust`; raises UsageError."""
    path = trust / AUTHORITY
    try:
        return Authority(load_certificates(path)[0], cluster)
    except UntrustedError as error:
        raise UsageError(f"{path}: {error}", hint=_HINT) from error


def load_key(path: Path, passphrase: str = "") -> ec.EllipticCurvePrivateKey:
    """The P-256 key in `path` (PKCS #8, PEM); raises UsageError, also if others may read it."""
    data = read_file(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(f"{path} may be read by others than its owner", hint=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, passphrase.encode() or None)
    except TypeError as error:
        needs = "is locked by a passphrase" if not passphrase else "has no passphrase, but one was given"
        raise UsageError(f"{path} {needs}", hint="see --passphrase-file") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as a key", hint="is it damaged, or the passphrase wrong?") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{path} is no P-256 key", hint=_HINT)
    return key


def load_certificates(path: Path) -> tuple[bytes, ...]:
    """One or two certificates (PEM) of a cluster, unverified, as DER; raises UsageError."""
    try:
        found = x509.load_pem_x509_certificates(read_file(path))
        chain = tuple(one.public_bytes(serialization.Encoding.DER) for one in found)
        for one in chain:
            identity_of(read_certificate(one))
    except (ValueError, x509.InvalidVersion, UntrustedError) as error:
        raise UsageError(f"{path} cannot be read as a certificate of a cluster", hint=_HINT) from error
    return chain[:2]


def read_file(path: Path) -> bytes:
    """A small file; raises UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint=_HINT) from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{path} has more than {MAX_FILE} bytes", hint=_HINT)
    return data
