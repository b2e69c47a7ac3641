"""Fetching blobs: receive, hash and write in one pass, from the nearest source that works.

Rules:

* Three workers with a connection each ask the same best source for ranges, verify each piece in memory as it arrives
  and write only verified pieces; there is no second pass over the file.
* A source that refuses, dies, stalls (nothing for ``stall_timeout``, no answer within ``answer_timeout`` though bytes
  trickle in) or sends wrong bytes is left for the next one. What was verified is never fetched again, not after a
  crash either, and whoever has the rest may send it.
* A source that is only slow (a piece takes longer than ``piece_timeout``) is left if there is another; that patience
  doubles every time, because on a weak line all are slow and a piece that is broken off has to begin again.
* When every source was left, they are tried again with growing back-off until no piece came for ``give_up``
  seconds (``give_up_busy`` if one of them is only full); then FailedError names every source's reason.
* Space is checked before the first byte and again before each piece is written.
* With a rate cap, ranges shrink so that progress stays smooth.
* Memory is one piece per worker, whatever the size of the blobs.
"""

import threading
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.software import PIECE_SIZE, RANGE_SIZE, BlobRef
from boardwright.transfer.rate import TokenBucket
from boardwright.transfer.sources import FetchSource, LeftSource, RangeReader, SourceError, SourceList
from boardwright.transfer.space import NoSpaceError, amount
from boardwright.transfer.store import BlobStore
from boardwright.transfer.work import Run, Work

