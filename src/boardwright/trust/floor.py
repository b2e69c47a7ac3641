"""What time it is on a board whose clock may be wrong (pure).

Rules:

* Time is the later of the system clock and the floor: the newest time that an online key has signed and this board has
  seen, and the seconds that have passed since (by the monotonic clock, while the board is up). A board that boots in
  1970 so still notices a repository that is frozen.
* A floor belongs to the set of online keys under which it was learnt. When root or targets drop one of them, the floor
  starts anew: a thief who signed a time in the far future poisons boards no longer than until his key is dropped.
  Keys that are added change nothing.
* A clock that is wrong into the future cannot be told from a right one: the floor only helps against the past.
"""

import msgspec

FIELD = "x-boardwright-time"  # of the timestamp role: whole seconds since the epoch (canonical JSON has no fractions)
LATEST = 253_402_300_799.0  # 9999-12-31T23:59:59Z: what TUF's date format can say (specification section 4.2.1)


class Floor(msgspec.Struct, frozen=True):
    """`time` in seconds since the epoch, 0 if none was seen; `keys` are the ids of the online keys, sorted.

    `era` counts how often it started anew.
    """

    time: float = 0.0
    keys: tuple[str, ...] = ()
    era: int = 0

    def under(self, keys: frozenset[str]) -> "Floor":
        """The floor under these online keys: anew if one was dropped."""
        if frozenset(self.keys) - keys:
            return Floor(0.0, tuple(sorted(keys)), self.era + 1)
        return Floor(self.time, tuple(sorted(keys)), self.era)

    def seen(self, time: float) -> "Floor":
        """With a signed time that was verified."""
        return Floor(max(self.time, time), self.keys, self.era)


def now(wall: float, floor: Floor, passed: float = 0.0) -> float:
    """Seconds since the epoch; `passed` are the seconds since the floor was learnt, as far as this board was up."""
    risen = floor.time + passed if floor.time else 0.0
    return min(max(wall, risen, 0.0), LATEST)


def signed_time(value: object) -> float | None:
    """The time in a timestamp's field ``FIELD``; None for what is no time: then it is as if it were not there."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return float(value) if 0 < value <= LATEST else None
