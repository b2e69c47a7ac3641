"""How others reach this server: its two HTTP ports, and its place on the control network."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Literal

from boardwright import log
from boardwright.config import Address, ServerSettings
from boardwright.net.interfaces import family_of, missing, present, resolve
from boardwright.net.multicast import ControlSocket
from boardwright.net.udp import written
from boardwright.server.reachable import WILDCARDS
from boardwright.transfer.listen import KeyFiles, Listener

DEFAULT_CONTROL_PORT = 6687  # where unicast requests arrive if there is no multicast group to take the port from
_log = log.get("server")


class Presence:
    """Lives in one event loop; `network` is there once it is joined."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._listeners: list[Listener] = []
        self.network: ControlSocket | None = None

    async def listen(self, app: object, address: Address, interface: Literal["rsgi", "asgi"]) -> str:
        """Listen and return the base URL that others reach; RefusedError if the port is taken."""
        cluster = self._settings.cluster
        keys = KeyFiles(cluster.certificate, cluster.key)
        listener = Listener(app, address, interface, self._settings.data_dir / "locks", keys)
        await listener.start()
        self._listeners.append(listener)
        host, port = listener.address
        return f"https://{written((self._own_host(host), port))}"

    async def join(self, hear: Callable[[bytes, Address, Callable[[bytes, Address], None]], None]) -> ControlSocket:
        """Begin to `hear` datagrams: data, sender, and what answers it. UsageError for an interface."""
        cluster = self._settings.cluster
        host = self._own_host(self._settings.listen[0])
        port = cluster.multicast[1] if cluster.multicast is not None else DEFAULT_CONTROL_PORT

        def on_datagram(data: bytes, sender: Address) -> None:
            if self.network is not None:
                hear(data, sender, self.network.send_to)

        self.network = await ControlSocket.open(
            interfaces=cluster.interfaces,
            multicast=cluster.multicast,
            on_datagram=on_datagram,
            unicast=tuple(address for address in self._settings.peers if address != (host, port)),
            listen_multicast=True,
            bind=(host, port),
            say=lambda sentence: _log.warning("control network", news=sentence),
        )
        return self.network

    def endings(self, seconds: float) -> list[Coroutine[object, object, None]]:
        """Stop listening, each port within so many seconds; datagrams are heard until ``leave``."""
        return [_within(seconds, listener.stop()) for listener in self._listeners]

    def leave(self) -> None:
        """The control network."""
        if self.network is not None:
            self.network.close()

    def _own_host(self, host: str) -> str:
        """The address to name for one that is listened on; of the first interface that has one, if it is every one."""
        if host not in WILDCARDS:
            return host
        interfaces, there = self._settings.cluster.interfaces, present()
        found = (resolve(one, family_of(host), there) for one in interfaces)
        place = next((place for place in found if place is not None), None)
        if place is None:
            raise missing(interfaces[0], family_of(host))
        return place.address


async def _within(seconds: float, ending: Coroutine[object, object, None]) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ending, seconds)
