"""Whether more comes in on the control network than is answered: the alarm `flood`, raised and cleared.

Rules:

* Every `EVERY` seconds what was dropped since the last look is counted: datagrams by their reason, requests over the
  budget of their source, what the kernel had no room for, and words of boards that nobody knows and nobody needs.
* The alarm is raised at `LIMIT` a second and cleared after `QUIET` seconds below it, so that it does not flicker.
* The sentence names the reason that counts most and the address that sent most of what could be told apart.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from boardwright.server.alarms import AlarmKind, Alarms

EVERY = 1.0  # seconds
LIMIT = (
    500.0  # dropped datagrams a second; other programs on the group, or a release that is not understood, are far below
)
QUIET = 10.0  # seconds
SUBJECT = "control network"
_WORDS = {
    "over-budget": "requests beyond what one sender is answered",
    "overflow": "datagrams that the kernel had no room for",
    "strangers": "requests of boards that nobody knows",
}


class FloodWatch:
    """`dropped` answers everything dropped so far by its reason, `loudest` the sender of the last dropped datagram."""

    def __init__(self, alarms: Alarms, dropped: Callable[[], dict[str, int]], loudest: Callable[[], str]) -> None:
        self._alarms = alarms
        self._dropped = dropped
        self._loudest = loudest
        self._before = Counter(dropped())
        self._looked: float | None = None
        self._loud_at: float | None = None

    async def run(self, clock: Callable[[], float]) -> None:
        """Look until cancelled; `clock` is monotonic seconds."""
        while True:
            self.look(clock())
            await asyncio.sleep(EVERY)

    def look(self, now: float) -> None:
        """To be called about every `EVERY` seconds of the monotonic clock."""
        dropped, passed = Counter(self._dropped()), 0.0 if self._looked is None else now - self._looked
        news, self._before, self._looked = dropped - self._before, dropped, now
        rate = news.total() / passed if passed > 0 else 0.0
        if rate >= LIMIT:
            self._loud_at = now
            reason, _ = news.most_common(1)[0]
            sender = self._loudest()
            self._alarms.sound(
                AlarmKind.FLOOD,
                SUBJECT,
                f"{rate:,.0f} datagrams a second are dropped, most of them {_WORDS.get(reason, reason)}"
                + (f", the last from {sender}" if sender else ""),
            )
        elif self._loud_at is not None and now - self._loud_at >= QUIET:
            self._loud_at = None
            self._alarms.clear(AlarmKind.FLOOD, SUBJECT)
