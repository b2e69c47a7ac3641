"""How this server is, in one struct: for the list of servers and for the active."""

import msgspec

from boardwright.config import ServerSettings
from boardwright.model.api import ServerStatus, ServerWord
from boardwright.server.alarms import Alarms
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.standing import ServerStanding
from boardwright.transfer.serve import BlobService


class OwnStatus:
    """Call it for the status of this moment; `word` adds the alarms, for the active."""

    def __init__(
        self,
        settings: ServerSettings,
        mirror: Mirror,
        holdings: Holdings,
        standing: ServerStanding,
        blobs: BlobService,
        alarms: Alarms,
    ) -> None:
        self._settings = settings
        self._mirror = mirror
        self._holdings = holdings
        self._standing = standing
        self._blobs = blobs
        self.alarms = alarms

    def __call__(self) -> ServerStatus:
        held = self._holdings.complete()
        return ServerStatus(
            id=self._settings.id,
            chassis=self._settings.location.chassis,
            slot=self._settings.location.slot,
            role="active" if self._standing.is_active else "standby",
            health=self._health(),
            epoch=self._standing.epoch,
            generation=self._mirror.state.plan.generation,
            versions=tuple(sorted(f"{record.group} {record.version} {record.variant}" for record in held)),
            bytes_served=self._blobs.bytes_served,
        )

    def word(self) -> ServerWord:
        """What a standby tells the active."""
        return ServerWord(**msgspec.structs.asdict(self()), alarms=self.alarms.listing())

    def _health(self) -> str:
        if self._standing.engine:
            return f"serves, but takes no changes: {self._standing.engine}"
        planned = self._mirror.state.planned_manifests()
        if any(record.manifest in planned for record in self._holdings.incomplete()):
            return "preparing"
        return "healthy"
