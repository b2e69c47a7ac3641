"""Copying versions from the other servers, so that every control board serves them all (M6).

Rules:

* What the catalog names and the store lacks is copied: what the plan needs first, then the newest.
* The others are asked by the protocol's own request and the nearest that has the version is taken; the bytes come by
  the same code that boards use, so an interrupted copy goes on where it stopped, from any server.
* Only one server of a chassis brings a version over the inter-chassis link, the others copy from it (``Carriers``).
* A version counts as held only when its manifest and all its blobs are in the store. After a start that is looked
  up (names and sizes), not believed.
* Whoever cannot be copied now is tried again with back-off; nobody is told `preparing` meanwhile. A server that is
  still copying itself is asked again soon.
* What was damaged on this disk is copied like what is missing, less its sound pieces (see ``damage``).
* What does not fit (see ``room``) is not copied; for a version that the plan needs, this server lets go of older ones
  that it does not need, as long as the active says that it holds them.
* One version at a time: two would only share the line, and the first would be there later.
"""

import threading
import time
from collections.abc import Callable, Iterable

import msgspec

from boardwright import log
from boardwright.errors import BoardwrightError, FailedError, MalformedError
from boardwright.model.software import Manifest
from boardwright.protocol.carrier import Carriers, Copy, Found, Wait
from boardwright.protocol.choose import Choice
from boardwright.protocol.messages import Holding
from boardwright.server.collector import Collector
from boardwright.server.damage import Damage
from boardwright.server.holdings import Holdings, stored_manifest
from boardwright.server.manifest_copy import copy_manifest
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.rollouts import ordered
from boardwright.server.room import Room
from boardwright.state.records import CatalogRecord
from boardwright.transfer.fetch import FetchLimits, FetchResult, Unobserved, fetch
from boardwright.transfer.http_source import HttpSource, Lines
from boardwright.transfer.sources import SourceList
from boardwright.transfer.space import NoSpaceError
from boardwright.transfer.store import BlobStore

FIRST_BACKOFF = 0.5  # seconds
LONGEST_BACKOFF = 30.0  # a server that comes back is asked within this
KEPT_ROLLOUTS = 2  # versions of a group by its last rollouts: what runs and what it would go back to
LOOK_EVERY = 5.0  # seconds between looks, beside being woken and what is due earlier
TOLD_EVERY = 0.25  # seconds between words of how far a copy is; waiting servers ask twice a second
# From the own chassis: servers answer within milliseconds, and who fails all along is left for the other chassis.
NEAR = FetchLimits(give_up=4.0, give_up_busy=60.0)
FAR = FetchLimits()
_log = log.get("server.replicator")

Ask = Callable[[CatalogRecord], Found]


class Copying(msgspec.Struct, frozen=True):
    """`ask` blocks until it is known who has a version; `active` answers the active's id, if it is another server."""

    ask: Ask
    room: Room
    collector: Collector
    active: Callable[[], str | None]
    lines: Lines


