"""A control network that loses, delays, doubles and reorders datagrams, and falls into parts.

Rules:

* Chance comes from the seeded source alone: a run repeats itself exactly.
* Every receiver of a multicast has its own luck. A sender hears itself (loopback), undisturbed.
* Who is not joined (dead, not started) hears nothing, and nobody is told.
* Bytes are delivered as they were sent: the real codec works on both sides.
"""

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from boardwright.sim.clock import VirtualTime

Handler = Callable[[bytes, str], None]


class Conditions(msgspec.Struct, frozen=True):
    """How a path behaves: shares of datagrams (0 to 1) and seconds.

    The delay is drawn evenly from `fastest` to `slowest`; a reordered datagram takes `detour` more.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    fastest: float = 0.0002
    slowest: float = 0.001
    detour: float = 0.02


class Counters(msgspec.Struct):
    """Datagrams since the start; one multicast counts once as sent and once per receiver after that."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    sent_bytes: int = 0


class _Node(msgspec.Struct):
    handler: Handler
    listens: bool


class Network:
    """Nodes by name; `conditions` hold on every path but those set by ``path``."""

    def __init__(self, time: VirtualTime, rng: Random, conditions: Conditions) -> None:
        self.conditions = conditions
        self.counters = Counters()
        self._time = time
        self._rng = rng
        self._nodes: dict[str, _Node] = {}
        self._paths: dict[tuple[str, str], Conditions] = {}
        self._part: dict[str, int] = {}

    def join(self, name: str, handler: Handler, *, listens: bool = True) -> None:
        """Be reachable as `name`; `listens`: to the multicast group as well."""
        self._nodes[name] = _Node(handler, listens)

    def leave(self, name: str) -> None:
        self._nodes.pop(name, None)

    def path(self, sender: str, receiver: str, conditions: Conditions) -> None:
        """Set how one direction between two nodes behaves."""
        self._paths[sender, receiver] = conditions

    def partition(self, *parts: Iterable[str]) -> None:
        """Split the network; who is in no part is in a part of its own with the others like it. No parts: heal."""
        self._part = {name: number for number, part in enumerate(parts, 1) for name in part}

    def multicast(self, sender: str, data: bytes) -> None:
        self._count(data)
        for name, node in list(self._nodes.items()):
            if node.listens:
                self._carry(sender, name, data)

    def unicast(self, sender: str, receiver: str, data: bytes) -> None:
        self._count(data)
        self._carry(sender, receiver, data)

    def _count(self, data: bytes) -> None:
        self.counters.sent += 1
        self.counters.sent_bytes += len(data)

    def _carry(self, sender: str, receiver: str, data: bytes) -> None:
        path = self._paths.get((sender, receiver), self.conditions)
        apart = self._part.get(sender, 0) != self._part.get(receiver, 0)
        if sender != receiver and (apart or self._rng.random() < path.loss):
            self.counters.lost += 1
            return
        self._schedule(sender, receiver, data, path)
        if self._rng.random() < path.duplicate:
            self._schedule(sender, receiver, data, path)

    def _schedule(self, sender: str, receiver: str, data: bytes, path: Conditions) -> None:
        delay = self._rng.uniform(path.fastest, path.slowest)
        if self._rng.random() < path.reorder:
            delay += path.detour
        self._time.after(delay, lambda: self._deliver(sender, receiver, data))

    def _deliver(self, sender: str, receiver: str, data: bytes) -> None:
        node = self._nodes.get(receiver)  # looked up late: a node may die while the datagram travels
        if node is None:
            self.counters.lost += 1
            return
        self.counters.delivered += 1
        node.handler(data, sender)
