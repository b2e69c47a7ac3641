"""Which cluster a command talks to, and how it connects.

The operator's folder is named by ``--operator`` on the command, else before it, else by BOARDWRIGHT_OPERATOR, else it
is ~/.config/boardwright. The environment is read here once, when the program starts.

The folder keeps the newest list of revoked keys (``revocations``) that a server has shown to any command; nobody whose
key is in it is talked to.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from boardwright.cli.enrolling import TRUST
from boardwright.cli.passphrase import VARIABLE as PASSPHRASE
from boardwright.cli.passphrase import Unlocking, unlocked
from boardwright.config import load_operator
from boardwright.errors import UsageError
from boardwright.net.api_client import ApiClient
from boardwright.transfer.durable import write_durably
from boardwright.trust.credentials import CERTIFICATE, KEY, load_credentials
from boardwright.trust.keys import Secret, open_key
from boardwright.trust.lines import Lines, lines_of
from boardwright.trust.revoked import FILE, RevokedKeys

VARIABLE = "BOARDWRIGHT_OPERATOR"
DEFAULT = Path(".config/boardwright")

OperatorOption = Annotated[
    Path | None,
    typer.Option(
        "--operator",
        metavar="DIR",
        help=f"The operator's folder that init wrote [{VARIABLE}, ~/.config/boardwright].",
        show_default=False,
    ),
]


class Session(msgspec.Struct, frozen=True):
    """`operator` is the folder named before the command, by the environment or by default; so is what unlocks keys.

    `secret` tells it of a locked key.
    """

    operator: Path
    connect: Callable[[Sequence[str], Lines, str], ApiClient] = ApiClient.of
    passphrase: str = ""
    passphrase_file: Path | None = None
    secret: Secret = unlocked

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Session":
        named = environment.get(VARIABLE)
        folder = Path(named) if named else Path(environment.get("HOME", "/root")) / DEFAULT
        return cls(folder, passphrase=environment.get(PASSPHRASE, ""))

    def of_command(self, operator: Path | None, passphrase_file: Path | None) -> "Session":
        """The session of one command, with what was said before it."""
        file = passphrase_file or self.passphrase_file
        return msgspec.structs.replace(
            self,
            operator=operator or self.operator,
            passphrase_file=file,
            secret=Unlocking(file, self.passphrase),
        )


def connect(context: typer.Context, operator: Path | None) -> ApiClient:
    """A client of the cluster that the operator's folder names; raises UsageError if there is no such folder."""
    folder = operator_folder(context, operator)
    settings = load_operator(folder)
    lines, revoked = _lines(folder, settings.cluster, secret_of(context))
    return session_of(context).connect(settings.servers, lines, settings.cluster).heed(revoked)


def session_of(context: typer.Context) -> Session:
    """What the program was started with."""
    session = context.find_object(Session)
    if session is None:
        raise UsageError("the program was started without a session")
    return session


def secret_of(context: typer.Context) -> Secret:
    """What tells the passphrase of a locked key; the same for all keys of a command."""
    return session_of(context).secret


def operator_folder(context: typer.Context, operator: Path | None) -> Path:
    """The operator's folder that is meant; raises UsageError if there is none."""
    folder = operator or session_of(context).operator
    if not _is_there(folder / "operator.toml") and _is_there(folder / "operator" / "operator.toml"):
        folder = folder / "operator"  # the folder that init was given, one too high
    if not _is_there(folder / "operator.toml"):
        raise UsageError(
            f"{folder} is no operator's folder: it has no operator.toml",
            hint=f"name the folder operator/ that `boardwright init` wrote by --operator DIR or {VARIABLE}",
        )
    return folder


def operator_lines(folder: Path, cluster: str, secret: Secret = unlocked) -> Lines:
    """The lines of who owns the operator's folder; raises UsageError."""
    return _lines(folder, cluster, secret)[0]


def _lines(folder: Path, cluster: str, secret: Secret) -> tuple[Lines, RevokedKeys]:
    """The lines, and the list of revoked keys that they go by, kept in the folder."""
    credentials = load_credentials(
        folder / CERTIFICATE, folder / KEY, folder / TRUST, cluster, open_key=lambda path: open_key(path, secret)
    )
    revoked = RevokedKeys(folder / FILE, credentials.authority, write_durably)
    return lines_of(credentials, revoked.keys), revoked


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)  # unlike Path.exists, it takes every name, and what a folder hides is not there
