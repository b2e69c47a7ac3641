"""Orders where boards relay: each piece from whom ``protocol.pieces`` says, servers and neighbours side by side.

Rules:

* Pieces of many blobs are under way at once; so many blobs are open at most, the others are opened when it is their
  turn. What is verified stays whatever happens, as everywhere.
* Who has nothing to ask for waits until somebody has news or brings a piece.
* Who only waits, because nobody that it may ask has what it lacks, gives up after ``LONGEST_WAIT``: whoever looks for
  sources anew hears of others.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

from boardwright.errors import FailedError
from boardwright.model.software import BlobRef
from boardwright.protocol.pieces import Ask, Fetch, Pieces
from boardwright.transfer.nearest import Patience, nobody
from boardwright.transfer.partial import Partial
from boardwright.transfer.receiver import Order
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import SourceError, SourceList
from boardwright.transfer.store import BlobStore
from boardwright.transfer.work import Run

MAX_OPEN = 64  # blobs, with two files each; three are under way at a time
LONGEST_WAIT = 60.0  # seconds; twice the longest that boards wait for each other


class Spread:
    """The pieces of `blobs` from all `sources`; as ``receiver.Orders``."""

    def __init__(
        self,
        sharing: Sharing,
        blobs: Sequence[BlobRef],
        store: BlobStore,
        sources: SourceList,
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resumed_bytes = 0
        self._changed = sharing.changed
        self._on_first = sharing.on_first
        self._first = sharing.first
        self._store = store
        self._sources = sources
        self._patience = patience
        self._clock = clock
        self._blobs = sorted({blob.sha256: blob for blob in blobs}.values(), key=lambda blob: self._first[blob.sha256])
        self._starts = [self._first[blob.sha256] for blob in self._blobs]
        self._open: dict[str, Partial] = {}  # who was used last is at the end
        self._used: dict[str, int] = {}  # orders under way, by blob
        self._ended = False
        have = sum(self._found(blob) << self._first[blob.sha256] for blob in self._blobs)
        self._pieces: Pieces = sharing.open(self._blobs, have)
        self._progress_at = clock()

    def next(self) -> Order | None:
        with self._changed:
            while not self._ended and not self._pieces.done:
                now, ready = self._clock(), self._sources.ready()
                todo = self._pieces.next(ready, self._sources.busy(), now)
                if isinstance(todo, Fetch):
                    return Order(ready[todo.source], self._run(todo), todo)
                if isinstance(todo, Ask):
                    return Order(ready[todo.source], None, todo)
                if not ready and self._patience.over(self._sources, self._progress_at, now):
                    raise nobody(self._sources.left())
                if now - self._progress_at > LONGEST_WAIT:
                    raise FailedError("the download waited in vain for its neighbours to bring what is missing")
                self._changed.wait(todo.seconds)
            return None

    def verified(self, partial: Partial, piece: int) -> None:
        with self._changed:
            self._progress_at = self._clock()
            first = not self._pieces.have
            self._pieces.verified(self._first[partial.blob.sha256] + piece, self._progress_at)

        if first:
            self._on_first()

    def ended(self, order: Order, left: Run | None, error: SourceError | None) -> None:
        with self._changed:
            if isinstance(order.mark, Fetch) and left is not None:
                start = order.mark.piece - self._first[left.partial.blob.sha256]
                failed = error is not None and not error.busy
                self._pieces.ended(order.mark, left.first - start, self._clock(), failed=failed)
                self._put_back(left.partial)
            self._changed.notify_all()

    @property
    def done(self) -> bool:
        with self._changed:
            return self._pieces.done and not self._open

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            for partial in self._open.values():
                partial.close()
            self._open.clear()

    def _found(self, blob: BlobRef) -> int:
        """The pieces of the blob that are on the disk already, as a set."""
        if self._store.has(blob.sha256):
            if self._store.untouched(blob):
                return (1 << blob.piece_count) - 1
            self._store.remove(blob.sha256)
        if not self._store.partial_bytes(blob.sha256) and blob.size:
            return 0
        with self._store.partial(blob) as partial:
            self.resumed_bytes += partial.verified_bytes
            if partial.complete:
                self._store.finish(partial)
                return (1 << blob.piece_count) - 1
            return sum(partial.has(piece) << piece for piece in range(blob.piece_count))

    def _run(self, fetch: Fetch) -> Run:
        blob = self._blob_of(fetch.piece)
        partial = self._open.pop(blob.sha256, None)
        if partial is None:
            partial = self._store.partial(blob)
            for sha256 in [one for one in self._open if not self._used[one]][: len(self._open) - MAX_OPEN + 1]:
                self._open.pop(sha256).close()
        self._open[blob.sha256] = partial
        self._used[blob.sha256] = self._used.get(blob.sha256, 0) + 1
        start = fetch.piece - self._first[blob.sha256]
        return Run(partial, start, start + fetch.count)

    def _blob_of(self, piece: int) -> BlobRef:
        return self._blobs[bisect_right(self._starts, piece) - 1]

    def _put_back(self, partial: Partial) -> None:
        sha256 = partial.blob.sha256
        self._used[sha256] -= 1
        if partial.complete and not self._used[sha256]:
            del self._open[sha256]
            self._store.finish(partial)
            partial.close()
