"""The control network's sockets: UDP multicast on one interface or many, and a list of unicast addresses.

Rules:

* An **own** socket per interface, bound to that interface's address: everything is sent from there, so that answers
  find the way back, and unicast arrives there. An agent takes any port; a server takes a known one (`bind`).
* A **group** socket, if wanted, bound to the group's address and port, hears what is multicast on the interfaces
  given and on no other. Many programs of one host share it; the own port of a server is not shared. A flood of the
  one does not fill the buffer of the other.
* What is sent to the group goes out once per interface and once to every unicast address.
* Interfaces come and go: every `CHECK_EVERY` seconds it is looked which are there and with which address, and sockets
  and memberships follow. At the start at least one must be there; after that even none may be.
* UDP may lose: a datagram that the kernel does not take now is dropped and counted, never waited for. Nothing that
  the network does raises; only opening does.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

import msgspec

from boardwright.errors import BoardwrightError, RefusedError, UsageError
from boardwright.net.interfaces import Place, family_of, missing, present, resolve
from boardwright.net.udp import (
    Address,
    from_sockaddr,
    group_socket,
    join,
    leave,
    overflowed,
    own_socket,
    sockaddr,
    source_towards,
)

__all__ = ["Address", "ControlSocket", "OnDatagram", "multicast_works"]

OnDatagram = Callable[[bytes, Address], None]
Say = Callable[[str], None]

CHECK_EVERY = 2.0  # seconds between looks at the interfaces; one costs some 50 us
DATAGRAMS_PER_WAKEUP = 64  # then timers and other sockets get their turn
LARGEST_DATAGRAM = 2048  # more than any of ours, so that oversized ones are recognised as such
MAX_ROUTES = 4096  # senders are strangers: forget and learn again instead of growing


class Traffic(msgspec.Struct):
    """Datagrams of one ControlSocket since it was opened."""

    sent: int = 0
    received: int = 0
    unsent: int = 0


class Ways(msgspec.Struct, frozen=True):
    """What a ControlSocket was told: interfaces by name or address, the group, and the port and address of its own."""

    interfaces: tuple[str, ...]
    multicast: Address | None
    unicast: tuple[Address, ...]
    listen_multicast: bool
    bind: Address | None

    def families(self) -> list[socket.AddressFamily]:
        """Of everything that is to be reached."""
        ends = [*([self.multicast] if self.multicast else []), *self.unicast, *([self.bind] if self.bind else [])]
        hosts = [host for host, _ in ends] or ["::" if ":" in self.interfaces[0] else "0.0.0.0"]
        return sorted({family_of(host) for host in hosts})

    def places(self, there: tuple[Place, ...]) -> list[Place]:
        """Where own sockets belong, with the interfaces that are there now."""
        found = [resolve(one, family, there) for family in self.families() for one in self.interfaces]
        places = list(dict.fromkeys(place for place in found if place is not None))
        if self.bind is None:
            return places
        family = family_of(self.bind[0])
        fixed = resolve(self.bind[0], family, there) or Place("", 0, self.bind[0])
        # One socket per interface: the fixed address stands for the interface that has it.
        others = [
            place
            for place in places
            if place.family != family or (len(self.interfaces) > 1 and place.index != fixed.index)
        ]
        return [fixed, *others]

    def absent(self, there: tuple[Place, ...]) -> list[UsageError]:
        """What is wrong with each interface that is not there now; empty if all are, for at least one family."""
        families = self.families()
        return [
            missing(one, families[0])
            for one in self.interfaces
            if all(resolve(one, family, there) is None for family in families)
        ]


class ControlSocket:
    """A place on the control network, in the running asyncio loop."""

    def __init__(self, ways: Ways, on_datagram: OnDatagram, say: Say) -> None:
        self._ways = ways
        self._say = say
        self._on_datagram = on_datagram
        self._own: dict[Place, socket.socket] = {}
        self._joined: dict[int, Place] = {}
        self._group: socket.socket | None = None
        self._routes: dict[str, socket.socket | None] = {}
        self._troubles: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._next_check: asyncio.TimerHandle | None = None
        self._lost = 0  # overflows of sockets that are closed
        self.traffic = Traffic()

    @classmethod
    async def open(
        cls,
        *,
        interfaces: tuple[str, ...],
        multicast: Address | None,
        on_datagram: OnDatagram,
        unicast: tuple[Address, ...] = (),
        listen_multicast: bool = False,
        bind: Address | None = None,
        say: Say = lambda sentence: None,
    ) -> "ControlSocket":
        """Open on `interfaces` (names or addresses); `on_datagram` gets bytes and the sender's address.

        `bind`: the own sockets' port, and an address that is added to those of the interfaces. `say` gets a
        sentence when interfaces come or go. Raises UsageError if no interface has an address, RefusedError if a port
        is taken.
        """
        control = cls(Ways(interfaces, multicast, unicast, listen_multicast, bind), on_datagram, say)
        try:
            control._begin()
        except BaseException:
            control.close()
            raise
        return control

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where unicast reaches this place, one per interface."""
        return tuple(from_sockaddr(sock.getsockname()) for sock in self._own.values())

    def send_group(self, data: bytes) -> None:
        """Send to the multicast group on every interface and to every unicast address."""
        group = self._ways.multicast
        if group is not None:
            for place, sock in self._own.items():
                if place.family == family_of(group[0]):
                    self._send(sock, data, group)
        for address in self._ways.unicast:
            self.send_to(data, address)

    def send_to(self, data: bytes, address: Address) -> None:
        """Send to one address, from the own address that routes there."""
        self._send(self._route(address), data, address)

    def address_towards(self, address: Address) -> str:
        """The own address from which that one is reached; empty if there is none."""
        sock = self._route(address)
        return "" if sock is None else from_sockaddr(sock.getsockname())[0]

    def overflowed(self) -> int:
        """Datagrams that the kernel dropped since this was opened, because nobody took them in time."""
        return self._lost + sum(overflowed(sock) for sock in self._sockets() if sock.fileno() >= 0)

    def close(self) -> None:
        """Stop hearing and close; a second call does nothing."""
        if self._next_check is not None:
            self._next_check.cancel()
        for sock in self._sockets():
            self._shut(sock)

    # --- interfaces that come and go ---

    def _begin(self) -> None:
        ways, there = self._ways, present()
        absent = ways.absent(there)
        if len(absent) == len(ways.interfaces):
            raise absent[0]
        for error in absent:
            self._say(f"an interface is waited for: {error}")
        if ways.multicast is not None and ways.listen_multicast:
            self._group = group_socket(ways.multicast)
            self._loop.add_reader(self._group, self._drain, self._group)
        for place in ways.places(there):
            self._open(place)
        self._join()
        self._next_check = self._loop.call_later(CHECK_EVERY, self._check)

    def _check(self) -> None:
        self._next_check = self._loop.call_later(CHECK_EVERY, self._check)
        try:
            wanted = self._ways.places(present())
        except OSError as error:
            self._trouble(f"the interfaces cannot be listed: {error}")
            return
        # A fixed address that is away keeps its socket: it works again when the address is back.
        gone = [
            place
            for place in self._own
            if place not in wanted and not any(one.index == 0 and one.address == place.address for one in wanted)
        ]
        new = [place for place in wanted if place not in self._own and place.index]
        for place in gone:
            self._shut(self._own.pop(place))
        for place in new:
            try:
                self._open(place)
            except BoardwrightError as error:
                self._trouble(str(error))
        if gone or new:
            self._routes.clear()
            if new:
                self._troubles.clear()
            now = ", ".join(f"{place.name} {place.address}" for place in self._own)
            self._say(f"the interfaces changed, now {now or 'none'}")
        self._join()

    def _open(self, place: Place) -> None:
        sock = own_socket(place, 0 if self._ways.bind is None else self._ways.bind[1])
        self._own[place] = sock
        self._loop.add_reader(sock, self._drain, sock)

    def _join(self) -> None:
        """Be a member of the group on the interfaces of the own sockets, and on no other."""
        group = self._ways.multicast
        if self._group is None or group is None:
            return
        wanted = {place.index: place for place in self._own if place.family == family_of(group[0])}
        for index in self._joined.keys() - wanted.keys():
            leave(self._group, group, self._joined.pop(index))
        for index, place in wanted.items():
            if self._joined.get(index) != place:  # also if only its address changed: the kernel may have forgotten
                leave(self._group, group, self._joined.pop(index, place))
                try:
                    join(self._group, group, place)
                except OSError as error:
                    self._trouble(f"group {group[0]} cannot be joined on {place.name} {place.address}: {error}")
                else:
                    self._joined[index] = place

    def _trouble(self, sentence: str) -> None:
        if sentence not in self._troubles:
            self._troubles.add(sentence)
            self._say(f"{sentence}; trying again")

    def _shut(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            self._lost += overflowed(sock)
            self._loop.remove_reader(sock)
            sock.close()

    # --- datagrams ---

    def _sockets(self) -> list[socket.socket]:
        return [*self._own.values(), *([self._group] if self._group is not None else [])]

    def _send(self, sock: socket.socket | None, data: bytes, address: Address) -> None:
        try:
            if sock is None:
                raise OSError("no interface")
            sock.sendto(data, sockaddr(address))
        except OSError:
            # Buffer full, interface down, no route, closed: as good as lost on the way, and repeated like it.
            self.traffic.unsent += 1
        else:
            self.traffic.sent += 1

    def _route(self, address: Address) -> socket.socket | None:
        own = [sock for place, sock in self._own.items() if place.family == family_of(address[0])]
        if len(own) <= 1:
            return own[0] if own else None
        if address[0] not in self._routes:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            source = source_towards(address)
            known = [sock for sock in own if from_sockaddr(sock.getsockname())[0] == source]
            self._routes[address[0]] = (known or own)[0]
        return self._routes[address[0]]

    def _drain(self, sock: socket.socket) -> None:
        for _ in range(DATAGRAMS_PER_WAKEUP):
            if sock.fileno() < 0:  # closed by the receiver of the last datagram
                return
            try:
                data, sender = sock.recvfrom(LARGEST_DATAGRAM)
            except OSError:  # nothing more, or an error that an earlier datagram left behind
                return
            self.traffic.received += 1
            self._on_datagram(data, from_sockaddr(sender))


async def multicast_works(interface: str, group: Address, timeout: float) -> bool:  # noqa: ASYNC109 - it bounds waits
    """Whether a datagram sent to the group's address on `interface` comes back within `timeout` seconds.

    It uses a port of its own, so nobody else hears the probe.
    """
    token = b"boardwright probe " + os.urandom(8)
    heard = asyncio.Event()
    try:
        place = resolve(interface, family_of(group[0]), present())
        if place is None:
            return False
        ear = group_socket((group[0], 0))
    except (OSError, UsageError, RefusedError):
        return False
    with ear:
        loop = asyncio.get_running_loop()

        def listen() -> None:
            with contextlib.suppress(OSError):
                if ear.recv(LARGEST_DATAGRAM) == token:
                    heard.set()

        loop.add_reader(ear, listen)
        try:
            join(ear, group, place)
            with own_socket(place, 0) as mouth:
                # Three times within the time: one may be lost on the way.
                for _ in range(3):
                    with contextlib.suppress(OSError):
                        mouth.sendto(token, (group[0], int(ear.getsockname()[1])))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(heard.wait(), timeout / 3)
                        return True
            return False
        except (OSError, RefusedError):
            return False
        finally:
            loop.remove_reader(ear)
