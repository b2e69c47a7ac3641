"""Where ranges wait for their turn under the caps: ``Turns`` with the clock and the futures of an event loop."""

import asyncio
import time
from collections.abc import Callable

from boardwright.transfer.caps import Caps, Ticket, Turns


class Gate:
    """Used in one event loop; without caps nobody waits."""

    def __init__(self, caps: Caps, clock: Callable[[], float] = time.monotonic) -> None:
        self.capped = bool(caps)
        self.waited = 0
        self._turns = Turns(caps)
        self._clock = clock
        self._futures: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, client: str, far: bool, length: int, *, whole: bool = False) -> int:
        """Bytes that may be sent now, at most `length`, just as many if `whole`; 0: come back later."""
        ticket = self._turns.ask(client, far, length, self._clock(), whole=whole)
        if not ticket.refused:
            self._pump()
        if not (ticket.granted or ticket.refused):
            self.waited += 1
            self._futures[ticket] = asyncio.get_running_loop().create_future()
            await self._futures[ticket]
        return ticket.granted

    @property
    def waiting(self) -> int:
        """Ranges that wait now."""
        return self._turns.waiting

    def _pump(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for ticket in self._turns.due(self._clock()):
            future = self._futures.pop(ticket, None)
            if future is not None and not future.done():  # done: the client went away while it waited
                future.set_result(None)
        wait = self._turns.next_wakeup(self._clock())
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._pump)
