"""Virtual time: a heap of what happens when. Nothing waits, a simulated hour takes milliseconds.

Rules:

* Time moves only from one event to the next; what is due at the same time happens in the order it was asked for.
* A run is bounded by virtual time and by the number of events, so that a simulated loop ends the test, not the day.
"""

import heapq
import itertools
from collections.abc import Callable

MAX_EVENTS = 5_000_000  # some thirty seconds of computing


class Timer:
    """Something that will happen, unless it is cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    @property
    def pending(self) -> bool:
        return self._callback is not None

    def fire(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class VirtualTime:
    """The clock of a simulation and its event loop; times are seconds."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start  # not zero: a forgotten default must not look like the start
        self.events = 0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Timer]] = []

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call at `when`, or as soon as possible if that is past."""
        timer = Timer(callback)
        heapq.heappush(self._due, (max(when, self.now), next(self._order), timer))
        return timer

    def after(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call in `delay` seconds."""
        return self.at(self.now + delay, callback)

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let at most `seconds` pass; stop early when `until` holds. Whether it holds at the end (True without one)."""
        end = self.now + seconds
        while until is None or not until():
            if not self._due or self._due[0][0] > end:
                self.now = end
                return until is None or until()
            self.events += 1
            assert self.events < MAX_EVENTS, "the simulation does not come to an end"
            self.now, _, timer = heapq.heappop(self._due)
            timer.fire()
        return True
