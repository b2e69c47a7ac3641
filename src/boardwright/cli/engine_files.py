"""What `boardwright init` writes for a cluster's own etcd: members, their certificates, and who may call them.

Rules:

* Every member's folder gets ``etcd.conf.yml``; every member's and every control board's ``engine/`` with the engine's
  authority, a certificate and a key. No other board gets one, so no other board can talk to the engine.
* The authority's key is ``operator/keys/engine.pem``; it is made when the first member is.
* A member that is no board has its files in ``operator/members/HOST/``.
* Adding: a member that has its files keeps them. A new one joins those that are there, one after another; if there are
  none yet (the cluster leaves ``sqlite``), the members begin together. A control board whose engine was another one
  gets a drop-in that says so. Everything that is laid into a folder of before is taken away again if the rest fails.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from boardwright.cli.enrolling import KEYS, TRUST, write_private
from boardwright.config import ClusterInventory, load_server
from boardwright.config.inventory import OPERATOR
from boardwright.config.members import (
    CA,
    CERTIFICATE,
    CONFIG,
    FILES,
    KEY,
    Member,
    certified_hosts,
    etcd_conf,
    members_of,
)
from boardwright.config.written import engine_drop_in
from boardwright.errors import RefusedError
from boardwright.trust.credentials import AUTHORITY as CLUSTER_AUTHORITY
from boardwright.trust.credentials import read_file
from boardwright.trust.engine_authority import EngineAuthority
from boardwright.trust.issuing import key_pem, new_key
from boardwright.trust.keys import Secret, is_locked, open_key

AUTHORITY = "engine.pem"  # in the operator's keys/ the key, in its trust/ the certificate
MEMBERS = "members"  # in the operator's folder: members on hosts that are no boards
DROP_IN = Path("server.toml.d/engine.toml")


def write_engine(directory: Path, cluster: ClusterInventory, passphrase: str = "") -> None:
    """Write what a new cluster's engine needs into the folders below `directory`, which are there.

    `passphrase` locks the key of the engine's authority, '' does not.
    """
    members = members_of(cluster)
    if not members:
        return
    authority = _new_authority(directory / OPERATOR, cluster.name, passphrase)
    for name, host, folder in _holders(cluster, members):
        _enroll(directory / folder, authority, name, host)
    for member in members:
        text = etcd_conf(cluster.name, member, members, joins=False)
        (directory / _folder(member) / CONFIG).write_text(text, encoding="utf-8")


def add_engine(workspace: Path, directory: Path, cluster: ClusterInventory, secret: Secret) -> "Additions":
    """Write what is missing into the new folders in `workspace`, and prepare what those in `directory` lack.

    A new key is locked as that of the cluster's authority is; `secret` tells the passphrase of a locked one.
    Raises RefusedError for an operator's folder without the authority's key, UsageError.
    """
    members = members_of(cluster)
    additions = Additions(workspace / "additions", directory)
    if not members:
        return additions
    operator = directory / OPERATOR
    there = tuple(member for member in members if (directory / _folder(member) / CONFIG).is_file())
    if (operator / KEYS / AUTHORITY).exists():
        authority = EngineAuthority(
            open_key(operator / KEYS / AUTHORITY, secret), read_file(operator / TRUST / AUTHORITY)
        )
    elif there:
        raise RefusedError(
            f"{operator / KEYS / AUTHORITY} is missing: without the engine's authority no member can be added",
            hint="bring back the operator's folder as `boardwright init` made it",
        )
    else:
        alike = operator / KEYS / CLUSTER_AUTHORITY
        passphrase = secret(str(alike)) if is_locked(alike) else ""
        authority = _new_authority(additions.stage(Path(OPERATOR)), cluster.name, passphrase)
    for name, host, folder in _holders(cluster, members):
        if not (directory / folder / FILES).is_dir():
            _enroll(_into(workspace, directory, folder, additions), authority, name, host)
    joining = [member for member in members if member not in there]
    for number, member in enumerate(joining, start=1):
        begins_with = (*there, *joining[:number]) if there else members
        text = etcd_conf(cluster.name, member, begins_with, joins=bool(there))
        place = _into(workspace, directory, _folder(member), additions)
        (place / CONFIG).write_text(text, encoding="utf-8")
    if there and joining:
        names = ", then ".join(member.name for member in joining)
        additions.sentences = (f"add to the running etcd one after another: {names} (docs/operate/replacement.md)",)
    _announce(directory, cluster, additions)
    return additions


class Additions:
    """Files for folders that are there already, staged in a folder of their own; `boards` says whose they are."""

    def __init__(self, stage: Path, directory: Path) -> None:
        self._stage = stage
        self._directory = directory
        self._placed: list[tuple[Path, bytes | None]] = []
        self.sentences: tuple[str, ...] = ()

    def stage(self, folder: Path) -> Path:
        """Where to write what belongs into `folder` below the directory."""
        place = self._stage / folder
        place.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def boards(self) -> frozenset[str]:
        """Ids of the boards whose folders became others."""
        names = {path.relative_to(self._directory).parts[0] for path, _ in self._placed}
        return frozenset(names - {OPERATOR})

    def place(self) -> None:
        """Lay every file into its folder, a drop-in of before replaced."""
        if not self._stage.is_dir():
            return
        for file in sorted(path for path in self._stage.rglob("*") if path.is_file()):
            place = self._directory / file.relative_to(self._stage)
            place.parent.mkdir(parents=True, exist_ok=True)
            before = place.read_bytes() if place.is_file() else None
            self._placed.append((place, before))
            file.replace(place)

    def take_back(self) -> None:
        """Make the folders what they were."""
        for place, before in reversed(self._placed):
            if before is None:
                place.unlink(missing_ok=True)
                if place.parent.name == FILES:
                    shutil.rmtree(place.parent, ignore_errors=True)
            else:
                place.write_bytes(before)


def _holders(cluster: ClusterInventory, members: tuple[Member, ...]) -> Iterator[tuple[str, str, Path]]:
    """Name, host and folder of everybody who may talk to the engine."""
    for member in members:
        yield member.name, member.endpoint[0], _folder(member)
    voting = {member.name for member in members}
    for entry in cluster.servers:
        if entry.board.id not in voting:
            assert entry.address is not None  # noqa: S101  # the inventory refuses a server without an address
            yield entry.board.id, entry.address, Path(entry.board.id)


def _folder(member: Member) -> Path:
    return Path(OPERATOR) / MEMBERS / member.endpoint[0] if member.board is None else Path(member.board.board.id)


def _into(workspace: Path, directory: Path, folder: Path, additions: Additions) -> Path:
    """A folder that is being made, or what is laid into one that is there."""
    if (workspace / folder).is_dir() and not (directory / folder).exists() and folder.parts[0] != OPERATOR:
        return workspace / folder
    return additions.stage(folder)


def _new_authority(operator: Path, cluster: str, passphrase: str) -> EngineAuthority:
    authority = EngineAuthority.new(cluster)
    for folder in (operator / KEYS, operator / TRUST):
        folder.mkdir(mode=0o700, exist_ok=True)
    write_private(operator / KEYS / AUTHORITY, key_pem(authority.key, passphrase))
    (operator / TRUST / AUTHORITY).write_bytes(authority.certificate)
    return authority


def _enroll(folder: Path, authority: EngineAuthority, name: str, host: str) -> None:
    key = new_key()
    files = folder / FILES
    files.mkdir(parents=True)
    (files / CA).write_bytes(authority.certificate)
    (files / CERTIFICATE).write_bytes(authority.issue(name, key.public_key(), certified_hosts(host)))
    write_private(files / KEY, key_pem(key))


def _announce(directory: Path, cluster: ClusterInventory, additions: Additions) -> None:
    """Tell the control boards of before where the engine is now."""
    for entry in cluster.servers:
        folder = directory / entry.board.id
        if folder.is_dir() and load_server(folder / "server.toml").engine != cluster.engine:
            place = additions.stage(Path(entry.board.id)) / DROP_IN
            place.parent.mkdir(exist_ok=True)
            place.write_text(engine_drop_in(cluster), encoding="utf-8")