_WATCH = 0.2  # seconds between looks at `stop` and at pieces that trickle


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one fetch; times in seconds, `rate` in bytes per second (0: no cap), `store_quota`
    in bytes that the store may keep in all (0: no quota).

    `workers`: one receives while one hashes and one writes; on two cores three are 7 % faster than two (measured).
    `stall_timeout`: a live server answers within milliseconds; 2 s lets a busy disk breathe. `durable`: sync at the
    end; without, the caller syncs (a tree that is built of the blobs is synced as a whole). `answer_timeout`: the head
    of an answer is some 500 bytes. `piece_timeout`: three workers on a line of 1.3 Mbit/s are within it.
    """

    workers: int = 3
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

    `refetched` counts bytes of pieces that came although they were verified already; it stays 0.
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
) -> FetchResult:
    """Bring `blobs` into `store`; blocks. Setting `stop` ends it early, with everything verified kept.

    Raises FailedError if space is short, the disk fails or every source failed.
    """
    _check_room(store.lacking(blobs), store, limits.store_quota)
    begun = time.monotonic()
    work = Work(blobs, store)
    fetch_run = _Fetch(work, sources, limits, observer or Unobserved(), stop or threading.Event())
    fetch_run.run()
    if fetch_run.error is not None:
        raise fetch_run.error
    if work.done and limits.durable:
        store.sync()
    return FetchResult(
        bytes=fetch_run.bytes,
        failovers=fetch_run.failovers,
        seconds=time.monotonic() - begun,
        complete=work.done,
        resumed=work.resumed_bytes,
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
    """One fetch under way: what its workers share."""

    def __init__(
        self, work: Work, sources: SourceList, limits: FetchLimits, observer: FetchObserver, stop: threading.Event
    ) -> None:
        self.work = work
        self.sources = sources
        self.limits = limits
        self.stop = stop
        self.halt = threading.Event()  # stopped, failed or done
        self.bucket = TokenBucket(limits.rate, sleep=self.halt.wait)
        self.bytes: dict[str, int] = {}
        self.failovers = 0
        self.refetched = 0
        self.error: BoardwrightError | None = None
        self._observer = observer
        self._lock = threading.Lock()
        self._progress_at = time.monotonic()
        self._patience = limits.piece_timeout

    def run(self) -> None:
        """Fetch until all is there, `stop` is set, or nothing can be done any more."""
        workers = [_Worker(self) for _ in range(max(1, self.limits.workers))]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers) and not self.stop.is_set():
                self._look_after(workers)
                next((worker for worker in workers if worker.is_alive()), workers[0]).join(_WATCH)
        finally:
            self.halt.set()
            self.work.end()
            for worker in workers:
                worker.abort()
                worker.join()
            self.work.close()

    def _look_after(self, workers: Sequence["_Worker"]) -> None:
        """Break off what takes too long."""
        now = time.monotonic()
        late = [worker.late_answer(now - self.limits.answer_timeout) for worker in workers]
        for source, why in {one[0].id: one for one in late if one is not None}.values():
            for worker in workers:  # before that breaks every line to this server, those of workers in time, too
                worker.breaks_off(source, why)
            source.break_off()
        slow = [worker.give_up_piece(now - self._patience) for worker in workers]
        if any(slow):
            self._patience *= 2.0

    def source(self) -> FetchSource | None:
        """The best source, waited for if all are left just now; None: halt."""
        while not self.halt.is_set():
            if (source := self.sources.current()) is not None:
                return source
            ready = self.sources.next_ready()
            left = self.sources.left()
            patience = self.limits.give_up_busy if any(one.busy for one in left) else self.limits.give_up
            if ready is None or time.monotonic() - self._progress_at + ready > patience:
                self.fail(_nobody(left))
                return None
            self.halt.wait(ready)
        return None

    def received(self, source: FetchSource, count: int) -> None:
        with self._lock:
            self.bytes[source.id] = self.bytes.get(source.id, 0) + count
        self._observer.on_bytes(source.id, count)

    def verified(self, source: FetchSource) -> None:
        self._progress_at = time.monotonic()
        self.sources.worked(source)

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
        self.work.end()


class _Worker(threading.Thread):
    """Takes runs until there are none: one connection, one piece of memory."""

    def __init__(self, fetch: _Fetch) -> None:
        super().__init__(name="fetch", daemon=True)
        self._fetch = fetch
        self._buffer = memoryview(bytearray(PIECE_SIZE))
        self._lock = threading.Lock()
        self._source: FetchSource | None = None  # that is being asked
        self._asked = 0.0
        self._reader: RangeReader | None = None
        self._piece_begun = 0.0
        self._slow = ""  # why this worker's line was broken off

    def run(self) -> None:
        fetch = self._fetch
        try:
            while (run := fetch.work.next()) is not None:
                try:
                    source = fetch.source()
                    if source is not None:
                        run = self._bring(run, source)
                finally:
                    fetch.work.give_back(run)
        except OSError as error:
            failure = FailedError(f"the download could not be written to the disk: {error.strerror or error}")
            failure.__cause__ = error
            fetch.fail(failure)
        except BoardwrightError as error:
            fetch.fail(error)
        except Exception as error:  # noqa: BLE001 - a fault in a thread must end the fetch, not hang it
            failure = FailedError("the download broke off by a fault of its own")
            failure.__cause__ = error
            fetch.fail(failure)

    def abort(self) -> None:
        """Break off what is under way; from any thread."""
        with self._lock:
            if self._reader is not None:
                self._reader.abort()
            elif self._source is not None:
                self._source.break_off()

    def give_up_piece(self, older_than: float) -> bool:
        """Break off a piece that was begun before, if somebody else could send it; from any thread."""
        with self._lock:
            if self._reader is None or self._source is None or self._piece_begun >= older_than:
                return False
            if not self._fetch.sources.others(self._source):
                return False
            self._slow = f"{self._source.id} is too slow: a piece took {time.monotonic() - self._piece_begun:.0f} s"
            self._reader.abort()
            return True

    def late_answer(self, older_than: float) -> tuple[FetchSource, str] | None:
        """The source that has not answered what was asked before, to be broken off, and why; from any thread."""
        with self._lock:
            if self._reader is not None or self._source is None or self._asked >= older_than:
                return None
            return self._source, f"{self._source.id} did not answer in {time.monotonic() - self._asked:.0f} s"

    def breaks_off(self, source: FetchSource, why: str) -> None:
        """Every line to `source` is about to be broken off; from any thread."""
        with self._lock:
            if self._source is source:
                self._slow = why

    def _bring(self, run: Run, source: FetchSource) -> Run:
        """Fetch pieces of `run`; what is left of it, less with every verified piece."""
        state = _Assembly(run)
        try:
            while state.first < run.end and not self._fetch.halt.is_set():
                start, length = state.wanted(self._fetch.bucket.range_limit(RANGE_SIZE))
                self._fetch.bucket.take(length)
                if not self._fetch.halt.is_set():
                    self._bring_range(state, source, start, length)
        except SourceError as error:
            if not self._fetch.halt.is_set():
                self._fetch.leave(source, SourceError(self._slow) if self._slow else error)
        return Run(run.partial, state.first, run.end)

    def _bring_range(self, state: "_Assembly", source: FetchSource, start: int, length: int) -> None:
        with self._lock:
            self._source, self._asked, self._slow = source, time.monotonic(), ""
        try:
            self._read(state, source, start, length)
        finally:
            with self._lock:
                self._source = None

    def _read(self, state: "_Assembly", source: FetchSource, start: int, length: int) -> None:
        reader = source.open_range(state.run.partial.blob.sha256, start, length, self._fetch.limits.stall_timeout)
        with self._lock:
            self._reader, self._piece_begun = reader, time.monotonic()
        try:
            left = min(length, reader.length)
            while left:
                count = reader.readinto(self._buffer[state.filled : min(state.size, state.filled + left)])
                left -= count
                state.filled += count
                self._fetch.received(source, count)
                if state.filled == state.size:
                    self._keep(state, source)
        finally:
            with self._lock:
                self._reader = None
            reader.close()

    def _keep(self, state: "_Assembly", source: FetchSource) -> None:
        """Verify and write the piece that the buffer holds."""
        partial = state.run.partial
        known = partial.has(state.first)
        if not partial.write(state.first, self._buffer[: state.size]):
            self._fetch.wrong(source, partial.blob.sha256)
            raise SourceError(
                f"{source.id} sent other bytes as piece {state.first} of blob {partial.blob.sha256}", wait=None
            )
        if known:
            self._fetch.again(state.size)
        self._fetch.verified(source)
        with self._lock:
            self._piece_begun = time.monotonic()
        state.advance()


class _Assembly:
    """The piece that is being put together: number `first` of the run, `filled` of `size` bytes so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.first = run.first
        self.filled = 0
        self.start, self.size = run.partial.blob.piece_span(run.first)

    def advance(self) -> None:
        self.first += 1
        self.filled = 0
        self.start, self.size = self.run.partial.blob.piece_span(self.first)

    def wanted(self, most: int) -> tuple[int, int]:
        """Start and length of the next range to ask for."""
        start = self.start + self.filled
        last_start, last_size = self.run.partial.blob.piece_span(self.run.end - 1)
        return start, min(most, last_start + last_size - start)


def _nobody(left: tuple[LeftSource, ...]) -> FailedError:
    if not left:
        return FailedError("the download has no server to ask")
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in left)
    return FailedError(f"the download failed at every server: {reasons}")
