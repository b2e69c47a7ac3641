"""`boardwright token`: the words by which boards and people join."""

import secrets
import time
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.enrolling import TRUST
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect, operator_folder
from boardwright.cli.signing import first_root
from boardwright.config import load_operator
from boardwright.config.quantities import parse_duration
from boardwright.model.admission import NewToken
from boardwright.model.software import digest_of
from boardwright.trust.credentials import load_authority
from boardwright.trust.identity import Role, identity_of, read_certificate
from boardwright.trust.joining import (
    GIVEN_NAMES,
    SECRET,
    JoinToken,
    given_role,
    record_of,
    secret_digest,
    write_token,
)

token = typer.Typer(help="Make and drop the words by which others join.", no_args_is_help=True, rich_markup_mode=None)
RoleOption = Annotated[str, typer.Option("--role", metavar="ROLE", help=f"What the bearer becomes: {GIVEN_NAMES}.")]


@token.command()
def create(
    context: typer.Context,
    role: RoleOption = Role.BOARD.value,
    ttl: Annotated[str, typer.Option("--ttl", metavar="TIME", help="How long it is good, e.g. 1h.")] = "1h",
    uses: Annotated[int, typer.Option("--uses", metavar="N", help="How many may join by it.")] = 1,
    public: Annotated[
        bool, typer.Option("--public", help="A word that lets nobody in: who joins by it waits for `approve`.")
    ] = False,
    operator: OperatorOption = None,
) -> None:
    """Make a join token and print it.

    The word says which cluster it is of and how to know it, so who joins tells its secret to nobody else. The cluster
    keeps only a digest. Hand it over as you would a password.
    """
    folder = operator_folder(context, operator)
    cluster = load_operator(folder).cluster
    key = identity_of(read_certificate(load_authority(folder / TRUST, cluster).certificate)).identity.key
    secret = b"" if public else secrets.token_bytes(SECRET)
    made = JoinToken(cluster, key, digest_of(first_root(folder)), secret)
    if public:
        output.say(write_token(made))
        output.note("who joins by it waits: `boardwright approve` names who does")
        return
    new = NewToken(secret_digest(made.secret), role, parse_duration(ttl), uses)
    # Wrong words are said before anybody is asked.
    record_of(new.digest, given_role(role), time.time(), new.seconds, new.uses)
    with connect(context, operator) as client:
        client.create_token(new)
    output.say(write_token(made))
    output.note(f"good for {output.count(uses, 'join')} as {role}, {ttl} from now: boardwright join SERVER --token ...")


@token.command("list")
def list_(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show the tokens that are still good; the words themselves nobody knows any more."""
    with connect(context, operator) as client:
        found = client.tokens()
    if form is Format.JSON:
        output.show_json(found)
        return
    now = time.time()
    output.show_table(
        ("token", "role", "uses", "ends"),
        ((one.digest[:12], one.role, one.uses, _left(one.until - now)) for one in found.tokens),
        "there is no join token",
    )


@token.command()
def drop(
    context: typer.Context,
    digest: Annotated[str, typer.Argument(metavar="TOKEN", help="Its digest, or the beginning, as `list` shows it.")],
    operator: OperatorOption = None,
) -> None:
    """Let a token be good no more."""
    with connect(context, operator) as client:
        meant = [one.digest for one in client.tokens().tokens if one.digest.startswith(digest)]
        dropped = client.drop_token(meant[0] if len(meant) == 1 else digest)
    output.say(f"{dropped.digest[:12]} is good no more")


def _left(seconds: float) -> str:
    return f"in {output.ago(max(0.0, seconds)).removesuffix(' ago')}"
