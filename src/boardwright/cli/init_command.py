"""`boardwright init`: the words around ``init.init``."""

from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli.enrolling import KEYS
from boardwright.cli.init import init
from boardwright.cli.output import note, say
from boardwright.cli.passphrase import PassphraseOption, new_passphrase
from boardwright.cli.session import session_of


def init_command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    inventory: Annotated[Path, typer.Option("--inventory", metavar="FILE", help="The list of boards: cluster.toml.")],
    add: Annotated[bool, typer.Option("--add", help="Add the boards that are missing in an existing folder.")] = False,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a ready folder for every board of an inventory, and the operator's.

    The keys in operator/keys/ are locked by the passphrase, if one is given.
    """
    session = session_of(context).of_command(None, passphrase_file)
    passphrase = "" if add else new_passphrase(session.passphrase_file, session.passphrase)
    made = init(directory, inventory, add, passphrase=passphrase, secret=session.secret)
    for board in made.created:
        say(str(made.directory / board))
    if made.kept:
        note(f"{len(made.kept) - len(made.changed)} boards were there already and stay as they are")
    if made.changed:
        note(f"the engine is another one now: copy the folders of {', '.join(made.changed)} again")
    for sentence in made.sentences:
        note(sentence)
    if passphrase:
        note(f"the keys in {made.operator / KEYS} are locked; whoever forgets the passphrase has to make a new cluster")
    note(f"copy each folder to its board; commands find the cluster by --operator {made.operator}")
