"""How the other servers are: each posts a small status to the active twice a second.

A server that says nothing for ``SILENT_AFTER`` is "silent", whatever it said last; one that registered and never
spoke to this active is, too. The table holds registered servers only, so nobody can fill it.
"""

import threading
from collections.abc import Callable

import msgspec

from boardwright.model.api import ServerList, ServerStatus
from boardwright.server.mirror import Mirror
from boardwright.state.records import ServerRecord

SILENT_AFTER = 3.0  # seconds; six posts
SILENT = "silent"


class Peers:
    """Statuses by server id; `own` makes this server's, `clock` is monotonic seconds."""

    def __init__(self, mirror: Mirror, own: Callable[[], ServerStatus], clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._own = own
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, ServerStatus]] = {}

    def take(self, status: ServerStatus) -> None:
        if status.id in self._mirror.state.servers:
            with self._lock:
                self._heard[status.id] = (self._clock(), status)

    def listing(self) -> ServerList:
        """Every registered server, this one included, by id."""
        own = self._own()
        others = self._mirror.state.servers
        statuses = {record.id: self._status(record) for record in others.values()} | {own.id: own}
        return ServerList(tuple(statuses[server] for server in sorted(statuses)))

    def _status(self, record: ServerRecord) -> ServerStatus:
        with self._lock:
            heard, status = self._heard.get(record.id, (None, None))
        if status is None or heard is None:
            return ServerStatus(record.id, record.chassis, record.slot, "standby", SILENT, 0, 0, (), 0)
        if self._clock() - heard > SILENT_AFTER:
            return msgspec.structs.replace(status, health=SILENT, role="standby")
        return status
