"""Empties this server's store of what nobody needs: blobs that no version names, and what retired versions leave.

Rules:

* A blob is kept as long as any version of the catalog that was not retired names it. Manifests of retired versions
  stay: they are small, and their names stay bound to them.
* What no version names may be an upload whose manifest comes last: it stays for ``GRACE`` seconds after somebody
  uploaded it or asked for it, and after the last upload of anything; ``PRESSED`` if room is wanted. Seconds of this
  process, so that no set clock and no restart cuts them short. What only retired versions name goes at once, unless a
  publish that is under way counts on it.
* Who does not know what is needed drops nothing: before the engine was heard, with an empty catalog, or while the
  manifest of a version is not here.
* Versions that this server let go for want of room (``let_go``) are kept by the active and come back when planned.
"""

import threading
from collections.abc import Callable, Iterable

from boardwright import log
from boardwright.server.damage import Damage
from boardwright.server.mirror import Mirror
from boardwright.server.version_blobs import VersionBlobs
from boardwright.transfer.store import BlobStore

EVERY = 30.0  # seconds between rounds; what nobody needs may lie a while
GRACE = 3600.0  # seconds; a publish over a slow line may pause between blobs, and be tried again after it broke off
PRESSED = 120.0  # seconds; an upload that stands still is given up after 60
LONGEST = 86400.0  # seconds; publishes without end do not keep a blob that none of them names
_log = log.get("server.collector")


class Collector:
    """``touch`` and ``collect`` from any thread, ``run`` in one of its own; `clock` is monotonic seconds."""

    def __init__(
        self,
        store: BlobStore,
        mirror: Mirror,
        versions: VersionBlobs,
        damage: Damage,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._versions = versions
        self._damage = damage
        self._clock = clock
        self._lock = threading.Lock()
        self._touched: dict[str, float] = {}
        self._unnamed: dict[str, float] = {}
        self._last_upload = clock() - LONGEST
        self._wake = threading.Event()
        self.let_go: frozenset[str] = frozenset()  # manifests' digests
        self.bytes_collected = 0

    def touch(self, digests: Iterable[str], *, upload: bool = False) -> None:
        """Somebody uploads these blobs or counts on them: they stay for a while, named or not."""
        now = self._clock()
        with self._lock:
            self._touched |= dict.fromkeys(digests, now)
            if upload:
                self._last_upload = now

    def settle(self, digests: Iterable[str]) -> None:
        """A version that names these blobs was published: from now on that is what keeps them."""
        with self._lock:
            for sha256 in digests:
                self._touched.pop(sha256, None)

    def droppable(self) -> dict[str, int]:
        """Bytes of every complete blob that no publish under way counts on."""
        sizes, now = self._store.sizes(), self._clock()
        with self._lock:
            return {sha256: size for sha256, size in sizes.items() if not self._counts_on(sha256, now)}

    def _counts_on(self, sha256: str, now: float) -> bool:
        touched = self._touched.get(sha256)
        return touched is not None and now - touched < GRACE

    def release(self, manifest: str) -> None:
        """Let this version go although it was not retired; ``recall`` it when it is needed."""
        self.let_go |= {manifest}

    def recall(self, manifest: str) -> None:
        self.let_go -= {manifest}

    def wake(self) -> None:
        """Begin a round now."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`; call ``wake`` after setting it."""
        while not stop.is_set():
            self._wake.wait(EVERY)
            self._wake.clear()
            if not stop.is_set():
                try:
                    self.collect()
                except OSError as error:
                    _log.error("the store could not be collected", error=str(error))

    def collect(self, *, pressed: bool = False) -> int:
        """Drop what nobody needs; bytes that became free. `pressed`: room is wanted. Raises OSError."""
        kept, left = self._kept()
        if kept is None:
            return 0
        self._damage.forget(kept)
        sizes = self._store.sizes()
        unnamed = (sizes.keys() | self._store.partial_digests()) - kept
        with self._lock:
            now = self._clock()
            self._unnamed = {sha256: self._unnamed.get(sha256, now) for sha256 in unnamed}
            self._touched = {sha256: at for sha256, at in self._touched.items() if now - at < LONGEST}
        dropped = [sha256 for sha256 in unnamed if self._drop(sha256, sha256 in left, pressed)]
        count = sum(sizes.get(sha256, 0) for sha256 in dropped)
        self.bytes_collected += count
        if dropped:
            _log.info("store collected", blobs=len(dropped), bytes=count)
        return count

    def _kept(self) -> tuple[set[str] | None, set[str]]:
        """What versions name, None if that is not known; and what only retired or released ones do."""
        catalog = self._mirror.state.catalog.values()
        kept: set[str] = set()
        left: set[str] = set()
        if not catalog or not self._mirror.wait_for(1, 0.0):
            return None, left
        for record in catalog:
            kept.add(record.manifest)
            blobs = self._versions.of(record.manifest)
            if record.retired or record.manifest in self.let_go:
                left |= blobs or frozenset()
            elif blobs is None:
                return None, left
            else:
                kept |= blobs
        return kept, left - kept

    def _drop(self, sha256: str, was_named: bool, pressed: bool) -> bool:
        with self._lock:
            now = self._clock()
            touched = self._touched.get(sha256)
            since = self._unnamed[sha256] if touched is None else touched
            quiet = min(now - since, max(now - self._last_upload, now - since - LONGEST))
            if not (was_named and touched is None) and quiet < (PRESSED if pressed else GRACE):
                return False
            self._store.remove(sha256)
            return True
