"""Makes keys and certificates: the operator's side of ``identity``.

Rules:

* Certificates are valid from 1950 to 2049, the range of UTCTime (RFC 5280 section 4.1.2.5.1): no clock decides, a
  certificate ends by revocation.
* They carry what a verifier reads and nothing else, because they travel in datagrams.
* Serial numbers are random, 64 bits: unique without a register.
"""

import datetime as dt
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from boardwright.model.location import Location
from boardwright.trust.identity import Role, uri

FROM = dt.datetime(1950, 1, 1, tzinfo=dt.UTC)
UNTIL = dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
NOWHERE = Location("", "")  # the place of who sits in no slot: the authority, an operator


class Issuer:
    """Signs certificates: the authority, or an enroller with the authority's leave."""

    def __init__(self, cluster: str, name: str, key: ec.EllipticCurvePrivateKey, certificate: bytes = b"") -> None:
        self.cluster = cluster
        self.certificate = certificate  # DER
        self._name = name
        self._key = key

    @classmethod
    def authority(cls, cluster: str, key: ec.EllipticCurvePrivateKey | None = None) -> "Issuer":
        """A new cluster's certificate authority, with a new key if none is given."""
        issuer = cls(cluster, cluster, key or new_key())
        issuer.certificate = issuer.issue(cluster, Role.AUTHORITY, NOWHERE, issuer.key.public_key())
        return issuer

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return self._key

    def issue(self, subject: str, role: Role, location: Location, key: ec.EllipticCurvePublicKey) -> bytes:
        """The certificate (DER): `subject` bears `key` and sits there. ValueError for names of over 64 characters."""
        name = x509.UniformResourceIdentifier(uri(self.cluster, subject, role, location))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(subject))
            .issuer_name(_common_name(self._name))
            .public_key(key)
            .serial_number(secrets.randbits(63) | 1)
            .not_valid_before(FROM)
            .not_valid_after(UNTIL)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        )
        if role in (Role.AUTHORITY, Role.ENROLLER):
            length = 1 if role is Role.AUTHORITY else 0
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key from the system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: str = "") -> bytes:
    """PKCS #8 PEM, encrypted if there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def certificate_pem(certificate: bytes) -> bytes:
    """PEM of a DER certificate."""
    return x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
