"""Which server a board takes for a version, and why (M3, M4, M5; design section 3, "Choice").

Rules:

* A pure function of the board, the offers and the wanted manifest; the order of the offers does not matter.
* Only the wanted manifest counts. The generation of an offer filters nothing further and ranks nothing, else every
  step of a rollout would send boards past their own chassis to the server that heard of it first.
* Only who holds the version whole is chosen; relays of the own chassis that hold a part are named beside the ranking,
  for boards that fetch piece by piece (``pieces``). ``preparing`` is never chosen, but a nearer tier that prepares
  makes a board wait, as long as it has patience.
* A server whose plan is older speaks of the wanted manifest only if the request named it by ``want``. If somebody
  nearer than the best said nothing of it, ``unasked`` tells the board to ask once more with ``want`` before it
  crosses to a farther tier.
* Nearest tier first; inside it the least loaded; equal load is spread by rendezvous hashing (highest random
  weight of board and server), so that 16 boards do not all pick one.
* A server over its admission bound comes behind all that are not, whatever the tier: a tier whose servers are
  all full spills to the next one.
* The ranking behind the first is the failover list. Every offer is in the trace with its rank or its reason.

A server that replicates leaves its own offer out (``Requester``'s `ignored`): it would wait for itself.
"""

import hashlib
from collections.abc import Iterable

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier, tier_between
from boardwright.model.report import HeardOffer, Source
from boardwright.protocol.messages import GroupOffer, Holding, Offer

FULL = 1000  # load in thousandths of the admission bound


class Candidate(msgspec.Struct, frozen=True):
    """Somewhere to get the version from; `pieces` is None for a sender that holds all of it."""

    source: Source
    blobs: str
    api: str
    load: int
    relay: bool = False
    pieces: bytes | None = None


class Choice(msgspec.Struct, frozen=True):
    """`ranking` best first; `wait`: a nearer tier is preparing, ask again until the bounded wait is over.

    `unasked`: somebody nearer than the best said nothing of the version; if the request did not name it by ``want``,
    ask once more with it. `relays` have a part of the version.
    """

    ranking: tuple[Candidate, ...]
    heard: tuple[HeardOffer, ...]
    reason: str
    wait: bool
    unasked: bool = False
    relays: tuple[Candidate, ...] = ()


_Rank = tuple[bool, int, int, bool, bytes, str]


def choose(board: Board, offers: Iterable[Offer], group: str, manifest: bytes, *, patience: bool = True) -> Choice:
    """Rank the offers for `manifest` (32 bytes) of `group` as seen from `board`.

    `patience` False: the bounded wait for servers that prepare is over.
    """
    fit: list[tuple[_Rank, Candidate, Offer]] = []
    fallen: list[HeardOffer] = []
    preparing: list[Source] = []
    silent: list[Source] = []
    relays: list[Candidate] = []
    for offer in offers:
        source = _source(board, offer)
        entry = _entry(offer, group, manifest)
        why_not = _why_not(board, offer, entry, group)
        if why_not is None:
            candidate = Candidate(source, offer.blobs, offer.api, offer.load, offer.relay)
            fit.append((_rank(board, offer, source.tier), candidate, offer))
            continue
        fallen.append(_heard(source, offer, _holding_word(entry), None, why_not))
        if entry is not None and entry.holding is Holding.PART and _gives_pieces(board, offer, source):
            relays.append(Candidate(source, offer.blobs, "", offer.load, True, entry.pieces))
        if entry is not None and entry.holding is Holding.PREPARING:
            preparing.append(source)
        elif entry is None and not offer.relay:
            silent.append(source)
    fit.sort(key=lambda ranked: (ranked[0], ranked[2].chassis, ranked[2].slot, ranked[2].blobs, ranked[2].generation))
    ranking: list[Candidate] = []
    heard: list[HeardOffer] = []
    for _, candidate, offer in fit:
        if any(candidate.source.id == better.source.id for better in ranking):
            fallen.append(_heard(candidate.source, offer, "all", None, "a better offer of the same server is ranked"))
            continue
        ranking.append(candidate)
        heard.append(_heard(candidate.source, offer, "all", len(ranking), _why_ranked(candidate, ranking[0])))
    fallen.sort(key=_trace_order)
    relays.sort(key=lambda one: (one.source.id, one.source.slot, one.blobs, one.load, one.pieces or b""))
    wait = patience and _any_nearer(preparing, ranking)
    reason = _reason(ranking, fallen, preparing, wait)
    return Choice(tuple(ranking), (*heard, *fallen), reason, wait, _any_nearer(silent, ranking), tuple(relays))


