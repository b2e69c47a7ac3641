"""`boardwright init`: an inventory becomes one folder per board that just works when it is copied there.

Rules:

* ``DIR/<id>/agent.toml`` for every board; for control boards also ``server.toml`` and ``cluster.toml``, the copy of
  the inventory. Everybody gets what ``enrolling`` says: certificate, key and ``trust/``. ``DIR/operator/`` is the
  operator's and stays with him.
* Where the engine is the cluster's own etcd, its members get what ``engine_files`` says.
* An existing DIR is refused. ``add`` makes the folders of boards that have none yet, leaves the others as they
  are (but for another engine, which is laid beside what is there), and brings the operator's list of servers up to
  date.
* A folder that is damaged (no agent.toml or no key in it) is refused: it would look made, and the board would not
  start.
* All or nothing: everything is written into a hidden folder beside its place and renamed at the end; what a
  failed ``add`` has already moved is taken away again, and so are the directories above a new folder. Who is killed
  on the way leaves a hidden folder that nothing reads.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from boardwright.cli.engine_files import Additions, add_engine, write_engine
from boardwright.cli.enrolling import (
    copy_first,
    enroll_board,
    enroll_operator,
    found_authority,
    known_authority,
    record_board,
    sign_first,
)
from boardwright.cli.passphrase import unlocked
from boardwright.config import ClusterInventory, InventoryBoard, load_inventory, load_operator
from boardwright.config.inventory import OPERATOR
from boardwright.config.members import engine_sentences
from boardwright.config.operator import FILE as OPERATOR_FILE
from boardwright.config.written import agent_toml, cluster_toml, operator_toml, server_toml
from boardwright.errors import FailedError, RefusedError, UsageError
from boardwright.trust.credentials import CERTIFICATE, KEY
from boardwright.trust.issuing import Issuer
from boardwright.trust.keys import Secret


class InitResult(msgspec.Struct, frozen=True):
    """`created` and `kept` are board ids in the inventory's order; `operator` is the operator's folder.

    `changed` are those of `kept` whose engine is another one now; `sentences` are for the operator to read.
    """

    directory: Path
    operator: Path
    created: tuple[str, ...]
    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


def init(
    directory: Path, inventory: Path, add: bool = False, *, passphrase: str = "", secret: Secret = unlocked
) -> InitResult:
    """Write the folders of every board in `inventory` (a cluster.toml) below `directory`.

    `passphrase` locks the operator's new keys, '' does not; `secret` tells that of a locked authority, to add to it.
    Raises UsageError for a bad inventory, RefusedError for an existing folder or another cluster's, FailedError
    if the disk refuses; after an error nothing is left behind.
    """
    cluster = load_inventory(inventory)
    directory = directory.absolute()
    try:
        return _add(directory, cluster, secret) if add else _create(directory, cluster, passphrase)
    except OSError as error:
        raise FailedError(f"{directory}: the folders of cluster {cluster.name} could not be written") from error


def _create(directory: Path, cluster: ClusterInventory, passphrase: str) -> InitResult:
    if directory.exists() or directory.is_symlink():
        raise RefusedError(
            f"{directory} exists already, nothing was changed",
            hint="choose a new folder, or give --add to make the folders of boards that are missing in it",
        )
    above = [one for one in directory.parents if not one.exists()]  # the nearest first
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _make(directory, cluster, passphrase)
    except BaseException:
        for one in above:
            with contextlib.suppress(OSError):  # it was not made, or somebody else uses it
                one.rmdir()
        raise
    created = tuple(entry.board.id for entry in cluster.boards)
    return InitResult(directory, directory / OPERATOR, created, sentences=engine_sentences(cluster))


def _make(directory: Path, cluster: ClusterInventory, passphrase: str) -> None:
    workspace = _workspace(directory.parent, "boardwright-init")
    try:
        issuer = found_authority(cluster.name)
        for entry in cluster.boards:
            _write_board(workspace, cluster, entry, issuer)
        _write_operator(workspace / OPERATOR, cluster)
        enroll_operator(workspace / OPERATOR, issuer, passphrase)
        for who in (OPERATOR, *(entry.board.id for entry in cluster.boards)):
            record_board(workspace / OPERATOR, workspace / who)
        sign_first(workspace, workspace / OPERATOR, cluster, time.time(), passphrase)
        write_engine(workspace, cluster, passphrase)
        workspace.rename(directory)
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise


def _add(directory: Path, cluster: ClusterInventory, secret: Secret) -> InitResult:
    operator = directory / OPERATOR
    if not (operator / OPERATOR_FILE).is_file():
        raise UsageError(f"{directory} is not a folder that init made", hint="leave --add out to make a new one")
    there = load_operator(operator).cluster
    if there != cluster.name:
        raise RefusedError(
            f"{directory} belongs to cluster {there!r}, but {cluster.path} is of cluster {cluster.name!r}",
            hint="give each cluster a folder of its own",
        )
    missing = [entry for entry in cluster.boards if not os.path.lexists(directory / entry.board.id)]
    for entry in cluster.boards:
        if entry not in missing:
            _check_whole(directory / entry.board.id, entry)
    issuer = known_authority(operator, cluster.name, secret)
    moved: list[Path] = []
    recorded: list[Path] = []
    additions: Additions | None = None
    workspace = _workspace(directory, "add")
    try:
        for entry in missing:
            _write_board(workspace, cluster, entry, issuer)
            copy_first(workspace / entry.board.id, operator, entry.board)
        _write_operator(workspace / OPERATOR, cluster)
        additions = add_engine(workspace, directory, cluster, secret)
        for entry in missing:
            place = directory / entry.board.id
            (workspace / entry.board.id).rename(place)
            moved.append(place)
            recorded += record_board(operator, place)
        additions.place()
        (workspace / OPERATOR / OPERATOR_FILE).replace(operator / OPERATOR_FILE)
    except BaseException:
        if additions is not None:
            additions.take_back()
        for place in moved:
            shutil.rmtree(place, ignore_errors=True)
        for file in recorded:
            file.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    created = tuple(entry.board.id for entry in missing)
    kept = tuple(entry.board.id for entry in cluster.boards if entry.board.id not in set(created))
    return InitResult(
        directory,
        operator,
        created,
        kept,
        tuple(board for board in kept if board in additions.boards),
        (*engine_sentences(cluster), *additions.sentences),
    )


def _check_whole(folder: Path, entry: InventoryBoard) -> None:
    needed = ("agent.toml", CERTIFICATE, KEY)
    for file in (*needed, "server.toml") if entry.board.server else needed:
        if not (folder / file).is_file():
            raise RefusedError(
                f"{folder} is damaged: it has no {file}; nothing was changed",
                hint="move it away, then --add makes it anew",
            )


def _workspace(parent: Path, name: str) -> Path:
    workspace = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=parent))
    workspace.chmod(0o755)  # mkdtemp's 0700 would keep the boards' folders from whoever copies them
    return workspace


def _write_board(parent: Path, cluster: ClusterInventory, entry: InventoryBoard, issuer: Issuer) -> None:
    folder = parent / entry.board.id
    folder.mkdir()
    enroll_board(folder, entry.board, issuer)
    (folder / "agent.toml").write_text(agent_toml(cluster, entry), encoding="utf-8")
    if entry.board.server:
        (folder / "server.toml").write_text(server_toml(cluster, entry), encoding="utf-8")
        (folder / "cluster.toml").write_text(cluster_toml(cluster), encoding="utf-8")


def _write_operator(folder: Path, cluster: ClusterInventory) -> None:
    folder.mkdir(mode=0o700)  # the operator's keys lie here
    (folder / OPERATOR_FILE).write_text(operator_toml(cluster), encoding="utf-8")
