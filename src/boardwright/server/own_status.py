"""How this server is, in one struct: for the list of servers and for the active."""

from collections.abc import Callable

import msgspec

from boardwright.boot.release import version_of
from boardwright.config import ServerSettings
from boardwright.model.api import ServerStatus, ServerWord
from boardwright.server.alarms import Alarms
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.standing import ServerStanding
from boardwright.transfer.serve import BlobService

NAMED = 3  # versions that the health names


class OwnStatus:
    """Call it for the status of this moment; `word` adds the alarms, for the active.

    `short` answers the names of versions that are not here for want of room, `wall` seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - what there is to say, each part handed in
        self,
        settings: ServerSettings,
        mirror: Mirror,
        holdings: Holdings,
        standing: ServerStanding,
        blobs: BlobService,
        alarms: Alarms,
        short: Callable[[], tuple[str, ...]],
        wall: Callable[[], float],
        arbitration: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings = settings
        self.mirror = mirror
        self._holdings = holdings
        self.standing = standing
        self._blobs = blobs
        self.alarms = alarms
        self._short = short
        self._wall = wall
        self._arbitration = arbitration

    @property
    def running(self) -> str:
        """The release that runs, by its directory's name; '' for the installed program."""
        return self._settings.running

    def __call__(self) -> ServerStatus:
        held = self._holdings.complete()
        return ServerStatus(
            id=self._settings.id,
            chassis=self._settings.location.chassis,
            slot=self._settings.location.slot,
            role="active" if self.standing.is_active else "standby",
            health=self._health(),
            epoch=self.standing.epoch,
            generation=self.mirror.state.plan.generation,
            versions=tuple(sorted(f"{record.group} {record.version} {record.variant}" for record in held)),
            bytes_served=self._blobs.bytes_served,
            arbitration=self._arbitration(),
            release=version_of(self.running),
        )

    def word(self) -> ServerWord:
        """What a standby tells the active."""
        return ServerWord(**msgspec.structs.asdict(self()), alarms=self.alarms.listing(), clock=self._wall())

    def lacking(self) -> tuple[str, ...]:
        """Versions of the plan that are not wholly here, by name."""
        planned = self.mirror.state.planned_manifests()
        lacking = (record for record in self._holdings.incomplete() if record.manifest in planned)
        return tuple(sorted(f"{record.group} {record.version}" for record in lacking))

    def _health(self) -> str:
        if self.standing.engine:
            return f"serves, but takes no changes: {self.standing.engine}"
        short = self._short()
        if short:
            named = ", ".join(short[:NAMED]) + (" ..." if len(short) > NAMED else "")
            return f"no room for {named}"
        return "preparing" if self.lacking() else "healthy"
