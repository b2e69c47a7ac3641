"""The program `boardwright`: the composition root of the command line.

Rules (design section 12):

* Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused, 4 no server answered, 130 interrupted.
* A command parses and prints; the library acts and raises. Errors are printed in one place, here.
* The environment is read once, here.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import typer

from boardwright import __version__
from boardwright.cli import failures, output
from boardwright.cli.approving import approve
from boardwright.cli.auditing import audit
from boardwright.cli.backing_up import backup, restore
from boardwright.cli.demo.command import demo
from boardwright.cli.deploying import deploy
from boardwright.cli.doctor.command import doctor
from boardwright.cli.init_command import init_command
from boardwright.cli.install_units import install_units
from boardwright.cli.join import join
from boardwright.cli.packing import pack_command, sign
from boardwright.cli.passphrase import PassphraseOption
from boardwright.cli.programs import agent, server
from boardwright.cli.publish import publish
from boardwright.cli.reading import boards, explain, servers, software
from boardwright.cli.retrying import retry
from boardwright.cli.revoking import revoke
from boardwright.cli.rollouts import rollout
from boardwright.cli.session import OperatorOption, Session
from boardwright.cli.status import status
from boardwright.cli.switching import switchover
from boardwright.cli.tokens import token
from boardwright.cli.trusting import trust
from boardwright.cli.upgrading import upgrade
from boardwright.errors import BoardwrightError

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports of any interrupted program
USAGE = 2
_WRONG_WORDS = cast(
    type[Exception], typer.BadParameter.__mro__[1]
)  # typer's UsageError, which it does not export by name

app = typer.Typer(
    name="boardwright",
    help="Deploys software onto the boards of systems built from chassis.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"boardwright {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    context: typer.Context,
    operator: OperatorOption = None,
    passphrase_file: PassphraseOption = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Deploys software onto the boards of systems built from chassis."""
    session = context.find_object(Session) or Session.of(os.environ)
    context.obj = session.of_command(operator, passphrase_file)


# The short sentences are what the list of commands has room for in 80 columns.
app.command(short_help="Run a whole cluster on this machine.")(demo)
app.command("init", short_help="Make a folder for every board of an inventory.")(init_command)
app.command(short_help="Run the deployment server of a control board.")(server)
app.command(short_help="Run the agent of a board.")(agent)
app.command("install-units", short_help="Let systemd run the programs of this host.")(install_units)
app.command("pack", short_help="Make a package of a version, without a cluster.")(pack_command)
app.command(short_help="Sign a package, without a cluster.")(sign)
app.command(short_help="Make a version known to the cluster.")(publish)
app.command(short_help="Let boards run a version.")(deploy)
app.command(short_help="Let a board try again what it rolled back from.")(retry)
app.add_typer(trust, name="trust", short_help="Show and change who may sign what.")
app.add_typer(rollout, name="rollout", short_help="List, show and watch rollouts.")
app.add_typer(token, name="token", short_help="Make and drop the words by which others join.")
app.command(short_help="Join a cluster, as a board or a person.")(join)
app.command(short_help="Let in somebody who waits, or list who does.")(approve)
app.command(short_help="Let somebody's keys be good no more.")(revoke)
app.command(short_help="Show who changed what, when and from where.")(audit)
app.command(short_help="Write the cluster's state into a file.")(backup)
app.command(short_help="Make the cluster's state what a backup says.")(restore)
app.command(short_help="Show in a few lines how the cluster is.")(status)
app.command(short_help="Show every server.")(servers)
app.command(short_help="Let another server be the active.")(switchover)
app.command(short_help="Upgrade Boardwright itself, server by server.")(upgrade)
app.command(short_help="Show every board, or one.")(boards)
app.command(short_help="Show the published versions.")(software)
app.command(short_help="Show why a board chose its server.")(explain)
app.command(short_help="Say what is wrong, and what to do.")(doctor)


def run(arguments: Sequence[str], session: Session) -> int:
    """Run one command and return its exit code; every error has been printed."""
    output.ensure_streams()
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="boardwright", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except _WRONG_WORDS as error:
        return _wrong_words(error)
    except BoardwrightError as error:
        return failures.show(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return output.READER_GONE
    except OSError as error:
        return failures.show(error)
    return code if isinstance(code, int) else 0


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Entry point of the program."""
    sys.exit(run(sys.argv[1:], Session.of(environment)))


def _wrong_words(error: BaseException) -> int:
    message = getattr(error, "format_message", lambda: str(error))().rstrip(".")
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "boardwright"
    if context is not None and message.strip().startswith("Usage:"):  # no words at all: the help is what was meant
        output.note(context.get_help())
        return USAGE
    message = message.replace("Value error, ", "")
    output.note(f"{where}: {message[:1].lower()}{message[1:]}")
    output.note(f"hint: `{where} --help` says how it is used")
    return USAGE
