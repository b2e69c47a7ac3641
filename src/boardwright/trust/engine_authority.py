"""The engine's own certificate authority: who may talk to the etcd members of a cluster (docs/adr/0008).

Rules:

* It is another authority than the cluster's: a board's certificate, or one that an enroller signed, opens no line to
  the engine. Only control boards and members hold certificates of it, one kind for both: a control board may become a
  member, and a member calls the others and itself.
* Its certificates are for programs that are not ours: hosts stand in them as addresses or names (RFC 5280 section
  4.2.1.6), and they carry the extensions that strict verifiers want.
* No clock decides: they are valid from 1950 to 2049, as all of ours.
"""

import ipaddress
import secrets
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from boardwright.errors import UsageError
from boardwright.trust.issuing import FROM, UNTIL, new_key

MAX_NAME = 64  # characters of a common name (RFC 5280, ub-common-name)


class EngineAuthority:
    """Signs what the engine's members and its clients show each other; `certificate` is PEM."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
        """Raises UsageError for what is no certificate of this key."""
        self.key = key
        self.certificate = certificate
        try:
            self._own = x509.load_pem_x509_certificate(certificate)
        except ValueError as error:
            raise UsageError("the certificate of the engine's authority cannot be read") from error
        if self._own.public_key() != key.public_key():
            raise UsageError("the certificate of the engine's authority is of another key")

    @classmethod
    def new(cls, cluster: str) -> "EngineAuthority":
        """Of a new cluster."""
        key = new_key()
        name = _name(f"{cluster} engine")
        builder = _begun(name, name, key.public_key(), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        return cls(key, _pem(builder.sign(key, hashes.SHA256())))

    def issue(self, subject: str, key: ec.EllipticCurvePublicKey, hosts: Sequence[str]) -> bytes:
        """The certificate (PEM) of a member or client at `hosts`, at least one address or name."""
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _begun(_name(subject), self._own.subject, key, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False)
        return _pem(builder.sign(self.key, hashes.SHA256()))


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(secrets.randbits(63) | 1)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:MAX_NAME])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
