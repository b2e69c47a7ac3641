"""A question on the control network that is asked only to hear who answers, and by which way.

Rules:

* It is a version request that names no group and no board type: every server answers it, as it answers boards, and
  nobody takes the asker for a board.
* Multicast and the list of addresses are asked apart, from sockets of their own: an answer tells which way works.
* Answers are believed as offers are: signed by a server of the cluster. The rest is counted by its reason.
* It ends as soon as everybody who is expected has answered, else after `patience`.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Container
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError
from boardwright.model.location import Location
from boardwright.net.multicast import Address, ControlSocket
from boardwright.protocol.codec import NONCE_BYTES, Dropped, Received, decode, encode_request
from boardwright.protocol.messages import Announcement, Offer, Request

ASKER = "doctor"  # stands in the request where a board's id would; with no type it is nobody's
REPEATS = (0.0, 0.1, 0.3)  # seconds after the beginning; one or two may be lost on the way
MAX_ANSWERS = 1024  # servers; more than any cluster has, and anybody can send


class Believing(Protocol):
    """Whose word an offer is (``trust.witness``)."""

    ignored: Counter[str]

    def hear(
        self, received: Received, sender: str, now: float, nonces: Container[bytes] = frozenset()
    ) -> Offer | Announcement | None: ...


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Where to ask: by the group or by the addresses, whichever is given; `expected` are ids of who ought to answer."""

    cluster: str
    location: Location
    interfaces: tuple[str, ...]
    multicast: Address | None = None
    unicast: tuple[Address, ...] = ()
    expected: frozenset[str] = frozenset()
    patience: float = 1.0  # seconds; ten times what a server under load takes


class Answer(msgspec.Struct, frozen=True):
    """Who answered and after how many seconds; the place is the certificate's."""

    server: str
    location: Location
    api: str
    blobs: str
    generation: int
    seconds: float


class Echo(msgspec.Struct, frozen=True):
    """`looped`: the own question came back by the group. `ignored` counts what was not believed, by its reason.

    `trouble` is why nothing could be asked, or what did not go well; '' if everything did.
    """

    answers: dict[str, Answer] = {}
    looped: bool = False
    ignored: dict[str, int] = {}
    trouble: str = ""


class _Ear:
    def __init__(self, question: Question, nonce: bytes, witness: Believing) -> None:
        self._question = question
        self._nonce = nonce
        self._witness = witness
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.answers: dict[str, Answer] = {}
        self.dropped: Counter[str] = Counter()
        self.looped = False
        self.complete = asyncio.Event()

    def hear(self, data: bytes, sender: Address) -> None:
        received = decode(data, self._question.cluster)
        if isinstance(received, Dropped):
            self.dropped[received.value] += 1
            return
        if isinstance(received.message, Request):
            self.looped = self.looped or received.message.nonce == self._nonce
            return
        now = self._loop.time()
        offer = self._witness.hear(received, sender[0], now, frozenset({self._nonce}))
        if not isinstance(offer, Offer) or len(self.answers) >= MAX_ANSWERS or offer.server in self.answers:
            return
        place = Location(offer.chassis, offer.slot)
        self.answers[offer.server] = Answer(
            offer.server, place, offer.api, offer.blobs, offer.generation, now - self._began
        )
        if self._question.expected and self._question.expected <= self.answers.keys():
            self.complete.set()


async def who_answers(question: Question, witness: Believing) -> Echo:
    """Ask and listen; never raises for what the network or an interface does."""
    nonce = os.urandom(NONCE_BYTES)
    place = question.location
    request = encode_request(Request(question.cluster, nonce, ASKER, place.chassis, place.slot, ""))
    ear, said = _Ear(question, nonce, witness), list[str]()
    try:
        network = await ControlSocket.open(
            interfaces=question.interfaces,
            multicast=question.multicast,
            unicast=question.unicast,
            listen_multicast=question.multicast is not None,
            on_datagram=ear.hear,
            say=said.append,
        )
    except (BoardwrightError, OSError) as error:
        return Echo(trouble=str(error))
    with contextlib.closing(network):
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(after, network.send_group, request) for after in REPEATS]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ear.complete.wait(), question.patience)
        for timer in timers:
            timer.cancel()
        if not network.traffic.sent:
            said.append("nothing could be sent")
    ignored = ear.dropped + witness.ignored
    return Echo(ear.answers, ear.looped, dict(ignored), "; ".join(said))
