"""Who of a board's neighbours is answered now: so many at once, each with a buffer of a piece.

Rules:

* Fewer at once while the board downloads itself, and under a cap on the rate, where each would move too slowly else.
* Who comes when all places are taken, or has its share, is sent away at once: there are others to ask, and a line that
  waits fetches nothing.
"""

import contextlib
import mmap
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from boardwright.model.software import PIECE_SIZE

AT_ONCE = 8  # answers; what several neighbours take from one link, and 8 MiB of buffers
AT_ONCE_YIELDING = 4  # while the board downloads itself: as many as it asks for itself (``sim.swarm``)
AT_ONCE_CAPPED = 2  # under a cap, so that each moves on before its asker gives it up
EACH_AT_ONCE = 2  # of one board
HEAD_ROOM = 4096  # bytes before a piece in its buffer; the head of an answer has half of that at most


class Desk:
    """Who may be answered now: so many at once, each with a buffer."""

    def __init__(self, yields: Callable[[], bool], *, capped: bool) -> None:
        self._yields = yields
        self._capped = capped
        self._changed = threading.Condition()
        self._boards: Counter[str] = Counter()  # of answers under way
        self._buffers: list[memoryview] = []

    @property
    def load(self) -> int:
        with self._changed:
            return min(1000, self._boards.total() * 1000 // self._most)

    @contextlib.contextmanager
    def place(self, board: str, patience: float) -> Iterator[memoryview | None]:
        """A buffer, for which may be waited; None: it is too full."""
        with self._changed:
            buffer = self._begin(board) if self._changed.wait_for(lambda: self._free(board), patience) else None
        try:
            yield buffer
        finally:
            if buffer is not None:
                with self._changed:
                    self._boards[board] -= 1
                    self._boards += Counter()  # forget who has none
                    self._buffers.append(buffer)
                    if not self._boards:
                        del self._buffers[1:]  # one is at hand; who comes seldom needs no more
                    self._changed.notify_all()

    def clear(self) -> None:
        """Give the memory back."""
        with self._changed:
            self._buffers.clear()

    @property
    def _most(self) -> int:
        if self._capped:
            return AT_ONCE_CAPPED
        return AT_ONCE_YIELDING if self._yields() else AT_ONCE

    def _free(self, board: str) -> bool:
        return self._boards.total() < self._most and self._boards[board] < EACH_AT_ONCE

    def _begin(self, board: str) -> memoryview:
        self._boards[board] += 1
        # Of its own pages: the system has them back as soon as they are dropped.
        return self._buffers.pop() if self._buffers else memoryview(mmap.mmap(-1, HEAD_ROOM + PIECE_SIZE))
