"""`boardwright approve`: the operator lets somebody in, with the authority's key.

Rules:

* What is signed is what the list says, and the list comes from a server: a board may be approved by its id, but who
  would become more than that is approved only with the role said aloud (``--role``), and who has no token only with the
  beginning of the key that it shows at its own screen (``--key``). A control board that lies gets nobody in.
* The authority's key is read here and goes nowhere.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.enrolling import known_authority
from boardwright.cli.issued import record_issued
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect, operator_folder, secret_of
from boardwright.config import load_operator
from boardwright.errors import FailedError, MalformedError, RefusedError
from boardwright.model.admission import Joiner, JoinerList
from boardwright.model.location import Location
from boardwright.trust.identity import Role, key_digest
from boardwright.trust.joining import GIVEN_NAMES, given_role, read_public_key

SHORT = 12  # characters of a key's digest; nobody finds a key for 48 bits while somebody waits
IdArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help="Who; without it: a list.", show_default=False)]


def approve(
    context: typer.Context,
    who: IdArgument = None,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help=f"What it becomes, if not a board: {GIVEN_NAMES}.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="The beginning of its key, as `join` shows it there.")
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Take it off the list instead.")] = False,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let in somebody who waits, or show who does."""
    folder = operator_folder(context, operator)
    with connect(context, operator) as client:
        found = client.joiners()
        if who is None:
            _show(found, form)
            return
        joiner = chosen(found.joiners, who, key or "")
        if refuse:
            done = client.dismiss(joiner.key)
        else:
            check_said(joiner, role, key or "")
            issuer = known_authority(folder, load_operator(folder).cluster, secret_of(context))
            public = read_public_key(joiner.public_key)
            if key_digest(public) != joiner.key:
                raise MalformedError(f"the server names one key of {joiner.id} and would have another certified")
            place = Location(joiner.chassis, joiner.slot)
            certificate = issuer.issue(joiner.id, Role(joiner.role), place, public)
            record_issued(folder, certificate)
            done = client.approve(joiner.key, certificate)
    if form is Format.JSON:
        output.show_json(done)
        return
    where = f" in slot {done.chassis}/{done.slot}" if done.slot else ""
    what = "is not let in" if refuse else f"is let in as {done.role}{where}"
    output.say(f"{done.id} {what}, key {done.key[:SHORT]}")


def chosen(joiners: Sequence[Joiner], who: str, key: str) -> Joiner:
    """The one who waits with this id and a key that begins so; FailedError if it is none or several."""
    meant = [one for one in joiners if one.id == who and one.key.startswith(key) and not one.chain]
    if len(meant) == 1:
        return meant[0]
    if not meant:
        waiting = ", ".join(sorted({one.id for one in joiners if not one.chain})) or "nobody"
        also = f" with a key that begins with {key!r}" if key else ""
        raise FailedError(f"{who!r} does not wait to be let in{also}", hint=f"who waits: {waiting}")
    keys = ", ".join(f"{one.key[:SHORT]} (from {one.host})" for one in meant)
    raise FailedError(f"{len(meant)} wait as {who!r}: {keys}", hint="say which by --key")


def check_said(joiner: Joiner, role: str | None, key: str) -> None:
    """Raise RefusedError unless the operator said what must not be believed of a list."""
    if role is not None and given_role(role).value != joiner.role:
        raise RefusedError(f"{joiner.id} asks to become {joiner.role}, not {role}")
    if role is None and joiner.role != Role.BOARD.value:
        hint = f"if that is meant, say --role {joiner.role}"
        raise RefusedError(f"{joiner.id} would become {joiner.role}", hint=hint)
    if not joiner.token and len(key) < SHORT:
        raise RefusedError(
            f"{joiner.id} has no join token: anybody can say that",
            hint=f"compare the key that `boardwright join` shows there, and say its first {SHORT} characters by --key",
        )


def _show(found: JoinerList, form: Format) -> None:
    if form is Format.JSON:
        output.show_json(found)
        return
    rows = (
        (
            one.id,
            one.role,
            f"{one.chassis}/{one.slot}" if one.slot else "-",
            one.key[:SHORT],
            one.host,
            "yes" if one.token else "no",
            "approved, not fetched yet" if one.chain else one.reason,
        )
        for one in found.joiners
    )
    output.show_table(("id", "role", "slot", "key", "from", "token", "reason"), rows, "nobody waits to be let in")
