"""The control network's sockets: UDP multicast on one interface or many, and a list of unicast addresses.

Rules:

* An **own** socket per interface, bound to that interface's address: everything is sent from there, so that answers
  find the way back, and unicast arrives there. An agent takes any port; a server takes a known one (`bind`).
* A **group** socket, if wanted, bound to the group's address and port, hears what is multicast on the interfaces
  given and on no other. Many programs of one host share it; the own port of a server is not shared.
* What is sent to the group goes out once per interface and once to every unicast address.
* UDP may lose: a datagram that the kernel does not take now is dropped and counted, never waited for. Nothing that
  the network does raises; only opening does.
* Multicast stays on the link (TTL 1) and is looped back, because servers and agents share hosts.
"""

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Callable

import msgspec

from boardwright.errors import RefusedError, UsageError

Address = tuple[str, int]
OnDatagram = Callable[[bytes, Address], None]

RECEIVE_BUFFER = 8 * 1024 * 1024  # a storm of 1,000 requests; the kernel accounts about 2.3 KiB for each
DATAGRAMS_PER_WAKEUP = 64  # then timers and other sockets get their turn
LARGEST_DATAGRAM = 2048  # more than any of ours, so that oversized ones are recognised as such
# Linux's numbers for what Python's socket module does not name.
SIOCGIFADDR = 0x8915
SO_RCVBUFFORCE = 33
IP_MULTICAST_ALL = 49
SO_MEMINFO, MEMINFO_WORDS = 55, 9  # the last word is SK_MEMINFO_DROPS (linux/sock_diag.h)


class Traffic(msgspec.Struct):
    """Datagrams of one ControlSocket since it was opened."""

    sent: int = 0
    received: int = 0
    unsent: int = 0


class ControlSocket:
    """A place on the control network, in the running asyncio loop."""

    def __init__(self, own: list[socket.socket], group: socket.socket | None, multicast: Address | None) -> None:
        self._own = own
        self._group = group
        self._multicast = multicast
        self._unicast: tuple[Address, ...] = ()
        self._routes: dict[str, socket.socket] = {}
        self._loop = asyncio.get_running_loop()
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
    ) -> "ControlSocket":
        """Open on `interfaces` (names or addresses); `on_datagram` gets bytes and the sender's address.

        `bind`: the own sockets' port, and an address that is added to those of the interfaces. Raises UsageError
        for an interface that has no address, RefusedError if a port is taken.
        """
        addresses = list(dict.fromkeys(interface_address(interface) for interface in interfaces))
        if bind is not None and bind[0] not in addresses:
            addresses = [bind[0], *_elsewhere(bind[0], interfaces, addresses)]
        port = 0 if bind is None else bind[1]
        with contextlib.ExitStack() as undo:
            own = []
            for address in addresses:
                own.append(_own_socket((address, port)))
                undo.callback(own[-1].close)
            group = None
            if multicast is not None and listen_multicast:
                group = _group_socket(multicast, addresses)
                undo.callback(group.close)
            undo.pop_all()
        control = cls(own, group, multicast)
        control._unicast = unicast
        for sock in control._sockets():
            control._loop.add_reader(sock, control._drain, sock, on_datagram)
        return control

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where unicast reaches this place, one per interface."""
        return tuple((str(host), int(port)) for host, port in (sock.getsockname() for sock in self._own))

    def send_group(self, data: bytes) -> None:
        """Send to the multicast group on every interface and to every unicast address."""
        if self._multicast is not None:
            for sock in self._own:
                self._send(sock, data, self._multicast)
        for address in self._unicast:
            self.send_to(data, address)

    def send_to(self, data: bytes, address: Address) -> None:
        """Send to one address, from the own address that routes there."""
        self._send(self._route(address), data, address)

    def address_towards(self, address: Address) -> str:
        """The own address from which that one is reached."""
        return str(self._route(address).getsockname()[0])

    def overflowed(self) -> int:
        """Datagrams that the kernel dropped since the sockets were opened, because nobody took them in time."""
        return sum(_overflowed(sock) for sock in self._sockets() if sock.fileno() >= 0)

    def close(self) -> None:
        """Stop hearing and close; a second call does nothing."""
        for sock in self._sockets():
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock)
                sock.close()

    def _sockets(self) -> list[socket.socket]:
        return [*self._own, *([self._group] if self._group is not None else [])]

    def _send(self, sock: socket.socket, data: bytes, address: Address) -> None:
        try:
            sock.sendto(data, address)
        except OSError:
            # Buffer full, interface down, no route, closed: as good as lost on the way, and repeated like it.
            self.traffic.unsent += 1
        else:
            self.traffic.sent += 1

    def _route(self, address: Address) -> socket.socket:
        if len(self._own) == 1:
            return self._own[0]
        known = self._routes.get(address[0])
        if known is None:
            if len(self._routes) >= 4096:  # senders are strangers: forget and learn again instead of growing
                self._routes.clear()
            source = _source_towards(address)
            known = next((sock for sock in self._own if sock.getsockname()[0] == source), self._own[0])
            self._routes[address[0]] = known
        return known

    def _drain(self, sock: socket.socket, on_datagram: OnDatagram) -> None:
        for _ in range(DATAGRAMS_PER_WAKEUP):
            if sock.fileno() < 0:  # closed by the receiver of the last datagram
                return
            try:
                data, sender = sock.recvfrom(LARGEST_DATAGRAM)
            except OSError:  # nothing more, or an error that an earlier datagram left behind
                return
            self.traffic.received += 1
            on_datagram(data, (str(sender[0]), int(sender[1])))


def interface_address(name_or_address: str) -> str:
    """The IPv4 address of an interface; an address is returned as it is. Raises UsageError."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv4Address(name_or_address))
    name = name_or_address.encode()
    if not 0 < len(name) < 16:  # IFNAMSIZ with its closing zero
        raise UsageError(f"interface {name_or_address!r} is neither an IPv4 address nor a name of 1 to 15 bytes")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", name))
        except OSError as error:
            raise UsageError(
                f"interface {name_or_address!r} has no IPv4 address: {os.strerror(error.errno or 0)}",
                hint="name an interface that `ip -4 addr` lists, or write its address",
            ) from error
    return socket.inet_ntoa(answer[20:24])  # struct ifreq: 16 bytes name, then sockaddr_in with the address at 4


