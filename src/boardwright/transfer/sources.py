"""Where bytes come from: ranked sources, and which of them is used now.

Rules:

* Everybody who fetches uses the **same** best source: nearness matters, so work is not spread over tiers.
* A source that fails is left with its reason, put to the end of the ranking and not asked again before its back-off
  is over; one that sent wrong bytes or lacks the blob is not asked again at all. After ``RETURN`` seconds it has its
  rank again, twice as long after every further failure: a long download does not stay in a farther tier because the
  nearer server was restarted, and one that hangs again and again costs less and less.
* A full server (429, 503) is left for as long as it says and keeps its rank: load is over sooner than a long download,
  and nearness is not. Being sent away again and again counts as one failover.
* Sources may join at any time; hearing a source again ends its back-off, for it lives.
* Of several workers that saw the same source fail, the first leaves it; for the others it is left already.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import msgspec

from boardwright.errors import BoardwrightError

FIRST_BACKOFF = 0.5  # seconds; a restarted server is back within about a second
MAX_BACKOFF = 8.0
RETURN = 30.0  # seconds; coming back to a server that still hangs costs two, so a fifteenth of the time at most
MAX_RETURN = 600.0
MAX_SOURCES = 256  # a cluster's servers and a chassis' relays; more are ignored


class SourceError(BoardwrightError):
    """A source did not give the bytes; try the next. `wait`: seconds until it may be asked again, None: never."""

    retry = True

    def __init__(self, reason: str, *, wait: float | None = -1.0, busy: bool = False) -> None:
        """`wait` -1 stands for the list's own growing back-off; `busy`: healthy, but full."""
        super().__init__(reason)
        self.wait = wait
        self.busy = busy


class RangeReader(Protocol):
    """The open answer to one range; `length` bytes will come, at most as many as asked."""

    length: int

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` or less, at least one byte; raises SourceError at an early end, a stall or a broken line."""
        ...

    def abort(self) -> None:
        """Make a `readinto` that another thread waits in fail at once."""
        ...

    def close(self) -> None:
        """Free the connection: for the next range if all bytes were read."""
        ...


class FetchSource(Protocol):
    """One server, relay or test double that holds blobs."""

    @property
    def id(self) -> str: ...

    def open_range(self, sha256: str, start: int, length: int, timeout: float) -> RangeReader:
        """Ask for `length` bytes from `start`; `timeout` in seconds without progress. Raises SourceError."""
        ...

    def break_off(self) -> None:
        """Make every call that another thread waits in fail at once."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Neighbour(Protocol):
    """A source that is a relay: it says what it has."""

    def ask(self, timeout: float) -> None:
        """Ask what it has, and tell the download; `timeout` in seconds without progress. Raises SourceError."""
        ...


class LeftSource(msgspec.Struct, frozen=True):
    """A source that was left and why."""

    id: str
    reason: str
    busy: bool


class _Ranked:
    def __init__(self, source: FetchSource, rank: int) -> None:
        self.source = source
        self.rank = rank
        self.last_until = 0.0  # until then it comes after those that did not fail
        self.falls = 0  # failures, ever: `failures` are those since it last worked
        self.ready_at: float | None = 0.0  # None: never again
        self.failures = 0
        self.left: LeftSource | None = None
        self.was_busy = False


class SourceList:
    """The ranked sources of one fetch, best first; thread-safe. Close it when the fetch is over."""

    def __init__(self, sources: Iterable[FetchSource] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ranked: list[_Ranked] = []
        for source in sources:
            self.add(source)

    def add(self, source: FetchSource) -> bool:
        """Append `source`; of an id that is listed already only the back-off ends (False)."""
        with self._lock:
            for entry in self._ranked:
                if entry.source.id == source.id:
                    if entry.ready_at is not None:
                        entry.ready_at = 0.0
                    return False
            if len(self._ranked) >= MAX_SOURCES:
                return False
            self._ranked.append(_Ranked(source, len(self._ranked)))
            return True

    def heard(self, source_id: str) -> bool:
        """Whether this one is listed; its back-off ends, for it lives."""
        with self._lock:
            entry = next((entry for entry in self._ranked if entry.source.id == source_id), None)
            if entry is not None and entry.ready_at is not None:
                entry.ready_at = 0.0
            return entry is not None

    def current(self) -> FetchSource | None:
        """The best source that may be asked now, None if all are left."""
        now = self._clock()
        with self._lock:
            for entry in self._order(now):
                if entry.ready_at is not None and entry.ready_at <= now:
                    return entry.source
        return None

    def ready(self) -> dict[str, FetchSource]:
        """Who may be asked now, by id, the best first."""
        now = self._clock()
        with self._lock:
            return {
                entry.source.id: entry.source
                for entry in self._order(now)
                if entry.ready_at is not None and entry.ready_at <= now
            }

    def busy(self) -> frozenset[str]:
        """Who is full, and not to be asked just now."""
        now = self._clock()
        with self._lock:
            return frozenset(
                entry.source.id
                for entry in self._ranked
                if entry.left is not None and entry.left.busy and entry.ready_at is not None and entry.ready_at > now
            )

    def leave(self, source: FetchSource, error: SourceError) -> bool:
        """Leave `source` with its reason; False if it was left already, or is full as it was before."""
        now = self._clock()
        with self._lock:
            entry = next((entry for entry in self._ranked if entry.source is source), None)
            if entry is None or entry.ready_at is None or entry.ready_at > now:
                return False
            entry.left = LeftSource(source.id, str(error), error.busy)
            if error.wait is None:
                entry.ready_at = None
            elif error.wait >= 0:
                entry.ready_at = now + error.wait
            else:
                entry.ready_at = now + min(FIRST_BACKOFF * 2**entry.failures, MAX_BACKOFF)
                entry.failures += 1
            if not error.busy:
                entry.last_until = now + min(RETURN * 2.0 ** min(entry.falls, 8), MAX_RETURN)
                entry.falls += 1
            known, entry.was_busy = entry.was_busy, error.busy or entry.was_busy
            return not (error.busy and known)

    def worked(self, source: FetchSource) -> None:
        """`source` gave a verified piece: its next back-off begins small again."""
        with self._lock:
            for entry in self._ranked:
                if entry.source is source:
                    entry.failures = 0
                    return

    def next_ready(self) -> float | None:
        """Seconds until a source may be asked (0: now), None if none ever will."""
        now = self._clock()
        with self._lock:
            times = [entry.ready_at for entry in self._ranked if entry.ready_at is not None]
        return max(0.0, min(times) - now) if times else None

    def left(self) -> tuple[LeftSource, ...]:
        """Every source that was left at least once, with its last reason."""
        with self._lock:
            return tuple(entry.left for entry in self._ranked if entry.left is not None)

    def others(self, source: FetchSource) -> bool:
        """Whether somebody else could be asked now."""
        now = self._clock()
        with self._lock:
            return any(
                entry.ready_at is not None and entry.ready_at <= now
                for entry in self._ranked
                if entry.source is not source
            )

    def ids(self) -> tuple[str, ...]:
        """The ranking as it is now."""
        with self._lock:
            return tuple(entry.source.id for entry in self._order(self._clock()))

    def _order(self, now: float) -> list[_Ranked]:
        """By rank; those that failed lately after the others, the one that failed first before."""
        return sorted(
            self._ranked, key=lambda one: (one.last_until > now, one.last_until if one.last_until > now else one.rank)
        )

    def close(self) -> None:
        """Close every source's connections."""
        with self._lock:
            for entry in self._ranked:
                entry.source.close()
