"""`boardwright retry`: let a board try again what it rolled back from or failed at."""

from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect


def retry(
    context: typer.Context,
    board: Annotated[str, typer.Argument(metavar="BOARD")],
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="This group only.", show_default=False)
    ] = None,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let a board try again the versions that it rolled back from; it begins within seconds.

    A board that rolled back from a version is not offered that version again, until another one is deployed or this is
    said. Exit 1 if there is nothing to try again.
    """
    with connect(context, operator) as client:
        done = client.retry(board, group)
    if form is Format.JSON:
        output.show_json(done)
        return
    for name, version in sorted(done.versions.items()):
        output.say(f"{done.board} tries {name} {version} again; `boardwright boards {done.board}` shows how it goes")
