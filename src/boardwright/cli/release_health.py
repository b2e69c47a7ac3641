"""The health check of a server's release: does the server of this board run it, and does it do its work?

Rules:

* The board's agent runs it, as the manifest of the release says: ``BOARDWRIGHT_CONFIG`` is the folder with agent.toml
  and server.toml, ``BOARDWRIGHT_TREE`` the release. It asks over TLS, with the board's own key and trust.
* Good is: this server, running exactly this release, that has caught up with the state, reaches the engine, knows the
  plan that the board knows and answers on its blob port as well.
* It asks again until that is so or its time is over; then the last reason stands in the board's report.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from boardwright.agent.commands import CONFIG
from boardwright.agent.ledger import NAME
from boardwright.config import AgentSettings, ServerSettings, load_agent, load_server
from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.api import Health
from boardwright.net.diagnosing import CONNECT_TIMEOUT, Diagnosing
from boardwright.trust.credentials import load_credentials
from boardwright.trust.lines import lines_of

PATIENCE = 28.0  # seconds; the manifest's deadline is 30, and the reason is to be said before that
PAUSE = 0.3  # seconds between questions
_EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # listened on: everywhere; asked: here


class _Ledger(msgspec.Struct, frozen=True):
    generation: int = 0


def main() -> None:
    """The program; ends with 0, or 1 and a sentence."""
    try:
        check(os.environ, sys.argv[1:])
    except BoardwrightError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from None


def check(environ: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Return when all is well; raises FailedError when it is not in time, UsageError for a configuration."""
    deadline = time.monotonic() + (float(arguments[0]) if arguments else PATIENCE)
    folder, release = Path(environ.get(CONFIG, "")), Path(environ.get("BOARDWRIGHT_TREE", "")).name
    server, board = load_server(folder / "server.toml"), load_agent(folder / "agent.toml")
    while (reason := trouble(server, board, release)) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    if reason:
        raise FailedError(reason)


def trouble(server: ServerSettings, board: AgentSettings, release: str) -> str:
    """Why the server is not well with this release at this moment; '' if it is."""
    cluster = board.cluster
    credentials = load_credentials(cluster.certificate, cluster.key, cluster.trust, cluster.name, board.board.id)
    asking = Diagnosing(lines_of(credentials), cluster.name)
    try:
        health = asking.get(_url(server.listen), "/v1/health", Health)
    except BoardwrightError as error:
        return f"the server {server.id} does not answer: {error}"
    finally:
        asking.close()
    return judged(health, server.id, release, _generation(board.state_dir)) or _blobs(server)


def judged(health: Health, server: str, release: str, generation: int) -> str:
    """What is wrong with what the server says; `generation` is the board's (pure)."""
    if health.server != server:
        return f"the server {health.server} answers instead of {server}"
    if health.running != release:
        return f"the server runs {health.running or 'the installed program'}, not {release}"
    if health.engine:
        return f"the server takes no changes: {health.engine}"
    if health.generation < generation:
        return f"the server knows plan {health.generation}, the board {generation}"
    return next((one for one in health.waits if one.startswith("offers to boards")), "")


def _generation(state_dir: Path) -> int:
    """That of the board's plan; the ledger is the agent's, and is only looked at here."""
    try:
        return msgspec.json.decode((state_dir / NAME).read_bytes(), type=_Ledger).generation
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return 0


def _blobs(server: ServerSettings) -> str:
    try:
        socket.create_connection(_here(server.blob_listen), CONNECT_TIMEOUT).close()
    except OSError as error:
        return f"the blob port of {server.id} does not answer: {error.strerror or error}"
    return ""


def _here(address: tuple[str, int]) -> tuple[str, int]:
    return _EVERY.get(address[0], address[0]), address[1]


def _url(address: tuple[str, int]) -> str:
    host, port = _here(address)
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


if __name__ == "__main__":
    main()
