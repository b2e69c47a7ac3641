"""Orders where everything comes from the best source, and from the next one if that fails."""

import threading
import time
from collections.abc import Iterable

import msgspec

from boardwright.errors import FailedError
from boardwright.model.software import BlobRef
from boardwright.transfer.partial import Partial
from boardwright.transfer.receiver import Order
from boardwright.transfer.sources import FetchSource, LeftSource, SourceError, SourceList
from boardwright.transfer.store import BlobStore
from boardwright.transfer.work import Run, Work


class Patience(msgspec.Struct, frozen=True):
    """Seconds without a piece after which nobody is tried any more; `busy`: if a source is only full."""

    idle: float
    busy: float

    def over(self, sources: SourceList, since: float, now: float) -> bool:
        """Whether it is no use to wait for the next source that may be asked; `since`: the last piece."""
        ready = sources.next_ready()
        patience = self.busy if any(one.busy for one in sources.left()) else self.idle
        return ready is None or now - since + ready > patience


class Nearest:
    """Runs of pieces, all from the best source of the list; as ``receiver.Orders``."""

    def __init__(self, blobs: Iterable[BlobRef], store: BlobStore, sources: SourceList, patience: Patience) -> None:
        self._work = Work(blobs, store)
        self._sources = sources
        self._patience = patience
        self._ended = threading.Event()
        self._progress_at = time.monotonic()

    @property
    def resumed_bytes(self) -> int:
        return self._work.resumed_bytes

    @property
    def done(self) -> bool:
        return self._work.done

    def next(self) -> Order | None:
        run = self._work.next()
        if run is None:
            return None
        try:
            source = self._source()
        except FailedError:
            self._work.give_back(run)
            raise
        if source is None:
            self._work.give_back(run)
            return None
        return Order(source, run)

    def ended(self, order: Order, left: Run | None, error: SourceError | None) -> None:
        del order, error
        if left is not None:
            self._work.give_back(left)

    def verified(self, partial: Partial, piece: int) -> None:
        del partial, piece
        self._progress_at = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self._work.end()

    def close(self) -> None:
        self._work.close()

    def _source(self) -> FetchSource | None:
        """The best source, waited for if all are left just now; None: it has ended. Raises FailedError."""
        while not self._ended.is_set():
            if (source := self._sources.current()) is not None:
                return source
            if self._patience.over(self._sources, self._progress_at, time.monotonic()):
                raise nobody(self._sources.left())
            self._ended.wait(self._sources.next_ready() or 0.0)
        return None


def nobody(left: tuple[LeftSource, ...]) -> FailedError:
    """That nobody is left to ask, and why."""
    if not left:
        return FailedError("the download has no server to ask")
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in left)
    return FailedError(f"the download failed at every server: {reasons}")
