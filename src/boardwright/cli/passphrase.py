"""The words that unlock the operator's and vendors' keys.

Rules:

* A file named by ``--passphrase-file`` (its first line), else the variable BOARDWRIGHT_PASSPHRASE, else whoever sits at
  the terminal; where nobody does, the command ends and says so.
* It is asked for only when a locked key is used, and once for a command.
* New keys are locked by what a file or the variable says; nobody is asked, because a slip would lock them for good.
"""

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from boardwright.errors import UsageError

VARIABLE = "BOARDWRIGHT_PASSPHRASE"
MAX_LENGTH = 1024  # bytes; what OpenSSL takes of a passphrase
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Its first line unlocks the operator's keys [{VARIABLE}].",
        show_default=False,
    ),
]


class Unlocking:
    """Tells the passphrase of a locked key, out of `file`, the `variable`'s value, or by asking."""

    def __init__(self, file: Path | None, variable: str) -> None:
        self._file = file
        self._variable = variable
        self._known = ""

    def __call__(self, what: str) -> str:
        """Raises UsageError."""
        self._known = self._known or _said(self._file, self._variable) or _asked(f"passphrase of {what}: ")
        return self._known


def new_passphrase(file: Path | None, variable: str) -> str:
    """What locks new keys, empty for nothing; raises UsageError."""
    return _said(file, variable)


def _said(file: Path | None, variable: str) -> str:
    if file is None:
        return _checked(VARIABLE, variable) if variable else ""
    try:
        with file.open("rb") as opened:
            line = opened.read(MAX_LENGTH + 2).split(b"\n", 1)[0].removesuffix(b"\r")
        text = line.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as a passphrase", hint="one line of text") from error
    if not text:
        raise UsageError(f"{file} has no passphrase in its first line", hint="one line of text")
    return _checked(str(file), text)


def _checked(where: str, text: str) -> str:
    if len(text.encode(errors="surrogateescape")) > MAX_LENGTH:
        raise UsageError(f"the passphrase in {where} has more than {MAX_LENGTH} bytes")
    return text


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{prompt.removesuffix(': ')} is needed",
            hint=f"give --passphrase-file before the command, or set {VARIABLE}",
        )
    return _checked("the answer", getpass.getpass(prompt))


def unlocked(what: str) -> str:
    """Nobody knows a passphrase, for keys that have none; raises UsageError."""
    raise UsageError(f"{what} is locked by a passphrase")
