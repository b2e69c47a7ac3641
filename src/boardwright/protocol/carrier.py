"""Which server of a chassis brings a version over the inter-chassis link, so that it crosses once (design section 5).

The **carrier** copies from afar; its **mates**, the other servers of the chassis, wait and copy from it. All agree
without talking: each judges by the offers that it hears when it asks who has the version.

Rules:

* Whoever is heard to have the version whole in the own chassis is copied from, and nobody else: if all of them fail, it
  is asked and judged again, so that not everybody goes on over the link.
* Otherwise the servers of the chassis have an order for each version (highest random weight of manifest and server),
  and the first that lacks it carries it. Who copies already is the carrier, whatever the order.
* Who says that it has not got it and does not try (``none``) is out of the order: the next one takes its turn.
* Every wait is bounded: for a carrier whose count of bytes stands still by ``STALLED``, for one that is first and does
  not begin (it copies something else, or has not heard of the version yet) by ``TURN``, for a silent one by ``SILENT``.
* From whom the version could not be copied although it said that it has it, is left out for ``FAILED_FOR``.
* No clock: every `now` is monotonic seconds. One thread.
"""

import hashlib
from collections.abc import Collection, Iterable

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Tier
from boardwright.protocol.choose import Candidate, Choice
from boardwright.protocol.messages import Holding, Offer

STALLED = 5.0  # seconds; a carrier that gets nothing at all asks other servers after two, and gives up after fifteen
TURN = 3.0  # seconds; servers learn of a version within milliseconds of each other, and begin within a second
SILENT = 1.0  # seconds; two more questions, in case that datagrams were lost or the machine is busy
FAILED_FOR = 30.0  # seconds; a server that comes back is worth another try, its link is shorter than the other
FORGOTTEN = 10.0  # seconds after which an old silence says nothing of a new one


class Mate(msgspec.Struct, frozen=True):
    """Another server of the own chassis, as just heard: `heard` False: not at all; `holding` None: not of this version.

    `copied`: bytes of the version that it has copied so far, if it is at it.
    """

    server: str
    heard: bool = True
    holding: Holding | None = None
    copied: int | None = None


class Found(msgspec.Struct, frozen=True):
    """Who has a version, and what the servers of the own chassis say of it."""

    choice: Choice
    mates: tuple[Mate, ...] = ()


class Copy(msgspec.Struct, frozen=True):
    """Copy from these, best first; `near`: all sit in the own chassis."""

    sources: tuple[Candidate, ...]
    near: bool


class Wait(msgspec.Struct, frozen=True):
    """Ask again soon."""

    reason: str


class _Seen(msgspec.Struct):
    what: tuple[str, int]
    since: float
    last: float


def mates_of(
    me: Board, offers: Iterable[Offer], expected: Collection[str], group: str, manifest: bytes
) -> tuple[Mate, ...]:
    """What the servers of this chassis say of `manifest` (32 bytes); `expected` are those that ought to speak."""
    mates = {server: Mate(server, heard=False) for server in expected if server != me.id}
    for offer in offers:
        if offer.relay or offer.chassis != me.location.chassis or offer.server == me.id:
            continue
        said = [entry for entry in offer.groups if (entry.group, entry.manifest) == (group, manifest)]
        best = min(said, key=lambda entry: entry.holding, default=None)
        mates[offer.server] = Mate(
            offer.server, holding=None if best is None else best.holding, copied=None if best is None else best.copied
        )
    return tuple(mates.values())


def order_of(manifest: bytes, servers: Iterable[str]) -> list[str]:
    """The servers in the order in which they are to carry this version; the same whoever asks."""
    return sorted(servers, key=lambda server: (_weight(manifest, server), server))


class Carriers:
    """What the server `me` remembers from question to question, to judge whose turn it is."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._seen: dict[tuple[bytes, str], _Seen] = {}
        self._failed: dict[tuple[bytes, str], float] = {}

    def turn(self, manifest: bytes, found: Found, now: float) -> Copy | Wait:
        """What to do about a version that somebody has whole (the ranking is not empty)."""
        ranking = found.choice.ranking
        near = tuple(one for one in ranking if one.source.tier is not Tier.ELSEWHERE)
        sound = tuple(one for one in near if self._failed.get((manifest, one.source.id), now) <= now)
        if sound:
            return Copy(sound, near=True)
        far = tuple(one for one in ranking if one.source.tier is Tier.ELSEWHERE)
        if not far:
            return Copy(near, near=True)
        mates = {mate.server: mate for mate in found.mates}
        waited = {mate.server: self._look(manifest, mate, now) for mate in found.mates}
        for server, mate in mates.items():
            if _copies(mate) and waited[server] < STALLED:
                return Wait(f"{server} brings it over from another chassis")
        order = order_of(manifest, (*mates, self._me))
        for server in order[: order.index(self._me)]:
            if waited[server] < _patience(mates[server]):
                return Wait(f"it is the turn of {server} to bring it over from another chassis")
        return Copy(far, near=False)

    def failed(self, manifest: bytes, sources: Iterable[Candidate], now: float) -> None:
        """The version could not be copied from any of these."""
        for one in sources:
            self._failed[manifest, one.source.id] = now + FAILED_FOR

    def forget_all_but(self, manifests: Collection[bytes]) -> None:
        """Nothing else is to be copied any more."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in manifests}
        self._failed = {key: until for key, until in self._failed.items() if key[0] in manifests}

    def _look(self, manifest: bytes, mate: Mate, now: float) -> float:
        """Seconds for which the mate has said this very thing."""
        what = _what(mate)
        seen = self._seen.get((manifest, mate.server))
        if seen is None or seen.what != what or (not mate.heard and now - seen.last > FORGOTTEN):
            seen = self._seen[manifest, mate.server] = _Seen(what, now, now)
        seen.last = now
        return now - seen.since


def _copies(mate: Mate) -> bool:
    return mate.holding is Holding.PREPARING and mate.copied is not None


def _patience(mate: Mate) -> float:
    """Seconds to wait for a mate that is before this server and does not copy, or no longer gets anything."""
    if not mate.heard:
        return SILENT
    if _copies(mate):
        return STALLED
    return TURN if mate.holding in (Holding.PREPARING, None) else 0.0


def _what(mate: Mate) -> tuple[str, int]:
    """What stands still while the mate gets nowhere."""
    if not mate.heard:
        return "silent", 0
    if _copies(mate):
        return "copies", mate.copied or 0
    return "waits", 0


def _weight(manifest: bytes, server: str) -> bytes:
    return hashlib.blake2b(manifest + server.encode(errors="replace"), digest_size=8).digest()
