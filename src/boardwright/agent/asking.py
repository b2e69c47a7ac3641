"""When a board asks, and what the last round of asking brought (sans I/O).

Rules:

* One round at a time. Its datagrams go out when they are due; when it has decided, its offers count, and offers that
  come later join them.
* The next round is due by the slow jittered period, an announcement, a search that needs one, or the back-off after a
  round that brought nothing useful. The earliest of them wins.
* Whoever offered and then did not answer for its plan is left out of that round: it hangs or is cut off.
* Servers that answered are known, so that the next round need not wait longer than they do; one that misses several
  rounds is forgotten.
"""

from collections.abc import Callable, Mapping

from boardwright.agent.ledger import MAX_SERVERS
from boardwright.model.inventory import Board
from boardwright.protocol import Randomness
from boardwright.protocol.messages import GroupQuery, Offer
from boardwright.protocol.requester import Requester
from boardwright.protocol.timing import RequestTiming, ask_after_announcement, ask_after_start, ask_again_after

MISSED_ROUNDS = 5  # then a server is not waited for any more; it is known again as soon as it answers
FRESH = 3.0  # seconds after its decision, or after its plan came, that a round's offers are good to choose by
FIRST_RETRY = 1.0  # seconds after a round that brought nothing useful; doubles
LONGEST_RETRY = 30.0
BELIEVED = 2  # announcements of nothing that a server whose plan lags may cause; after that asking backs off


class Asking:
    """The rounds of one board."""

    def __init__(
        self,
        board: Board,
        cluster: str,
        *,
        known: Mapping[str, str],
        period: float,
        timing: RequestTiming,
        rng: Randomness,
        now: float,
    ) -> None:
        self.requester: Requester | None = None
        self.queries: tuple[GroupQuery, ...] = ()
        self.apis: dict[str, str] = dict(known)
        self._board = board
        self._cluster = cluster
        self._period = period
        self._timing = timing
        self._rng = rng
        self._missed: dict[str, int] = {}
        self._settled = True
        self._silent: frozenset[str] = frozenset()
        self._verified_at = now
        self._fruitless = 0
        self._due = now + ask_after_start(timing, rng)

    @property
    def nonces(self) -> frozenset[bytes]:
        """Those of the last round: offers that echo none of them answer somebody else, or nobody."""
        return frozenset() if self.requester is None else self.requester.nonces

    @property
    def asking(self) -> bool:
        """Whether a round is under way that was not taken yet."""
        return not self._settled

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Everything that the last round brought so far."""
        offers = self.requester.offers if self.requester else ()
        return tuple(offer for offer in offers if offer.server not in self._silent)

    def milliseconds(self) -> float:
        """From the last round's request to its decision."""
        if self.requester is None or self.requester.decided_at is None:
            return 0.0
        return (self.requester.decided_at - self.requester.started_at) * 1000.0

    def fresh(self, now: float) -> bool:
        """Whether the last round was decided just now, so that a choice may go by it."""
        decided = self.requester.decided_at if self.requester else None
        # A server that hangs may have held up the plan for longer than offers are fresh.
        return self._settled and decided is not None and now - max(decided, self._verified_at) <= FRESH

    def verified(self, silent: frozenset[str], now: float) -> None:
        """The servers of the last round were asked for the plan; `silent` did not answer."""
        self._silent, self._verified_at = silent, now

    def asked_for(self, group: str, manifest: bytes) -> bool:
        """Whether the last round asked for this very version."""
        return any(query.group == group and query.want == manifest for query in self.queries)

    def next_wakeup(self) -> float:
        """When ``datagrams`` and ``take`` are to be called again."""
        if self._settled or self.requester is None:
            return self._due
        wakeup = self.requester.next_wakeup()
        return self._due if wakeup is None else wakeup

    def datagrams(self, now: float, generation: int, queries: Callable[[], tuple[GroupQuery, ...]]) -> list[bytes]:
        """What is to be sent now; begins a round if one is due."""
        if self._settled and now >= self._due:
            self._count_missed()
            self.queries = queries()
            self.requester = Requester(
                cluster=self._cluster,
                board=self._board,
                queries=self.queries,
                generation=generation,
                known_servers=frozenset(self.apis),
                timing=self._timing,
                rng=self._rng,
                now=now,
            )
            self._settled, self._silent = False, frozenset()
        return [] if self._settled or self.requester is None else self.requester.datagrams(now)

    def take(self, now: float) -> bool:
        """True once per round: it has decided. The next one is due after the period, unless told otherwise."""
        if self._settled or self.requester is None or not self.requester.decided(now):
            return False
        self._settled = True
        # Without any answer the next round follows at once: the requester itself slows down while it waits.
        self._due = now + (ask_again_after(self._period, self._timing, self._rng) if self._heard_a_server else 0.0)
        return True

    @property
    def _heard_a_server(self) -> bool:
        return any(not offer.relay for offer in self.offers)

    def hear(self, offer: Offer, now: float) -> bool:
        """Take an offer in; False if it is none for the last round."""
        if self.requester is None or not self.requester.hear(offer, now):
            return False
        if offer.api and not offer.relay and (offer.server in self.apis or len(self.apis) < MAX_SERVERS):
            self.apis[offer.server] = offer.api
        self._missed.pop(offer.server, None)
        return True

    def drop(self, servers: frozenset[str]) -> None:
        """These are servers no more."""
        if self.requester is not None:
            self.requester.drop(servers)
        for server in servers:
            self.apis.pop(server, None)
            self._missed.pop(server, None)

    def ask_by(self, when: float) -> None:
        """A round is needed at `when` or sooner."""
        self._due = min(self._due, when)

    def announced(self, now: float, doubt: int = 0) -> None:
        """A newer plan was announced; `doubt` counts those before that no plan bore out."""
        if doubt <= BELIEVED:
            self._fruitless = 0
            self.ask_by(now + ask_after_announcement(self._timing, self._rng))
        else:
            pause = min(FIRST_RETRY * 2.0 ** min(doubt - BELIEVED, 16), LONGEST_RETRY)
            self.ask_by(now + ask_again_after(pause, self._timing, self._rng))

    def fruitful(self) -> None:
        """The last round was good for what it was meant for."""
        self._fruitless = 0

    def fruitless(self, now: float, attempts: int | None = None) -> bool:
        """Ask again with back-off; False if that was done `attempts` times and only the period is left."""
        if attempts is not None and self._fruitless >= attempts:
            return False
        pause = min(FIRST_RETRY * 2.0 ** min(self._fruitless, 16), LONGEST_RETRY)
        self._fruitless += 1
        self.ask_by(now + ask_again_after(pause, self._timing, self._rng))
        return True

    def _count_missed(self) -> None:
        if self.requester is None:
            return
        heard = {offer.server for offer in self.offers}
        for server in list(self.apis):
            if server not in heard:
                self._missed[server] = self._missed.get(server, 0) + 1
                if self._missed[server] >= MISSED_ROUNDS:
                    del self.apis[server], self._missed[server]
