"""``boardwright-agent``: reads its configuration, holds its locks and runs until it is told to end.

Where the boot stage says which release runs, the agent ends in order when another one is to run, and becomes that.
Exit codes: 0 done; 1 failed; 2 wrong usage; 3 another agent runs here; 4 (with --once) no server answered.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from boardwright import __version__, log
from boardwright.agent.agent import Agent
from boardwright.agent.lock import StateLock
from boardwright.agent.memory import one_arena, settle
from boardwright.boot.release import boot_again, boot_of
from boardwright.config import AgentSettings, load_agent
from boardwright.errors import BoardwrightError, UsageError, explain
from boardwright.log.supervisor import Supervisor
from boardwright.trust.credentials import Credentials, load_credentials
from boardwright.trust.identity import Role


def main(arguments: Sequence[str] | None = None) -> None:
    """The program; ends the process with its exit code."""
    options = _parser().parse_args(arguments)
    one_arena()
    try:
        log.configure("boardwright-agent", options.log_level)
        boards = [load_agent(path) for path in options.config]
        for settings in boards:
            _check_root(settings.root)
        credentials = [_credentials(settings) for settings in boards]
        with contextlib.ExitStack() as locks:
            for settings in boards:
                locks.enter_context(StateLock(settings.state_dir))
            supervisor = Supervisor() if options.once else Supervisor.of(os.environ, os.getpid())
            boot = boot_of(os.environ, os.getpid())
            agent = Agent(boards, credentials, dict(os.environ), boot)
            moved = asyncio.run(_run(agent, supervisor, once=options.once))
        if moved and boot is not None:
            boot_again(boot, os.environ)
    except (BoardwrightError, OSError) as error:  # a disk that is full at the start is a sentence, too
        sys.stderr.writelines(f"{line}\n" for line in explain("boardwright-agent", error))
        sys.stderr.flush()
        # Threads that hang in a system call must not hold the process; everything is on the disk.
        os._exit(error.exit_code if isinstance(error, BoardwrightError) else 1)
    sys.stderr.flush()
    os._exit(0)


def _credentials(settings: AgentSettings) -> Credentials:
    """Who the board is; a control board's agent is its server's other half and bears the same certificate."""
    cluster = settings.cluster
    found = load_credentials(cluster.certificate, cluster.key, cluster.trust, cluster.name, settings.board.id)
    if found.identity.role not in (Role.BOARD, Role.SERVER):
        raise UsageError(
            f"{cluster.certificate} is that of the {found.identity.role.value} {found.identity.id}, not a board's",
            hint="copy each folder to its own board",
        )
    return found


def _check_root(root: Path) -> None:
    """Raise UsageError unless software can be deployed below `root`; else every download would be for nothing."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        trouble = "" if os.access(root, os.W_OK | os.X_OK) else "it may not be written"
    except OSError as error:
        trouble = os.strerror(error.errno or 0)
    if trouble:
        raise UsageError(
            f"the root {root} cannot be used: {trouble}",
            hint="set [agent] root to a directory that this user may write",
        )


async def _run(agent: Agent, supervisor: Supervisor, *, once: bool) -> bool:
    """True: another release of the agent is to run."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keeping = asyncio.create_task(supervisor.keep(lambda: ""))  # its loop is all that it lives by
    moved = False

    def ready(status: str) -> None:
        supervisor.ready(status)
        settle()

    try:
        moved = await agent.run(stop, once=once, on_ready=ready)
    finally:
        keeping.cancel()
        if moved:
            supervisor.changing()
        else:
            supervisor.ending()
    return moved


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="boardwright-agent", description="Asks for software, takes it from the nearest server and deploys it."
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        required=True,
        action="append",
        help="agent.toml of the board; given more than once, the process stands for several boards",
    )
    parser.add_argument("--once", action="store_true", help="one cycle from request to confirm, then end")
    parser.add_argument("--version", action="version", version=f"boardwright-agent {__version__}")
    parser.add_argument("--log-level", default="info", choices=sorted(log.LEVELS), help="default: info")
    return parser


if __name__ == "__main__":
    main()
