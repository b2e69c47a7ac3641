"""A board's relay: opened when there is something to serve its neighbours, offered to those who ask, closed afterwards.

Rules:

* The port is open as long as a version is on the shelf: from when its download begins until ``KEPT`` seconds after it
  was staged. So an idle agent has no port, no threads and no memory for it.
* Where it listens is the configuration's word, else the board's address on the control network. A port that somebody
  else has is said, and the board goes on without a relay; nothing here fails a deployment.
* A control board's agent does not relay: its server serves the chassis.
* A neighbour that asks by multicast gets a signed offer a few milliseconds later, so that a whole chassis does not
  answer at one moment; within a budget, as at servers. Who asks while there is nothing yet is answered as soon as there
  is a first piece. Who asks the relay itself and says where its own is, is a source from then on.
* Who asks over a line for a version needs no offer of it: each answer on that line says what is here, and offers cost
  a signature here and its check there, sixteen boards a hundred times in the first second.
* ``begin``, ``staged``, ``ended`` and ``url`` are for any thread, the rest for the loop's.
"""

import errno
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from boardwright import log
from boardwright.agent.memory import give_back
from boardwright.config.readers import RELAY_PORT, write_address
from boardwright.config.settings import Address, AgentSettings
from boardwright.model.location import Tier
from boardwright.model.report import Source
from boardwright.model.software import BlobRef, Target
from boardwright.protocol import Randomness
from boardwright.protocol.budget import Budget, Rates
from boardwright.protocol.choose import Candidate
from boardwright.protocol.codec import encode_offers
from boardwright.protocol.messages import Holding, Request
from boardwright.protocol.offerer import MAX_BITMAP, MAX_BITMAP_ENROLLED, Catalogued, ServerFacts, answer_as_relay
from boardwright.transfer.relay import Door, News, Relay
from boardwright.transfer.relay_line import Limits
from boardwright.transfer.sharing import Sharing, read_news
from boardwright.transfer.shelf import Shelf
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role

KEPT = 60.0  # seconds; boards that are slower than the first, or come back, are through by then
ANY = ("0.0.0.0", "::")  # of a board with several addresses; who asks is told the one that it reaches
JITTER = 0.01  # seconds in which the boards of a chassis answer one after the other
MAX_NEIGHBOURS = 64  # who become sources by asking; more than a chassis has boards
STOPPING = 0.5  # seconds that lines get to end
WAITING = 3.0  # seconds for which a question is open; a board that downloads asks each two
MAX_PENDING = 64  # offers that wait for their moment; more than a chassis has boards
# A chassis has some 16 boards; each asks a few times a second when it begins, then every two seconds.
RATES = Rates(
    own=(20.0, 100.0),
    modest=(5.0, 20.0),
    shared=(100.0, 200.0),
    strangers=(100.0, 200.0),
    known_places=256,
    stranger_places=256,
)

_log = log.get("agent.relay")


class Outside(Protocol):
    """What a relay needs of the process around it."""

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call in so many seconds, in the loop; from the loop's thread."""

    def soon(self, call: Callable[[], object]) -> None:
        """Call soon, in the loop; from any thread."""

    def address_towards(self, address: Address) -> str:
        """The own address from which that one is reached, '' if there is none."""
        ...

    def send_to(self, data: bytes, address: Address) -> None:
        """A datagram to one address."""

    def joined(self, manifest: str, candidate: Candidate) -> None:
        """A neighbour has shown that it is a source of this version."""

    def kept_enough(self) -> None:
        """What was kept for the neighbours may go."""


class _Served:
    """A version that is on the shelf."""

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing
        self.neighbours: set[str] = set()  # who are sources of it by their own word


