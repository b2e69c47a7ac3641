"""`boardwright switchover`: let another control board be the active, without waiting for one to fail."""

import time
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect


def switchover(
    context: typer.Context,
    server: Annotated[
        str, typer.Argument(metavar="[SERVER]", help="Who shall be the active; without, the best standby.")
    ] = "",
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let another server be the active, within a second.

    Every server goes on serving meanwhile. Exit 3 with the reason if that server cannot be the active now: it is
    silent, unhealthy, or behind.
    """
    with connect(context, operator) as client:
        # Named, so that a call whose answer was lost is not taken for a second one.
        epoch = max((one.epoch for one in client.servers().servers), default=0)
        begun = time.monotonic()
        done = client.switchover(server, epoch)
        seconds = time.monotonic() - begun
    if form is Format.JSON:
        output.show_json(done)
    elif done.server == done.before:
        output.say(f"{done.server} is the active already (epoch {done.epoch})")
    else:
        output.say(f"{done.server} is the active now (epoch {done.epoch}), {done.before} a standby; {seconds:.1f} s")
