"""Hundreds of boards that fetch one version at once, from servers and from each other, in virtual time.

Real are the choice of pieces and sources, and the list of sources with its back-off; simulated are links, requests,
offers and bytes. It answers how long it takes, as a multiple of one copy over one board's link, and what crosses the
links between chassis.

Rules:

* A board hears the requests of its chassis, and answers with what it has; it asks again after ``ASK_AGAIN``. Who gets
  its first piece answers those that it has heard lately.
* Each answer to a request for a piece carries what the relay has, each request what the asker has.
* A dead one refuses connections, one that hangs is left after ``STALL``, a liar is known when a piece is there.
"""

from collections.abc import Callable
from random import Random

import msgspec

from boardwright.model.location import Tier
from boardwright.protocol.pieces import Ask, Fetch, Pieces, Wait
from boardwright.sim.clock import Timer, VirtualTime
from boardwright.sim.links import Flow, Link
from boardwright.transfer.sources import RangeReader, SourceError, SourceList

PIECE = 1024 * 1024
ASK_AGAIN = (0.2, 0.5, 1.0)  # seconds after the first question; then every two
LATER = 2.0
STALL = {False: 2.0, True: 1.0}  # seconds until a server, a relay is left that hangs, as in ``transfer.fetch``
REQUEST = 0.001  # seconds from a question to the first byte, on both sides together
HANDSHAKE = 0.005  # seconds more for a new line
DATAGRAM = 0.0005
RETRY = 0.05  # seconds for which a full relay sends away
MANIFEST = bytes(32)


class Crowd(msgspec.Struct, frozen=True):
    """How many of what: rates in bytes per second, `pieces` of 1 MiB, `jitter` in seconds of the boards' starts."""

    chassis: int = 2
    servers: int = 2
    boards: int = 8
    pieces: int = 32
    link: float = 12.5e6
    trunk: float = 12.5e6
    jitter: float = 0.1
    lines: int = 3
    slots: int = 3  # pieces that a relay sends at a time
    patience: float = 0.0  # seconds that a request waits for its turn at a relay
    holders: tuple[int, ...] | None = None  # the chassis whose servers live and have the version; None: all
    seed: int = 1

    @property
    def floor(self) -> float:
        """Seconds of one copy over one board's link."""
        return self.pieces * PIECE / self.link


class Node:
    """A server or a board on the network."""

    def __init__(self, name: str, chassis: int, link: float) -> None:
        self.id = name
        self.chassis = chassis
        self.up = Link(link)
        self.down = Link(link)
        self.alive = True
        self.hangs = False
        self.lies = False
        self.sending: dict[Flow, Callable[[str], None]] = {}  # each with what its receiver does when it breaks
        self.receiving: set[Flow] = set()

    def has(self) -> int | None:
        """The pieces that it serves, None: all."""
        return None

    def asked_by(self, board: "SwarmBoard") -> None:
        """`board` asks it for a piece, and says what it has."""


class _Remote:
    """What the list of sources knows of a node."""

    def __init__(self, node: Node) -> None:
        self.id = node.id
        self.node = node

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> RangeReader:
        raise NotImplementedError("bytes are simulated")

    def break_off(self) -> None: ...

    def close(self) -> None: ...


