"""What time the active signs: its own clock, as long as those of its peers do not say otherwise (design section 4).

Rules:

* Every server tells the active its clock with its status. The middle is the median of all clocks, the active's own
  included, the lower one of two: as long as most are right, one that is wrong moves it nowhere.
* A clock that is more than ``AHEAD`` off the middle is not signed: the middle is. Deployments go on.
* Who has just become the active has heard nobody yet. Until somebody has spoken or ``PATIENCE`` is over it has no
  judgement (``None``), unless no other server signs in this cluster.
* Whose clock is off is an alarm by the server's name.
"""

import threading
from collections.abc import Callable, Iterable

from boardwright.server.alarms import AlarmKind, Alarms

AHEAD = 86_400.0  # seconds; design section 4. Clocks that somebody sets are off by far less
PATIENCE = 5.0  # seconds; ten posts of each peer
HEARD = 10.0  # seconds; who was silent for longer may have been switched off and have another clock now


class Clocks:
    """`wall` is this server's clock in seconds since the epoch, `monotonic` in seconds; any thread may call."""

    def __init__(
        self, server: str, wall: Callable[[], float], monotonic: Callable[[], float], alarms: Alarms | None = None
    ) -> None:
        self._server = server
        self._wall = wall
        self._monotonic = monotonic
        self._alarms = alarms
        self._lock = threading.Lock()
        self._since = monotonic()
        self._ahead: dict[str, tuple[float, float]] = {}  # by server: when it was heard, and its clock less monotonic

    def begin(self) -> None:
        """This server has become the active."""
        self._since = self._monotonic()

    @property
    def own(self) -> float:
        """Seconds since the epoch as this server alone has them."""
        return self._wall()

    def take(self, server: str, clock: float) -> None:
        """Another server, which the caller knows, says its clock; 0 or less says nothing."""
        now = self._monotonic()
        if clock > 0 and server != self._server:
            with self._lock:
                self._ahead[server] = (now, clock - now)

    def judged(self, *, alone: bool) -> float | None:
        """The time to sign, None if there is no judgement yet; `alone`: there is nobody to be asked."""
        now, own = self._monotonic(), self._wall()
        with self._lock:
            self._ahead = {server: said for server, said in self._ahead.items() if now - said[0] <= HEARD}
            others = {server: now + ahead for server, (_, ahead) in self._ahead.items()}
        if not others:
            return own if alone or now - self._since > PATIENCE else None
        clocks = {**others, self._server: own}
        middle = median(clocks.values())
        for server, clock in clocks.items():
            if abs(clock - middle) > AHEAD and self._alarms is not None:
                self._alarms.sound(AlarmKind.CLOCK, server, _sentence(server, clock - middle), lasting=False)
        return own if abs(own - middle) <= AHEAD else middle


def median(clocks: Iterable[float]) -> float:
    """The one in the middle, the lower one of two; of at least one."""
    ordered = sorted(clocks)
    return ordered[(len(ordered) - 1) // 2]


def _sentence(server: str, off: float) -> str:
    where = "ahead of" if off > 0 else "behind"
    return f"the clock of {server} is {abs(off) / 3600:.0f} hours {where} those of the other servers"