async def multicast_works(interface: str, group: Address, timeout: float) -> bool:  # noqa: ASYNC109 - it bounds waits
    """Whether a datagram sent to the group's address on `interface` comes back within `timeout` seconds.

    It uses a port of its own, so nobody else hears the probe.
    """
    token = b"boardwright probe " + os.urandom(8)
    heard = asyncio.Event()
    try:
        address = interface_address(interface)
        ear = _group_socket((group[0], 0), [address])
    except (OSError, UsageError, RefusedError):
        return False
    with ear:
        probe_group = (group[0], int(ear.getsockname()[1]))
        loop = asyncio.get_running_loop()

        def listen() -> None:
            with contextlib.suppress(OSError):
                if ear.recv(LARGEST_DATAGRAM) == token:
                    heard.set()

        loop.add_reader(ear, listen)
        try:
            with _own_socket((address, 0)) as mouth:
                # Three times within the time: one may be lost on the way.
                for _ in range(3):
                    with contextlib.suppress(OSError):
                        mouth.sendto(token, probe_group)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(heard.wait(), timeout / 3)
                        return True
            return False
        except RefusedError:
            return False
        finally:
            loop.remove_reader(ear)


def _elsewhere(bind: str, interfaces: tuple[str, ...], addresses: list[str]) -> list[str]:
    """Addresses of the interfaces but those of the interface that `bind` belongs to (one socket per interface)."""
    if ipaddress.IPv4Address(bind).is_loopback:
        return [address for address in addresses if not ipaddress.IPv4Address(address).is_loopback]
    if len(interfaces) == 1:
        return []
    return addresses


def _own_socket(address: Address) -> socket.socket:
    sock = _udp_socket()
    try:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address[0]))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _cannot_open("UDP address", address, error) from error
    return sock


def _group_socket(group: Address, addresses: list[str]) -> socket.socket:
    sock = _udp_socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Else Linux delivers what any program of the host joined on any interface.
        sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        sock.bind(group)
        for address in addresses:
            membership = socket.inet_aton(group[0]) + socket.inet_aton(address)
            try:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # another address of the same interface joined it already
                    raise
    except OSError as error:
        sock.close()
        raise _cannot_open("multicast group", group, error) from error
    return sock


def _udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:  # not privileged: as much as net.core.rmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return sock


def _overflowed(sock: socket.socket) -> int:
    memory = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_WORDS * 4)
    return int(struct.unpack_from("I", memory, (MEMINFO_WORDS - 1) * 4)[0]) if len(memory) >= MEMINFO_WORDS * 4 else 0


def _source_towards(address: Address) -> str:
    """The own address that the kernel would send from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _cannot_open(what: str, address: Address, error: OSError) -> RefusedError:
    return RefusedError(
        f"cannot open {what} {address[0]}:{address[1]}: {os.strerror(error.errno or 0)}",
        hint="does another server run on this address, and does the interface have it?",
    )