class SwarmBoard(Node):
    """A line board that downloads, and serves what it has."""

    def __init__(self, swarm: "Swarm", name: str, chassis: int) -> None:
        super().__init__(name, chassis, swarm.crowd.link)
        self._swarm = swarm
        self._time = swarm.time
        self.sources = SourceList(clock=lambda: swarm.time.now)
        self.pieces = self._nothing()
        self.begun = False
        self.finished: float | None = None
        self.received: dict[Tier, int] = dict.fromkeys(Tier, 0)
        self.relayed = 0
        self.wrong = 0
        self.again = 0  # pieces that were there already
        self.asks = 0  # for news
        self._lines = dict.fromkeys(range(swarm.crowd.lines), False)  # whether it is at work
        self._timer: Timer | None = None
        self._met: set[str] = set()
        self._heard: dict[str, float] = {}

    def _nothing(self) -> Pieces:
        count = self._swarm.crowd.pieces
        return Pieces(self.id, MANIFEST, (0, count), (1 << count) - 1, 0, self._time.now)

    def has(self) -> int:
        return self.pieces.have if not self.lies else (1 << self._swarm.crowd.pieces) - 1

    def start(self) -> None:
        """Begin, as after an announcement."""
        self.begun = True
        self.pieces = self._nothing()
        for name in self._heard:
            self.pieces.bringers.asks(name)
        self._question(0)
        self._time.after(DATAGRAM, self._choose)

    def hears(self, other: "SwarmBoard") -> None:
        """A neighbour's request."""
        if not self.alive:
            return
        self._heard[other.id] = self._time.now
        self.pieces.bringers.asks(other.id)
        if self.has():
            self._offer(other)

    def asked_by(self, board: "SwarmBoard") -> None:
        if self.begun:
            self.meet(board)

    def meet(self, other: Node, *, look: bool = True) -> None:
        """An offer of `other`, or what it said with a request or an answer."""
        if not self.alive or other is self:
            return
        tier = Tier.SAME_CHASSIS if other.chassis == self.chassis else Tier.ELSEWHERE
        relay, has = isinstance(other, SwarmBoard), other.has()
        if other.id not in self._met:
            if relay and not has:
                return
            self._met.add(other.id)
            self.sources.add(_Remote(other))
            self.pieces.join(other.id, tier, self._time.now, relay=relay, pieces=has)
        elif has is not None:
            self.pieces.news(other.id, has, self._time.now)
        if look:
            self.look()

    def _choose(self) -> None:
        """Every server's offer is there."""
        servers = [server for server in self._swarm.servers if server.alive]
        self._swarm.rng.shuffle(servers)
        for server in servers:
            self.meet(server, look=False)
        self.look()

    def look(self) -> None:
        """Give every idle line something to do."""
        if not self.alive or self.finished is not None:
            return
        for line, at_work in self._lines.items():
            if at_work:
                continue
            ready = self.sources.ready()
            todo = self.pieces.next(ready, self.sources.busy(), self._time.now)
            if isinstance(todo, Wait):
                self._wait(todo.seconds)
                return
            self._lines[line] = True
            remote = ready[todo.source]
            assert isinstance(remote, _Remote)
            if isinstance(todo, Ask):
                self._ask(line, remote)
            else:
                self._fetch(line, remote, todo)

    def _question(self, number: int) -> None:
        if not self.alive or self.finished is not None:
            return
        for other in self._swarm.mates(self):
            self._time.after(DATAGRAM, lambda other=other: other.hears(self))  # type: ignore[misc]
        pause = ASK_AGAIN[number] - (ASK_AGAIN[number - 1] if number else 0.0) if number < len(ASK_AGAIN) else LATER
        self._time.after(pause, lambda: self._question(number + 1))

    def _offer(self, other: "SwarmBoard") -> None:
        self._time.after(DATAGRAM + 0.005 * self._swarm.rng.random(), lambda: other.meet(self))

    def _wait(self, seconds: float) -> None:
        if self._timer is None or not self._timer.pending:
            self._timer = self._time.after(seconds, self.look)

    def _ask(self, line: int, remote: _Remote) -> None:
        self.asks += 1

        def answered() -> None:
            self._lines[line] = False
            if not remote.node.alive:
                self.sources.leave(remote, SourceError("refused"))
            elif not remote.node.hangs:
                self.meet(remote.node)
                remote.node.asked_by(self)
            self.look()

        self._time.after(REQUEST, answered)

    def _fetch(self, line: int, remote: _Remote, fetch: Fetch) -> None:
        node, swarm, flows = remote.node, self._swarm, list[Flow]()

        def failed(reason: str, wait: float | None = -1.0, *, busy: bool = False) -> None:
            self._lines[line] = False
            self.pieces.ended(fetch, 0, self._time.now, failed=not busy)
            self.sources.leave(remote, SourceError(reason, wait=wait, busy=busy))
            self.look()

        def broken(reason: str) -> None:
            self.receiving.discard(flows[0])
            flows[0].cut()
            if self.alive:
                failed(reason)

        def arrived() -> None:
            node.sending.pop(flows[0], None)
            self.receiving.discard(flows[0])
            tier = Tier.SAME_CHASSIS if node.chassis == self.chassis else Tier.ELSEWHERE
            self.received[tier] += fetch.count
            if node.lies:
                self.wrong += 1
                failed("wrong bytes", None)
                return
            self._keep(fetch, node)
            self._lines[line] = False
            self.sources.worked(remote)
            self.look()

        patient_until = [self._time.now + swarm.crowd.patience]

        def begun() -> None:
            if not self.alive:
                return
            if not node.alive:
                failed("refused")
                return
            self.meet(node)
            node.asked_by(self)
            if isinstance(node, SwarmBoard) and len(node.up.flows) >= swarm.crowd.slots:
                if self._time.now < patient_until[0]:
                    self._time.after(0.01, begun)
                    return
                swarm.refused += 1
                failed("full", RETRY, busy=True)
                return
            flow = Flow(self._time, swarm.way(node, self), fetch.count * PIECE, arrived)
            flows.append(flow)
            node.sending[flow] = broken
            self.receiving.add(flow)
            if node.hangs:
                swarm.hang(node.id)

        new = remote.id not in self._met or not node.sending
        self._time.after(REQUEST + (HANDSHAKE if new else 0.0), begun)

    def _keep(self, fetch: Fetch, node: Node) -> None:
        now, first = self._time.now, not self.pieces.have
        for piece in range(fetch.piece, fetch.piece + fetch.count):
            self.again += bool(self.pieces.have >> piece & 1)
            self.pieces.verified(piece, now)
        self.pieces.ended(fetch, fetch.count, now)
        if isinstance(node, SwarmBoard):
            self.relayed += fetch.count
        if first:
            for name, at in self._heard.items():
                if now - at <= LATER:
                    self._offer(self._swarm.boards[name])
        if self.pieces.done and self.finished is None:
            self.finished = now


