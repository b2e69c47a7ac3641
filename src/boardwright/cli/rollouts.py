"""`boardwright rollout`: the ways from one policy to the next."""

from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.cli.watching import watch
from boardwright.model.api import RolloutList

rollout = typer.Typer(help="Look at rollouts.", no_args_is_help=True, rich_markup_mode=None)
RolloutArgument = Annotated[str, typer.Argument(metavar="ID")]


@rollout.command("list")
def list_(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show every rollout."""
    with connect(context, operator) as client:
        found = client.rollouts()
    if form is Format.JSON:
        output.show_json(found)
    else:
        _show(found)


@rollout.command()
def show(
    context: typer.Context,
    rollout_id: RolloutArgument,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show one rollout, and why boards failed."""
    with connect(context, operator) as client:
        found = client.rollouts(rollout_id)
    if form is Format.JSON:
        output.show_json(found)
        return
    _show(found)
    for status in found.rollouts:
        for board, reason in sorted(status.reasons.items()):
            output.say(f"{board}: {reason}")


@rollout.command("watch")
def watch_(context: typer.Context, rollout_id: RolloutArgument, operator: OperatorOption = None) -> None:
    """Wait until a rollout ends: exit 0 if it is done, 1 if it failed."""
    with connect(context, operator) as client:
        watch(client, rollout_id)


def _show(found: RolloutList) -> None:
    output.show_table(
        ("rollout", "group", "version", "to", "strategy", "generation", "state", "boards", "confirmed", "failed", "by"),
        (
            (
                status.id,
                status.group,
                status.version,
                " or ".join(status.selectors) or "*",
                status.strategy,
                status.generation,
                status.state,
                status.boards,
                status.confirmed,
                status.failed,
                status.by or "-",
            )
            for status in found.rollouts
        ),
        "nothing was deployed yet",
    )
