"""`boardwright revoke`: the operator says whose key is good no more, with the authority's key.

Rules:

* Which keys an id has says the operator's own folder (``issued``). A key that was certified elsewhere, by a control
  board for a board that joined with a token, must be said with all its characters (``--key``): a control board that
  lies must not choose whom the operator shuts out.
* The new list holds every key of the newest ones that the servers and the folder have. It is kept in the folder before
  anybody hears of it, so a command that is given again sends it again.
* One server is enough: they pass it on.
* Two operators may sign different lists of one number. Who is refused for that reads what the servers have and signs
  the next number, with the keys of both.
"""

from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.enrolling import TRUST, known_authority
from boardwright.cli.issued import issued_to
from boardwright.cli.session import OperatorOption, connect, operator_folder, secret_of
from boardwright.config import load_operator
from boardwright.errors import FailedError, UnreachableError, UsageError
from boardwright.model.software import is_digest
from boardwright.net.api_client import ApiClient
from boardwright.transfer.durable import write_durably
from boardwright.trust.credentials import load_authority
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, identity_of, read_certificate
from boardwright.trust.issuing import Issuer
from boardwright.trust.revocation import MAX_KEYS, Revocations, read_revocations, sign_revocations
from boardwright.trust.revoked import FILE, RevokedKeys

ATTEMPTS = 3  # another operator who signs at the same moment is one refusal, a second one bad luck
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The board, server or person.", show_default=False)]


def revoke(
    context: typer.Context,
    who: IdArgument,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="The digest of its key, if `init` did not make it.")
    ] = None,
    operator: OperatorOption = None,
) -> None:
    """Let somebody's keys be good no more, on every server and board.

    Whom a control board's enroller has let in is refused with it, and joins again with a token.
    """
    folder = operator_folder(context, operator)
    cluster = load_operator(folder).cluster
    authority, issuer = load_authority(folder / TRUST, cluster), known_authority(folder, cluster, secret_of(context))
    keys = _keys_of(folder, who, key, authority)
    with connect(context, operator) as client:
        for _ in range(ATTEMPTS):
            number, data = _revoked(folder, keys, authority, issuer, client)
            taken, refusals = client.revoke(data)
            if not refusals:
                break
        else:
            raise refusals[0]
    if not taken:
        raise UnreachableError(
            f"no server took list {number} of the revoked keys; it is kept in {folder / FILE}",
            hint="give the same command again when a server answers",
        )
    output.say(f"{who} is revoked ({output.count(len(keys), 'key')}), list {number}")


def _keys_of(folder: Path, who: str, key: str | None, authority: Authority) -> frozenset[str]:
    if key is not None:
        if not is_digest(key):
            raise UsageError(f"{key[:80]!r} is no digest of a key", hint="it has 64 hexadecimal digits")
        return frozenset({key})
    found = frozenset(one.key for one in issued_to(folder, who, authority))
    if not found:
        raise FailedError(
            f"no certificate of {who!r} was made in {folder}", hint="say the digest of its key with --key"
        )
    return found


def _revoked(
    folder: Path, keys: frozenset[str], authority: Authority, issuer: Issuer, client: ApiClient
) -> tuple[int, bytes]:
    """The list with these keys, kept in the folder; the newest one if it has them already."""
    root = identity_of(read_certificate(authority.certificate))
    own = RevokedKeys(folder / FILE, authority, write_durably)
    if own.trouble:
        output.note(own.trouble)
    known = [read_revocations(own.data, root)] if own.data else []
    for data in client.revocations():
        try:
            known.append(read_revocations(data, root))
        except UntrustedError as error:
            output.note(f"a server has no right list of revoked keys: {error}")
    before = frozenset[str]().union(*(one.keys for one in known))
    newest = max((one.number for one in known), default=0)
    if own.number == newest and keys <= before == own.keys():
        return own.number, own.data
    if len(before | keys) > MAX_KEYS:
        raise FailedError(f"{MAX_KEYS} keys are revoked already, more are not taken", hint="make a new cluster")
    made = sign_revocations(Revocations(issuer.cluster, newest + 1, before | keys), issuer.key)
    own.take(made)
    return newest + 1, made