def _gives_pieces(board: Board, offer: Offer, source: Source) -> bool:
    return offer.relay and bool(offer.blobs) and offer.server != board.id and source.tier is not Tier.ELSEWHERE


def _source(board: Board, offer: Offer) -> Source:
    tier = tier_between(board.location, Location(offer.chassis, offer.slot))
    return Source(offer.server, offer.chassis, offer.slot, tier)


def _entry(offer: Offer, group: str, manifest: bytes) -> GroupOffer | None:
    """What the offer says of the wanted version: its best word, if it says several."""
    entries = [entry for entry in offer.groups if entry.group == group and entry.manifest == manifest]
    return min(entries, key=lambda entry: entry.holding, default=None)


def _why_not(board: Board, offer: Offer, entry: GroupOffer | None, group: str) -> str | None:
    if entry is None:
        others = sorted({other.version for other in offer.groups if other.group == group})
        return f"offers {', '.join(others)} instead" if others else f"offers no version of {group}"
    if offer.relay and offer.server == board.id:
        return "is this board's own relay"
    if entry.holding is Holding.ALL:
        return None if offer.blobs else "names no address to fetch from"
    if entry.holding is Holding.PREPARING:
        return "is still copying the version"
    if entry.holding is Holding.PART:
        return "gives the pieces that it has" if offer.relay else "has only a part of the version"
    return "knows the version but does not have it"


def _rank(board: Board, offer: Offer, tier: Tier) -> _Rank:
    # Less is better throughout; the id at the end makes the order total.
    return (offer.load >= FULL, tier.rank, offer.load, offer.relay, _weight(board.id, offer.server), offer.server)


def _weight(board: str, server: str) -> bytes:
    # Each board draws its own lot for each server; a server that goes moves only the boards that had it.
    return hashlib.blake2b(f"{len(board)}:{board}{server}".encode(errors="replace"), digest_size=8).digest()


def _any_nearer(sources: list[Source], ranking: list[Candidate]) -> bool:
    """Whether one of `sources` is nearer than the best of the ranking (any is, if that is empty)."""
    nearest = min((source.tier.rank for source in sources), default=None)
    return nearest is not None and (not ranking or nearest < ranking[0].source.tier.rank)


def _why_ranked(candidate: Candidate, best: Candidate) -> str:
    tier = candidate.source.tier
    if candidate.load >= FULL:
        return f"{tier.value}, but full"
    if candidate is best:
        return f"{tier.value}, the nearest with room"
    if tier is not best.source.tier:
        return f"{tier.value}, farther than {best.source.tier.value}"
    if candidate.load > best.load:
        return f"{tier.value}, more loaded than {best.source.id}"
    return f"{tier.value}, as loaded as {best.source.id}, behind it by the board's own order"


def _heard(source: Source, offer: Offer, holding: str, rank: int | None, reason: str) -> HeardOffer:
    return HeardOffer(source, offer.load / FULL, offer.generation, holding, rank, reason)


def _trace_order(line: HeardOffer) -> tuple[int, str, str, str, str, str, int, float]:
    source = line.source
    where = (source.tier.rank, source.id, source.chassis, source.slot)
    return (*where, line.holding, line.reason, line.generation, line.load)


def _holding_word(entry: GroupOffer | None) -> str:
    return "other" if entry is None else entry.holding.name.lower()


def _reason(ranking: list[Candidate], fallen: list[HeardOffer], preparing: list[Source], wait: bool) -> str:
    if wait:
        near = min(preparing, key=lambda source: (source.tier.rank, source.id))
        instead = (
            f"rather than cross to {ranking[0].source.tier.value}" if ranking else "because nobody has the version"
        )
        return f"waits for {near.id} ({near.tier.value}), which is still copying, {instead}"
    if not ranking:
        return f"none of {len(fallen)} offers has the version" if fallen else "no offer was heard"
    best = ranking[0]
    if best.load >= FULL:
        return f"{best.source.id} ({best.source.tier.value}): every server that has the version is full"
    peers = [other for other in ranking if other.source.tier is best.source.tier]
    if len(peers) == 1:
        return f"{best.source.id}: the only one with room in the nearest tier, {best.source.tier.value}"
    if all(other.load > best.load for other in peers[1:]):
        return f"{best.source.id}: the least loaded of {len(peers)} in the nearest tier, {best.source.tier.value}"
    return f"{best.source.id}: first in this board's own order of {len(peers)} in the tier {best.source.tier.value}"
