"""How much of whom is listened to, so that nobody who shouts drowns the others (sans I/O).

Rules:

* Every source has a bucket of its own: what it sends beyond `RATE` a second, after a burst of `BURST`, is not answered.
* What a source sends beyond a modest rate (`MODEST_RATE`) comes out of a bucket that all share, so that many who shout
  a little, each within its own bounds, do not take a whole core either. A board is always modest.
* Sources that were not heard before share one more bucket, so that a flood from invented addresses is bounded, too.
* Sources that were heard again later are known. Strangers never push a known source out of the table, and it does not
  need the strangers' bucket: boards that asked before the flood go on being answered in it.
* Both tables are bounded; the source that was silent the longest makes room.
"""

from collections import OrderedDict

import msgspec

# A host may stand for many boards (a lab, a proxy for small cards): 1,000 of them power on at one moment, ask twice,
# and do so again while somebody works on them. After that, 500 a second are a hundredth of a core.
RATE, BURST = 500.0, 10_000.0
# A board repeats a request four times in its first second and every 2 s after that.
MODEST_RATE, MODEST_BURST = 10.0, 50.0
SHARED_RATE, SHARED_BURST = 2000.0, 20_000.0
# An answer takes some 20 us of a core, so strangers get a fifth of one. 10,000 boards may power on at one moment.
STRANGERS_RATE, STRANGERS_BURST = 10_000.0, 10_000.0
KNOWN_AFTER = 1.0  # seconds from a source's first word; an invented address is seldom used again
MAX_KNOWN = 16_384  # addresses; more than the boards that a cluster is designed for
MAX_STRANGERS = 16_384  # one and a half seconds of a flood that uses the whole strangers' bucket


class Rates(msgspec.Struct, frozen=True):
    """What is answered: tokens a second and how many at once, `own` and `modest` for each source; places in tables."""

    own: tuple[float, float] = (RATE, BURST)
    modest: tuple[float, float] = (MODEST_RATE, MODEST_BURST)
    shared: tuple[float, float] = (SHARED_RATE, SHARED_BURST)
    strangers: tuple[float, float] = (STRANGERS_RATE, STRANGERS_BURST)
    known_places: int = MAX_KNOWN
    stranger_places: int = MAX_STRANGERS


REQUESTS = Rates()


class Bucket:
    """Tokens that come back at `rate` a second, at most `burst` of them."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class _Source:
    """One address: what it may send at all, and what it may send without anybody else paying for it."""

    __slots__ = ("_all", "_modest", "since")

    def __init__(self, rates: Rates, now: float) -> None:
        self._all = Bucket(*rates.own, now)
        self._modest = Bucket(*rates.modest, now)
        self.since = now

    def take(self, shared: Bucket, now: float) -> bool:
        return self._all.take(now) and (self._modest.take(now) or shared.take(now))


class Budget:
    """Who may still be answered; `now` is monotonic seconds."""

    def __init__(self, now: float, rates: Rates = REQUESTS) -> None:
        self._rates = rates
        self._strangers = Bucket(*rates.strangers, now)
        self._shared = Bucket(*rates.shared, now)
        self._known: OrderedDict[str, _Source] = OrderedDict()
        self._new: OrderedDict[str, _Source] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known) + len(self._new)

    def admits(self, source: str, now: float) -> bool:
        """Whether a word of `source` (an address) is to be answered; counts it."""
        one = self._known.get(source)
        if one is not None:
            self._known.move_to_end(source)
            return one.take(self._shared, now)
        one = self._new.get(source)
        if one is None:
            if not self._strangers.take(now):
                return False
            one = self._new[source] = _Source(self._rates, now)
            if len(self._new) > self._rates.stranger_places:
                self._new.popitem(last=False)
        elif now - one.since >= KNOWN_AFTER:
            self._known[source] = self._new.pop(source)
            if len(self._known) > self._rates.known_places:
                self._known.popitem(last=False)
        return one.take(self._shared, now)
