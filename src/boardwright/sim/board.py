"""A simulated board: the agent's real driver between a simulated network and simulated hands.

Real are the requester, the codec, the plan's choice, the search, the machine, the order of groups, the resumption and
the ledger's encoding; simulated are time, datagrams, the disk and the work (``hands.py``). What ``agent.Station`` is to
a real board, with its loop and threads, this is to a simulated one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import msgspec

from boardwright.agent.deployment import Deployment, Event
from boardwright.agent.downloads import Download
from boardwright.agent.driver import BoardDriver
from boardwright.agent.ledger import KnownServer, Ledger, Record
from boardwright.agent.plan_source import find_plan
from boardwright.agent.ports import Timings
from boardwright.config.settings import AgentSettings, ClusterSettings
from boardwright.errors import UnreachableError
from boardwright.model.inventory import Board
from boardwright.model.plan import BoardPlan
from boardwright.model.report import DeploymentState, Source
from boardwright.model.software import Target
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Announcement, Offer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming
from boardwright.sim.clock import Timer, VirtualTime
from boardwright.sim.hands import Behaviour, Disk, SimHands, SimSource
from boardwright.sim.network import Network
from boardwright.sim.seal import placed
from boardwright.sim.server import SimServer
from boardwright.transfer.sharing import Sharing

PLAN_CALL = 0.002  # seconds that a simulated call of the plan API takes


class Chosen(msgspec.Struct, frozen=True):
    """A choice that was made for a group, `seconds` after the first request for it; `source` is the first choice."""

    group: str
    manifest: bytes
    source: Source
    at: float
    seconds: float
    generation: int

    @property
    def server(self) -> str:
        return self.source.id


class SimBoard:
    """A board on the simulated network, named ``board:ID`` there; it is off until ``power_on``."""

    def __init__(
        self,
        board: Board,
        cluster: str,
        time: VirtualTime,
        network: Network,
        rng: Random,
        servers: Mapping[str, SimServer],
    ) -> None:
        self.board = board
        self.cluster = cluster
        self.timing = RequestTiming()
        self.period = 300.0
        self.behaviour = Behaviour()
        self.known_servers: frozenset[str] = frozenset()
        self.disk = Disk()
        # What a test looks at.
        self.driver: BoardDriver | None = None
        self.chosen: dict[str, Chosen] = {}
        self.history: list[Chosen] = []
        self.rounds = 0
        self.transmissions = 0
        self.steps = 0  # writes of the ledger
        self.on_step: Callable[[], None] | None = None
        self.time = time
        self.network = network
        self.rng = rng
        self.servers = servers
        self._life: _Life | None = None
        self._served: Counter[str] = Counter()

    @property
    def node(self) -> str:
        return f"board:{self.board.id}"

    @property
    def generation(self) -> int:
        return self.driver.generation if self.driver else 0

    @property
    def requester(self) -> Requester | None:
        return self.driver.asking.requester if self.driver else None

    @property
    def served(self) -> Counter[str]:
        """Bytes by server, of all lives."""
        return self._served + (self._life.hands.served if self._life else Counter())

    def deployment(self, group: str) -> Deployment:
        return self.driver.groups[group] if self.driver and group in self.driver.groups else Deployment(group)

    def state(self, group: str) -> DeploymentState:
        return self.deployment(group).state

    def running(self, group: str) -> str | None:
        """The version that was confirmed last."""
        target = self.deployment(group).running
        return target.version if target else None

    def ranking(self, group: str) -> list[str]:
        """The ids of the last download's failover list, with the offers that came after the choice."""
        download = self._life.hands.downloads.get(group) if self._life else None
        return list(download.sources.ids()) if download else []

    def power_on(self, *, listens: bool = True, jitter: bool = True) -> None:
        """Start, going on from the disk; spread by the start jitter; `listens`: to announcements."""
        self._life = _Life(self, jitter=jitter)
        self.network.join(self.node, self._life.receive, listens=listens)

    def power_cut(self) -> None:
        """Stop at once: everything but the disk is lost."""
        self.network.leave(self.node)
        if self._life is not None:
            self._served += self._life.hands.served
            self._life.end()
        self._life = self.driver = None


