"""`boardwright deploy`: change what boards should run."""

from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.cli.watching import watch
from boardwright.model.api import Deployment, DeploymentRequest
from boardwright.model.policy import parse_selector

MAX_WAITING = 20  # lines of boards that do not change

ToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="SELECTOR",
        help="key=glob[,key=glob...] with board, chassis, slot, type; or a board's id. Repeat for more boards.",
    ),
]


def deploy(  # noqa: PLR0913 - every argument is one word of the command line
    context: typer.Context,
    group: Annotated[str, typer.Argument(metavar="GROUP")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    to: ToOption = None,
    strategy: Annotated[str, typer.Option("--strategy", metavar="NAME", help="How.")] = "all-at-once",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    watching: Annotated[bool, typer.Option("--watch", help="Wait until the rollout ends.")] = False,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Let boards run a version; prints the rollout's id, with -o json all that changes."""
    selectors = tuple(to or ())
    for selector in selectors:
        parse_selector(selector)  # wrong words are said before anybody is asked
    request = DeploymentRequest(group, version, selectors, strategy, dry_run)
    with connect(context, operator) as client:
        deployment = client.deploy(request)
        if form is Format.JSON:
            output.show_json(deployment)
        elif deployment.rollout is None:
            _show_changes(deployment)
        else:
            output.say(deployment.rollout)
        if deployment.rollout is not None:
            _tell(request, deployment)
            if watching:
                watch(client, deployment.rollout)


def _tell(request: DeploymentRequest, deployment: Deployment) -> None:
    """What was begun, on stderr: how many boards change, and which do not and why."""
    waiting = [change for change in deployment.changes if change.reason]
    changing = {change.board for change in deployment.changes if not change.reason}
    told = _changing(len(changing)) if changing else "no board changes, each that can run it has or gets it"
    output.note(f"{request.group} {request.version}: {told} with plan generation {deployment.generation}")
    for change in waiting[:MAX_WAITING]:
        output.note(f"{change.board} does not change: {change.reason}")
    if len(waiting) > MAX_WAITING:
        output.note(f"{len(waiting) - MAX_WAITING} boards more do not change; --dry-run lists all of them")


def _changing(boards: int) -> str:
    return "1 board changes" if boards == 1 else f"{boards} boards change"


def _show_changes(deployment: Deployment) -> None:
    output.show_table(
        ("board", "group", "before", "after", "reason"),
        (
            (
                change.board,
                change.group,
                change.before or "-",
                (change.after or "-") if not change.reason else "unchanged",
                change.reason,
            )
            for change in deployment.changes
        ),
        "no board would change",
    )
