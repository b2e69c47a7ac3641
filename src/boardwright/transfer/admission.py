"""How many boards a server serves at once: slots that clients hold while they ask for ranges.

Granted ranges go out without telling of their progress, so a slot is counted by the asking: it is taken with the
first range and lapses a few seconds after the last. Who holds a slot gets further ranges without asking for another.
"""

import time
from collections.abc import Callable

LAPSE = 3.0  # seconds; a range of 8 MiB over a 50 Mbit/s line takes 1.3 s, a stalled board gives up after 2 s


class Admission:
    """`bound` slots; used in one thread only."""

    def __init__(self, bound: int, *, lapse: float = LAPSE, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound = max(1, bound)
        self._lapse = lapse
        self._clock = clock
        self._last: dict[str, float] = {}  # client -> time of its last range, oldest first

    def admit(self, client: str) -> bool:
        """Take or keep the slot of `client`; False if all slots are others'."""
        self._drop_lapsed()
        if self._last.pop(client, None) is None and len(self._last) >= self.bound:
            return False
        self._last[client] = self._clock()
        return True

    @property
    def load(self) -> int:
        """Used share of the bound in thousandths; 1000 is full."""
        self._drop_lapsed()
        return len(self._last) * 1000 // self.bound

    @property
    def clients(self) -> tuple[str, ...]:
        """Who holds a slot, the longest silent first."""
        self._drop_lapsed()
        return tuple(self._last)

    def _drop_lapsed(self) -> None:
        oldest = self._clock() - self._lapse
        while self._last:
            client = next(iter(self._last))
            if self._last[client] > oldest:
                return
            del self._last[client]
