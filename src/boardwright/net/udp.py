"""UDP sockets of the control network, IPv4 and IPv6 alike: opening, joining, and addresses in one form.

* An address is (host, port); a link-local IPv6 host carries its scope: ``fe80::1%3``.
* Multicast stays on the link (TTL 1) and is looped back, because servers and agents share hosts.
"""

import contextlib
import errno
import os
import socket
import struct

from boardwright.errors import RefusedError
from boardwright.net.interfaces import Place, family_of

Address = tuple[str, int]

RECEIVE_BUFFER = 8 * 1024 * 1024  # a storm of 1,000 requests; the kernel accounts about 2.3 KiB for each
# Linux's numbers for what Python's socket module does not name.
SO_RCVBUFFORCE = 33
SO_MEMINFO, MEMINFO_WORDS = 55, 9  # the last word is SK_MEMINFO_DROPS (linux/sock_diag.h)
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29


def own_socket(place: Place, port: int) -> socket.socket:
    """Bound to the place's address, sending multicast by its interface. Raises RefusedError."""
    sock = _udp_socket(place.family)
    try:
        if place.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
        else:
            request = bytes(4) + socket.inet_aton(place.address) + struct.pack("i", place.index)  # struct ip_mreqn
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.bind(sockaddr((place.address, port)))
    except OSError as error:
        sock.close()
        raise _cannot_open("UDP address", (place.address, port), error) from error
    return sock


def group_socket(group: Address) -> socket.socket:
    """Bound to the group's address and port, shared by many programs; ``join`` says on which interfaces it hears."""
    sock = _udp_socket(family_of(group[0]))
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Else Linux delivers what any program of the host joined on any interface.
        if sock.family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # since Linux 4.20
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        sock.bind(group)
    except OSError as error:
        sock.close()
        raise _cannot_open("multicast group", group, error) from error
    return sock


def join(sock: socket.socket, group: Address, place: Place) -> None:
    """Hear the group on the place's interface; joining twice is joining once. Raises OSError."""
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, _membership(group, place))
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _membership(group, place))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:  # another address of the same interface joined it already
            raise


def leave(sock: socket.socket, group: Address, place: Place) -> None:
    """Hear the group there no more; an interface that is gone is no error."""
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _membership(group, place))
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, _membership(group, place))


def overflowed(sock: socket.socket) -> int:
    """Datagrams that the kernel dropped since the socket was opened, because nobody took them in time."""
    memory = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_WORDS * 4)
    return int(struct.unpack_from("I", memory, (MEMINFO_WORDS - 1) * 4)[0]) if len(memory) >= MEMINFO_WORDS * 4 else 0


def source_towards(address: Address) -> str:
    """The own address that the kernel would send from; nothing is sent. Empty if there is no way."""
    with socket.socket(family_of(address[0]), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(sockaddr(address))
        except OSError:
            return ""
        return from_sockaddr(probe.getsockname())[0]


def sockaddr(address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
    """The address as the socket calls take it."""
    host, scoped, scope = address[0].partition("%")
    return (host, address[1], 0, int(scope)) if scoped and scope.isdigit() else address


def from_sockaddr(address: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """The address as the socket calls give it, in our form."""
    if len(address) == 4 and address[3]:
        return f"{address[0].partition('%')[0]}%{address[3]}", address[1]
    return address[0], address[1]


def written(address: Address) -> str:
    """``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _membership(group: Address, place: Place) -> bytes:
    if family_of(group[0]) == socket.AF_INET6:
        return socket.inet_pton(socket.AF_INET6, group[0]) + struct.pack("i", place.index)  # struct ipv6_mreq
    return socket.inet_aton(group[0]) + socket.inet_aton(place.address) + struct.pack("i", place.index)


def _udp_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:  # not privileged: as much as net.core.rmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return sock


def _cannot_open(what: str, address: Address, error: OSError) -> RefusedError:
    return RefusedError(
        f"cannot open {what} {written(address)}: {os.strerror(error.errno or 0)}",
        hint="does another server run on this address, and does the interface have it?",
    )
