"""Which role this server has, and who the active is, as the API and the loops see it."""

from boardwright.server.mirror import Mirror
from boardwright.state.active import ActiveRole
from boardwright.state.records import ServerRecord


class ServerStanding:
    """Reads the role and the local copy; never blocks."""

    def __init__(self, role: ActiveRole, mirror: Mirror) -> None:
        self._role = role
        self._mirror = mirror

    @property
    def is_active(self) -> bool:
        return self._role.held is not None

    @property
    def epoch(self) -> int:
        """The epoch of the newest lease known."""
        record = self._role.record
        return 0 if record is None else record.epoch

    @property
    def engine(self) -> str:
        """'' if changes are taken: the engine answered the last round, and its state is believed; else why not."""
        return self._role.trouble or self._mirror.doubt

    def holder(self) -> ServerRecord | None:
        """Who holds the lease by the newest record known, whether or not the engine answers now."""
        record = self._role.record
        return None if record is None else self._mirror.state.servers.get(record.holder)

    def active(self) -> ServerRecord | None:
        """The active, or None if there is none to send anybody to: the engine or the holder is silent."""
        return None if self._role.trouble or self._role.missed else self.holder()