class Replicator:
    """`server` is this server's id."""

    def __init__(
        self, server: str, mirror: Mirror, holdings: Holdings, store: BlobStore, damage: Damage, copying: Copying
    ) -> None:
        self._mirror = mirror
        self._holdings = holdings
        self._store = store
        self._damage = damage
        self._ask = copying.ask
        self._room = copying.room
        self._collector = copying.collector
        self._active = copying.active
        self._lines = copying.lines
        self._carriers = Carriers(server)
        self._wake = threading.Event()
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._waits_for: dict[str, str] = {}
        self._looked_at: set[str] = set()

    def wake(self) -> None:
        """Look for work now; from any thread."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Copy until `stop`; call ``wake`` after setting it."""
        self.look_up()
        while not stop.is_set():
            record = self._next()
            if record is None:
                self._wake.wait(self._pause())
                self._wake.clear()
            else:
                self._copy(record, stop)

    def look_up(self) -> None:
        """Mark what the store holds already."""
        self._holdings.know(self._mirror.state.catalog.values())
        self._damage.recall()
        self._look_at(self._holdings.incomplete())

    def _look_at(self, records: Iterable[CatalogRecord]) -> None:
        """Mark what of it is here, once: a catalog that comes late names what the store has already."""
        self._looked_at.intersection_update(record.manifest for record in self._holdings.records())
        for record in records:
            if record.manifest in self._looked_at:
                continue
            self._looked_at.add(record.manifest)
            try:
                self._holds(record)
            except OSError as error:  # the disk fails: this version is tried as one that is to be copied
                _log.error("version not looked up", manifest=record.manifest, error=str(error))

    def _next(self) -> CatalogRecord | None:
        self._holdings.know(self._mirror.state.catalog.values())
        self._look_at(self._holdings.incomplete())
        state = self._mirror.state
        planned = state.planned_manifests()
        for manifest in self._collector.let_go & planned:
            self._collector.recall(manifest)
        incomplete = [
            record
            for record in by_need(self._holdings.incomplete(), state)
            if record.manifest not in self._collector.let_go
        ]
        self._room.forget_all_but(self._collector.let_go.union(record.manifest for record in incomplete))
        known = {record.manifest for record in incomplete}
        for gone in self._due.keys() - known:
            del self._due[gone]
            self._failures.pop(gone, None)
            self._waits_for.pop(gone, None)
        self._carriers.forget_all_but({bytes.fromhex(manifest) for manifest in known})
        now = time.monotonic()
        return next((record for record in incomplete if self._due.get(record.manifest, 0.0) <= now), None)

    def _pause(self) -> float:
        """Seconds until something is due."""
        return max(0.0, min((due - time.monotonic() for due in self._due.values()), default=LOOK_EVERY))

    def _copy(self, record: CatalogRecord, stop: threading.Event) -> None:
        name = f"{record.group} {record.version}"
        try:
            if self._holds(record):
                return
            found = self._ask(record)
            if not found.choice.ranking:
                self._later(record, found.choice)
                return
            turn = self._carriers.turn(bytes.fromhex(record.manifest), found, time.monotonic())
            if isinstance(turn, Wait):
                self._wait(record, turn)
                return
            fetched = self._fetch(record, turn, stop)
            if self._holds(record, fetched.bytes):
                reason = found.choice.reason
                _log.info("version copied", version=name, near=turn.near, reason=reason, seconds=fetched.seconds)
            else:
                self._holdings.mark(record.manifest, Holding.PREPARING)
        except NoSpaceError as error:
            _log.warning("no room for a version", version=name, error=str(error))
            self._room.not_copied(record, error)
            self._back_off(record)
        except (BoardwrightError, OSError) as error:
            _log.warning("version not copied", version=name, error=str(error))
            self._back_off(record)

    def _fetch(self, record: CatalogRecord, turn: Copy, stop: threading.Event) -> FetchResult:
        """Bring the manifest and what it names; what all sources failed at is remembered of them."""
        progress = _Progress(self._holdings, record.manifest)
        sources = SourceList(HttpSource(one.source.id, one.blobs, self._lines) for one in turn.sources)
        try:
            manifest = self._bring_manifest(record, sources)
            self._make_room(record, manifest)
            missing, limits = self._store.missing(manifest), NEAR if turn.near else FAR
            return fetch(missing, sources, self._store, limits=limits, observer=progress, stop=stop)
        except NoSpaceError:
            raise
        except BoardwrightError:
            self._carriers.failed(bytes.fromhex(record.manifest), turn.sources, time.monotonic())
            raise
        finally:
            sources.close()

    def _holds(self, record: CatalogRecord, sources: Iterable[str] = ()) -> bool:
        """Whether all of the version is here now; its last bytes came from `sources`."""
        try:
            manifest = stored_manifest(self._store, record.manifest)
        except MalformedError:
            self._damage.take_out(record.manifest, "is a broken manifest")
            return False
        if manifest is None:
            return False
        sizes = {blob: self._store.size(blob.sha256) for blob in manifest.blobs}
        for blob, size in sizes.items():
            if size is not None and size != blob.size:
                self._damage.take_out(blob.sha256, f"has {size} bytes instead of {blob.size}")
        if any(size != blob.size for blob, size in sizes.items()):
            return False
        self._holdings.mark(record.manifest, Holding.ALL)
        self._damage.whole(record, sources)
        self._room.copied(record)
        return True

    def _make_room(self, record: CatalogRecord, manifest: Manifest) -> None:
        """Raise QuotaError unless what is missing fits into the quota, if need be after letting other versions go."""
        name, count = f"{record.group} {record.version}", self._store.lacking(manifest.blobs)
        lacking = self._room.lacking_for_copy(count)
        state, active = self._mirror.state, self._active()
        if lacking and active is not None and record.manifest in state.planned_manifests():
            for other in not_needed(self._holdings.complete(), state):
                if any(candidate.source.id == active for candidate in self._ask(other).choice.ranking):
                    self._holdings.mark(other.manifest, Holding.NONE)
                    self._collector.release(other.manifest)
                    self._room.not_copied(other, self._room.quota_error(f"{other.group} {other.version}", other.size))
                    _log.warning("let go for want of room", version=f"{other.group} {other.version}", planned=name)
                    lacking = self._room.lacking_for_copy(count)
                if not lacking:
                    break
        if lacking:
            raise self._room.quota_error(name, count)

    def _bring_manifest(self, record: CatalogRecord, sources: SourceList) -> Manifest:
        if not self._store.has(record.manifest):
            copy_manifest(record.manifest, sources, self._store)
        manifest = stored_manifest(self._store, record.manifest)
        if manifest is None:
            raise FailedError(f"the manifest {record.manifest} of {record.group} {record.version} is not in the store")
        return manifest

    def _later(self, record: CatalogRecord, choice: Choice) -> None:
        """Nobody has it: soon again if somebody is preparing it, else with back-off."""
        self._damage.nobody_has(record)
        if any(line.holding == Holding.PREPARING.name.lower() for line in choice.heard):
            self._due[record.manifest] = time.monotonic() + FIRST_BACKOFF
        else:
            self._back_off(record)

    def _wait(self, record: CatalogRecord, turn: Wait) -> None:
        if self._waits_for.get(record.manifest) != turn.reason:
            _log.info("version waits", version=f"{record.group} {record.version}", reason=turn.reason)
            self._waits_for[record.manifest] = turn.reason
        self._due[record.manifest] = time.monotonic() + FIRST_BACKOFF

    def _back_off(self, record: CatalogRecord) -> None:
        failures = self._failures.get(record.manifest, 0)
        self._failures[record.manifest] = failures + 1
        self._due[record.manifest] = time.monotonic() + min(FIRST_BACKOFF * 2.0 ** min(failures, 16), LONGEST_BACKOFF)
        self._holdings.mark(record.manifest, Holding.NONE)


