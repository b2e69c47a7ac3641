"""`boardwright upgrade`: another release of Boardwright on every control board, one after another.

Rules:

* Watching tells every step of every server once, on stderr, and bears that nobody answers for ``SILENCE`` seconds: each
  server is away for a moment, the active included.
* What ends otherwise than it was meant ends the command with 1 and the reason.
"""

from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.cli.watching import PERIOD, Pace, watch
from boardwright.errors import FailedError, UnreachableError, UsageError
from boardwright.model.upgrade import Outcome, ServerStep, UpgradeRequest, UpgradeStatus
from boardwright.net.api_client import ApiClient

SILENCE = 30.0  # seconds; a role that changes hands and a server that starts come one after the other
FOLLOW = "`boardwright upgrade --watch` follows it again"
RUNNING = ("running", "going back")


def upgrade(  # noqa: PLR0913 - every argument is one word of the command line
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(metavar="[VERSION]", help="The release; without, how far the newest upgrade is.")
    ] = "",
    watching: Annotated[bool, typer.Option("--watch", help="Wait until it ends.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Go back to the releases of before, everywhere.")] = False,
    agents: Annotated[bool, typer.Option(help="Let the agents follow, if that version of them is published.")] = True,
    soak: Annotated[float, typer.Option(metavar="SECONDS", help="Watch each server for so long first.")] = 0.0,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Upgrade Boardwright itself: the active first, then every other server, one at a time, then the agents.

    At every moment all servers but one offer, and no download fails. A server that does not get healthy goes back by
    itself and stops the upgrade; --abort goes back everywhere.
    """
    if abort and version:
        raise UsageError("--abort goes with no VERSION: it takes back the newest upgrade")
    with connect(context, operator) as client:
        if abort:
            status = client.abort_upgrade()
            output.note(f"upgrade {status.id} to {status.version} goes back")
        elif version:
            status = client.upgrade(UpgradeRequest(version, agents, soak))
            output.note(f"upgrade {status.id} to {status.version}: {output.count(len(status.servers), 'server')}")
        else:
            status = client.upgrade_status()
        if watching and status.id:
            status = follow(client, status)
        if form is Format.JSON:
            output.show_json(status)
        elif version or abort:
            output.say(status.id)
        else:
            show(status)
        if watching:
            _judge(status, back=abort)
            if status.rollout and status.state == Outcome.DONE.value:
                watch(client, status.rollout)


def show(status: UpgradeStatus) -> None:
    """How far it is, for people."""
    if not status.id:
        output.say("there was no upgrade yet")
        return
    why = status.reason or status.waits
    output.say(f"upgrade {status.id} to {status.version}: {status.state}{f'; {why}' if why else ''}")
    output.show_table(
        ("server", "before", "runs", "step", ""),
        ((one.id, one.before or "-", one.release or "-", one.step.value, one.word) for one in status.servers),
        "no server takes part",
    )
    if status.rollout:
        output.say(f"the agents follow: boardwright rollout show {status.rollout}")


def follow(client: ApiClient, status: UpgradeStatus, pace: Pace | None = None) -> UpgradeStatus:
    """Tell of every step until it ended; UnreachableError if nobody answers for ``SILENCE``."""
    pace, told = pace or Pace(), set[str]()
    heard = pace.clock()
    while True:
        for sentence in sentences(status):
            if sentence not in told:
                told.add(sentence)
                output.note(sentence)
        if status.state not in RUNNING:
            return status
        pace.sleep(PERIOD)
        try:
            status, heard = client.upgrade_status(), pace.clock()
        except UnreachableError:
            if pace.clock() - heard >= SILENCE:
                output.note(f"the upgrade goes on; {FOLLOW}")
                raise


def sentences(status: UpgradeStatus) -> list[str]:
    """How far every server is that has begun, a sentence each."""
    back = status.state == "going back"
    found = []
    for one in status.servers:
        if one.step is ServerStep.CHANGES:
            found.append(f"{one.id} {one.word}")
        elif one.step is ServerStep.FAILED:
            found.append(f"{one.id} failed: {one.word}")
        elif one.step is ServerStep.PROVEN:
            found.append(f"{one.id} runs {one.release or 'the installed program'}{' again' * back}")
    return found


def _judge(status: UpgradeStatus, *, back: bool) -> None:
    """FailedError unless it ended as it was meant."""
    wanted = Outcome.GONE_BACK if back else Outcome.DONE
    if not status.id or status.state == wanted.value:
        return
    raise FailedError(
        f"upgrade {status.id} to {status.version} ended {status.state}{f': {status.reason}' if status.reason else ''}",
        hint=f"`boardwright upgrade {status.version}` goes on with it, `boardwright upgrade --abort` goes back",
    )
