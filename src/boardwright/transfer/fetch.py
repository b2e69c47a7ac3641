"""Fetching blobs: receive, hash and write in one pass, from the nearest source that works.

Rules:

* Four receivers with a connection each ask for ranges, verify each piece in memory as it arrives and write only
  verified pieces; there is no second pass over the file. They ask the same best source (``nearest``), or, where boards
  relay, each what ``spread`` says.
* A source that refuses, dies, stalls (nothing for ``stall_timeout``, no answer within ``answer_timeout`` though bytes
  trickle in) or sends wrong bytes is left for the next one. What was verified is never fetched again, not after a
  crash either, and whoever has the rest may send it.
* A source that is only slow (a piece takes longer than ``piece_timeout``) is left if there is another; that patience
  doubles every time, because on a weak line all are slow and a piece that is broken off has to begin again.
* When every source was left, they are tried again with growing back-off until no piece came for ``give_up``
  seconds (``give_up_busy`` if one of them is only full); then FailedError names every source's reason.
* Space is checked before the first byte and again before each piece is written.
* With a rate cap, ranges shrink so that progress stays smooth.
* Memory is one piece per receiver, whatever the size of the blobs.
"""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError
from boardwright.model.software import BlobRef
from boardwright.transfer.nearest import Nearest, Patience
from boardwright.transfer.partial import Partial
from boardwright.transfer.rate import TokenBucket
from boardwright.transfer.receiver import Orders, Receiver
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource, SourceError, SourceList
from boardwright.transfer.space import NoSpaceError, amount
from boardwright.transfer.spread import Spread
from boardwright.transfer.store import BlobStore