class Swarm:
    """All of it; `run` brings it to its end."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.refused = 0
        self.time = VirtualTime(0.0)
        self.rng = Random(crowd.seed)
        self.trunks = {number: (Link(crowd.trunk), Link(crowd.trunk)) for number in range(1, crowd.chassis + 1)}
        self.servers: list[Node] = []
        self.boards: dict[str, SwarmBoard] = {}
        for chassis in self.trunks:
            if crowd.holders is None or chassis in crowd.holders:
                self.servers += [Node(f"c{chassis}s{slot + 1}", chassis, crowd.link) for slot in range(crowd.servers)]
            for slot in range(crowd.servers, crowd.servers + crowd.boards):
                board = SwarmBoard(self, f"c{chassis}s{slot + 1}", chassis)
                self.boards[board.id] = board
        order = list(self.servers)
        self.rng.shuffle(order)
        self.servers = order
        for board in self.boards.values():
            self.time.after(crowd.jitter * self.rng.random(), board.start)

    def mates(self, board: SwarmBoard) -> list[SwarmBoard]:
        return [one for one in self.boards.values() if one.chassis == board.chassis and one is not board]

    def way(self, sender: Node, receiver: Node) -> list[Link]:
        """The links from one to the other."""
        if sender.chassis == receiver.chassis:
            return [sender.up, receiver.down]
        return [sender.up, self.trunks[sender.chassis][0], self.trunks[receiver.chassis][1], receiver.down]

    def kill(self, *names: str) -> None:
        """These die at once; their neighbours see broken lines."""
        for node in self._named(names):
            node.alive = False
            for broken in self._cut(node):
                broken("the line broke")

    def hang(self, *names: str) -> None:
        """These send nothing more, and say nothing."""
        for node in self._named(names):
            node.hangs = True
            for broken in self._cut(node):
                self.time.after(STALL[isinstance(node, SwarmBoard)], lambda broken=broken: broken("sent nothing"))  # type: ignore[misc]

    def _cut(self, node: Node) -> list[Callable[[str], None]]:
        """Nothing moves to or from it; what its receivers do when they see it."""
        flows, node.sending = node.sending, {}
        for flow in (*flows, *node.receiving):
            flow.cut()
        node.receiving = set()
        return list(flows.values())

    def run(self, limit: float = 600.0) -> bool:
        """Until every living board has all of it; whether that is so after `limit` seconds."""
        return self.time.run(limit, until=lambda: all(one.finished is not None for one in self.living))

    @property
    def living(self) -> list[SwarmBoard]:
        return [one for one in self.boards.values() if one.alive and not one.hangs]

    @property
    def multiple(self) -> float:
        """When the last one was done, as a multiple of one copy over one link."""
        return max(one.finished or float("inf") for one in self.living) / self.crowd.floor

    def crossed(self, chassis: int) -> float:
        """Copies of the version that came into a chassis over its link."""
        return self.trunks[chassis][1].carried / (self.crowd.pieces * PIECE)

    def _named(self, names: tuple[str, ...]) -> list[Node]:
        return [self.boards[name] if name in self.boards else self._server(name) for name in names]

    def _server(self, name: str) -> Node:
        return next(one for one in self.servers if one.id == name)
