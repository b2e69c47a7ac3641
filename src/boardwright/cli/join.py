"""`boardwright join`: become a member of a cluster, as a board or as a person."""

import os
import pwd
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from boardwright.cli import output
from boardwright.cli.joining import Folder, check_new, checked, known_cluster, own_key, until_let_in, write_joined
from boardwright.cli.session import session_of
from boardwright.config import load_agent
from boardwright.config.operator import FILE as OPERATOR_FILE
from boardwright.config.operator import server_url
from boardwright.config.quantities import parse_duration
from boardwright.config.written import operator_text
from boardwright.errors import UsageError
from boardwright.model.admission import Joining
from boardwright.trust.identity import Role, key_digest
from boardwright.trust.joining import JoinToken, given_role, read_public_key, read_token
from boardwright.trust.lines import Lines

MAX_LINE = 4096  # characters of standard input; a token has some 300
STANDARD_INPUT = "-"  # so that the word stands in no list of processes


def join(  # noqa: PLR0913 - every argument is one word of the command line
    context: typer.Context,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="A control board: address, address:port or URL.")],
    token: Annotated[str, typer.Option("--token", metavar="TOKEN", help="The word from `token create`; - reads it.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="agent.toml of the board that joins.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="A person's new operator's folder.")
    ] = None,
    name: Annotated[str | None, typer.Option("--id", metavar="ID", help="The person's name in the cluster.")] = None,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help="Only with a public token.")] = None,
    wait: Annotated[str, typer.Option("--wait", metavar="TIME", help="How long to wait for approval.")] = "1h",
) -> None:
    """Join a cluster with a token: a board by its agent.toml, a person without.

    What is sent goes to a server of the cluster that the token names, and to nobody else. Who is not let in at once
    waits for the operator; the same command may be given again.
    """
    said = read_token(sys.stdin.readline(MAX_LINE) if token == STANDARD_INPUT else token)
    patience = parse_duration(wait)
    folder, asked = _board(config, said) if config is not None else _person(context, into, name)
    asked = _with_token(asked, said, role, is_board=config is not None)
    base = server_url(server)
    check_new(folder)
    asked = own_key(folder, asked, said.cluster)
    key = key_digest(read_public_key(asked.public_key))
    session = session_of(context)
    with session.connect([base], Lines(None), said.cluster) as stranger:
        told = stranger.authority()
    authority = known_cluster(said, told)
    with session.connect([base], Lines(authority), said.cluster) as client:
        answer = until_let_in(client.join, asked, lambda why: _say_waiting(key, why), time.sleep, patience)
    who = checked(answer, authority, asked, key)
    if config is None:
        _write_operator(folder, said.cluster, answer.servers or (base,))
    write_joined(folder, answer, told, who.role)
    where = f" in slot {who.location}" if who.location.slot else ""
    output.say(f"{who.id} is {who.role.value} of {said.cluster}{where}")
    output.note(f"written to {folder.certificate.parent}")


def _board(config: Path, token: JoinToken) -> tuple[Folder, Joining]:
    settings = load_agent(config)
    cluster, board = settings.cluster, settings.board
    if cluster.name != token.cluster:
        raise UsageError(f"{config} is of the cluster {cluster.name!r}, the token of {token.cluster!r}")
    place = board.location
    asked = Joining(board.id, b"", chassis=place.chassis, slot=place.slot, type=board.type, groups=board.groups)
    return Folder(cluster.certificate, cluster.key, cluster.trust), asked


def _person(context: typer.Context, into: Path | None, name: str | None) -> tuple[Folder, Joining]:
    directory = into or session_of(context).operator
    if name is None:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            raise UsageError("this user has no name to join under", hint="say one by --id") from None
    return Folder.of(directory), Joining(name, b"")


def _with_token(asked: Joining, token: JoinToken, role: str | None, *, is_board: bool) -> Joining:
    if not token.public:
        if role is not None:
            raise UsageError("the token says the role", hint="leave --role out")
        return msgspec.structs.replace(asked, secret=token.secret)
    wanted = given_role(role) if role is not None else Role.BOARD if is_board else Role.VIEWER
    return msgspec.structs.replace(asked, role=wanted.value)


def _say_waiting(key: str, why: str) -> None:
    output.note(f"waiting: {why}")
    output.note(f"the key here: {key}")


def _write_operator(folder: Folder, cluster: str, servers: Sequence[str]) -> None:
    directory = folder.certificate.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / OPERATOR_FILE).exists():
        (directory / OPERATOR_FILE).write_text(operator_text(cluster, servers), encoding="utf-8")
