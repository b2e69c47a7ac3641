"""A simulated server: the real codec and the real offerer, with a simulated processor and receive buffer.

Rules:

* A request takes `service_time` seconds of the one processor; what finds the buffer full is lost, as in a kernel.
* The plan and the holdings are set by the test or the cluster; the server itself copies nothing.
* `alive` False: it hears nothing and says nothing. A server that is back knows what it knew.
"""

from collections import Counter, deque

from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan, Plan
from boardwright.protocol.codec import Dropped, decode, encode_announcement, encode_offers
from boardwright.protocol.messages import Announcement, Holding, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer
from boardwright.sim.clock import VirtualTime
from boardwright.sim.network import Network
from boardwright.sim.seal import SimSeal


class SimServer:
    """A deployment server on the simulated network, named ``server:ID`` there."""

    service_time = 50e-6  # seconds per request, as measured on a real server
    buffer = 160  # datagrams: what a kernel's default receive buffer of 208 KiB holds of 1,200 bytes each

    def __init__(self, server: str, location: Location, time: VirtualTime, network: Network, cluster: str) -> None:
        self.facts = ServerFacts(cluster, server, location, f"https://{server}:6688", f"https://{server}:6689")
        self._seal = SimSeal(server, location)
        self.plan = Plan()
        self.holdings: dict[bytes, Catalogued] = {}
        self.load = 0
        self.alive = False
        self.counts: Counter[str] = Counter()
        self._time = time
        self._network = network
        self._queue: deque[tuple[bytes, str]] = deque()
        self.start()

    @property
    def id(self) -> str:
        return self.facts.server

    @property
    def node(self) -> str:
        return f"server:{self.id}"

    def start(self) -> None:
        self.alive = True
        self._network.join(self.node, self._receive)

    def kill(self) -> None:
        """Stop at once: no answer, no farewell, the buffer is lost."""
        self.alive = False
        self._queue.clear()
        self._network.leave(self.node)

    def take(self, plan: Plan, *, announce: bool = True) -> None:
        """Come to know a plan, and tell everybody if it is newer."""
        newer = plan.generation > self.plan.generation
        self.plan = plan
        if newer and announce and self.alive:
            news = Announcement(self.facts.cluster, self.id, plan.generation)
            self._network.multicast(self.node, encode_announcement(news, self._seal))

    def hold(self, manifest: bytes, version: str, holding: Holding = Holding.ALL) -> None:
        """Set what this server has of a version (manifest digest of 32 bytes)."""
        self.holdings[manifest] = Catalogued(version, holding)

    def board_plan(self, board: str) -> BoardPlan:
        """What the plan API of this server answers."""
        return self.plan.for_board(board)

    def _receive(self, data: bytes, sender: str) -> None:
        if len(self._queue) >= self.buffer:
            self.counts["overflow"] += 1
            return
        self._queue.append((data, sender))
        if len(self._queue) == 1:
            self._time.after(self.service_time, self._serve)

    def _serve(self) -> None:
        if not self._queue:  # it died and came back meanwhile
            return
        data, sender = self._queue.popleft()
        if self._queue:
            self._time.after(self.service_time, self._serve)
        received = decode(data, self.facts.cluster)
        if isinstance(received, Dropped):
            self.counts[received.value] += 1
        elif isinstance(received.message, Request):
            self._answer(received.message, sender)

    def _answer(self, request: Request, sender: str) -> None:
        self.counts["requests"] += 1
        offer = answer(request, self.facts, self.board_plan(request.board), self.holdings, self.load)
        if offer is not None:
            for datagram in encode_offers(offer, self._seal):
                self._network.unicast(self.node, sender, datagram)
