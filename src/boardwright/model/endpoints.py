"""Where an etcd cluster listens: ``etcd://HOST:PORT,HOST:PORT``, as configuration and engine read it alike.

Rules:

* A host is an IPv4 address, an IPv6 address in brackets, or a name (certificates may be for names). The port may be
  left out: etcd's clients use 2379.
* One to ``MAX_ENDPOINTS`` of them, each once. User, path and options have no place here.
"""

import ipaddress
import re

from boardwright.errors import UsageError, shown

Endpoint = tuple[str, int]

SCHEME = "etcd://"
CLIENT_PORT = 2379  # registered for etcd's clients
MAX_ENDPOINTS = 9  # etcd advises against more than seven voters
MAX_HOST = 253  # characters of a name (RFC 1035)

_HINT = 'write e.g. "etcd://10.0.1.1:2379,10.0.1.2:2379,10.0.2.1:2379"'
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def read_endpoints(engine: str) -> tuple[Endpoint, ...]:
    """The endpoints of an ``etcd://`` engine in their order; raises UsageError."""
    if not engine.startswith(SCHEME):
        raise UsageError(f"{shown(engine)} is not an engine of etcd's", hint=_HINT)
    words = engine.removeprefix(SCHEME).split(",")
    if len(words) > MAX_ENDPOINTS:
        raise UsageError(f"{len(words)} endpoints of etcd are more than {MAX_ENDPOINTS}", hint=_HINT)
    found = tuple(_endpoint(word, engine) for word in words)
    if len(set(found)) != len(found):
        raise UsageError(f"{shown(engine)} names an endpoint twice", hint=_HINT)
    return found


def write_endpoint(endpoint: Endpoint) -> str:
    """``HOST:PORT``, brackets around IPv6."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def write_engine(endpoints: tuple[Endpoint, ...]) -> str:
    """The URL that ``read_endpoints`` takes back."""
    return SCHEME + ",".join(map(write_endpoint, endpoints))


def _endpoint(word: str, engine: str) -> Endpoint:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", word)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
        good = _is_ipv6(host)
        host = str(ipaddress.IPv6Address(host)) if good else host
    else:
        host, colon, rest = word.partition(":")
        port = rest if colon else None
        good = len(host) <= MAX_HOST and _HOST.fullmatch(host) is not None
    number = CLIENT_PORT if port is None else int(port) if _PORT.fullmatch(port) else 0
    if not good or not 1 <= number <= 65535:
        raise UsageError(f"{shown(engine)} has no HOST:PORT in {shown(word)}", hint=_HINT)
    return host, number


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False