_WATCH = 0.2  # seconds between looks at `stop` and at pieces that trickle


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one fetch; times in seconds, `rate` in bytes per second (0: no cap), `store_quota`
    in bytes that the store may keep in all (0: no quota).

    `workers`: where boards relay, neighbours are not equally free: with four lines a board's own link is full more of
    the time than with three (``make lab``, 128 MiB: 13.0 instead of 13.8 s), five gain nothing.
    `stall_timeout`: a live server answers within milliseconds; 2 s lets a busy disk breathe. `durable`: sync at the
    end; without, the caller syncs (a tree that is built of the blobs is synced as a whole). `answer_timeout`: the head
    of an answer is some 500 bytes. `piece_timeout`: four workers on a line of 1.7 Mbit/s are within it.
    """

    workers: int = 4
    stall_timeout: float = 2.0
    answer_timeout: float = 5.0
    piece_timeout: float = 20.0
    give_up: float = 15.0
    give_up_busy: float = 300.0
    rate: int = 0
    store_quota: int = 0
    durable: bool = True


class FetchObserver(Protocol):
    """Told what happens, from worker threads: be quick and thread-safe."""

    def on_bytes(self, source_id: str, count: int) -> None:
        """`count` bytes came from `source_id`."""
        ...

    def on_failover(self, source_id: str, reason: str) -> None:
        """`source_id` was left."""
        ...

    def on_wrong(self, source_id: str, sha256: str) -> None:
        """`source_id` sent wrong bytes for blob `sha256`; before its ``on_failover``, perhaps once for each worker."""
        ...


class Unobserved:
    """The observer that does not care."""

    def on_bytes(self, source_id: str, count: int) -> None:
        pass

    def on_failover(self, source_id: str, reason: str) -> None:
        pass

    def on_wrong(self, source_id: str, sha256: str) -> None:
        pass


class FetchResult(msgspec.Struct, frozen=True):
    """`bytes` received by source id; `complete` is false if the fetch was stopped; `resumed` bytes were there.

    `refetched` counts bytes of pieces that came although they were verified before they were asked for; it stays 0.
    """

    bytes: dict[str, int]
    failovers: int
    seconds: float
    complete: bool
    resumed: int = 0
    refetched: int = 0


def fetch(
    blobs: Sequence[BlobRef],
    sources: SourceList,
    store: BlobStore,
    *,
    limits: FetchLimits = FetchLimits(),
    observer: FetchObserver | None = None,
    stop: threading.Event | None = None,
    sharing: Sharing | None = None,
) -> FetchResult:
    """Bring `blobs` into `store`; blocks. Setting `stop` ends it early, with everything verified kept.

    `sharing`: with whom the version's pieces are shared; without, everything comes from the best source.

    Raises FailedError if space is short, the disk fails or every source failed.
    """
    _check_room(store.lacking(blobs), store, limits.store_quota)
    begun = time.monotonic()
    patience = Patience(limits.give_up, limits.give_up_busy)
    orders: Orders
    if sharing is None:
        orders = Nearest(blobs, store, sources, patience)
    else:
        orders = Spread(sharing, blobs, store, sources, patience)
    fetch_run = _Fetch(orders, sources, limits, observer or Unobserved(), stop or threading.Event())
    fetch_run.run()
    if fetch_run.error is not None:
        raise fetch_run.error
    if orders.done and limits.durable:
        store.sync()
    return FetchResult(
        bytes=fetch_run.bytes,
        failovers=fetch_run.failovers,
        seconds=time.monotonic() - begun,
        complete=orders.done,
        resumed=orders.resumed_bytes,
        refetched=fetch_run.refetched,
    )


def _check_room(lacking: int, store: BlobStore, quota: int) -> None:
    if quota and lacking and lacking + (kept := store.occupied()) > quota:
        raise NoSpaceError(
            f"the download needs {amount(lacking)} more in the store, which has {amount(kept)} of at most "
            f"{amount(quota)}",
            hint="raise store_quota in the program's configuration",
        )
    store.space.check(lacking)


class _Fetch:
    """One fetch under way: what its receivers share."""

    def __init__(
        self, orders: Orders, sources: SourceList, limits: FetchLimits, observer: FetchObserver, stop: threading.Event
    ) -> None:
        self.orders = orders
        self.sources = sources
        self.stall_timeout = limits.stall_timeout
        self._limits = limits
        self._stop = stop
        self._receivers: list[Receiver] = []
        self.halt = threading.Event()  # stopped, failed or done
        self.bucket = TokenBucket(limits.rate, sleep=self.halt.wait)
        self.bytes: dict[str, int] = {}
        self.failovers = 0
        self.refetched = 0
        self.error: BoardwrightError | None = None
        self._observer = observer
        self._lock = threading.Lock()
        self._patience = limits.piece_timeout

    def run(self) -> None:
        """Fetch until all is there, `stop` is set, or nothing can be done any more."""
        receivers = self._receivers = [Receiver(self) for _ in range(max(1, self._limits.workers))]
        try:
            for receiver in receivers:
                receiver.start()
            while any(receiver.is_alive() for receiver in receivers) and not self._stop.is_set():
                self._look_after(receivers)
                next((one for one in receivers if one.is_alive()), receivers[0]).join(_WATCH)
        finally:
            self.halt.set()
            self.orders.end()
            for receiver in receivers:
                receiver.abort()
                receiver.join()
            self.orders.close()

    def _look_after(self, receivers: Sequence[Receiver]) -> None:
        """Break off what takes too long."""
        now = time.monotonic()
        late = [one.late_answer(now - self._limits.answer_timeout) for one in receivers]
        for source, why in {one[0].id: one for one in late if one is not None}.values():
            for receiver in receivers:  # before that breaks every line to this server, those in time, too
                receiver.breaks_off(source, why)
            source.break_off()
        slow = [one.give_up_piece(now - self._patience) for one in receivers]
        if any(slow):
            self._patience *= 2.0

    def received(self, source: FetchSource, count: int) -> None:
        with self._lock:
            self.bytes[source.id] = self.bytes.get(source.id, 0) + count
        self._observer.on_bytes(source.id, count)

    def verified(self, receiver: Receiver, source: FetchSource, partial: Partial, piece: int) -> None:
        self.sources.worked(source)
        self.orders.verified(partial, piece)
        for other in self._receivers:
            if other is not receiver:
                other.beaten_to(partial, piece)

    def leave(self, source: FetchSource, error: SourceError) -> None:
        if self.sources.leave(source, error):
            with self._lock:
                self.failovers += 1
            self._observer.on_failover(source.id, str(error))

    def wrong(self, source: FetchSource, sha256: str) -> None:
        self._observer.on_wrong(source.id, sha256)

    def again(self, count: int) -> None:
        """A verified piece of `count` bytes was fetched once more."""
        with self._lock:
            self.refetched += count

    def fail(self, error: BoardwrightError) -> None:
        """Remember the first error and stop everybody."""
        with self._lock:
            self.error = self.error or error
        self.halt.set()
        self.orders.end()