class BoardRelay:
    """That of the board of `settings`, who bears `credentials`; `door` is made when it is needed."""

    def __init__(
        self,
        settings: AgentSettings,
        credentials: Credentials,
        shelf: Shelf,
        door: Callable[[], Door],
        outside: Outside,
        rng: Randomness,
        now: float,
    ) -> None:
        self.enabled = settings.relay_enabled and credentials.identity.role is Role.BOARD
        self.shelf = shelf
        self._settings = settings
        self._credentials = credentials
        self._door = door
        self._outside = outside
        self._rng = rng
        self._budget = Budget(now, RATES)
        self._pending = 0
        self._waiting: dict[str, tuple[Request, Address, float]] = {}  # who asked while there was nothing to offer
        self._now = now
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}
        self._downloading: set[str] = set()
        self._hosts: tuple[str, ...] = ()  # where the board is reached, if the configuration does not say it
        self._relay: Relay | None = None
        self._ended = False

    # --- what the board has; from any thread ---

    def begin(self, target: Target, blobs: Sequence[BlobRef], sharing: Sharing | None) -> None:
        """The download of `target`, with all these blobs, begins."""
        if not self.enabled or sharing is None:
            return
        with self._lock:
            self._served[target.manifest] = _Served(sharing)
            sharing.on_first = lambda: self._outside.soon(self._answer_waiting)
            self._downloading.add(target.manifest)
            self.shelf.begin(target, blobs, lambda: sharing.bitmap)
            self._open()

    def staged(self, target: Target) -> None:
        """The version is complete: it is kept for a while."""
        with self._lock:
            self._downloading.discard(target.manifest)
            served = self._served.get(target.manifest)
        if served is not None:
            self.shelf.staged(target.manifest)
            self._outside.soon(lambda: self._outside.later(KEPT, lambda: self._expire(target, served)))

    def ended(self, target: Target) -> None:
        """The download is over; if it was not staged, nothing of it is kept."""
        with self._lock:
            if target.manifest in self._downloading:
                self._downloading.discard(target.manifest)
                self._drop(target.manifest)

    def drop_all_but(self, target: Target) -> None:
        """Space is needed: what is kept for neighbours alone is not kept."""
        with self._lock:
            for one in self.shelf.targets():
                if one != target and one.manifest not in self._downloading:
                    self._drop(one.manifest)

    @property
    def url(self) -> str:
        """Where neighbours find this board, '' if nothing is served."""
        relay = self._relay
        return "" if relay is None else self._url(relay, self._hosts[0])

    # --- in the loop ---

    def reached_at(self, hosts: Sequence[str]) -> None:
        """The board has these addresses on the control network."""
        self._hosts = tuple(hosts)

    def heard(self, request: Request, sender: Address, now: float) -> None:
        """Some board has asked; nobody signs that."""
        relay, self._now = self._relay, now
        if relay is None or self._pending >= MAX_PENDING or not self._budget.admits(sender[0], now):
            return
        identity = self._credentials.identity
        host = self._outside.address_towards(sender) or self._hosts[0]
        facts = ServerFacts(identity.cluster, identity.id, identity.location, "", self._url(relay, host), relay=True)
        enroller = b"".join(self._credentials.chain[1:])
        most = MAX_BITMAP_ENROLLED if enroller else MAX_BITMAP
        holdings = self._holdings(request)
        unknown = {want: one for want, one in holdings.items() if not relay.serves(request.board, want.hex())}
        if holdings and not unknown:
            return
        offer = answer_as_relay(request, facts, unknown, relay.load, most)
        if offer is None:
            if request.chassis == identity.location.chassis:
                self._waiting = {name: one for name, one in self._waiting.items() if now - one[2] <= WAITING}
                if len(self._waiting) < MAX_PENDING:
                    self._waiting[request.board] = request, sender, now
            return
        self._waiting.pop(request.board, None)

        def send() -> None:
            self._pending -= 1
            for datagram in encode_offers(offer, self._credentials, enroller=enroller):
                self._outside.send_to(datagram, sender)

        self._pending += 1
        self._outside.later(JITTER * self._rng.random(), send)

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for request, sender, at in waiting.values():
            if self._now - at <= WAITING:
                self.heard(request, sender, self._now)

    def close(self) -> None:
        """Serve nothing more; blocks a moment."""
        with self._lock:
            self._ended = True
            relay, self._relay = self._relay, None
        if relay is not None:
            relay.stop(STOPPING)

    def _holdings(self, request: Request) -> dict[bytes, Catalogued]:
        found = {}
        for query in request.groups:
            version = None if query.want is None else self.shelf.version(query.want.hex())
            bitmap = None if query.want is None else self.shelf.bitmap(query.want.hex())
            if query.want is None or version is None or bitmap is None or not any(bitmap):
                continue
            target, count = version
            whole = sum(byte.bit_count() for byte in bitmap) == count
            holding = Holding.ALL if whole else Holding.PART
            found[query.want] = Catalogued(target.version, holding, b"" if whole else bitmap)
        return found

    def _expire(self, target: Target, served: _Served) -> None:
        with self._lock:
            if self._served.get(target.manifest) is not served:
                return  # it was begun anew
            self._drop(target.manifest)
        self._outside.kept_enough()

    # --- the port; under the lock ---

    def _open(self) -> None:
        if self._relay is not None or self._ended or not self._hosts:
            return
        several = len(self._hosts) > 1 and all("." in host for host in self._hosts)
        listen = self._settings.relay_listen or (ANY[0] if several else self._hosts[0], RELAY_PORT)
        limits = Limits(rate=self._settings.relay)
        try:
            relay = Relay(
                self.shelf, self._door(), listen, limits=limits, yields=lambda: bool(self._downloading), news=self._news
            )
            try:
                relay.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE or self._settings.relay_listen is not None:
                    raise
                relay.address = (listen[0], 0)  # boards that share an address share its ports
                relay.start()
        except OSError as error:
            _log.warning("no relay", board=self._settings.board.id, address=write_address(listen), error=str(error))
            return
        self._relay = relay
        _log.debug("relay", board=self._settings.board.id, address=write_address(relay.address))

    def _drop(self, manifest: str) -> None:
        self.shelf.drop(manifest)
        self._served.pop(manifest, None)
        if not self._served and self._relay is not None:
            relay, self._relay = self._relay, None
            threading.Thread(target=_end, args=(relay,), name="relay end", daemon=True).start()

    def _url(self, relay: Relay, host: str) -> str:
        listening, port = relay.address
        return f"https://{write_address((host if listening in ANY else listening, port))}"

    def _news(self, news: News) -> None:
        """From a relay's thread: a neighbour says what it has, and where."""
        with self._lock:
            known = [(one, served) for one, served in self._served.items() if one[:16] == news.said[:16]]
        for manifest, served in known:
            served.sharing.hears(news.board, news.said)
            bitmap = read_news(news.said, manifest)
            if bitmap is None or news.board in served.neighbours or len(served.neighbours) >= MAX_NEIGHBOURS:
                continue
            served.neighbours.add(news.board)
            where = Source(news.board, news.location.chassis, news.location.slot, Tier.SAME_CHASSIS)
            candidate = Candidate(where, news.url, "", 0, relay=True, pieces=bitmap)
            self._outside.soon(functools.partial(self._outside.joined, manifest, candidate))


def _end(relay: Relay) -> None:
    relay.stop(STOPPING)
    give_back()  # its lines and buffers were the last of a deployment
