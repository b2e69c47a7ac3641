"""How many boards a server serves at once: slots that clients hold while they ask for ranges.

Granted ranges go out without telling of their progress, so a slot is counted by the asking: it is taken with the
first range and lapses some time after the last. Who holds a slot gets further ranges without asking for another.

How long a slot outlives its last range follows the pace of its holder: four times its longest pause so far, so that a
board on a quick line, which asks a hundred times a second, does not keep others waiting for seconds when it is done.
"""

import time
from collections.abc import Callable

LAPSE = 3.0  # seconds at most; a range of 8 MiB over a 50 Mbit/s line takes 1.3 s, a stalled board gives up after 2 s
SHORTEST = 0.5  # seconds; a quick board pauses so long when it syncs its disk
PAUSES = 4.0  # times its longest pause
STEADY = 8  # ranges until a pace is believed


class _Slot:
    __slots__ = ("last", "longest", "ranges")

    def __init__(self, now: float) -> None:
        self.last = now
        self.longest = 0.0
        self.ranges = 0

    def used(self, now: float) -> None:
        if self.ranges:
            self.longest = max(self.longest, now - self.last)
        self.ranges += 1
        self.last = now

    def ends(self, lapse: float) -> float:
        if self.ranges < STEADY:
            return self.last + lapse
        return self.last + min(lapse, max(SHORTEST, PAUSES * self.longest))


class Admission:
    """`bound` slots; used in one thread only. `lapse`: seconds that a slot outlives its last range at most."""

    def __init__(self, bound: int, *, lapse: float = LAPSE, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound = max(1, bound)
        self._lapse = lapse
        self._clock = clock
        self._slots: dict[str, _Slot] = {}  # by client

    def admit(self, client: str) -> bool:
        """Take or keep the slot of `client`; False if all slots are others'."""
        now = self._clock()
        slot = self._slots.get(client)
        if slot is None:
            if len(self._slots) >= self.bound:
                self._drop_lapsed(now)
            if len(self._slots) >= self.bound:
                return False
            slot = self._slots[client] = _Slot(now)
        slot.used(now)
        return True

    @property
    def load(self) -> int:
        """Used share of the bound in thousandths; 1000 is full."""
        self._drop_lapsed(self._clock())
        return len(self._slots) * 1000 // self.bound

    @property
    def clients(self) -> tuple[str, ...]:
        """Who holds a slot, the longest silent first."""
        self._drop_lapsed(self._clock())
        return tuple(sorted(self._slots, key=lambda client: self._slots[client].last))

    def _drop_lapsed(self, now: float) -> None:
        for client in [client for client, slot in self._slots.items() if slot.ends(self._lapse) <= now]:
            del self._slots[client]
