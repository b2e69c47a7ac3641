"""Reads the whole store once in a period, so that damage on the disk is found before a board meets it.

Rules:

* Slowly: as many bytes per second as the period needs, at least ``SLOWEST`` and at most ``FASTEST``, one block in
  memory, in a thread of low priority, never in the event loop.
* How far it is lies in the store's folder (``scrub.json``): a restart goes on there, and not before it is due again.
* Checks that somebody asked for (``ask``) have a thread of their own, because they are about a blob that may be wrong
  now. They are bounded: a queue, each blob once in ``AGAIN`` seconds, and as much rest as work, so that nobody can
  keep the disk busy by asking.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from boardwright import log
from boardwright.server.damage import Damage
from boardwright.transfer.store import BlobStore

SLOWEST = 1_000_000  # bytes per second; a small store is read in minutes, not stretched over a week
FASTEST = 20_000_000  # bytes per second; a fifth of what a slow disk reads, so that boards do not feel it
NICE = 10  # of the thread: whoever serves goes first, on the CPU and by it on the disk
AFTER_START = 30.0  # seconds; a server that starts has better things to do
KEEP_EVERY = 30.0  # seconds between notes of how far it is
QUEUE = 256  # blobs that wait to be checked on request
AGAIN = 60.0  # seconds in which a blob that was asked about is not checked again
SCHEMA = 1
_log = log.get("server.scrubber")


class Progress(msgspec.Struct, frozen=True):
    """`after`: the last digest that was checked, '' at the beginning; `ended`: seconds since the epoch, last round."""

    schema: int = SCHEMA
    after: str = ""
    ended: float = 0.0


class Scrubber:
    """Rounds over `store` every `period` seconds (0: never); `wall` is seconds since the epoch."""

    def __init__(self, store: BlobStore, damage: Damage, period: float, wall: Callable[[], float] = time.time) -> None:
        self._store = store
        self._damage = damage
        self._period = period
        self._wall = wall
        self._path = store.root / "scrub.json"
        self.bytes_read = 0
        self.rounds = 0

    @property
    def period(self) -> float:
        """Seconds; 0: the store is never read."""
        return self._period

    def ended(self) -> float:
        """When the whole store had been read last, since the epoch; 0: not yet. Reads a small file."""
        return self._load().ended

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`."""
        if not self._period:
            return
        lower_priority()
        progress = self._load()
        if stop.wait(min(AFTER_START, self._period / 2)):
            return
        while not stop.is_set():
            due = progress.ended + self._period - self._wall()
            if not progress.after and 0 < due <= 1.01 * self._period and stop.wait(due):
                return  # else the clock was set, and a round too many does no harm
            progress = self._round(progress, stop)

    def _round(self, progress: Progress, stop: threading.Event) -> Progress:
        pacer = Pacer(rate(sum(self._store.sizes().values()), self._period), stop)
        noted = time.monotonic()
        for sha256 in self._digests(progress.after):
            self._damage.check(sha256, lambda count: self._read(count, pacer))
            if stop.is_set():
                return progress  # the last blob was perhaps read in part only
            progress = msgspec.structs.replace(progress, after=sha256)
            if time.monotonic() - noted >= KEEP_EVERY:
                self._keep(progress)
                noted = time.monotonic()
        progress = Progress(ended=self._wall())
        self._keep(progress)
        self.rounds += 1
        return progress

    def _read(self, count: int, pacer: "Pacer") -> bool:
        self.bytes_read += count
        return pacer.read(count)

    def _digests(self, after: str) -> Iterator[str]:
        """The store's digests behind `after`, ascending, one folder in memory at a time."""
        for prefix in (f"{number:02x}" for number in range(256)):
            if prefix >= after[:2]:
                yield from sorted(digest for digest in self._store.digests_below(prefix) if digest > after)

    def _load(self) -> Progress:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except (OSError, msgspec.MsgspecError):
            return Progress()  # a round from the start does no harm

    def _keep(self, progress: Progress) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_bytes(msgspec.json.encode(progress))
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("progress of the scrubber not noted", path=str(self._path), error=str(error))


class Checker:
    """Checks single blobs on request; ``ask`` from any thread, ``run`` in one of its own."""

    def __init__(self, store: BlobStore, damage: Damage, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._damage = damage
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: dict[str, None] = {}
        self._asked: dict[str, float] = {}
        self.checks = 0

    def ask(self, sha256: str) -> bool:
        """Queue a check of the blob; False if it is not here. Too many, or the same again soon, are passed over."""
        if not self._store.has(sha256):
            return False
        now = self._clock()
        with self._changed:
            while self._asked and now - next(iter(self._asked.values())) >= AGAIN:
                del self._asked[next(iter(self._asked))]
            if sha256 not in self._asked and len(self._asked) < QUEUE:
                self._asked[sha256] = now
                self._waiting[sha256] = None
                self._changed.notify()
        return True

    def run(self, stop: threading.Event) -> None:
        """Checks until `stop`; call ``wake`` after setting it."""
        lower_priority()
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or stop.is_set())
                sha256 = next(iter(self._waiting), "")
                self._waiting.pop(sha256, None)
            if sha256 and not stop.is_set():
                begun = self._clock()
                if self._damage.check(sha256, lambda _: not stop.is_set()) is not None:
                    self.checks += 1
                stop.wait(self._clock() - begun)

    def wake(self) -> None:
        """Look at `stop`."""
        with self._changed:
            self._changed.notify_all()


class Pacer:
    """Holds a reader to `rate` bytes per second."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop

    def read(self, count: int) -> bool:
        """Wait for as long as `count` bytes take; False: stop."""
        return not self._stop.wait(count / self._rate)


def rate(size: int, period: float) -> float:
    """Bytes per second that read `size` bytes well within `period` seconds."""
    return min(max(2 * size / period, SLOWEST), FASTEST)


def lower_priority() -> None:
    """Let every other thread of this process go first (the nice value of a Linux thread is its own, sched(7))."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
