"""Lines to the relays of neighbours: TLS 1.3, both ends show the certificate of a board of the same chassis.

Rules:

* The other end's certificate must be signed by the cluster's authority, be a board's or a server's (a control board's
  agent bears the server's), sit in the own chassis, and bear a key that is not revoked, also by the time of a later
  request on the same line.
* Who asks proves itself by its own certificate in the handshake. There are no sessions and no tokens.
* No clock is needed, as for lines to servers.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from urllib3.exceptions import LocationValueError

from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Identity, Role
from boardwright.trust.lines import Lines, nobody
from boardwright.trust.neighbour_door import chain_of, enroller_of


class NeighbourLines(Lines):
    """Lines of who bears `credentials`, which lie in the files `certificate` and `key`."""

    def __init__(
        self,
        credentials: Credentials,
        certificate: Path,
        key: Path,
        revoked: Callable[[], frozenset[str]] = nobody,
    ) -> None:
        super().__init__(credentials.authority, None, revoked)
        self._root = credentials.authority.certificate
        self._chassis = credentials.identity.location.chassis
        self._files = certificate, key
        self._loaded = False

    def line(self, url: str, seconds: float) -> Any:
        """As ``Lines``; the files are read when they are needed first, LocationValueError if they cannot be."""
        if not self._loaded:
            try:
                self._plain.load_cert_chain(*self._files)
            except OSError as error:
                raise LocationValueError(f"{self._files[0]} and its key cannot be read") from error
            self._loaded = True
        return super().line(url, seconds)

    def enroller(self, line: ssl.SSLSocket) -> bytes:
        """As ``Lines``: a board that joined shows its enroller's certificate, too."""
        return enroller_of(chain_of(line), self._root)

    def server(self, certificate: bytes, enroller: bytes = b"") -> Identity | None:
        """Who the neighbour is that showed `certificate` (DER); raises UntrustedError."""
        found = self._of_the_cluster(certificate, enroller)
        if found.role not in (Role.BOARD, Role.SERVER) or found.location.chassis != self._chassis:
            raise UntrustedError(f"{found.id} ({found.role.value}, chassis {found.location.chassis}) is no neighbour")
        return found
