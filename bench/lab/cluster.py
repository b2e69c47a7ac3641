"""Boardwright in the lab: the real programs from the folders of `init`, watched through the agents' logs.

Rules:

* Boards' disks lie in one directory; the engine is sqlite with a path there, for all servers are on one host's kernel.
* Servers of the first chassis start first, so that the active sits there.
* When a board has done what is read from its log, whose lines carry the time: nobody is asked while boards download.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from bench.agent_idle import argv
from bench.lab.network import Network
from bench.lab.programs import LabError, Programs
from bench.lab.shape import Host
from boardwright.cli.init import init
from boardwright.cli.session import operator_lines
from boardwright.errors import BoardwrightError
from boardwright.model.api import DeploymentRequest
from boardwright.net.api_client import ApiClient
from tests.namespaces import run

NAME, GROUP = "lab", "image"
STARTING = 90.0  # seconds until all programs are up; forty start at once on two cores
LOOK = 0.05  # seconds between looks at what has no log
WATCH = 0.02  # seconds between looks at the logs; one takes a fraction of a millisecond


class Moment(msgspec.Struct, frozen=True):
    """A board's deployment reached a state; `at` is wall time."""

    at: float
    state: str
    version: str


def read_moment(line: str) -> Moment | None:
    """What a line of an agent's log says of a deployment; None if it is about something else."""
    words = line.split(" ")
    if "at=agent.driver" not in words or len(words) < 4:
        return None
    versions = [word.removeprefix("version=") for word in words if word.startswith("version=")]
    return Moment(datetime.fromisoformat(words[0]).timestamp(), words[3], versions[0]) if versions else None


