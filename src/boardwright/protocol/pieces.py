"""Which piece a board fetches next and from whom: servers and relays side by side (design section 5, "Relay").

Rules:

* Pieces are numbered blob after blob in the manifest's order. A set of pieces is an int, bit i for piece i; on the wire
  it is a bitmap, bit i in byte i // 8, the lowest bit first.
* **Rarest first**, counted over the relays that are known; pieces that are equally rare in the board's own order.
* A server's link is scarce: only a few boards for each server, the **team**, ask it, each for its own share of the
  pieces that no relay has (``Bringers``). The others take from relays, and from a server if nothing comes otherwise.
* The nearest tier that holds all of it is used. A board whose own server has the version asks nobody else. As long as
  a server of the chassis has it and lives, nothing comes from ``elsewhere``; without one, each piece is brought by one
  board of the team, and the others wait until a neighbour has it.
* A board that shares its servers asks them for one piece at a time; one that has heard of nobody else asks for longer
  and longer stretches over several lines, as without relays.
* A relay is asked for one piece at a time, and so many relays only: each new line costs both sides a handshake.
* In the end, a piece that is long under way is asked for once more from somebody else near; the first to come counts.
* Who waits for pieces asks its neighbours for news.
* No clock, no chance: every `now` is monotonic seconds. One thread.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence

import msgspec

from boardwright.model.location import Tier
from boardwright.protocol.bringing import Bringers

SHARED_SERVER = 1  # pieces at a time from all servers of a tier together: eight boards already make them slow
ALONE_SERVER = 3  # stretches at a time, as without relays
TEAM = 2  # boards for each server that ask it: with more, each waits longer for its first piece
STARVED = 0.25  # seconds without a piece, longer in a larger chassis, after which anybody asks a server for anything
LONGEST_STARVED = 1.0  # seconds, if relays have something and are only full
FAR_START = 0.5  # seconds in which mates are heard of that begin because of the same announcement
FAR = 2  # pieces at a time over an inter-chassis link: one comes while the next is asked for
NEIGHBOURS = 6  # relays that a board has lines to: ten are no faster, four are slower among 32 boards (``sim.swarm``)
LONGEST = 8  # pieces in one stretch: RANGE_SIZE
WINDOW = 512  # pieces that are compared for rarity; as many as a download of half a GiB has
STALE = 0.25  # seconds after which a neighbour is asked for news by who has nothing else to do
LATE = 2.0  # times the usual duration of a piece, after which it is asked for once more in the end
LATE_AT_LEAST = 0.5  # seconds; below that, both would be about to arrive
MAX_RACES = 2  # pieces that are under way twice: what is sent in vain is bounded by that
SPILL = 3.0  # seconds without a piece, after which full servers of the chassis count as absent
LOOK = 0.1  # seconds until who has nothing to ask for looks again; a full relay is free again after about as long


class Fetch(msgspec.Struct, frozen=True):
    """Ask `source` for `count` pieces from `piece` on."""

    piece: int
    count: int
    source: str


class Ask(msgspec.Struct, frozen=True):
    """Ask the relay `source` what it has."""

    source: str


class Wait(msgspec.Struct, frozen=True):
    """Nothing to ask for; something may have changed after so many seconds."""

    seconds: float


class _Source(msgspec.Struct):
    id: str
    tier: Tier
    relay: bool
    rank: int
    whole: bool
    has: int
    heard: float  # when it said so
    asked: int = 0  # requests of this board under way
    used: bool = False  # there is a line to it
    failed: bool = False  # its last request brought nothing, and it was not heard since


class _Way(msgspec.Struct):
    """A piece under way: from whom and since when."""

    sources: list[str]
    since: float


class Pieces:
    """One download of one version by the board `me`, which has the pieces `have`.

    `starts` are the numbers of the first piece of each blob that is fetched, ascending, and of the end of it all;
    `needed` the pieces to fetch.
    """

    def __init__(self, me: str, manifest: bytes, starts: Sequence[int], needed: int, have: int, now: float) -> None:
        self.count = starts[-1]
        self.have = have
        self.bringers = Bringers(me, manifest, self.count, now)
        self._starts = starts
        self._needed = needed
        self._sources: dict[str, _Source] = {}
        self._ways: dict[int, _Way] = {}
        self._rarity = [0] * self.count  # relays that have it
        lacking = [piece for piece in range(self.count) if needed >> piece & 1 and not have >> piece & 1]
        self._order = sorted(lacking, key=lambda piece: self.bringers.lot(piece, me))
        self._me = me
        self._began = now
        self._stretch = 1
        self._usual = 0.0  # seconds that a piece takes, on average of the last ones
        self._progress_at = now

    # --- what comes in ---

    def join(self, source: str, tier: Tier, now: float, *, relay: bool = False, pieces: int | None = None) -> None:
        """Somebody has all (None) or these `pieces`; who is known already has more than was known."""
        whole = pieces is None
        has = (1 << self.count) - 1 if pieces is None else pieces & ((1 << self.count) - 1)
        known = self._sources.get(source)
        if known is None:
            known = _Source(source, tier, relay, len(self._sources), False, 0, now)
            self._sources[source] = known
        known.whole, known.failed = known.whole or whole, False
        self._learn(known, known.has | has, now)

    def news(self, source: str, pieces: int, now: float) -> None:
        """A relay that is known has these pieces now; it may have fewer than before."""
        known = self._sources.get(source)
        if known is not None and known.relay:
            known.whole = False
            self._learn(known, pieces & ((1 << self.count) - 1), now)

    def ended(self, fetch: Fetch, verified: int, now: float, *, failed: bool = False) -> None:
        """The request is over, and so many pieces of it, from its first on, were verified.

        `failed`: the source died, hung or lied; not that it is full. It is asked again when it was heard again, or when
        nobody else is left.
        """
        source = self._sources[fetch.source]
        source.asked -= 1
        source.failed = failed
        source.used = source.used and not failed
        if failed and source.relay:
            self._learn(source, 0, now)  # what it has counts again when it is heard again
        since = None
        for piece in range(fetch.piece, fetch.piece + fetch.count):
            way = self._ways.get(piece)
            if way is not None:
                since = way.since if since is None else since
                way.sources.remove(fetch.source)
                if not way.sources:
                    del self._ways[piece]
        if verified and since is not None:
            seconds = (now - since) / verified
            self._usual = seconds if not self._usual else 0.7 * self._usual + 0.3 * seconds
            self.bringers.brought(now)
        if verified == fetch.count:
            self._stretch = min(LONGEST, 2 * self._stretch)

    def verified(self, piece: int, now: float) -> None:
        """The board has one more piece."""
        self.have |= 1 << piece
        self._progress_at = now

    # --- what is to be done ---

    @property
    def done(self) -> bool:
        return not self._needed & ~self.have

    @property
    def shared(self) -> bool:
        """Whether others of the chassis were heard of."""
        return bool(self.bringers.size) or any(one.relay for one in self._sources.values())

    def next(self, ready: Collection[str], busy: Collection[str], now: float) -> Fetch | Ask | Wait:
        """What an idle line does now; `ready` may be asked, `busy` are full and may be soon, others were left."""
        there = [one for one in self._sources.values() if one.id in ready]
        sound = [one for one in there if not one.failed]
        own = [one for one in sound if one.tier is Tier.SAME_BOARD and one.whole]
        near = own or [one for one in sound if one.tier is not Tier.ELSEWHERE]
        shared = self.shared and not own
        team = self._team(ready, busy, sum(not one.relay for one in near), now)
        fetch = self._from_near(near, team, busy, shared=shared, now=now)
        if fetch is None and now - self._began >= FAR_START and not self._near_server(sound, busy, now):
            fetch = self._from_far([one for one in sound if one.tier is Tier.ELSEWHERE], ready, busy, team)
        if fetch is None and shared:
            fetch = self._once_more(near, now)
        if fetch is None and len(sound) < len(there) and now - self._progress_at >= STARVED:
            again = [one for one in there if one.failed and (one.tier is not Tier.ELSEWHERE or not near)]
            fetch = None if (piece := self._rarest(again)) is None else self._one(piece, again, piece)
        if fetch is not None:
            return self._begin(fetch, now)
        return self._news(near, now)

    def _team(self, ready: Collection[str], busy: Collection[str], servers: int, now: float) -> frozenset[str]:
        """The boards that bring what no relay has."""
        gone = [one.id for one in self._sources.values() if one.relay and one.id not in ready and one.id not in busy]
        return self.bringers.team(self.bringers.active(gone, now), TEAM * max(1, servers))

    # --- choosing ---

    def _from_near(
        self, near: Sequence[_Source], team: frozenset[str], busy: Collection[str], *, shared: bool, now: float
    ) -> Fetch | None:
        servers = [one for one in near if not one.relay]
        if not shared:
            if sum(one.asked for one in servers) >= min(ALONE_SERVER, self._stretch):
                return None
            piece = self._rarest(servers)
            return None if piece is None else self._long(piece, min(servers, key=lambda one: (one.tier.rank, one.rank)))
        room = sum(one.asked for one in servers) < SHARED_SERVER
        if room and self._me in team:
            piece = self._unseen(servers, team)
            piece = self._rarest(servers, seen=True) if piece is None else piece
            if piece is not None:
                return self._one(piece, servers, sorted(team).index(self._me))
        lines = sum(one.used for one in near if one.relay)
        relays = [one for one in near if one.relay and not one.asked and (one.used or lines < NEIGHBOURS)]
        if (piece := self._rarest(relays)) is not None:
            return self._one(piece, relays, piece)
        patience = STARVED * (1 + self.bringers.size / 8) if not self._waits_for(busy) else LONGEST_STARVED
        if room and now - self._progress_at >= patience and (piece := self._rarest(servers)) is not None:
            return self._one(piece, servers, piece)
        return None

    def _one(self, piece: int, sources: Sequence[_Source], turn: int) -> Fetch:
        """`piece` from one of those that have it: over a line that there is, else each board from another one."""
        holders = [one for one in sources if one.has >> piece & 1]
        holders = [one for one in holders if one.used] or holders if holders[0].relay else holders
        return Fetch(piece, 1, sorted(one.id for one in holders)[turn % len(holders)])

    def _unseen(self, servers: Sequence[_Source], team: frozenset[str]) -> int | None:
        """A piece that no relay has, and that is this board's to bring from a server."""
        available = self._available(servers)
        last = None
        for piece in self._order:
            if available >> piece & 1 and not self._rarity[piece]:
                if self.bringers.mine(piece, team):
                    return piece
                last = piece
        return last

    def _rarest(self, sources: Sequence[_Source], *, seen: bool = False) -> int | None:
        available = self._available(sources)
        if not available:
            return None
        best, fewest, looked = None, 0, 0
        for piece in self._order:
            if available >> piece & 1:
                rarity = self._rarity[piece]
                if seen and not rarity:
                    continue
                if best is None or rarity < fewest:
                    best, fewest = piece, rarity
                looked += 1
                if looked >= WINDOW or not rarity:
                    break
        return best

    def _available(self, sources: Sequence[_Source]) -> int:
        """What is lacking, not under way, and to be had from one of `sources`."""
        self._tidy()
        has = 0
        for one in sources:
            has |= one.has
        for piece in self._ways:
            has &= ~(1 << piece)
        return has & self._needed & ~self.have

    def _from_far(
        self, far: Sequence[_Source], ready: Collection[str], busy: Collection[str], team: frozenset[str]
    ) -> Fetch | None:
        most = FAR if self.shared else min(ALONE_SERVER, self._stretch)
        if not far or sum(one.asked for one in far) >= most:
            return None
        available = self._available(far)
        for one in self._sources.values():  # what a neighbour has does not cross, also if it is full just now
            there = one.id in ready or (one.relay and one.id in busy)
            if there and one.tier is not Tier.ELSEWHERE and not one.failed:
                available &= ~one.has
        source = min(far, key=lambda one: (one.asked, one.rank) if self.shared else (0, one.rank))
        for piece in self._order:
            if available >> piece & 1 and source.has >> piece & 1 and self.bringers.mine(piece, team):
                return Fetch(piece, 1, source.id) if self.shared else self._long(piece, source)
        return None

    def _waits_for(self, busy: Collection[str]) -> bool:
        """Whether a relay that is full now has something that is lacking."""
        full = [one for one in self._sources.values() if one.relay and one.id in busy]
        return bool(self._available(full))

    def _near_server(self, sound: Sequence[_Source], busy: Collection[str], now: float) -> bool:
        """Whether a server of the own board or chassis has the version and lives."""
        if any(one.whole and not one.relay and one.tier is not Tier.ELSEWHERE for one in sound):
            return True
        return now - self._progress_at < SPILL and any(
            one.whole and not one.relay and one.tier is not Tier.ELSEWHERE and one.id in busy
            for one in self._sources.values()
        )

    def _long(self, piece: int, source: _Source) -> Fetch:
        """A stretch of neighbours of one blob, from `piece` on."""
        end = self._starts[bisect_right(self._starts, piece)]
        count = 1
        while (
            count < self._stretch
            and (following := piece + count) < end
            and source.has >> following & 1
            and self._needed >> following & 1
            and not self.have >> following & 1
            and following not in self._ways
        ):
            count += 1
        return Fetch(piece, count, source.id)

    def _once_more(self, near: Sequence[_Source], now: float) -> Fetch | None:
        """A piece that is long under way from a neighbour, from somebody else; a slow server is the fetch's matter."""
        if not self._usual or sum(len(way.sources) > 1 for way in self._ways.values()) >= MAX_RACES:
            return None
        late = now - max(LATE_AT_LEAST, LATE * self._usual)
        for piece, way in sorted(self._ways.items(), key=lambda item: item[1].since):
            if way.since > late:
                return None
            if len(way.sources) > 1 or self.have >> piece & 1:
                continue
            if not any(one.relay for one in near if one.id in way.sources):
                continue
            others = [one for one in near if one.has >> piece & 1 and one.id not in way.sources and not one.asked]
            if others:
                return Fetch(piece, 1, min(others, key=lambda one: (not one.relay, not one.used, one.rank)).id)
        return None

    def _news(self, near: Sequence[_Source], now: float) -> Ask | Wait:
        """Only who lacks something that is not under way needs news."""
        lacking = self._needed & ~self.have
        for piece in self._ways:
            lacking &= ~(1 << piece)
        if lacking:
            lines = sum(one.used for one in near if one.relay)
            stale = [
                one
                for one in near
                if one.relay
                and not one.asked
                and now - one.heard >= STALE
                and one.has.bit_count() < self.count
                and (one.used or lines < NEIGHBOURS)
            ]
            if stale:
                oldest = min(stale, key=lambda one: (one.heard, one.rank))
                oldest.heard = now  # nobody else asks for it meanwhile
                return Ask(oldest.id)
        return Wait(LOOK)

    # --- the books ---

    def _begin(self, fetch: Fetch, now: float) -> Fetch:
        source = self._sources[fetch.source]
        source.asked += 1
        source.used = True
        for piece in range(fetch.piece, fetch.piece + fetch.count):
            way = self._ways.get(piece)
            if way is None:
                self._ways[piece] = _Way([fetch.source], now)
            else:
                way.sources.append(fetch.source)
        return fetch

    def _learn(self, source: _Source, has: int, now: float) -> None:
        changed = source.has ^ has
        source.heard = now
        if not source.relay:
            source.has = has
            return
        while changed:
            lowest = changed & -changed
            self._rarity[lowest.bit_length() - 1] += 1 if has & lowest else -1
            changed ^= lowest
        source.has = has
        self.bringers.shows(source.id, has.bit_count(), now)

    def _tidy(self) -> None:
        """Drop what is there from the board's order, now and then."""
        left = (self._needed & ~self.have).bit_count()
        if len(self._order) > 2 * left + 16:
            self._order = [piece for piece in self._order if not self.have >> piece & 1]


def from_bitmap(bitmap: bytes) -> int:
    """The set of pieces that a bitmap says."""
    return int.from_bytes(bitmap, "little")


def to_bitmap(pieces: int, count: int) -> bytes:
    """The bitmap of a set of pieces of a version that has `count`."""
    return pieces.to_bytes((count + 7) // 8, "little")
