"""Requests in, offers out (M2, M7): the server's side of the control network.

Rules:

* Every datagram is decoded once; what is malformed, oversized or foreign is counted by its reason and dropped.
* A request is answered from memory alone, by the sender's address, with at most as many bytes as it had. A thousand
  requests at one moment are answered in a second or two, so nothing here may wait or touch the disk.
* As long as this server catches up with the state, it names no plan and has every version ``preparing``.
* Nobody is answered more often than the budget of its address allows (``Budget``): who shouts drowns nobody.
* What is sent is signed. Offers go to whoever asked (this server, when it copies versions) if they are believed
  (``trust.witness``); announcements are for boards: a server follows the state itself.
* The same datagram is often repeated (back-off): repetitions are answered, too, an answer may have been lost.
"""

from collections import Counter
from collections.abc import Callable, Container
from typing import Protocol

from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport
from boardwright.net.multicast import Address
from boardwright.protocol.budget import Budget
from boardwright.protocol.codec import Dropped, decode, encode_offers
from boardwright.protocol.messages import Offer, Request
from boardwright.protocol.offerer import ServerFacts, answer
from boardwright.protocol.sealing import Seal
from boardwright.server.catching_up import preparing
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.sightings import sighting
from boardwright.trust.witness import Witness

OVER_BUDGET = "over-budget"  # counted beside the reasons of the codec


class Asking(Protocol):
    """This server's own questions."""

    @property
    def nonces(self) -> Container[bytes]: ...

    def hear(self, offer: Offer) -> None: ...


class Responder:
    """Answers for one server; ``hear`` runs in the loop that owns the control socket."""

    def __init__(  # noqa: PLR0913 - what an answer is made of, each part handed in
        self,
        facts: ServerFacts,
        seal: Seal,
        witness: Witness,
        mirror: Mirror,
        holdings: Holdings,
        load: Callable[[], int],
        on_sighting: Callable[[BoardReport, Address, bytes], None],
        clock: Callable[[], float],
        revocations: Callable[[], int] = lambda: 0,
    ) -> None:
        self.facts = facts  # the API's URL joins when its port is known
        self.facts_for: Callable[[ServerFacts, Address], ServerFacts] = lambda facts, sender: facts
        self._seal = seal
        self._witness = witness
        self._mirror = mirror
        self._holdings = holdings
        self._load = load
        self._on_sighting = on_sighting
        self._clock = clock
        self._revocations = revocations
        self._budget = Budget(clock())
        self.asking: Asking | None = None
        self.caught_up: Callable[[], bool] = lambda: True
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.offers_sent = 0
        self.last_dropped = ""  # whose datagram it was

    def hear(self, data: bytes, sender: Address, send: Callable[[bytes, Address], None]) -> None:
        """Take one datagram in and send what it deserves."""
        received = decode(data, self.facts.cluster)
        if isinstance(received, Dropped):
            self._drop(received.value, sender)
            return
        message = received.message
        if isinstance(message, Request) and not self._budget.admits(sender[0], self._clock()):
            self._drop(OVER_BUDGET, sender)
            return
        self.received[type(message).__name__.lower()] += 1
        if isinstance(message, Request):
            self._answer(message, sender, send)
        elif isinstance(message, Offer) and self.asking is not None:
            offer = self._witness.hear(received, sender[0], self._clock(), self.asking.nonces)
            if isinstance(offer, Offer):
                self.asking.hear(offer)

    def _answer(self, request: Request, sender: Address, send: Callable[[bytes, Address], None]) -> None:
        if not request.board_type and request.board == self.facts.server:
            return  # this server's own question, looped back
        plan, held = self._mirror.state.board_plan(request.board), self._holdings.by_manifest
        if not self.caught_up():
            plan, held = BoardPlan(0), preparing(held)
        facts = self.facts_for(self.facts, sender)
        offer = answer(request, facts, plan, held, self._load(), self._revocations())
        if offer is not None:
            for datagram in encode_offers(offer, self._seal):
                send(datagram, sender)
            self.offers_sent += 1
        seen = sighting(request)
        if seen is not None:
            self._on_sighting(seen, sender, request.nonce)

    @property
    def ignored(self) -> Counter[str]:
        """Datagrams by the reason for which they were not answered or believed."""
        return self.dropped + self._witness.ignored

    def _drop(self, reason: str, sender: Address) -> None:
        self.dropped[reason] += 1
        self.last_dropped = sender[0]
