"""What `boardwright init` gives to whom, so that each can prove itself (design section 4).

Rules:

* The authority's key is made once, stays in the operator's folder (``keys/``) and goes nowhere else.
* Every board gets a key of its own (mode 0600) and a certificate that says who it is and where it sits: a control
  board as a server, any other as a board. The operator's own certificate is an admin's.
* A control board gets a second key, its enroller's, with which it lets line boards in (``trust.enroller``).
* Everybody gets the authority's certificate, by which they know each other.
"""

import os
from pathlib import Path

from boardwright.errors import RefusedError
from boardwright.model.inventory import Board
from boardwright.trust.credentials import AUTHORITY, CERTIFICATE, KEY, load_authority, load_key
from boardwright.trust.enroller import ENROLLER, ENROLLER_KEY
from boardwright.trust.identity import Role
from boardwright.trust.issuing import NOWHERE, Issuer, certificate_pem, key_pem, new_key

KEYS = "keys"  # in the operator's folder: what must never leave it
TRUST = "trust"
ADMIN = "admin"  # the id of the operator who made the cluster


def found_authority(cluster: str) -> Issuer:
    """A new authority for a new cluster."""
    return Issuer.authority(cluster)


def known_authority(operator: Path, cluster: str) -> Issuer:
    """The authority whose key lies in the operator's folder; UsageError, or RefusedError if it is not there."""
    path = operator / KEYS / AUTHORITY
    if not path.exists():
        raise RefusedError(
            f"{path} is missing: without the authority's key nobody can be added",
            hint="bring back the operator's folder as `boardwright init` made it",
        )
    authority = load_authority(operator / TRUST, cluster)
    return Issuer(cluster, cluster, load_key(path), authority.certificate)


def enroll_board(folder: Path, board: Board, issuer: Issuer) -> None:
    """Write the board's key, its certificate and what it trusts into its folder."""
    role = Role.SERVER if board.server else Role.BOARD
    key = new_key()
    certificate = issuer.issue(board.id, role, board.location, key.public_key())
    _write(folder, certificate, key_pem(key), issuer)
    if board.server:
        online = new_key()
        leave = issuer.issue(board.id, Role.ENROLLER, board.location, online.public_key())
        (folder / ENROLLER).write_bytes(certificate_pem(leave))
        write_private(folder / ENROLLER_KEY, key_pem(online))


def enroll_operator(folder: Path, issuer: Issuer) -> None:
    """Write the operator's own key and certificate, and the authority's key."""
    key = new_key()
    certificate = issuer.issue(ADMIN, Role.ADMIN, NOWHERE, key.public_key())
    _write(folder, certificate, key_pem(key), issuer)
    (folder / KEYS).mkdir(mode=0o700)
    write_private(folder / KEYS / AUTHORITY, key_pem(issuer.key))


def write_private(path: Path, data: bytes) -> None:
    """A new file that its owner alone may read, from its first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _write(folder: Path, certificate: bytes, key: bytes, issuer: Issuer) -> None:
    (folder / CERTIFICATE).write_bytes(certificate_pem(certificate))
    write_private(folder / KEY, key)
    (folder / TRUST).mkdir(exist_ok=True)
    (folder / TRUST / AUTHORITY).write_bytes(certificate_pem(issuer.certificate))
