"""The program `boardwright-server`: settings, log, lock, then the server until a signal ends it.

Exit codes (design section 12): 0 ended by SIGTERM or SIGINT; 1 failed; 2 wrong configuration; 3 refused: another
server runs on this data directory or port, the engine refuses this host, or the server's key is revoked. Where the
boot stage says which release runs, the server ends in order when another one is to run, and becomes that.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from boardwright import __version__, log
from boardwright.boot.release import Boot, boot_again, boot_of
from boardwright.config import ClusterInventory, ServerSettings, load_inventory, load_server
from boardwright.errors import BoardwrightError, UsageError, explain
from boardwright.log.supervisor import Supervisor
from boardwright.server.data_lock import DataLock
from boardwright.server.release_watch import exit_code, other_release
from boardwright.server.server import Server
from boardwright.server.signing import OnlineKey, load_online_key
from boardwright.trust.credentials import Credentials, load_credentials
from boardwright.trust.identity import Role

_OWN_FOLDER = "copy the folder that `boardwright init` made for this board"
_log = log.get("server")


def main() -> NoReturn:
    """The program."""
    boot = boot_of(os.environ, os.getpid())
    code = exit_code(run(boot=boot), boot)
    sys.stdout.flush()
    sys.stderr.flush()
    # Granian's threads may outlive its listeners and were once seen to panic while the interpreter was taken down.
    os._exit(code)


def run(arguments: Sequence[str] | None = None, boot: Boot | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Does not return if another release is to run."""
    options = _parser().parse_args(arguments)
    try:
        log.configure("boardwright-server", options.log_level)
        settings = load_server(options.config)
        if settings.inventory is not None:
            # The active reads it when it takes over; what is wrong is said now.
            _check_listed(settings, load_inventory(settings.inventory))
        credentials = _credentials(settings)
        online_key = load_online_key(settings.cluster.certificate.parent, settings.cluster.trust)
        settings = msgspec.structs.replace(settings, running="" if boot is None else boot.entered)
        lock = DataLock(settings.data_dir)
        try:
            serving = _serve(settings, credentials, online_key, Supervisor.of(os.environ, os.getpid()), boot)
            moved = asyncio.run(serving)
        finally:
            lock.release()
        if moved and boot is not None:
            boot_again(boot, os.environ)
    except BoardwrightError as error:
        sys.stderr.writelines(f"{line}\n" for line in explain("boardwright-server", error))
        return error.exit_code
    except OSError as error:  # the boot stage is gone; whoever supervises the server knows the way
        sys.stderr.writelines(f"{line}\n" for line in explain("boardwright-server", error))
        return 1
    except KeyboardInterrupt:  # before the signal handlers stand
        return 0
    return 0


def _check_listed(settings: ServerSettings, inventory: ClusterInventory) -> None:
    """Raise UsageError if the operator's list says something else of this server than its own configuration."""
    entry = next((entry for entry in inventory.boards if entry.board.id == settings.id), None)
    if inventory.name != settings.cluster.name:
        trouble = f"is of the cluster {inventory.name!r}, this server of {settings.cluster.name!r}"
    elif entry is None:
        trouble = f"does not list {settings.id!r}, the id of this server"
    elif entry.board.location != settings.location:
        trouble = f"says that {settings.id} sits in {entry.board.location}, its own configuration {settings.location}"
    elif not entry.board.server:
        trouble = f"does not say of {settings.id} that it is a server"
    else:
        return
    raise UsageError(f"{inventory.path} {trouble}", hint=_OWN_FOLDER)


def _credentials(settings: ServerSettings) -> Credentials:
    """Who the server is and where, by its certificate; UsageError if its own configuration says otherwise."""
    cluster = settings.cluster
    found = load_credentials(cluster.certificate, cluster.key, cluster.trust, cluster.name, settings.id)
    said = found.identity
    if said.role is not Role.SERVER:
        trouble = f"is the certificate of a {said.role.value}, not of a server"
    elif said.location != settings.location:
        trouble = f"says that {said.id} sits in {said.location}, its own configuration {settings.location}"
    else:
        return found
    raise UsageError(f"{cluster.certificate} {trouble}", hint=_OWN_FOLDER)


async def _serve(
    settings: ServerSettings,
    credentials: Credentials,
    online_key: OnlineKey,
    supervisor: Supervisor,
    boot: Boot | None,
) -> bool:
    """Until a signal, or until another release is to run (True)."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loop_error)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = Server(settings, credentials, online_key)
    server.on_outcast = ended.set
    watching = asyncio.create_task(other_release(boot or Boot(0, ())))
    watching.add_done_callback(lambda _: ended.set())
    try:
        await server.start()
        signal.alarm(0)  # the boot stage's, for a release that hangs at its start
        supervisor.ready(f"serving as {settings.id}")
        keeping = asyncio.create_task(supervisor.keep(server.trouble))
        await ended.wait()
        keeping.cancel()
    finally:
        moved = watching.done()
        watching.cancel()
        if moved:
            supervisor.changing()
        else:
            supervisor.ending()
        await server.stop()
    server.check_member()
    return moved


def _on_loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Errors in callbacks as lines of the log; Granian's, when a listener is cut off while it ends, as nothing."""
    error = context.get("exception")
    if not isinstance(error, asyncio.InvalidStateError):
        _log.error("the event loop met an error", what=context.get("message"), exc_info=error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="boardwright-server", description="The deployment server of a control board.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="server.toml")
    parser.add_argument("--log-level", choices=tuple(log.LEVELS), default="info")
    parser.add_argument("--version", action="version", version=f"boardwright-server {__version__}")
    return parser


if __name__ == "__main__":
    main()
