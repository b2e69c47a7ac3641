"""`boardwright init`: the words around ``init.init``."""

from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli.init import init
from boardwright.cli.output import note, say


def init_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new folder.")],
    inventory: Annotated[Path, typer.Option("--inventory", metavar="FILE", help="The list of boards: cluster.toml.")],
    add: Annotated[bool, typer.Option("--add", help="Add the boards that are missing in an existing folder.")] = False,
) -> None:
    """Make a ready folder for every board of an inventory, and the operator's."""
    made = init(directory, inventory, add)
    for board in made.created:
        say(str(made.directory / board))
    if made.kept:
        note(f"{len(made.kept) - len(made.changed)} boards were there already and stay as they are")
    if made.changed:
        note(f"the engine is another one now: copy the folders of {', '.join(made.changed)} again")
    for sentence in made.sentences:
        note(sentence)
    note(f"copy each folder to its board; commands find the cluster by --operator {made.operator}")
