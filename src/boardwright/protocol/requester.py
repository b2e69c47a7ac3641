"""One round of asking, from the request to "heard enough" (M1, M2; design section 3).

Rules:

* The same datagrams (same nonces) are repeated with back-off and jitter until enough was heard.
* Enough is: an offer of the board's own server that holds every wanted group whole and is not older than the board;
  or an answer of every server that the board knows of; or a short window after the first server's offer; or
  giving up. Relays hurry nobody: they know no plan.
* Whoever decided goes on listening: later offers join, for the failover list.
* Offers are kept once per sender. What one sender says in several datagrams, repetitions or out of order is
  merged so that the order of arrival does not matter: the newer generation speaks for the plan, the better
  holding for a version (nobody loses a version within a round).
* The number of senders and of groups per sender is bounded: anybody can send.
"""

from collections.abc import Container, Iterable

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier, tier_between
from boardwright.protocol import Randomness
from boardwright.protocol.codec import NONCE_BYTES, encode_request, split_request
from boardwright.protocol.messages import GroupOffer, GroupQuery, Holding, Offer, Request
from boardwright.protocol.timing import RequestTiming, repeat_after

MAX_SENDERS = 256  # twice the servers and relays of a large cluster's chassis; a flood must not fill the memory
MAX_RELAYS = 64  # of these; neighbours of one chassis, so that stolen boards' names keep no server out
MAX_VERSIONS = 4  # per group and sender: the planned one, the wanted one, and both again after a new plan


