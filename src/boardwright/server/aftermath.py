"""What a request leaves to be done once it is answered: answers first, bookkeeping after.

Rules:

* Thousands of boards may ask at one moment. Each is answered from memory at once; who they are and where they say they
  sit is looked at a little later, in small portions, so that nobody's offer waits for it.
* The queue is bounded. What comes when it is full is let go and counted: boards ask again and report.
* One event loop; nothing is lost by stopping, because requests are repeated.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

PAUSE = 0.02  # seconds between an answer and its bookkeeping; a storm of a thousand requests is answered in that time
PORTION = 100  # entries at a time: some 3 ms
MAX_WAITING = 20_000  # as many boards as reports are kept of

Entry = TypeVar("Entry")
CallLater = Callable[[float, Callable[[], None]], object]  # seconds, and what to call then


class Aftermath(Generic[Entry]):
    """Calls `work` for every entry, later."""

    def __init__(self, work: Callable[[Entry], object], call_later: CallLater) -> None:
        self._work = work
        self._call_later = call_later
        self._waiting: deque[Entry] = deque()
        self._due = False
        self.let_go = 0

    @classmethod
    def here(cls, work: Callable[[Entry], object]) -> "Aftermath[Entry]":
        """In the running event loop."""
        return cls(work, asyncio.get_running_loop().call_later)

    def add(self, entry: Entry) -> None:
        """Leave `entry` for later."""
        if len(self._waiting) >= MAX_WAITING:
            self.let_go += 1
            return
        self._waiting.append(entry)
        if not self._due:
            self._due = True
            self._call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        for _ in range(min(PORTION, len(self._waiting))):
            self._work(self._waiting.popleft())
        self._due = bool(self._waiting)
        if self._due:
            self._call_later(0.0, self._go_on)
