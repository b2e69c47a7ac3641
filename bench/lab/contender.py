"""What takes part in a lab's race, and Boardwright itself."""

import random
import signal
import time
from pathlib import Path
from typing import Protocol

import msgspec

from bench.lab.cluster import WATCH, Cluster, agent_of, server_of
from bench.lab.network import Network
from bench.lab.programs import LabError, Programs
from bench.lab.settings import Setting
from bench.lab.shape import Host

SETTLING = 1.5  # seconds until the active knows what the others have granted; they tell it twice a second
PATIENCE = 60.0  # seconds beside the time that all copies take one after another over one link


class Lab(msgspec.Struct, frozen=True):
    """What contenders work with."""

    setting: Setting
    network: Network
    programs: Programs
    directory: Path

    @property
    def limit(self) -> float:
        """Seconds that a round may take: every board after the other, and once more."""
        return self.setting.floor * (len(self.setting.shape.line_boards) + 1) * 1.2 + PATIENCE


class Payload(msgspec.Struct, frozen=True):
    """What all boards are to have; of the same size, other bytes for everybody: a board keeps what it has."""

    number: int
    path: Path
    sha256: str


class Cost(msgspec.Struct, frozen=True):
    """Seconds of CPU, in the middle of a round or at its end."""

    boards: float = 0.0
    servers: float = 0.0


class Contender(Protocol):
    name: str

    def missing(self) -> str:
        """Why it cannot take part, '' if it can; installs what it needs."""

    def open(self, lab: Lab) -> None:
        """Once, before the first round."""

    def prepare(self, payload: Payload) -> None:
        """Everything up to boards that wait for the word."""

    def run(self) -> float:
        """Let all boards begin at once; seconds until the last has the bytes and has verified them."""

    def cost(self) -> Cost:
        """CPU so far."""

    def finish(self) -> dict[str, float]:
        """After a round, when all has been counted; further figures by name."""

    def figures(self) -> dict[str, float]:
        """Once, after the last round: figures of all of it by name."""


class Boardwright:
    """The real programs; `relay` says whether boards serve each other. Two of them may share a cluster."""

    def __init__(self, name: str, running: "Running", *, relay: bool) -> None:
        self.name = name
        self._relay = relay
        self._running = running
        self._version = ""
        self._granted: dict[str, int] = {}
        self._killed: list[Host] = []
        self._number = 0
        self._memory: dict[str, float] = {}

    def missing(self) -> str:
        return ""

    def open(self, lab: Lab) -> None:
        self._lab, self._setting = lab, lab.setting
        self._cluster = self._running.of(lab)
        self._random = random.Random(lab.setting.seed)

    def prepare(self, payload: Payload) -> None:
        cluster, others = self._cluster, self._others
        cluster.let_relay(self._relay)
        self._number = payload.number
        self._version = f"{self.name}-{payload.number}"
        if self._setting.holders == "first":
            for host in others:  # they have not heard of it when the boards do
                self._lab.programs.signal(server_of(host), signal.SIGSTOP)
        elif self._setting.holders == "only":
            self._lab.programs.kill(*map(server_of, others))
        cluster.publish(self._version, payload.path)
        absent = [host.id for host in others]
        cluster.until(f"the servers hold {self._version}", lambda: cluster.ready(self._version, absent))
        self._granted = cluster.granted()
        self._logs = cluster.logs()

    def run(self) -> float:
        if self._setting.holders == "first":
            for host in self._others:
                self._lab.programs.signal(server_of(host), signal.SIGCONT)
        before = self._lab.network.received()
        begun = self._cluster.deploy(self._version)
        victims = self._victims()
        names = [agent_of(host) if not host.server else server_of(host) for host in victims]
        survivors = {host.id for host in self._setting.shape.line_boards} - {host.id for host in victims}
        middle = before + self._setting.bytes * len(self._setting.shape.line_boards) / 2
        end = time.monotonic() + self._lab.limit
        while survivors - (staged := self._staged()).keys():
            if names and self._lab.network.received() >= middle:
                self._lab.programs.kill(*names)
                names = []
            if time.monotonic() > end:
                raise LabError(f"{_named(survivors - staged.keys())}: not staged within {self._lab.limit:.0f} s")
            time.sleep(WATCH)
        if names:
            raise LabError("the middle was over before anybody was killed")
        self._killed = victims
        return max(at for board, at in staged.items() if board in survivors) - begun

    def cost(self) -> Cost:
        shape, programs = self._setting.shape, self._lab.programs
        return Cost(programs.cpu(map(agent_of, shape.line_boards)), programs.cpu(map(server_of, shape.servers)))

    def finish(self) -> dict[str, float]:
        """Whoever was down comes up again, and every board must confirm."""
        time.sleep(SETTLING)
        granted = self._cluster.granted()  # before anybody comes up and copies
        killed = self._killed + (list(self._others) if self._setting.holders == "only" else [])
        for host in killed:
            if host.server:
                self._cluster.start_server(host)
        if agents := [host for host in killed if not host.server]:
            self._cluster.start_agents(agents)
        boards = {host.id for host in self._setting.shape.line_boards}
        self._cluster.until("every board has confirmed", lambda: not boards - self._seen("confirmed").keys())
        self._logs.close()
        time.sleep(SETTLING)
        self._cluster.until("all servers are healthy again", lambda: self._cluster.ready(self._version))
        self._look_at_memory()
        figures = {
            f"granted {server}": float(count - self._granted.get(server, 0)) for server, count in granted.items()
        }
        return figures | {f"tier {tier}": float(count) for tier, count in self._cluster.tiers().items()}

    def figures(self) -> dict[str, float]:
        """Resident MiB of the agents, the largest: when nothing was to be done after the last round, and at most."""
        return dict(self._memory)

    def _look_at_memory(self) -> None:
        """Now, because agents start anew when another contender comes."""
        if self._number == self._setting.rounds - 1:
            time.sleep(self._setting.idle)
        names = [agent_of(host) for host in self._setting.shape.line_boards]
        peak = max(self._lab.programs.memory(name, "VmHWM") for name in names)
        self._memory["peak MiB"] = max(self._memory.get("peak MiB", 0.0), peak)
        self._memory["idle MiB"] = max(self._lab.programs.memory(name, "VmRSS") for name in names)

    @property
    def _others(self) -> tuple[Host, ...]:
        """Servers that do not have the version when the boards ask."""
        if self._setting.holders == "all":
            return ()
        return tuple(host for host in self._setting.shape.servers if host.chassis > 1)

    def _victims(self) -> list[Host]:
        kill, shape = self._setting.kill, self._setting.shape
        if not kill:
            return []
        if kill == "server":
            return [self._random.choice(shape.servers)]
        return self._random.sample(shape.line_boards, int(kill.removeprefix("relays=")))

    def _staged(self) -> dict[str, float]:
        found = self._seen("staged")
        if failed := self._logs.reached("failed", self._version):
            raise LabError(f"{_named(failed)}: {self._version} failed, see the agents' logs")
        return found

    def _seen(self, state: str) -> dict[str, float]:
        self._logs.look()
        self._lab.programs.check()
        return self._logs.reached(state, self._version)


class Running:
    """The one cluster of a lab, started when it is needed first."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None

    def of(self, lab: Lab) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(lab.network, lab.programs, lab.directory)
            self._cluster.begin()
        return self._cluster


def _named(boards: "set[str] | dict[str, float]") -> str:
    return ", ".join(sorted(boards))
