"""Which interface has which addresses at this moment, from the kernel.

Rules:

* An interface is named by its name or by one of its addresses, which stands for the interface that has it.
* Of several addresses of one family the first counts, one that is good beyond the link before one that is not
  (``fe80::``, which is written with its scope: ``fe80::1%3``).
* An IPv6 address that the kernel still probes for duplicates (tentative) cannot be used yet and is not there yet.
* All of 127/8 is on the loopback interface, listed or not.
"""

import array
import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from pathlib import Path

import msgspec

from boardwright.errors import UsageError

MAX_ADDRESSES = 1024  # of IPv4 on one host; more are not looked at
# Linux's numbers for what Python does not name (linux/sockios.h, linux/if_addr.h).
SIOCGIFCONF = 0x8912
_IFREQ = 16 + (24 if struct.calcsize("P") == 8 else 16)  # name and the largest member of the union, struct ifmap
_UNUSABLE = 0x40 | 0x08  # tentative, or found to be a duplicate
_IF_INET6 = Path("/proc/net/if_inet6")


class Place(msgspec.Struct, frozen=True):
    """An address on an interface; `index` is 0 if the interface is not known."""

    name: str
    index: int
    address: str

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self.address)


def family_of(host: str) -> socket.AddressFamily:
    """IPv6 if it has a colon; hosts are numeric everywhere."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def present() -> tuple[Place, ...]:
    """Every usable address of this host, IPv4 first."""
    return (*_ipv4(), *_ipv6())


def resolve(interface: str, family: socket.AddressFamily, places: tuple[Place, ...]) -> Place | None:
    """Where `interface` (a name or an address) is on the network of `family`; None if it is not there now."""
    name = interface
    if _is_address(interface):
        for place in places:
            if place.address.partition("%")[0] == str(ipaddress.ip_address(interface)):
                if place.family == family:
                    return place
                name = place.name
                break
        else:
            if not ipaddress.ip_address(interface).is_loopback or family_of(interface) != family:
                return None
            return Place("lo", next((place.index for place in places if place.name == "lo"), 0), interface)
    found = [place for place in places if place.name == name and place.family == family]
    return min(found, key=lambda place: "%" in place.address, default=None)


def missing(interface: str, family: socket.AddressFamily) -> UsageError:
    """What to say of an interface that ``resolve`` does not find."""
    which = "IPv6" if family == socket.AF_INET6 else "IPv4"
    if _is_address(interface):
        return UsageError(
            f"no interface of this host has the address {interface}", hint="name one that `ip addr` lists"
        )
    if not 0 < len(interface.encode()) < 16:  # IFNAMSIZ with its closing zero
        return UsageError(f"interface {interface!r} is neither an address nor a name of 1 to 15 bytes")
    try:
        socket.if_nametoindex(interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        return UsageError(f"there is no interface {interface!r}", hint=f"this host has {names}")
    return UsageError(
        f"interface {interface!r} has no {which} address",
        hint=f"give it one, or name an interface that `ip -{which[-1]} addr` lists",
    )


def _ipv4() -> list[Place]:
    buffer = array.array("B", bytes(MAX_ADDRESSES * _IFREQ))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("iP", len(buffer), buffer.buffer_info()[0])  # struct ifconf
        (used,) = struct.unpack_from("i", fcntl.ioctl(probe.fileno(), SIOCGIFCONF, request))
    data = buffer.tobytes()[:used]
    places = []
    for start in range(0, len(data), _IFREQ):
        label = os.fsdecode(data[start : start + 16].partition(b"\0")[0])
        name = label.partition(":")[0]  # an alias, eth0:1, is an address of eth0
        with contextlib.suppress(OSError):  # it went away meanwhile
            places.append(Place(name, socket.if_nametoindex(name), socket.inet_ntoa(data[start + 20 : start + 24])))
    return places


def _ipv6() -> list[Place]:
    try:
        lines = _IF_INET6.read_text().splitlines()
    except OSError:  # this kernel has no IPv6
        return []
    places = []
    for line in lines:
        digits, index, _, _, flags, name = line.split()
        if int(flags, 16) & _UNUSABLE:
            continue
        address = ipaddress.IPv6Address(int(digits, 16))
        scope = f"%{int(index, 16)}" if address.is_link_local else ""
        places.append(Place(name, int(index, 16), f"{address}{scope}"))
    return places


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
