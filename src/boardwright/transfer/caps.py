"""Whose turn it is when bytes are scarce: caps on what a server sends (pure).

Rules:

* Three **lanes**: one for each client, one for everything, one for what leaves the chassis. A grant passes through
  every lane that is capped and takes its tokens from all of them at once. A lane may go into debt for one grant and is
  free again when that is paid off, so the mean rate holds whatever the sizes.
* Who waits is served by turns, the client that was served longest ago first, however many ranges it asks for at once:
  no board starves and none gets more by asking more.
* A grant is as long as a lane passes in ``TURN`` seconds, shared by the clients that wait for it, at least
  ``MIN_GRANT`` and at most what was asked: progress stays smooth with any cap. Who asks without a range gets all of it
  or nothing, and waits for his turn like everybody, so that debts do not add up.
* Nobody waits longer than ``PATIENCE``: boards leave a server that is silent for two seconds. Who was not served by
  then is told to come back (503), keeps his turn, and may ask another server meanwhile.
* What clients can fill is bounded: waiting tickets of one client and of all, remembered lanes.
* `now` is monotonic seconds. One thread.
"""

from collections import OrderedDict, deque

import msgspec

from boardwright.transfer.rate import BURST_SECONDS

TURN = BURST_SECONDS  # seconds that a lane is taken by one round of grants
PATIENCE = 1.0  # seconds; half of what a board waits for a silent server
MIN_GRANT = 16 * 1024  # bytes; with smaller ones the headers would be more than 3 % of what is sent
RANGES_AT_ONCE = 3  # that a board asks for: a fetch has three workers
TICKETS = 8  # of one client; more than any board needs
MAX_TICKETS = 4096  # of all; more than the admission of a large server lets in
MAX_CLIENTS = 4096  # whose turns and debts are remembered


class Caps(msgspec.Struct, frozen=True):
    """Bytes per second, 0: no cap."""

    per_board: int = 0
    total: int = 0
    inter_chassis: int = 0

    def __bool__(self) -> bool:
        return bool(self.per_board or self.total or self.inter_chassis)

    def bound(self, admission: int) -> int:
        """How many boards can be served at once so that every range gets its turn in time; at most `admission`."""
        if not self.total:
            return admission
        return max(1, min(admission, int(self.total * PATIENCE / (MIN_GRANT * RANGES_AT_ONCE))))


class Lane:
    """One cap, as a leaky bucket that says when it is free again."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.free_at = float("-inf")

    def take(self, count: int, now: float) -> None:
        """Take tokens; what was not used for longer than a burst is not saved."""
        self.free_at = max(self.free_at, now - BURST_SECONDS) + count / self.rate


class Ticket:
    """A range that waits for its turn, until it was `granted` that many bytes or is `refused`."""

    __slots__ = ("asked", "client", "far", "granted", "refused", "since", "whole")

    def __init__(self, client: str, far: bool, asked: int, since: float, *, whole: bool = False) -> None:
        self.client = client
        self.far = far
        self.asked = asked
        self.since = since
        self.whole = whole
        self.granted = 0
        self.refused = False


class _Client:
    __slots__ = ("lane", "served", "tickets")

    def __init__(self, rate: int) -> None:
        self.lane = Lane(rate) if rate else None
        self.served = float("-inf")
        self.tickets: deque[Ticket] = deque()


class Turns:
    """Decides who is served next under `caps`."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._total = Lane(caps.total) if caps.total else None
        self._far = Lane(caps.inter_chassis) if caps.inter_chassis else None
        self._clients: OrderedDict[str, _Client] = OrderedDict()  # who spoke last is at the end
        self._queue: dict[str, _Client] = {}  # those with tickets
        self._waiting = 0

    def ask(self, client: str, far: bool, length: int, now: float, *, whole: bool = False) -> Ticket:
        """A ticket for at most `length` bytes, or for just as many if `whole`; refused at once if too many wait.

        `far`: they leave the chassis.
        """
        ticket = Ticket(client, far, length, now, whole=whole)
        known = self._known(client)
        if self._waiting >= MAX_TICKETS or len(known.tickets) >= TICKETS:
            ticket.refused = True
            return ticket
        known.tickets.append(ticket)
        self._queue[client] = known
        self._waiting += 1
        return ticket

    def due(self, now: float) -> list[Ticket]:
        """Tickets that were granted or refused just now."""
        done: list[Ticket] = []
        while (client := self._next(now)) is not None:
            ticket = self._take_out(client)
            lanes = self._lanes(client, ticket.far)
            share = min((self._share(lane) for lane in lanes), default=ticket.asked)
            ticket.granted = ticket.asked if ticket.whole else min(ticket.asked, max(MIN_GRANT, share))
            for lane in lanes:
                lane.take(ticket.granted, now)
            client.served = now
            done.append(ticket)
        for client in tuple(self._queue.values()):
            while client.tickets and now - client.tickets[0].since >= PATIENCE:
                ticket = self._take_out(client)
                ticket.refused = True
                done.append(ticket)
        return done

    def next_wakeup(self, now: float) -> float | None:
        """Seconds until ``due`` may have something, None if nobody waits."""
        return max(0.0, min(map(self._ready_at, self._queue.values())) - now) if self._queue else None

    @property
    def waiting(self) -> int:
        """Ranges that wait for their turn."""
        return self._waiting

    def _known(self, client: str) -> _Client:
        known = self._clients.get(client)
        if known is None:
            if len(self._clients) >= MAX_CLIENTS:
                idle = next((name for name, one in self._clients.items() if not one.tickets), None)
                if idle is not None:
                    del self._clients[idle]
            known = self._clients[client] = _Client(self._caps.per_board)
        self._clients.move_to_end(client)
        return known

    def _take_out(self, client: _Client) -> Ticket:
        ticket = client.tickets.popleft()
        self._waiting -= 1
        if not client.tickets:
            del self._queue[ticket.client]
        return ticket

    def _next(self, now: float) -> _Client | None:
        """Among the clients whose lanes are free, the one that was served longest ago."""
        if self._total is not None and self._total.free_at > now:
            return None
        free = (client for client in self._queue.values() if self._free_at(client) <= now)
        return min(free, key=lambda client: client.served, default=None)

    def _free_at(self, client: _Client) -> float:
        return max((lane.free_at for lane in self._lanes(client, client.tickets[0].far)), default=float("-inf"))

    def _ready_at(self, client: _Client) -> float:
        return min(self._free_at(client), client.tickets[0].since + PATIENCE)

    def _lanes(self, client: _Client, far: bool) -> list[Lane]:
        lanes = (client.lane, self._total, self._far if far else None)
        return [lane for lane in lanes if lane is not None]

    def _share(self, lane: Lane) -> int:
        """Bytes of one grant in this lane: a round's worth, shared by this client and those who wait for it."""
        waiting = 0
        if lane is self._total:
            waiting = len(self._queue)
        elif lane is self._far:
            waiting = sum(1 for client in self._queue.values() if client.tickets[0].far)
        return int(lane.rate * TURN) // (waiting + 1)