class Requester:
    """One request round of a board, or of a server that replicates (then `board` is the server's own board).

    `generation` is the highest generation that the board knows of, `known_servers` the ids it expects answers from,
    `ignored` the ids it does not want to hear (a server that replicates ignores itself).
    """

    def __init__(  # noqa: PLR0913 - one round is described by all of these, and they have no other common use
        self,
        *,
        cluster: str,
        board: Board,
        queries: tuple[GroupQuery, ...],
        generation: int,
        known_servers: frozenset[str],
        timing: RequestTiming,
        rng: Randomness,
        now: float,
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        whole = Request(
            cluster=cluster,
            nonce=rng.randbytes(NONCE_BYTES),
            board=board.id,
            chassis=board.location.chassis,
            slot=board.location.slot,
            board_type=board.type,
            generation=generation,
            groups=queries,
        )
        # A nonce per part: an offer then tells which part it answers, even if it names no group.
        parts = [msgspec.structs.replace(part, nonce=rng.randbytes(NONCE_BYTES)) for part in split_request(whole)]
        self.nonces = frozenset(part.nonce for part in parts)  # offers that echo one of them are for this round
        self._datagrams = [encode_request(part) for part in parts]
        self._location = board.location
        self._queries = queries
        self._groups = frozenset(query.group for query in queries)
        self._generation = generation
        self._known = known_servers - ignored
        self._ignored = ignored
        self._timing = timing
        self._rng = rng
        self._attempt = 0
        self._next_send = now
        self._offers: dict[str, Offer] = {}
        self._answered: dict[str, set[bytes]] = {}
        self.started_at = now
        self.heard_at: dict[str, float] = {}
        self.first_heard_at: float | None = None
        self.decided_at: float | None = None

    @property
    def offers(self) -> tuple[Offer, ...]:
        """One offer per sender, in the order of their first arrival."""
        return tuple(self._offers.values())

    def datagrams(self, now: float) -> list[bytes]:
        """What is to be sent now, to the multicast group and every unicast address; empty if nothing is due."""
        if now < self._next_send or self.decided(now):
            return []
        self._next_send = now + repeat_after(self._attempt, self._timing, self._rng)
        self._attempt += 1
        return list(self._datagrams)

    def next_wakeup(self) -> float | None:
        """When ``datagrams`` and ``decided`` are to be called again; None when only listening is left."""
        if self.decided_at is not None:
            return None
        return min(self._next_send, self._deadline())

    def hear(self, offer: Offer, now: float) -> bool:
        """Take an offer in. False: it answers another request, or says nothing new."""
        if offer.nonce not in self.nonces or offer.server in self._ignored:
            return False
        known = self._offers.get(offer.server)
        if known is None and len(self._offers) >= MAX_SENDERS:
            return False
        if known is None and offer.relay and sum(one.relay for one in self._offers.values()) >= MAX_RELAYS:
            return False
        answered = self._answered.setdefault(offer.server, set())
        offer = msgspec.structs.replace(offer, groups=self._asked(offer.groups))
        merged = offer if known is None else _merge(known, offer)
        if merged == known and offer.nonce in answered:
            return False
        answered.add(offer.nonce)
        self._offers[offer.server] = merged
        self.heard_at.setdefault(offer.server, now)
        if self.first_heard_at is None and not offer.relay:
            self.first_heard_at = now
        return True

    def drop(self, servers: Container[str]) -> None:
        """These are servers no more: what they have offered is as if it had not been heard."""
        for server in [server for server in self._offers if server in servers]:
            del self._offers[server]
            self._answered.pop(server, None)
        self._known = frozenset(server for server in self._known if server not in servers)

    def decided(self, now: float) -> bool:
        """Whether enough was waited; once true, it stays true."""
        if self.decided_at is None and (self._own_server_suffices() or self._all_answered() or now >= self._deadline()):
            self.decided_at = now
        return self.decided_at is not None

    def _deadline(self) -> float:
        give_up = self.started_at + self._timing.give_up
        if self.first_heard_at is None:
            return give_up
        return min(give_up, self.first_heard_at + self._timing.window)

    def _all_answered(self) -> bool:
        return bool(self._known) and all(self._answered.get(server, set()) >= self.nonces for server in self._known)

    def _own_server_suffices(self) -> bool:
        return any(
            tier_between(self._location, Location(offer.chassis, offer.slot)) is Tier.SAME_BOARD
            and not offer.relay
            and offer.generation >= self._generation
            and all(_serves(offer, query) for query in self._queries)
            for offer in self._offers.values()
        )

    def _asked(self, groups: tuple[GroupOffer, ...]) -> tuple[GroupOffer, ...]:
        asked = [group for group in groups if group.group in self._groups]
        return tuple(asked[: MAX_VERSIONS * len(self._groups)])


def newest_first(offers: Iterable[Offer]) -> list[Offer]:
    """Where the metadata is refreshed from: highest generation first, equals in the given order.

    Senders without an API (relays) are left out.
    """
    return sorted((offer for offer in offers if offer.api), key=lambda offer: -offer.generation)


def _serves(offer: Offer, query: GroupQuery) -> bool:
    """Whether the sender holds what the query wants, or, if it names no manifest, what the plan says."""
    return any(
        entry.group == query.group
        and entry.holding is Holding.ALL
        and (entry.planned if query.want is None else entry.manifest == query.want)
        for entry in offer.groups
    )


def _merge(known: Offer, heard: Offer) -> Offer:
    """One offer out of two of the same sender; its nonce is that of the newer generation's."""
    older, newer = (heard, known) if known.generation > heard.generation else (known, heard)
    planned_anew = {group.group for group in newer.groups if group.planned}
    entries: dict[tuple[str, bytes], GroupOffer] = {}
    for group in older.groups:
        if newer.generation > older.generation and group.planned and group.group in planned_anew:
            continue
        entries[group.group, group.manifest] = group
    for group in newer.groups:
        before = entries.get((group.group, group.manifest))
        if before is None or group.holding <= before.holding:
            entries[group.group, group.manifest] = group
        elif group.planned and not before.planned:
            entries[group.group, group.manifest] = msgspec.structs.replace(before, planned=True)
    versions: dict[str, int] = {}
    kept = []
    for group in entries.values():
        versions[group.group] = versions.get(group.group, 0) + 1
        if versions[group.group] <= MAX_VERSIONS:
            kept.append(group)
    revocations = max(known.revocations, heard.revocations)
    return msgspec.structs.replace(newer, groups=tuple(kept), revocations=revocations)
