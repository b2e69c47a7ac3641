"""What is still to be fetched, handed out to workers as runs of pieces.

Rules:

* A run is a stretch of neighbouring missing pieces of one blob, at most ``RANGE_SIZE`` long.
* Blobs are opened one after the other, as workers ask, so any number of them costs few open files.
* A run that was not finished is given back with the pieces that are left, and is the next to be handed out.
* The worker that brings the last piece of a blob finishes the blob.
"""

import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from boardwright.model.software import PIECE_SIZE, RANGE_SIZE, BlobRef
from boardwright.transfer.partial import Partial
from boardwright.transfer.store import BlobStore

_RUN_PIECES = RANGE_SIZE // PIECE_SIZE


class Run(NamedTuple):
    """Pieces `first` to before `end` of one blob."""

    partial: Partial
    first: int
    end: int


class Work:
    """The runs of several blobs; thread-safe. Close it when the workers are gone."""

    def __init__(self, blobs: Iterable[BlobRef], store: BlobStore) -> None:
        self._store = store
        self._blobs = deque({blob.sha256: blob for blob in blobs}.values())
        self._runs: deque[Run] = deque()
        self._out = 0
        self._open: set[Partial] = set()
        self._changed = threading.Condition()
        self._ended = False
        self.resumed_bytes = 0

    def next(self) -> Run | None:
        """The next run; waits while others may still give theirs back; None when all is done or ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._refill() or not self._out)
            if self._ended or not self._runs:
                return None
            self._out += 1
            return self._runs.popleft()

    def give_back(self, run: Run) -> None:
        """Return what is left of a run, if anything."""
        with self._changed:
            self._out -= 1
            if run.first < run.end:
                self._runs.appendleft(run)
            elif run.partial.complete and run.partial in self._open:
                self._open.remove(run.partial)
                self._finish(run.partial)
            self._changed.notify_all()

    @property
    def done(self) -> bool:
        """Every blob is complete."""
        with self._changed:
            return not (self._blobs or self._runs or self._out or self._open)

    def end(self) -> None:
        """Hand out no more runs."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close the files of unfinished blobs."""
        with self._changed:
            for partial in self._open:
                partial.close()
            self._open.clear()

    def _refill(self) -> bool:
        while not self._runs and self._blobs:
            blob = self._blobs.popleft()
            if self._store.has(blob.sha256):
                if self._store.untouched(blob):
                    continue
                self._store.remove(blob.sha256)
            partial = self._store.partial(blob)
            self.resumed_bytes += partial.verified_bytes
            if partial.complete:
                self._finish(partial)
                continue
            self._open.add(partial)
            self._runs.extend(Run(partial, first, end) for first, end in stretches(partial.missing(), _RUN_PIECES))
        return bool(self._runs)

    def _finish(self, partial: Partial) -> None:
        self._store.finish(partial)
        partial.close()


def stretches(indexes: Iterable[int], most: int) -> list[tuple[int, int]]:
    """Ascending indexes as (first, end) stretches of neighbours, each at most `most` long."""
    found: list[tuple[int, int]] = []
    for index in indexes:
        if found and found[-1][1] == index and index - found[-1][0] < most:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found
