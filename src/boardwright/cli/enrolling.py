"""What `boardwright init` gives to whom, so that each can prove itself (design section 4).

Rules:

* The authority's key is made once, stays in the operator's folder (``keys/``) and goes nowhere else.
* Every board gets a key of its own (mode 0600) and a certificate that says who it is and where it sits: a control
  board as a server, any other as a board. The operator's own certificate is an admin's.
* A control board gets a second key, its enroller's, with which it lets line boards in (``trust.enroller``).
* A control board gets a third key, by which it signs plans and the newest state of the metadata while it is active.
* The operator keeps the keys of root and targets; everybody gets the root, control boards the first targets as well.
* Everybody gets the authority's certificate, by which they know each other.
"""

import os
from pathlib import Path

from boardwright.cli.issued import record_issued
from boardwright.config import ClusterInventory
from boardwright.errors import RefusedError
from boardwright.model.inventory import Board
from boardwright.trust.credentials import AUTHORITY, CERTIFICATE, KEY, load_authority, load_certificates, load_key
from boardwright.trust.enroller import ENROLLER, ENROLLER_KEY
from boardwright.trust.identity import Role
from boardwright.trust.issuing import NOWHERE, Issuer, certificate_pem, key_pem, new_key
from boardwright.trust.keys import Secret, open_key
from boardwright.trust.names import ONLINE_KEY, ROOT_FILE, TARGETS_FILE
from boardwright.trust.offline import RootKeys, new_root, new_targets, online_key, signer_of

KEYS = "keys"  # in the operator's folder: what must never leave it
ROOT_KEY = "root.pem"
TARGETS_KEY = "targets.pem"
TRUST = "trust"
ADMIN = "admin"  # the id of the operator who made the cluster


def found_authority(cluster: str) -> Issuer:
    """A new authority for a new cluster."""
    return Issuer.authority(cluster)


def known_authority(operator: Path, cluster: str, secret: Secret) -> Issuer:
    """The authority whose key lies in the operator's folder; UsageError, or RefusedError if it is not there.

    `secret` is asked if the key is locked.
    """
    path = operator / KEYS / AUTHORITY
    if not path.exists():
        raise RefusedError(
            f"{path} is missing: without the authority's key nobody can be added",
            hint="bring back the operator's folder as `boardwright init` made it",
        )
    authority = load_authority(operator / TRUST, cluster)
    return Issuer(cluster, cluster, open_key(path, secret), authority.certificate)


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
        write_private(folder / ONLINE_KEY, key_pem(new_key()))


def record_board(operator: Path, folder: Path) -> list[Path]:
    """Keep in the operator's folder what was certified for the board whose folder that is; the files."""
    there = (folder / file for file in (CERTIFICATE, ENROLLER) if (folder / file).exists())
    return [record_issued(operator, load_certificates(file)[0]) for file in there]


def sign_first(parent: Path, operator: Path, inventory: ClusterInventory, now: float, passphrase: str = "") -> None:
    """Make the operator's signing keys; write the first root and targets into every folder below `parent`.

    `now` is seconds since the epoch; `passphrase` locks the keys, '' does not.
    """
    root, targets = new_key(), new_key()
    write_private(operator / KEYS / ROOT_KEY, key_pem(root, passphrase))
    write_private(operator / KEYS / TARGETS_KEY, key_pem(targets, passphrase))
    signers = signer_of(root), signer_of(targets)
    ids = [entry.board.id for entry in inventory.servers]
    online = [online_key(signer_of(load_key(parent / server / ONLINE_KEY)), server) for server in ids]
    keys = RootKeys([signers[0].public_key], [signers[1].public_key], online)
    first_root, first_targets = new_root(keys, [signers[0]], now), new_targets(online, signers[1], now)
    for entry in inventory.boards:
        (parent / entry.board.id / TRUST / ROOT_FILE).write_bytes(first_root)
        if entry.board.server:
            (parent / entry.board.id / TRUST / TARGETS_FILE).write_bytes(first_targets)
    (operator / TRUST / ROOT_FILE).write_bytes(first_root)
    (operator / TRUST / TARGETS_FILE).write_bytes(first_targets)


def copy_first(folder: Path, operator: Path, board: Board) -> None:
    """Give a board that joins later the first root, and a control board the first targets."""
    for file in (ROOT_FILE, TARGETS_FILE) if board.server else (ROOT_FILE,):
        (folder / TRUST / file).write_bytes((operator / TRUST / file).read_bytes())


def enroll_operator(folder: Path, issuer: Issuer, passphrase: str = "") -> None:
    """Write the operator's own key and certificate, and the authority's key; the folder ``keys`` for more.

    `passphrase` locks the authority's key, '' does not. The operator's own is for every command, and not locked.
    """
    key = new_key()
    certificate = issuer.issue(ADMIN, Role.ADMIN, NOWHERE, key.public_key())
    _write(folder, certificate, key_pem(key), issuer)
    (folder / KEYS).mkdir(mode=0o700)
    write_private(folder / KEYS / AUTHORITY, key_pem(issuer.key, passphrase))


def write_private(path: Path, data: bytes) -> None:
    """A new file that its owner alone may read, from its first moment on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _write(folder: Path, certificate: bytes, key: bytes, issuer: Issuer) -> None:
    (folder / CERTIFICATE).write_bytes(certificate_pem(certificate))
    write_private(folder / KEY, key)
    (folder / TRUST).mkdir(exist_ok=True)
    (folder / TRUST / AUTHORITY).write_bytes(certificate_pem(issuer.certificate))
