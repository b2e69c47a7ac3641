"""Readers of what boards and networks are made of: names, places, addresses, interfaces.

A reader takes the raw TOML value and raises UsageError about that value alone (see ``section.py``).
"""

import ipaddress
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from boardwright.config.section import text, texts
from boardwright.config.settings import Address
from boardwright.errors import MalformedError, UsageError, shown
from boardwright.model.software import MAX_NAME, check_name

MULTICAST: Address = ("239.255.66.87", 6687)
CONTROL_PORT = MULTICAST[1]  # of unicast requests, too
API_PORT = 6688
BLOB_PORT = 6689
RELAY_PORT = 6690
MAX_PLACE = 64  # characters of a chassis or slot id, see model/location.py
MAX_INTERFACES = 64
MAX_NAMES = 1000  # groups of a board; each costs an answer of every server


def name(field: str) -> Callable[[object], str]:
    """Reader of a name of a cluster, board, type or group: letters, digits and ``. _ + ~ -``."""

    def read(value: object) -> str:
        try:
            check_name(field, text(value))
        except MalformedError:
            raise UsageError(
                f"{shown(value)} is not a name of a {field}",
                hint=f"letters, digits and . _ + ~ -, beginning with a letter or digit, at most {MAX_NAME} characters",
            ) from None
        return str(value)

    return read


def names(field: str) -> Callable[[object], tuple[str, ...]]:
    """Reader of a list of different names."""
    one = name(field)

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise UsageError(f"{shown(value)} is not a list", hint='write ["a", "b"]')
        if len(value) > MAX_NAMES:
            raise UsageError(f"{len(value)} names are more than {MAX_NAMES}", hint="shorten the list")
        found = tuple(one(item) for item in value)
        if len(set(found)) != len(found):
            raise UsageError(f"{shown(value)} names something twice", hint="name each once")
        return found

    return read


def place(value: object) -> str:
    """Reader of a chassis or slot id; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_PLACE:
        value = str(value)
    value = text(value)
    if len(value) > MAX_PLACE or value != value.strip():
        raise UsageError(f"{shown(value)} is not a chassis or slot id", hint="1 to 64 printable characters")
    return value


def host(value: object) -> str:
    """Reader of an IPv4 or IPv6 address of a board, in its usual form (RFC 5952)."""
    value = text(value)
    hint = "write e.g. 10.0.1.1 or fd00::1"
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise UsageError(f"{shown(value)} is not an IP address", hint=hint) from None
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise UsageError(f"{shown(value)} is not an address of one board", hint=hint)
    if isinstance(address, ipaddress.IPv6Address) and (
        address.is_link_local or address.scope_id is not None or address.ipv4_mapped is not None
    ):
        raise UsageError(f"{shown(value)} does not mean the same on every board", hint="write e.g. fd00::1 or 10.0.1.1")
    return str(address)


def one_host(value: object) -> str:
    """Reader of an address that others can reach: neither 0.0.0.0 nor ::, which only listen."""
    address = host(value)
    if ipaddress.ip_address(address).is_unspecified:
        raise UsageError(f"{shown(value)} is not an address of one board", hint="write e.g. 10.0.1.1 or fd00::1")
    return address


def address(default_port: int | None = None) -> Callable[[object], Address]:
    """Reader of ``HOST:PORT`` and ``[IPV6]:PORT``; with `default_port` the port may be left out."""
    hint = "write HOST:PORT, e.g. 10.0.1.1:6688 or [fd00::1]:6688"

    def read(value: object) -> Address:
        written, port = _split(text(value))
        if port is None:
            if default_port is None:
                raise UsageError(f"{shown(value)} has no port", hint=hint)
            return host(written), default_port
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
            raise UsageError(f"{shown(value)} has no port from 0 to 65535", hint=hint)
        return host(written), int(port)

    return read


def addresses(value: object) -> tuple[Address, ...]:
    """Reader of a list of control addresses ``HOST[:PORT]``; the port is 6687 unless given."""
    one = address(CONTROL_PORT)
    found = tuple(one(item) for item in texts(value))
    for item in found:
        if item[1] == 0:
            raise UsageError(f"{shown(write_address(item))} has no port from 1 to 65535", hint="e.g. 10.0.1.1:6687")
        one_host(item[0])
    return found


def multicast(value: object) -> Address | None:
    """Reader of the multicast group ``GROUP[:PORT]``, IPv6 as ``[GROUP]:PORT``; ``"none"`` turns multicast off."""
    value = text(value)
    if value == "none":
        return None
    hint = 'write e.g. "239.255.66.87:6687", "[ff08::6687]:6687", or "none" for a network without multicast'
    written, port = _split(value)
    try:
        group = ipaddress.ip_address(written)
    except ValueError:
        group = ipaddress.ip_address("::")
    is_port = port is None or (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535)
    if not group.is_multicast or not is_port:
        raise UsageError(f"{shown(value)} is not a multicast group", hint=hint)
    if group.version == 6 and group.packed[1] & 0x0F in (1, 2):  # RFC 4291 section 2.7
        raise UsageError(f"{shown(value)} is a group of one interface or link only", hint=hint)
    return str(group), int(port or CONTROL_PORT)


def interfaces(value: object) -> tuple[str, ...]:
    """Reader of one or many interfaces, each a name or one of its addresses."""
    found = texts(value)
    if not 1 <= len(found) <= MAX_INTERFACES or len(set(found)) != len(found):
        raise UsageError(
            f"{shown(value)} is not a list of 1 to {MAX_INTERFACES} different interfaces",
            hint='write e.g. "eth1" or ["eth1", "eth2"]',
        )
    for interface in found:
        # IFNAMSIZ of linux/if.h; the kernel takes no slash, colon or blank in a name
        if not (_is_address(interface) or re.fullmatch(r"[^/:\s]{1,15}", interface)):
            raise UsageError(
                f"{shown(interface)} is neither an interface's name nor its address", hint='write e.g. "eth1"'
            )
    return found


def write_address(address: Address) -> str:
    """``HOST:PORT`` as the readers take it, an IPv6 host in brackets."""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _split(value: str) -> tuple[str, str | None]:
    """Host and port; the port is None if there is none. An IPv6 address with a port is in brackets."""
    if value.startswith("["):
        written, _, rest = value[1:].partition("]")
        if not rest:
            return written, None
        return written, rest[1:] if rest.startswith(":") else value  # what is no port is refused as one
    if value.count(":") > 1:
        return value, None
    written, colon, port = value.rpartition(":")
    return (written, port) if colon else (port, None)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def refuse_nested(where: str, folders: Mapping[str, Path]) -> None:
    """Raise UsageError if one of the folders (by their keys) is another one or lies in it: files would be mixed."""
    for (key, path), (other_key, other) in itertools.permutations(folders.items(), 2):
        if path.is_relative_to(other):
            how = "is the same as" if path == other else "lies in"
            raise UsageError(f"{where} {key}: '{path}' {how} {other_key}", hint=f"give {key} a folder of its own")
