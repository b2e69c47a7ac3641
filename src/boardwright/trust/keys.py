"""Where the private half of a signing key may be: in a file, locked or not, or in hardware.

Rules:

* A key is named by a path (PKCS #8 PEM, P-256, mode 0600) or by a URI of a scheme that securesystemslib knows
  (``hsm:``, ``tkey:``, ``awskms:``, ...). A URI says nothing of the public half: that comes in a file (PEM) of its own.
* A passphrase (a PIN, for hardware) is asked for only by what is locked.
* Never is a signature handed out that the public half does not confirm.
"""

from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.exceptions import Error as SignerError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, Key, Signature, Signer, SSlibKey

from boardwright.errors import FailedError, UsageError
from boardwright.trust.credentials import load_key, read_file
from boardwright.trust.offline import SigningKey, signer_of

Secret = Callable[[str], str]  # what is locked -> its passphrase
_FILES = ("file", "file2")  # schemes of securesystemslib for files, whose rules are other than ours
_LOCKED = b"BEGIN ENCRYPTED PRIVATE KEY"


def open_key(path: Path, secret: Secret) -> ec.EllipticCurvePrivateKey:
    """The private key in a file; `secret` is asked if it is locked. Raises UsageError."""
    return load_key(path, secret(str(path)) if is_locked(path) else "")


def is_locked(path: Path) -> bool:
    """Whether the private key in a file needs a passphrase; raises UsageError."""
    return _LOCKED in read_file(path)


def open_signer(key: str, public: Path | None, secret: Secret) -> SigningKey:
    """What signs with `key`, a path or a URI with its `public` half; raises UsageError, FailedError."""
    scheme = key.partition(":")[0] if ":" in key else ""
    if scheme not in SIGNER_FOR_URI_SCHEME or scheme in _FILES:
        if public is not None:
            raise UsageError(f"{key} is a file, which has its public half itself", hint="leave --public-key out")
        return signer_of(open_key(Path(key), secret))
    if public is None:
        raise UsageError(f"{key} does not say its public half", hint="name its file by --public-key FILE (PEM)")
    half = read_public(public)
    try:
        made = Signer.from_priv_key_uri(key, half, secret)
    except Exception as error:
        raise UsageError(f"the key {key} cannot be used: {str(error)[:200]}", hint=_hint(scheme)) from error
    return _Confirmed(made, key)


def read_public(path: Path) -> Key:
    """A public key (PEM; a certificate or a P-256 private key that is not locked has one, too); raises UsageError."""
    data = read_file(path)
    try:
        if b"BEGIN CERTIFICATE" in data:
            return SSlibKey.from_crypto(x509.load_pem_x509_certificate(data).public_key())
        if b"PRIVATE KEY" in data:
            return signer_of(load_key(path)).public_key
        return SSlibKey.from_crypto(serialization.load_pem_public_key(data))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} has no public key that can sign", hint=f"openssl pkey -in KEY -pubout -out {path}"
        ) from error


class _Confirmed(Signer):
    """A signer somewhere else, whose signatures are looked at before anybody believes them."""

    def __init__(self, inner: Signer, name: str) -> None:
        self._inner = inner
        self._name = name

    @property
    def public_key(self) -> Key:
        return self._inner.public_key

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: object = None) -> Signer:
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        try:
            signature = self._inner.sign(payload)
            self.public_key.verify_signature(signature, payload)
        except Exception as error:
            wrong = isinstance(error, SignerError)
            raise FailedError(
                f"the key {self._name} did not sign: {str(error)[:200]}",
                hint="is --public-key its public half?" if wrong else "is the device there, and its PIN right?",
            ) from error
        return signature


def _hint(scheme: str) -> str:
    return f"is the device there, its PIN right, and securesystemslib's part for {scheme} installed?"