class _Progress(Unobserved):
    """Says how far the copy of one version is."""

    def __init__(self, holdings: Holdings, manifest: str) -> None:
        self._holdings = holdings
        self._manifest = manifest
        self._lock = threading.Lock()
        self._copied = 0
        self._told = time.monotonic()
        holdings.copying(manifest, 0)

    def on_bytes(self, source_id: str, count: int) -> None:
        with self._lock:
            self._copied += count
            now = time.monotonic()
            if now - self._told < TOLD_EVERY:
                return
            self._told = now
            self._holdings.copying(self._manifest, self._copied)


def not_needed(records: list[CatalogRecord], state: MirrorState) -> list[CatalogRecord]:
    """Versions that neither the plan nor the last two rollouts of their group name, the oldest first."""
    planned = state.planned_manifests()
    kept: dict[str, list[str]] = {}
    for rollout in reversed(ordered(state.rollouts.values())):
        versions = kept.setdefault(rollout.group, [])
        if rollout.version not in versions and len(versions) < KEPT_ROLLOUTS:
            versions.append(rollout.version)
    free = [
        record
        for record in records
        if record.manifest not in planned and record.version not in kept.get(record.group, ())
    ]
    return sorted(free, key=lambda record: (record.published, record.manifest))


def by_need(records: list[CatalogRecord], state: MirrorState) -> list[CatalogRecord]:
    """What boards wait for first, then the newest."""
    planned = state.planned_manifests()
    return sorted(records, key=lambda record: (record.manifest not in planned, -record.published, record.manifest))
