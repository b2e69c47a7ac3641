"""One line of a download: takes orders until there are none, asks, verifies, writes.

Rules:

* One connection and one piece of memory; another thread can break it off at any time.
* An order that fails is given back with what is left of it, and its source is left with the reason.
* A piece that somebody else brought first is broken off; that is nobody's fault.
"""

import threading
import time
from typing import NamedTuple, Protocol

from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.software import PIECE_SIZE, RANGE_SIZE
from boardwright.transfer.partial import Partial
from boardwright.transfer.rate import TokenBucket
from boardwright.transfer.sources import FetchSource, Neighbour, RangeReader, SourceError, SourceList
from boardwright.transfer.work import Run


class Order(NamedTuple):
    """Fetch `run` from `source`; without a run: ask it what it has. `mark` is its giver's."""

    source: FetchSource
    run: Run | None
    mark: object = None


class Orders(Protocol):
    """Who says what is fetched next and from whom; thread-safe."""

    @property
    def resumed_bytes(self) -> int:
        """What was on the disk already."""
        ...

    def next(self) -> Order | None:
        """The next order, waited for; None: there will be none."""
        ...

    def ended(self, order: Order, left: Run | None, error: SourceError | None) -> None:
        """What is left of an order that is over, and why it broke off."""
        ...

    def verified(self, partial: Partial, piece: int) -> None:
        """A piece is on the disk."""
        ...

    @property
    def done(self) -> bool: ...

    def end(self) -> None:
        """Give no more orders."""
        ...

    def close(self) -> None:
        """The receivers are gone."""
        ...


class Fetching(Protocol):
    """The download that a receiver works for."""

    sources: SourceList
    orders: Orders
    halt: threading.Event  # stopped, failed or done
    bucket: TokenBucket
    stall_timeout: float

    def received(self, source: FetchSource, count: int) -> None: ...
    def verified(self, receiver: "Receiver", source: FetchSource, partial: Partial, piece: int) -> None: ...
    def leave(self, source: FetchSource, error: SourceError) -> None: ...
    def wrong(self, source: FetchSource, sha256: str) -> None: ...
    def again(self, count: int) -> None:
        """A verified piece of `count` bytes was fetched once more."""

    def fail(self, error: BoardwrightError) -> None: ...


class Receiver(threading.Thread):
    """Takes orders until there are none: one connection, one piece of memory."""

    def __init__(self, fetch: Fetching) -> None:
        super().__init__(name="fetch", daemon=True)
        self._fetch = fetch
        self._buffer = memoryview(bytearray(PIECE_SIZE))
        self._lock = threading.Lock()
        self._source: FetchSource | None = None  # that is being asked
        self._asked = 0.0
        self._reader: RangeReader | None = None
        self._piece_begun = 0.0
        self._at: tuple[Partial, int] | None = None  # the piece that comes
        self._slow = ""  # why this line was broken off
        self._beaten = False  # it was, because somebody else had the piece first

    def run(self) -> None:
        fetch = self._fetch
        try:
            while (order := fetch.orders.next()) is not None:
                self._carry_out(order)
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

    def beaten_to(self, partial: Partial, piece: int) -> None:
        """Somebody else has brought this piece: break it off if it is this one's, too; from any thread."""
        with self._lock:
            if self._at == (partial, piece) and self._reader is not None:
                self._beaten = True
                self._reader.abort()

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

    def _carry_out(self, order: Order) -> None:
        left, error = order.run, None
        state = None if order.run is None else _Assembly(order.run)
        try:
            if state is None:
                self._ask(order.source)
            else:
                self._bring(state, order)
        except SourceError as found:
            error = None if self._beaten else SourceError(self._slow) if self._slow else found
            if error is not None and not self._fetch.halt.is_set():
                self._fetch.leave(order.source, error)
        finally:
            if state is not None:
                left = Run(state.run.partial, state.first, state.run.end)
            self._fetch.orders.ended(order, left, error)

    def _bring(self, state: "_Assembly", order: Order) -> None:
        """Fetch pieces of the order, one after the other."""
        while state.first < state.run.end and not self._fetch.halt.is_set():
            start, length = state.wanted(self._fetch.bucket.range_limit(RANGE_SIZE))
            self._fetch.bucket.take(length)
            if not self._fetch.halt.is_set():
                self._asks(order.source)
                try:
                    self._read(state, order, start, length)
                finally:
                    self._asks(None)

    def _ask(self, source: FetchSource) -> None:
        self._asks(source)
        try:
            if isinstance(source, Neighbour):
                source.ask(self._fetch.stall_timeout)
        finally:
            self._asks(None)

    def _asks(self, source: FetchSource | None) -> None:
        with self._lock:
            self._source, self._at = source, None
            if source is not None:
                self._asked, self._slow, self._beaten = time.monotonic(), "", False

    def _read(self, state: "_Assembly", order: Order, start: int, length: int) -> None:
        partial = state.run.partial
        reader = order.source.open_range(partial.blob.sha256, start, length, self._fetch.stall_timeout)
        with self._lock:
            self._reader, self._piece_begun, self._at = reader, time.monotonic(), (partial, state.first)
        try:
            left = min(length, reader.length)
            while left:
                count = reader.readinto(self._buffer[state.filled : min(state.size, state.filled + left)])
                left -= count
                state.filled += count
                self._fetch.received(order.source, count)
                if state.filled == state.size:
                    self._keep(state, order)
        finally:
            with self._lock:
                self._reader = None
            reader.close()

    def _keep(self, state: "_Assembly", order: Order) -> None:
        """Verify and write the piece that the buffer holds."""
        partial, source, piece = state.run.partial, order.source, state.first
        if not partial.write(piece, self._buffer[: state.size]):
            self._fetch.wrong(source, partial.blob.sha256)
            raise SourceError(f"{source.id} sent other bytes as piece {piece} of blob {partial.blob.sha256}", wait=None)
        if piece in state.had:
            self._fetch.again(state.size)
        with self._lock:
            self._piece_begun, self._at = time.monotonic(), (partial, piece + 1)
        state.advance()
        self._fetch.verified(self, source, partial, piece)


class _Assembly:
    """The piece that is being put together: number `first` of the run, `filled` of `size` bytes so far."""

    def __init__(self, run: Run) -> None:
        self.run = run
        # What others bring while it is asked for, too (the end of a download is a race), was not fetched in vain again.
        self.had = {piece for piece in range(run.first, run.end) if run.partial.has(piece)}
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
