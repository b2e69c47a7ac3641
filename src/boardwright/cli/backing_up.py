"""`boardwright backup` and `boardwright restore`: the cluster's state as a file, and back (docs/operate/backup.md).

Rules:

* A file appears whole or not at all, for its owner alone; an existing one is refused.
* What the operator has signed is verified from his own first root before it is sent anywhere.
* Control boards whose folders lie beside the operator's and that the backup does not know with this key (they were made
  anew after a loss) may sign from the restored state on: the operator signs that here, so keys lost with their boards
  are worth nothing any more.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli.enrolling import KEYS, ROOT_KEY, TARGETS_KEY
from boardwright.cli.output import note, say
from boardwright.cli.session import OperatorOption, connect, operator_folder, secret_of
from boardwright.cli.signing import verified
from boardwright.errors import FailedError, RefusedError, UnreachableError, UsageError
from boardwright.model.api import Restoration, SignedMetadata
from boardwright.model.backup import MAX_BACKUP, Backup, read_backup
from boardwright.net.api_client import ApiClient
from boardwright.state.records import TRUST_ROLES, TRUST_ROOTS
from boardwright.trust.credentials import load_key
from boardwright.trust.keys import Secret, open_key
from boardwright.trust.names import ONLINE_KEY, TARGETS
from boardwright.trust.offline import RootKeys, delegate_plans, next_root, online_key, signer_of
from boardwright.trust.online import SignedRoles

NAMED = 5  # versions without files that the sentence names


def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    operator: OperatorOption = None,
) -> None:
    """Write the cluster's replicated state into a file: no software, no private keys."""
    if os.path.lexists(file):
        raise RefusedError(f"{file} exists already", hint="name a new file")
    with connect(context, operator) as client:
        data = client.backup()
    head = read_backup(data, "what the server sent").head
    _write(file, data)
    say(f"{file}: plan {head.generation} of {head.cluster}, {head.entries} entries")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `boardwright backup` wrote.")],
    operator: OperatorOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Also over a state that is not empty.")] = False,
) -> None:
    """Make the cluster's state what a backup says, with a plan that every board takes for newer."""
    folder = operator_folder(context, operator)
    data = _read(file)
    found = read_backup(data, str(file))
    with connect(context, operator) as client:
        newest = SignedRoles.newest([_signed(folder, found, file), *_known(folder, client)])
        root, targets = _for_servers(folder, newest, secret_of(context))
        done = client.restore(Restoration(backup=data, replace=replace, root=root, targets=targets))
    say(f"plan {found.head.generation} of the backup is plan {done.generation} now")
    note(f"{done.boards} boards, {done.versions} versions")
    if root is not None:
        note("the control boards that were made anew sign from now on; keys that they had before are worth nothing")
    if done.lacking:
        named = ", ".join(done.lacking[:NAMED]) + (" ..." if len(done.lacking) > NAMED else "")
        note(f"the active lacks the files of {named}: other servers send what they have, publish again what nobody has")


def _signed(folder: Path, found: Backup, file: Path) -> SignedRoles:
    entries = found.entries
    roots = tuple(entries[key] for key in sorted(entries) if key.startswith(TRUST_ROOTS))
    roles = {key.removeprefix(TRUST_ROLES): data for key, data in entries.items() if key.startswith(TRUST_ROLES)}
    if not roots:
        raise UsageError(f"{file} has no signed metadata", hint="it was made before the cluster's first active")
    return verified(folder, SignedMetadata(roots, roles))


def _known(folder: Path, client: ApiClient) -> list[SignedRoles]:
    """What the cluster has by itself, nothing if it has signed nothing yet."""
    try:
        return [verified(folder, client.signed_metadata())]
    except UnreachableError:
        client.health()  # somebody is there
        return []


def _for_servers(folder: Path, known: SignedRoles, secret: Secret) -> tuple[bytes | None, bytes | None]:
    """The next root and targets that let the control boards sign whose folders are here; None if they may already."""
    keys = RootKeys.of(known.roots[-1])
    news = keys
    for place in sorted(folder.absolute().parent.glob(f"*/{ONLINE_KEY}")):
        server = place.parent.name
        key = online_key(signer_of(load_key(place)), server)
        if server not in keys.servers or keys.servers[server].keyid != key.keyid:
            news = news.with_server(key)
    if news is keys:
        return None, None
    for name in (ROOT_KEY, TARGETS_KEY):
        if not (folder / KEYS / name).exists():
            raise UsageError(
                f"{folder / KEYS / name} is missing: control boards that were made anew need the operator's signature",
                hint="bring back the operator's folder",
            )
    root, targets = (signer_of(open_key(folder / KEYS / name, secret)) for name in (ROOT_KEY, TARGETS_KEY))
    now = time.time()
    return (
        next_root(known.roots[-1], news, [root], now),
        delegate_plans(known.roles[TARGETS], news.online, targets, now),
    )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BACKUP + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read", hint="name a file that `boardwright backup` wrote") from error


def _write(file: Path, data: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=file.absolute().parent, prefix=".backup.", delete=False) as opened:
            part = Path(opened.name)
            try:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
                os.link(part, file)  # unlike a rename it takes nobody's place
            finally:
                part.unlink()
    except OSError as error:
        raise FailedError(f"{file} could not be written") from error