class Logs:
    """What these logs say from now on."""

    def __init__(self, logs: dict[str, Path]) -> None:
        self._files = {board: log.open("rb") for board, log in logs.items()}
        self._rest = dict.fromkeys(logs, b"")
        self.moments: dict[str, list[Moment]] = {board: [] for board in logs}
        for file in self._files.values():
            file.seek(0, os.SEEK_END)

    def look(self) -> None:
        for board, file in self._files.items():
            text = self._rest[board] + file.read()
            *lines, self._rest[board] = text.split(b"\n")
            found = (read_moment(line.decode(errors="replace")) for line in lines)
            self.moments[board] += [moment for moment in found if moment is not None]

    def reached(self, state: str, version: str) -> dict[str, float]:
        """When each board that has reached it did so first."""
        found: dict[str, float] = {}
        for board, moments in self.moments.items():
            for moment in moments:
                if (moment.state, moment.version) == (state, version):
                    found.setdefault(board, moment.at)
        return found

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Cluster:
    """Call it inside ``network.operating``."""

    def __init__(self, network: Network, programs: Programs, directory: Path) -> None:
        self.shape, self._programs, self._directory = network.shape, programs, directory
        self._spaces = network.spaces
        self.relay = True
        inventory = directory / "cluster.toml"
        inventory.write_text(_inventory(self.shape.hosts, directory))
        init(directory / "out", inventory)
        operator = directory / "out" / "operator"
        bases = [f"https://{host.address}:6688" for host in self.shape.servers]
        self.client = ApiClient.of(bases, operator_lines(operator, NAME), NAME)

    def begin(self) -> None:
        """Everything up to boards that have asked and been heard."""
        first, *others = self.shape.servers
        self.start_server(first)
        self.until("the first server takes changes", lambda: self.client.servers().servers[0].role == "active")
        for host in others:
            self.start_server(host)
        self.start_agents()
        self.until("all servers are healthy", self.ready)

    def start_server(self, host: Host) -> None:
        self._programs.start(server_of(host), host.id, self._words("server", host))

    def start_agents(self, hosts: Sequence[Host] = ()) -> None:
        """Those (all), and wait until they have been heard."""
        begun = time.monotonic()
        for host in hosts or self.shape.line_boards:
            self._programs.start(agent_of(host), host.id, self._words("agent", host))

        def heard() -> bool:
            since = time.monotonic() - begun
            found = {board.id for board in self.client.boards().boards if board.seen is not None and board.seen < since}
            return found >= {host.id for host in hosts or self.shape.line_boards}

        self.until("all boards are heard", heard)

    def let_relay(self, relay: bool) -> None:
        """Whether boards serve their neighbours; agents start anew if that changes."""
        if relay == self.relay:
            return
        self._programs.end(*map(agent_of, self.shape.line_boards))
        for host in self.shape.line_boards:
            folder = self._directory / "out" / host.id / "agent.toml.d"
            folder.mkdir(exist_ok=True)
            (folder / "relay.toml").write_text(f"[relay]\nenabled = {json.dumps(relay)}\n")
        self.start_agents()
        self.relay = relay

    def ready(self, version: str = "", but: Sequence[str] = ()) -> bool:
        """Whether all servers but these are healthy and hold `version`."""
        held = f"{GROUP} {version} *"
        found = {server.id: server for server in self.client.servers().servers}
        return all(
            host.id in found and found[host.id].health == "healthy" and (not version or held in found[host.id].versions)
            for host in self.shape.servers
            if host.id not in but
        )

    def publish(self, version: str, image: Path) -> None:
        operator = self._directory / "out" / "operator"
        words = ["publish", str(image), "--group", GROUP, "--version", version, "--operator", str(operator)]
        run(*argv("boardwright"), *words)

    def deploy(self, version: str) -> float:
        """To all line boards; wall time when it was acknowledged."""
        self.client.deploy(DeploymentRequest(GROUP, version, ("type=lc",)))
        return time.time()

    def logs(self) -> Logs:
        return Logs({host.id: self._programs.log(agent_of(host)) for host in self.shape.line_boards})

    def granted(self) -> dict[str, int]:
        """Blob bytes that each server has granted, as the API tells; servers tell each other twice a second."""
        return {server.id: server.bytes_served for server in self.client.servers().servers}

    def tiers(self) -> dict[str, int]:
        """Blob bytes of the last deployment by where they came from, over all line boards."""
        total: dict[str, int] = {}
        for board in self.client.boards().boards:
            for tier, count in board.groups[GROUP].bytes.items() if GROUP in board.groups else ():
                total[tier.value] = total.get(tier.value, 0) + count
        return total

    def until(self, what: str, condition: Callable[[], bool], limit: float = STARTING) -> None:
        """Wait, looking after the programs; LabError when the limit (seconds) is over."""
        end = time.monotonic() + limit
        while True:
            self._programs.check()
            try:
                if condition():
                    return
            except BoardwrightError as error:
                if time.monotonic() > end:
                    raise LabError(f"{what}: not within {limit:g} s: {error}") from error
            if time.monotonic() > end:
                raise LabError(f"{what}: not within {limit:g} s")
            time.sleep(LOOK)

    def _words(self, kind: str, host: Host) -> list[str]:
        return [*argv(f"boardwright-{kind}"), "--config", str(self._directory / "out" / host.id / f"{kind}.toml")]


def server_of(host: Host) -> str:
    return f"server-{host.id}"


def agent_of(host: Host) -> str:
    return f"agent-{host.id}"


def _inventory(hosts: Sequence[Host], directory: Path) -> str:
    lines = [
        "[cluster]",
        f'name = "{NAME}"',
        'interface = "eth1"',
        f"engine = {json.dumps(f'sqlite:{directory}/state.db')}",
    ]
    for host in hosts:
        lines += ["[[board]]", f'id = "{host.id}"', f'chassis = "{host.chassis}"', f'slot = "{host.slot}"']
        lines += [f'type = "{"rp" if host.server else "lc"}"', f'groups = ["{GROUP}"]', f'address = "{host.address}"']
        lines += ["server = true"] if host.server else []
        keys = ("root", "state_dir", "data_dir") if host.server else ("root", "state_dir")
        lines += [f"{key} = {json.dumps(f'{directory}/boards/{host.id}/{key}')}" for key in keys]
    return "\n".join(lines) + "\n"
