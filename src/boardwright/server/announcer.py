"""Telling boards that there is a new plan or list of revoked keys, so that they ask at once (design section 3).

Every server announces when its own copy shows the new generation: boards hear it from whoever lives. Where there is
no multicast, the boards that asked this server are told one by one.
"""

import asyncio
import random
from collections import OrderedDict
from typing import Protocol

from boardwright.net.multicast import Address
from boardwright.protocol.codec import encode_announcement
from boardwright.protocol.messages import Announcement
from boardwright.protocol.sealing import Seal

SPREAD = 0.1  # seconds within which the servers of a cluster announce, so that they do not all send at one moment
MAX_ADDRESSES = 20_000  # as many boards as reports are kept of
BURST = 100  # datagrams between which the loop may do other work


class Network(Protocol):
    def send_group(self, data: bytes) -> None: ...

    def send_to(self, data: bytes, address: Address) -> None: ...


class Announcer:
    """Lives in one event loop; `multicast` says whether the group reaches the boards."""

    def __init__(self, cluster: str, seal: Seal, network: Network, *, multicast: bool) -> None:
        self._cluster = cluster
        self._seal = seal
        self._network = network
        self._multicast = multicast
        self._addresses: OrderedDict[str, Address] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def remember(self, board: str, address: Address) -> None:
        """Where a board asked from."""
        if not self._multicast:
            self._addresses[board] = address
            self._addresses.move_to_end(board)
            if len(self._addresses) > MAX_ADDRESSES:
                self._addresses.popitem(last=False)

    def announce(self, generation: int, revocations: int = 0) -> None:
        """Send it within `SPREAD` seconds."""
        task = asyncio.get_running_loop().create_task(self._send(generation, revocations))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _send(self, generation: int, revocations: int) -> None:
        await asyncio.sleep(random.random() * SPREAD)
        message = Announcement(self._cluster, generation=generation, revocations=revocations)
        data = encode_announcement(message, self._seal)
        self._network.send_group(data)
        for sent, address in enumerate(list(self._addresses.values())):
            if sent % BURST == BURST - 1:
                await asyncio.sleep(0.01)
            self._network.send_to(data, address)
