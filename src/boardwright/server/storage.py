"""What this server has on its disk for boards, and what keeps it right and small enough: one assembly.

Rules:

* Everything here works on one store of blobs; what is damaged is known to all of it.
* Room is made in this order: what nobody names (``collector``), then what `retire` lets go of the catalog.
* The parts have loops of their own; none of them needs the engine.
"""

import threading
import time
from collections.abc import Callable

from boardwright.config import ServerSettings
from boardwright.protocol.messages import Holding
from boardwright.server.alarms import Alarms
from boardwright.server.collector import Collector
from boardwright.server.damage import Damage
from boardwright.server.disk_watch import DiskWatch
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.room import Room
from boardwright.server.scrubber import Checker, Scrubber
from boardwright.server.version_blobs import VersionBlobs
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore

Loop = tuple[str, Callable[[threading.Event], None]]


class Storage:
    """`wake` makes the replicator look for work; `retire(bytes)` answers what was let go, as far as this server may."""

    def __init__(
        self,
        settings: ServerSettings,
        mirror: Mirror,
        holdings: Holdings,
        alarms: Alarms,
        wake: Callable[[], None],
        retire: Callable[[int], tuple[str, ...]],
    ) -> None:
        self.blobs = BlobStore(settings.data_dir / "store")
        self.holdings = holdings
        self.pieces = PieceDigests(self.blobs)
        self.versions = VersionBlobs(self.blobs)
        self.damage = Damage(self.blobs, holdings, self.versions, alarms, wake)
        self.scrubber = Scrubber(self.blobs, self.damage, settings.scrub_period)
        self.checker = Checker(self.blobs, self.damage)
        self.collector = Collector(self.blobs, mirror, self.versions, self.damage, time.monotonic)
        self.room = Room(self.blobs, settings.store_quota, self.collector, alarms, retire)
        self._disk_watch = DiskWatch(self.blobs.space, alarms)
        self._scrubs = settings.scrub_period > 0

    def loops(self) -> list[Loop]:
        """Every loop with its name; each runs until the event, and ``wake`` after it was set ends the waiting."""
        scrubber: list[Loop] = [("scrubber", self.scrubber.run)] if self._scrubs else []
        return [
            ("collector", self.collector.run),
            ("disk", self._disk_watch.run),
            *scrubber,
            ("checker", self.checker.run),
        ]

    def wake(self) -> None:
        self.checker.wake()
        self.collector.wake()

    def published(self, record: CatalogRecord) -> None:
        """A version that is whole here, and that somebody has named now."""
        self.holdings.mark(record.manifest, Holding.ALL)
        self.damage.whole(record, ["a publish"])
        self.collector.settle([record.manifest, *(self.versions.of(record.manifest) or ())])