class _Life:
    """From power-on to power cut: the driver, its hands and what it needs of the outside."""

    def __init__(self, owner: SimBoard, *, jitter: bool) -> None:
        self._owner = owner
        self._time = owner.time
        self._alive = True
        self._timer: Timer | None = None
        self._round: Requester | None = None
        self._since = 0.0
        self.hands = _Watched(owner.disk, owner.behaviour, self._time, owner.servers, self._happened)
        self.hands.on_download = self._chose
        request = owner.timing if jitter else msgspec.structs.replace(owner.timing, start_jitter=0.0)
        self.driver = BoardDriver(
            _settings(owner),
            hands=self.hands,
            outside=self,
            ledger=_SimLedger(self._read, self._write, owner.known_servers),
            rng=owner.rng,
            now=self._time.now,
            timings=Timings(request=request),
        )
        if self._alive:  # the power may have been cut by the first write of the ledger
            owner.driver = self.driver
            self._changed()

    def end(self) -> None:
        self._alive = self.hands.alive = False
        if self._timer is not None:
            self._timer.cancel()

    def receive(self, data: bytes, sender: str) -> None:
        del sender
        received = decode(data, self._owner.cluster)
        if self._alive and isinstance(received, Received):
            message = placed(received)
            if isinstance(message, Offer | Announcement):
                self.driver.hear(message, self._time.now)
                self._changed()

    # What the driver needs of the outside.

    def send(self, datagrams: Sequence[bytes]) -> None:
        if not self._alive:
            return
        asking = self.driver.asking.requester
        if asking is not self._round:
            self._round = asking
            self._owner.rounds += 1
            if not any(one.state is DeploymentState.REQUESTING for one in self.driver.groups.values()):
                self._since = self._time.now
        for datagram in datagrams:
            self._owner.transmissions += 1
            self._owner.network.multicast(self._owner.node, datagram)

    def source(self, source_id: str, url: str) -> SimSource:
        return SimSource(source_id, url)

    def neighbour(self, source_id: str, url: str, sharing: Sharing) -> SimSource:
        del sharing  # pieces are simulated elsewhere (``swarm``)
        return SimSource(source_id, url)

    def refresh(self, offers: Sequence[Offer], generation: int) -> None:
        def answered() -> None:
            if self._alive:
                found = find_plan(self, self._owner.board.id, tuple(offers), generation)
                self.driver.planned(found, self._time.now)
                self._changed()

        self._time.after(PLAN_CALL, answered)

    def plan(self, api: str, board: str) -> BoardPlan:
        """The plan API of the server that says so in its offers."""
        server = next((one for one in self._owner.servers.values() if one.facts.api == api), None)
        if server is None or not server.alive:
            raise UnreachableError(f"{api} cannot be reached")
        return server.board_plan(board)

    # The loop of the process.

    def _happened(self, group: str, event: Event) -> None:
        def take() -> None:
            if self._alive:
                self.driver.happened(group, event, self._time.now)
                self._changed()

        self._time.after(0.0, take)  # the hands work in threads of their own

    def _changed(self) -> None:
        self._wake_at(self._time.now)

    def _wake(self) -> None:
        self.driver.wake(self._time.now)
        self._wake_at(self.driver.next_wakeup())

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._alive:
            self._timer = self._time.at(when, self._wake)

    def _chose(self, download: Download) -> None:
        owner, target, source = self._owner, download.target, download.account.server
        before = owner.chosen.get(target.group)
        manifest = bytes.fromhex(target.manifest)
        if source is None or (before is not None and before.manifest == manifest):
            return
        now, generation = self._time.now, self.driver.generation
        chosen = Chosen(target.group, manifest, source, now, now - self._since, generation)
        owner.chosen[target.group] = chosen
        owner.history.append(chosen)

    # The ledger's disk.

    def _read(self) -> bytes | None:
        return self._owner.disk.ledger

    def _write(self, data: bytes) -> None:
        if self._alive:
            self._owner.disk.ledger = data
            self._owner.steps += 1
            if self._owner.on_step is not None:
                self._owner.on_step()


class _Watched(SimHands):
    """Hands that say which download was asked for."""

    on_download: Callable[[Download], None]

    def download(self, download: Download, others: tuple[Target, ...]) -> None:
        if self.alive:
            self.on_download(download)
        super().download(download, others)


class _SimLedger(Ledger):
    """The real ledger on a simulated disk; a blank one knows the servers that it is given."""

    def __init__(
        self, read: Callable[[], bytes | None], write: Callable[[bytes], None], servers: frozenset[str]
    ) -> None:
        super().__init__(Path("simulated"))
        self._read_disk = read
        self._write_disk = write
        self._servers = servers

    def load(self) -> Record:
        record = super().load()
        known = {server: KnownServer(f"https://{server}:6688") for server in sorted(self._servers)}
        return msgspec.structs.replace(record, servers={**known, **record.servers})

    def _from_disk(self) -> bytes | None:
        return self._read_disk()

    def _to_disk(self, data: bytes) -> None:
        self._write_disk(data)


def _settings(owner: SimBoard) -> AgentSettings:
    nowhere = Path("simulated")
    return AgentSettings(
        cluster=ClusterSettings(
            name=owner.cluster, interfaces=("sim",), multicast=None, trust=nowhere, certificate=nowhere, key=nowhere
        ),
        board=owner.board,
        root=nowhere,
        state_dir=nowhere,
        relay_enabled=False,
        relay_listen=None,
        period=owner.period,
    )
