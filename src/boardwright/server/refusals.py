"""What was refused to callers who had proven who they are, summed up until it is recorded in the audit log.

Rules:

* Refused is what ends a command with exit code 3: a role that may not, a bad signature, a stale plan, a name that is
  taken. Typing errors and what is not there are no refusals.
* Nobody fills the log: of a caller and an action the first refusal is recorded within a second, those that follow
  as one record with their count, after a minute, then after twice as long each time, up to ``LONGEST``.
* There are ``MAX_ROWS`` of caller and action; what comes beyond goes into one row of nobody. Who has not proven who he
  is (401) is counted and nothing else.
* A standby sends callers to the active before it looks who they are, so the active refuses them and records it.
"""

import threading
from collections import Counter
from collections.abc import Callable

import msgspec

from boardwright.model.audit import Act, Action, Actor

FIRST_PAUSE = 60.0  # seconds between the first record of a row and the second
LONGEST = 3600.0  # seconds; who goes on for a day leaves some thirty records
MAX_ROWS = 256  # more people and actions than a cluster has; a stolen board makes one
OTHERS = Actor("*", "")


class _Row(msgspec.Struct):
    """`act` is the last one that was refused, `count` how many were since the last record."""

    act: Act
    count: int
    due: float
    pause: float


class Refusals:
    """`clock` is monotonic seconds; safe to call from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str, Action], _Row] = {}
        self.counts: Counter[str] = Counter()

    def unproven(self) -> None:
        """Somebody called who has not said who he is, or could not prove it."""
        self.counts["unproven"] += 1

    def note(self, act: Act) -> None:
        """`act` was refused."""
        now = self._clock()
        with self._lock:
            self.counts["refused"] += 1
            key = (act.actor.id, act.actor.key, act.action)
            if key not in self._rows:
                self._forget(now)
                if len(self._rows) >= MAX_ROWS:
                    act = Act(OTHERS, Action.CALL)
                    key = (OTHERS.id, OTHERS.key, act.action)
            row = self._rows.setdefault(key, _Row(act, 0, now, 0.0))
            row.act, row.count = act, row.count + 1

    def due(self) -> list[tuple[Act, int]]:
        """What is to be recorded now, with its count."""
        now = self._clock()
        with self._lock:
            return [(row.act, row.count) for row in self._rows.values() if row.count and row.due <= now]

    def recorded(self, act: Act, count: int) -> None:
        """So many of this caller and action stand in the log now."""
        with self._lock:
            row = self._rows.get((act.actor.id, act.actor.key, act.action))
            if row is not None:
                row.count -= count
                row.pause = min(LONGEST, max(FIRST_PAUSE, 2 * row.pause))
                row.due = self._clock() + row.pause

    def drop(self) -> None:
        """Forget what was not recorded: only the active can."""
        with self._lock:
            self._rows.clear()

    def _forget(self, now: float) -> None:
        """Rows that have been quiet for as long as they would wait."""
        over = [key for key, row in self._rows.items() if not row.count and now > row.due + row.pause]
        for key in over:
            del self._rows[key]
