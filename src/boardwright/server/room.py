"""Room in this server's store: what may come in, under the quota and onto the disk.

Rules:

* Asked before the first byte, with all that is coming; what is coming in counts until it is there.
* Under the quota's pressure first what nobody names goes, then the active retires versions that nobody needs; a
  standby, for a version that the plan needs, lets go of others that the active holds.
* What does not fit after that is refused with the figures, and people hear of it by an alarm until it fits.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from boardwright import log
from boardwright.errors import BoardwrightError
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.collector import Collector
from boardwright.state.records import CatalogRecord
from boardwright.transfer.space import NoSpaceError, amount
from boardwright.transfer.store import BlobStore

RECOUNT = 20.0  # seconds; in between only what came in is added, for counting a large store takes a while
NAMED = 5  # versions that a sentence names
STORE = "store"  # the subject of the quota's alarm
_log = log.get("server.room")


class QuotaError(NoSpaceError):
    """It does not fit into the store's quota."""


class Room:
    """`quota` in bytes, 0: none. `retire(bytes)` answers the names of what was retired, if this server may."""

    def __init__(
        self,
        store: BlobStore,
        quota: int,
        collector: Collector,
        alarms: Alarms,
        retire: Callable[[int], tuple[str, ...]],
    ) -> None:
        self._store = store
        self._quota = quota
        self._collector = collector
        self._alarms = alarms
        self._retire = retire
        self._lock = threading.Lock()
        self._coming = 0
        self._occupied = 0
        self._counted_at: float | None = None
        self._short: dict[str, tuple[str, AlarmKind]] = {}  # manifest's digest -> name of a version without room

    def for_publish(self, count: int) -> None:
        """Make room for `count` bytes; raises QuotaError or NoSpaceError, with what to do."""
        self._store.space.check(count, "the publish")
        with self._lock:
            self._make(count, "the publish")

    @contextlib.contextmanager
    def for_upload(self, sha256: str, count: int) -> Iterator[None]:
        """Room for one blob while it comes in; raises QuotaError or NoSpaceError."""
        what = f"blob {sha256[:12]}"
        self._store.space.check(count, what)
        with self._lock:
            self._make(count, what)
            self._coming += count
        try:
            yield
        finally:
            with self._lock:
                self._coming -= count
                self._occupied += count

    def lacking_for_copy(self, count: int) -> int:
        """Bytes that are missing under the quota to copy `count` bytes, after what nobody needs is gone."""
        with self._lock:
            lacking = self._lacking(count)
            if lacking:
                self._collector.collect(pressed=True)
                self._counted_at = None
                lacking = self._lacking(count)
            return lacking

    def copied(self, record: CatalogRecord) -> None:
        """There was room for this version."""
        with self._lock:
            self._counted_at = None
            if self._short.pop(record.manifest, None) is not None:
                self._say_short()

    def not_copied(self, record: CatalogRecord, error: NoSpaceError) -> None:
        """There is no room for this version."""
        kind = AlarmKind.QUOTA if isinstance(error, QuotaError) else AlarmKind.DISK
        with self._lock:
            self._short[record.manifest] = (f"{record.group} {record.version}", kind)
            self._say_short(str(error))

    def forget_all_but(self, manifests: frozenset[str]) -> None:
        """Versions that the catalog dropped, or that need not be here, lack no room."""
        with self._lock:
            gone = self._short.keys() - manifests
            for manifest in gone:
                del self._short[manifest]
            if gone:
                self._say_short()

    @property
    def short(self) -> tuple[str, ...]:
        """The versions that are not here for want of room."""
        with self._lock:
            return tuple(sorted({name for name, _ in self._short.values()}))

    def quota_error(self, name: str, count: int) -> QuotaError:
        """Why `name` with `count` bytes does not fit."""
        return QuotaError(
            f"{name} does not fit: it needs {amount(count)}, the store has {amount(self._occupied + self._coming)} of "
            f"at most {amount(self._quota)}, and boards need what is in it",
            hint="raise store_quota in server.toml, or deploy newer versions everywhere so that older ones may go",
        )

    def _make(self, count: int, what: str) -> None:
        lacking = self._lacking(count)
        if not lacking:
            return
        self._collector.collect(pressed=True)
        self._counted_at = None
        lacking = self._lacking(count)
        if lacking and self._try_to_retire(lacking):
            self._collector.collect(pressed=True)
            self._counted_at = None
            lacking = self._lacking(count)
        if lacking:
            error = self.quota_error(what, count)
            self._alarms.sound(AlarmKind.QUOTA, "publish", str(error), lasting=False)
            raise error
        self._alarms.clear(AlarmKind.QUOTA, "publish")

    def _try_to_retire(self, lacking: int) -> bool:
        try:
            return bool(self._retire(lacking))
        except BoardwrightError as error:
            _log.warning("no version could be retired", error=str(error))
            return False

    def _lacking(self, count: int) -> int:
        if not self._quota or not count:
            return 0
        now = time.monotonic()
        if self._counted_at is None or now - self._counted_at >= RECOUNT:
            self._occupied, self._counted_at = self._store.occupied(), now
        return max(0, self._occupied + self._coming + count - self._quota)

    def _say_short(self, cause: str = "") -> None:
        for kind in (AlarmKind.QUOTA, AlarmKind.DISK):
            names = sorted({name for name, why in self._short.values() if why is kind})
            if names:
                named = ", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
                self._alarms.sound(kind, STORE, f"no room here for {named}; boards get them elsewhere. {cause}".strip())
            else:
                self._alarms.clear(kind, STORE)
