"""A cap on bytes per second: a token bucket that makes its callers wait.

The bucket holds a quarter of a second's tokens, so that progress is smooth; a taker may go into debt, which it
waits off, so a range larger than the bucket is possible and the mean rate still holds. Clock and sleep are injected.
"""

import threading
import time
from collections.abc import Callable

BURST_SECONDS = 0.25
MIN_RANGE = 64 * 1024  # bytes; smaller requests cost more than they smooth


class TokenBucket:
    """`rate` in bytes per second; 0 means no cap and no waiting. Thread-safe."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()  # when the tokens taken so far are paid off

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be asked for."""
        if not self.rate:
            return
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - BURST_SECONDS)
            self._free_at = start + count / self.rate
            wait = start - now
        if wait > 0:
            self._sleep(wait)

    def range_limit(self, most: int) -> int:
        """The largest range, in bytes, that still makes for smooth progress; `most` without a cap."""
        if not self.rate:
            return most
        return max(MIN_RANGE, min(most, int(self.rate * BURST_SECONDS)))
