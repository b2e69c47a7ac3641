"""Who belongs to the cluster and who does not any more, as one server goes by it.

Rules:

* Everything that asks whom to believe asks here: the lines to other servers, the sessions of callers, the offers and
  announcements that are heard. So a newer list of revoked keys holds for all of it at once, open connections included.
* A server whose own key is revoked ends by itself and does not start again: nobody takes its word, and as the active it
  would keep the others from taking changes.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from boardwright.errors import RefusedError
from boardwright.server.callers import Callers
from boardwright.server.revocations import Gossip
from boardwright.state.records import ServerRecord
from boardwright.transfer.durable import write_durably
from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import RevokedError
from boardwright.trust.lines import Lines, lines_of
from boardwright.trust.revoked import FILE, RevokedKeys
from boardwright.trust.witness import Witness


class Members:
    """`credentials` are the server's own; `servers` answers the registered ones by id."""

    def __init__(
        self, folder: Path, credentials: Credentials, servers: Callable[[], Mapping[str, ServerRecord]]
    ) -> None:
        """`folder` is where the list is kept. RefusedError if this server's own key is revoked."""
        self.credentials = credentials
        self.revoked = RevokedKeys(folder / FILE, credentials.authority, write_durably)
        self.check_own()
        self.lines = lines_of(credentials, self.revoked.keys)
        self.callers = Callers(credentials, self.revoked.keys)
        # The list is for anybody, so the asking server need not prove who it is.
        self.gossip = Gossip(
            credentials.identity.id, self.revoked, servers, Lines(credentials.authority, None, self.revoked.keys)
        )

    def witness(self) -> Witness:
        """Whom the control network is believed."""
        return Witness(self.credentials.authority, time.monotonic(), self.revoked.keys)

    def check_own(self) -> None:
        """Raise RefusedError if this server's own key is revoked."""
        try:
            self.credentials.identity.check_revoked(self.revoked.keys())
        except RevokedError as error:
            raise RefusedError(str(error), hint="to serve again, it has to get a new key and certificate") from error
