"""Who may come in where a board serves its neighbours: TLS 1.3, and each end shows a certificate of the cluster.

Rules:

* Who comes must show a certificate of the cluster's authority, be a board or a server (a control board's agent bears
  its server's certificate) of the same chassis, and bear a key that is not revoked, also by the time of a later
  request on the same line.
* Who was let in by an enroller brings that one's certificate along; what an enroller may not give, it has not given.
* No clock is needed, as for lines to servers. There are no sessions, no tickets and no names of hosts.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Identity, Role
from boardwright.trust.lines import NO_CHECK_TIME, nobody

NEIGHBOURS = (Role.BOARD, Role.SERVER)
_DER = 2  # _ssl.ENCODING_DER, which Python has no public name for


class NeighbourDoor:
    """The door of who bears `credentials`, which lie in the files `certificate` and `key`. Thread-safe."""

    def __init__(
        self,
        credentials: Credentials,
        certificate: Path,
        key: Path,
        revoked: Callable[[], frozenset[str]] = nobody,
    ) -> None:
        """Raises OSError or ssl.SSLError if the files cannot be read any more."""
        self._authority = credentials.authority
        self._chassis = credentials.identity.location.chassis
        self._revoked = revoked
        self._context = _context(credentials.authority, certificate, key)

    def greet(self, line: socket.socket, seconds: float) -> ssl.SSLSocket:
        """The line after the handshake, which takes `seconds` at most; raises OSError."""
        line.settimeout(seconds)
        return self._context.wrap_socket(line, server_side=True)

    def who(self, line: ssl.SSLSocket) -> Identity:
        """Who the neighbour at the other end is; raises UntrustedError."""
        chain = chain_of(line)
        enroller = enroller_of(chain, self._authority.certificate)
        found = self._authority.verify(chain[0], enroller, revoked=self._revoked()).identity
        if found.role not in NEIGHBOURS or found.location.chassis != self._chassis:
            raise UntrustedError(f"{found.id} ({found.role.value}, chassis {found.location.chassis}) is no neighbour")
        return found


def chain_of(line: ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates (DER) that the other end has shown, its own first; raises UntrustedError if there are none."""
    inner: Any = getattr(line, "_sslobj", None)  # the public way to the chain came with Python 3.13
    chain = [] if inner is None else inner.get_verified_chain() or []
    shown = tuple(one if isinstance(one, bytes) else bytes(one.public_bytes(_DER)) for one in chain)
    if not shown:
        raise UntrustedError("who is at the other end has shown no certificate")
    return shown


def enroller_of(chain: tuple[bytes, ...], root: bytes) -> bytes:
    """The certificate that vouches for the first of `chain`, if it is not that of the authority (`root`) itself."""
    return b"".join(one for one in chain[1:2] if one != root)


def _context(authority: Authority, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= NO_CHECK_TIME
    context.num_tickets = 0  # lines are kept, and a ticket would outlive a revocation
    context.load_verify_locations(cadata=authority.certificate)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context
