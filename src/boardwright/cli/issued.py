"""What the authority has certified, kept in the operator's folder: whose key is revoked is not asked of a server.

``issued/<id>.<beginning of the key's digest>.pem`` is one certificate; what lies there is public.
"""

from pathlib import Path

from boardwright.trust.credentials import load_certificates
from boardwright.trust.identity import Authority, Identity, identity_of, read_certificate
from boardwright.trust.issuing import certificate_pem

FOLDER = "issued"
_SHORT = 16  # characters of a digest in a file's name; a board has one or two keys


def record_issued(operator: Path, certificate: bytes) -> Path:
    """Keep a certificate (DER) that the authority has signed; the file."""
    said = identity_of(read_certificate(certificate)).identity
    (operator / FOLDER).mkdir(exist_ok=True)
    file = operator / FOLDER / f"{said.id}.{said.key[:_SHORT]}.pem"
    file.write_bytes(certificate_pem(certificate))
    return file


def issued_to(operator: Path, subject: str, authority: Authority) -> list[Identity]:
    """Every key that was certified for `subject`, as far as the folder knows; UntrustedError for a forged one."""
    paths = sorted((operator / FOLDER).iterdir()) if (operator / FOLDER).is_dir() else []
    # An id may have dots, and one may begin with another: the certificate says whose it is.
    near = (load_certificates(path)[0] for path in paths if path.name.startswith(f"{subject}."))
    found = (authority.verify(one).identity for one in near)
    return [one for one in found if one.id == subject]
