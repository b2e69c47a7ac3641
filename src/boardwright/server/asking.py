"""Asking the other servers for a version, with the same request as boards use (design section 3).

A server asks as its own id and place, with an empty board type, and does not hear itself. One question at a time.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Protocol

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.protocol.carrier import Found, mates_of
from boardwright.protocol.choose import choose
from boardwright.protocol.messages import GroupQuery, Offer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming
from boardwright.state.records import CatalogRecord, ServerRecord

# A copy can wait: three repetitions, then the back-off of the copying itself; a board would be waiting for software.
TIMING = RequestTiming(give_up=1.0)


class ControlNetwork(Protocol):
    """Where questions go out."""

    def send_group(self, data: bytes) -> None: ...


class Asking:
    """Asks on `network`; ``ask`` and ``hear`` run in one event loop."""

    def __init__(self, cluster: str, server: str, location: Location, network: ControlNetwork) -> None:
        self._cluster = cluster
        self._board = Board(server, location, type="")
        self._network = network
        self._requester: Requester | None = None
        self._heard = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def nonces(self) -> frozenset[bytes]:
        """Of the open question, if there is one."""
        return frozenset() if self._requester is None else self._requester.nonces

    def hear(self, offer: Offer) -> None:
        """Take an offer in, if a question is open."""
        if self._requester is not None and self._requester.hear(offer, asyncio.get_running_loop().time()):
            self._heard.set()

    async def ask(self, record: CatalogRecord, generation: int, known: Mapping[str, ServerRecord]) -> Found:
        """Who has this version, nearest first; `known` are the servers that ought to answer, by id."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            manifest = bytes.fromhex(record.manifest)
            requester = self._requester = Requester(
                cluster=self._cluster,
                board=self._board,
                queries=(GroupQuery(record.group, want=manifest),),
                generation=generation,
                known_servers=frozenset(known) - {self._board.id},
                timing=TIMING,
                rng=random.Random(),
                now=loop.time(),
                ignored=frozenset({self._board.id}),
            )
            try:
                while not requester.decided(loop.time()):
                    for datagram in requester.datagrams(loop.time()):
                        self._network.send_group(datagram)
                    await self._wait(requester)
            finally:
                self._requester = None
            near = [one.id for one in known.values() if one.chassis == self._board.location.chassis]
            return Found(
                choose(self._board, requester.offers, record.group, manifest, patience=False),
                mates_of(self._board, requester.offers, near, record.group, manifest),
            )

    async def _wait(self, requester: Requester) -> None:
        wakeup = requester.next_wakeup()
        if wakeup is None:
            return
        self._heard.clear()
        try:
            await asyncio.wait_for(self._heard.wait(), max(0.0, wakeup - asyncio.get_running_loop().time()))
        except TimeoutError:
            pass  # the next repetition or the end of the round is due
