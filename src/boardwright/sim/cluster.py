"""A whole cluster in one process: chassis of control boards with servers and of boards that ask, in virtual time.

Ids are ``c1s1`` for chassis 1, slot 1; control boards sit in the first slots of each chassis and have a server. All
chance comes from one seed.
"""

import hashlib
from random import Random

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.software import Target
from boardwright.protocol.messages import Holding
from boardwright.sim.board import SimBoard
from boardwright.sim.clock import VirtualTime
from boardwright.sim.hands import Behaviour
from boardwright.sim.network import Conditions, Network
from boardwright.sim.server import SimServer


class Shape(msgspec.Struct, frozen=True):
    """How many of what; `groups` are what every board runs."""

    chassis: int = 2
    control_boards: int = 2
    line_boards: int = 4
    groups: tuple[str, ...] = ("platform",)


class SimCluster:
    """Servers and boards by id on one lossy network; servers are up, boards are off."""

    name = "sim"

    def __init__(self, shape: Shape, conditions: Conditions | None = None, seed: int = 1) -> None:
        self.shape = shape
        self.time = VirtualTime()
        self.network = Network(self.time, Random(f"{seed}/network"), conditions or Conditions())
        self.servers: dict[str, SimServer] = {}
        self.boards: dict[str, SimBoard] = {}
        self.plan = Plan()
        for chassis in range(1, shape.chassis + 1):
            for slot in range(1, shape.control_boards + shape.line_boards + 1):
                self._build(f"c{chassis}s{slot}", Location(str(chassis), str(slot)), seed)
        known = frozenset(self.servers)
        for board in self.boards.values():
            board.known_servers = known

    def publish(self, group: str, version: str, *, holding: Holding = Holding.ALL) -> bytes:
        """Make a version known to every server, held as `holding` says; its manifest's digest."""
        digest = manifest_of(group, version)
        for server in self.servers.values():
            server.hold(digest, version, holding)
        return digest

    def deploy(self, group: str, version: str, *, told: frozenset[str] | None = None) -> Plan:
        """Commit a plan with `version` for every board; the servers in `told` (None: all) learn it at once."""
        target = Target(group, version, "*", manifest_of(group, version).hex())
        targets = (*(other for other in self.plan.targets if other.group != group), target)
        boards = {board: tuple(range(len(targets))) for board in self.boards}
        self.plan = Plan(self.plan.generation + 1, self.plan.generation, targets, boards)
        for server in self.servers.values():
            if told is None or server.id in told:
                server.take(self.plan)
        return self.plan

    def behave(self, behaviour: Behaviour) -> None:
        """Say how the work goes on every board."""
        for board in self.boards.values():
            board.behaviour = behaviour

    def power_on(self, *, listens: bool = True, jitter: bool = True) -> None:
        """Switch every board on at the same moment."""
        for board in self.boards.values():
            board.power_on(listens=listens, jitter=jitter)

    def run_until_chosen(self, group: str, version: str, seconds: float = 60.0) -> bool:
        """Let time pass until every board has chosen a server for that version."""
        digest = manifest_of(group, version)
        boards = [board.chosen for board in self.boards.values()]
        return self.time.run(seconds, lambda: all(group in of and of[group].manifest == digest for of in boards))

    def _build(self, board: str, location: Location, seed: int) -> None:
        is_server = int(location.slot) <= self.shape.control_boards
        if is_server:
            self.servers[board] = SimServer(board, location, self.time, self.network, self.name)
        self.boards[board] = SimBoard(
            Board(board, location, "rp" if is_server else "lc", self.shape.groups, is_server),
            self.name,
            self.time,
            self.network,
            Random(f"{seed}/{board}"),
            self.servers,
        )


def manifest_of(group: str, version: str) -> bytes:
    """The digest (32 bytes) that a version has in the simulation."""
    return hashlib.sha256(f"{group} {version}".encode()).digest()
