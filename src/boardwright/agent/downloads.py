"""One download of a version onto a board: its sources, which may still grow, and its account.

The driver makes it when it has chosen, the worker thread carries it out, and both look at it meanwhile. Where boards
relay, it shares its pieces with its neighbours; else relays are no sources for it.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from boardwright.model.location import Tier
from boardwright.model.report import Source
from boardwright.model.software import Target
from boardwright.protocol.choose import Candidate
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource, SourceError, SourceList

Connect = Callable[[str, str], FetchSource]  # by the id and the base URL of a blob port
ConnectRelay = Callable[[str, str, Sharing], FetchSource]
MAX_WRONG = 64  # blobs that are remembered of liars; each liar is left after its first few


MAX_GIVERS = 32  # sources that an account names; the servers and the boards of a chassis


class Account(msgspec.Struct, frozen=True):
    """What a download has moved: received bytes by tier, bytes to fetch in all, failovers, where from at last.

    `relayed`: those of `bytes` that came from relays; `givers`: bytes by the id of who sent them.
    """

    bytes: dict[Tier, int] = {}
    total: int = 0
    failovers: int = 0
    server: Source | None = None
    relayed: int = 0
    givers: dict[str, int] = {}


class Relaying(NamedTuple):
    """With whom a download shares its pieces, and how it comes to its neighbours' relays."""

    sharing: Sharing
    connect: ConnectRelay


class Download:
    """Thread-safe; `target` from `ranking`, best first, each by `connect`. An earlier `account` is added to."""

    def __init__(
        self,
        connect: Connect,
        target: Target,
        ranking: Iterable[Candidate],
        account: Account | None = None,
        relaying: Relaying | None = None,
    ) -> None:
        self.target = target
        self.stop = threading.Event()
        self.sources = SourceList()
        self._connect = connect
        self._relaying = relaying
        self._relays: set[str] = set()
        self._lock = threading.Lock()
        self._account = account or Account()
        self._known: dict[str, Source] = {}
        self._apis: dict[str, str] = {}
        self._wrong: set[tuple[str, str]] = set()
        self._at: dict[str, FetchSource] = {}
        self.received = 0
        self.complain: Callable[[str, str], None] = _unheard  # told of the API and the blob of who sent wrong bytes
        for candidate in ranking:
            self.join(candidate)
        first = next(iter(self._known.values()), None)
        self._account = msgspec.structs.replace(self._account, server=first)

    def join(self, candidate: Candidate) -> None:
        """Add a source behind those that are listed; one that is listed lives again."""
        name = candidate.source.id
        with self._lock:
            self._known[name] = candidate.source
            self._apis[name] = candidate.api
        if candidate.relay and self._relaying is None:
            return
        if not self.sources.heard(name):
            source = self._connected(candidate)
            if self.sources.add(source):
                with self._lock:
                    if candidate.relay:
                        self._relays.add(name)
                    else:
                        self._at.setdefault(candidate.blobs, source)
            else:
                source.close()
        if self._relaying is not None:
            self._relaying.sharing.join(
                name, candidate.source.tier, relay=candidate.relay, pieces=candidate.pieces if candidate.relay else None
            )

    @property
    def sharing(self) -> Sharing | None:
        """What it shares with its neighbours; None: nothing."""
        return None if self._relaying is None else self._relaying.sharing

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs of all servers, best first."""
        with self._lock:
            return tuple(self._at)

    def silent(self, url: str, reason: str) -> None:
        """The source at base `url` did not answer: it is left, so that no more time is lost with it."""
        with self._lock:
            source = self._at[url]
        if self.sources.leave(source, SourceError(reason)):
            self.on_failover(source.id, reason)

    def wrong_manifest(self, url: str) -> None:
        """The source at base `url` sent other bytes than the manifest."""
        with self._lock:
            source = self._at[url]
        self.on_wrong(source.id, self.target.manifest)

    @property
    def account(self) -> Account:
        with self._lock:
            return self._account

    def needs(self, total: int) -> None:
        """`total` bytes are to be fetched in all."""
        with self._lock:
            self._account = msgspec.structs.replace(self._account, total=total)

    def on_bytes(self, source_id: str, count: int) -> None:
        """As transfer.fetch.FetchObserver."""
        with self._lock:
            source = self._known[source_id]
            tiers = dict(self._account.bytes)
            tiers[source.tier] = tiers.get(source.tier, 0) + count
            relay = source_id in self._relays
            givers = self._account.givers
            if source_id in givers or len(givers) < MAX_GIVERS:
                givers = {**givers, source_id: givers.get(source_id, 0) + count}
            self._account = msgspec.structs.replace(
                self._account,
                bytes=tiers,
                server=self._account.server if relay else source,
                relayed=self._account.relayed + count * relay,
                givers=givers,
            )
            self.received += count

    def on_failover(self, source_id: str, reason: str) -> None:
        """As transfer.fetch.FetchObserver."""
        del source_id, reason
        with self._lock:
            self._account = msgspec.structs.replace(self._account, failovers=self._account.failovers + 1)

    def on_wrong(self, source_id: str, sha256: str) -> None:
        """As transfer.fetch.FetchObserver; the first time for each blob and server that is a complaint."""
        with self._lock:
            api = self._apis[source_id]
            new = (api, sha256) not in self._wrong and len(self._wrong) < MAX_WRONG
            if new:
                self._wrong.add((api, sha256))
        if new and api:
            self.complain(api, sha256)

    @property
    def wrong(self) -> frozenset[tuple[str, str]]:
        """Which blob came with wrong bytes from the server with which API's base URL."""
        with self._lock:
            return frozenset(self._wrong)

    def _connected(self, candidate: Candidate) -> FetchSource:
        if candidate.relay and self._relaying is not None:
            return self._relaying.connect(candidate.source.id, candidate.blobs, self._relaying.sharing)
        return self._connect(candidate.source.id, candidate.blobs)


def _unheard(api: str, sha256: str) -> None:
    del api, sha256
