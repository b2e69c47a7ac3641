"""A board that asks on the real control network, as the agent does."""

import asyncio
import random
from collections.abc import Sequence

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.net.multicast import Address, ControlSocket
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Announcement, GroupQuery, Offer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming
from boardwright.trust.witness import Witness
from tests.integration.server.processes import ServerCluster


def board(chassis: int, slot: int, *groups: str) -> Board:
    return Board(f"c{chassis}s{slot}", Location(str(chassis), str(slot)), "lc", groups or ("platform",))


def ask(
    cluster: ServerCluster,
    asker: Board,
    known: Sequence[str],
    *,
    want: bytes | None = None,
    unicast: tuple[Address, ...] = (),
) -> dict[str, Offer]:
    """The offers by server id, after all `known` servers answered or five seconds."""
    return asyncio.run(_ask(cluster, asker, frozenset(known), want, unicast))


async def _ask(
    cluster: ServerCluster, asker: Board, known: frozenset[str], want: bytes | None, unicast: tuple[Address, ...]
) -> dict[str, Offer]:
    loop = asyncio.get_running_loop()
    requester = Requester(
        cluster="test",
        board=asker,
        queries=tuple(GroupQuery(group, want=want) for group in asker.groups),
        generation=0,
        known_servers=known,
        timing=RequestTiming(window=5.0, give_up=5.0),
        rng=random.Random(),
        now=loop.time(),
    )

    witness = Witness(cluster.identities.authority, 0.0)

    def on_datagram(data: bytes, sender: Address) -> None:
        received = decode(data, "test")
        if isinstance(received, Received):
            offer = witness.hear(received, sender[0], loop.time(), requester.nonces)
            if isinstance(offer, Offer):
                requester.hear(offer, loop.time())

    network = await ControlSocket.open(
        interfaces=(cluster.board_address(asker.location),),
        multicast=None if unicast else ("239.255.66.87", cluster.port),
        on_datagram=on_datagram,
        unicast=unicast,
    )
    try:
        while not requester.decided(loop.time()):
            for datagram in requester.datagrams(loop.time()):
                network.send_group(datagram)
            await asyncio.sleep(0.01)
        return {offer.server: offer for offer in requester.offers}
    finally:
        network.close()


async def announcements(cluster: ServerCluster, count: int, heard: list[Announcement], ready: asyncio.Event) -> None:
    """Collect `count` announcements into `heard`; sets `ready` when it listens."""
    enough = asyncio.Event()

    witness = Witness(cluster.identities.authority, 0.0)

    def on_datagram(data: bytes, sender: Address) -> None:
        received = decode(data, "test")
        message = witness.hear(received, sender[0], 0.0) if isinstance(received, Received) else None
        if isinstance(message, Announcement):
            heard.append(message)
            if len(heard) >= count:
                enough.set()

    network = await ControlSocket.open(
        interfaces=(cluster.board_address(Location("9", "9")),),
        multicast=("239.255.66.87", cluster.port),
        on_datagram=on_datagram,
        listen_multicast=True,
    )
    try:
        ready.set()
        await asyncio.wait_for(enough.wait(), 20)
    finally:
        network.close()
