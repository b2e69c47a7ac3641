"""Which board of a chassis brings a piece over the inter-chassis link, so that it crosses once (design section 5).

The boards that download a version agree without talking. A few of them, the **team**, bring pieces: the first in an
order of this board and its **mates** (highest random weight of manifest and board). Each piece is brought by the first
of the team in an order of its own (manifest, piece and board); the others wait until a neighbour has it. From servers
of the own chassis the team's shares are a wish, so that each piece leaves a server once; over a link they are a rule.

Rules:

* A mate is a board of the same chassis that was heard to ask for the version, or that showed pieces of it.
* To ask is not enough for long, for anybody can send a request: who shows no piece within the **grace** is out of every
  order until it does. The grace lasts as long as this board's own first piece took, and at least ``GRACE``.
* Who shows no new piece within the **patience**, or cannot be reached, is out until it shows one; the next in the order
  takes its pieces over. On a slow link the patience grows with the longest pause that a mate has made between pieces.
* The number of mates is bounded, and a name that is out keeps its place: new names do not begin new waits.
* No clock: every `now` is monotonic seconds. One thread.
"""

import hashlib
from collections.abc import Collection

import msgspec

GRACE = 2.0  # seconds; a board has its first piece within one on a link of 100 Mbit/s that eight share
LONGEST_GRACE = 10.0  # seconds, where this board gets nothing either
PATIENCE = 3.0  # seconds; a live mate shows a new piece several times a second, and tells it within a quarter
LONGEST_PATIENCE = 30.0  # seconds; who makes long pauses on purpose does not gain more
SLOWER = 2.0  # times the longest pause: pieces do not come evenly
MAX_MATES = 64  # boards of a chassis; more than any has


class _Mate(msgspec.Struct):
    pieces: int = 0  # how many it was seen to have
    at: float = 0.0  # when it was seen to have more than before


class Bringers:
    """What the board `me` knows of its mates, since it began to download at `now`; `count` pieces in all."""

    def __init__(self, me: str, manifest: bytes, count: int, now: float) -> None:
        self._me = me
        self._manifest = manifest
        self._count = count
        self._began = now
        self._first: float | None = None  # when the first own piece was there
        self._pause = 0.0  # the longest of a mate, in seconds
        self._mates: dict[str, _Mate] = {}
        self._judged: dict[int, bool] = {}  # by piece, whether it is this board's
        self._among: frozenset[str] = frozenset()  # these mates

    def asks(self, board: str) -> None:
        """`board`, of this chassis, was heard to ask for the version."""
        if board != self._me and len(self._mates) < MAX_MATES:
            self._mates.setdefault(board, _Mate())

    def shows(self, board: str, pieces: int, now: float) -> None:
        """`board` proved that it is of this chassis, and has so many pieces."""
        if board == self._me:
            return
        if board not in self._mates and len(self._mates) >= MAX_MATES:
            unproven = next((name for name, mate in self._mates.items() if not mate.pieces), None)
            if unproven is None:
                return
            del self._mates[unproven]
        mate = self._mates.setdefault(board, _Mate())
        if pieces > mate.pieces:
            self._pause = max(self._pause, now - max(mate.at, self._began))
            mate.pieces, mate.at = pieces, now

    def brought(self, now: float) -> None:
        """This board has verified a piece."""
        self._first = now if self._first is None else self._first

    @property
    def size(self) -> int:
        """How many mates were heard of."""
        return len(self._mates)

    def active(self, gone: Collection[str], now: float) -> frozenset[str]:
        """The mates that are in the orders now; `gone` are those that cannot be reached."""
        if self._first is None:
            grace = self._began + LONGEST_GRACE
        else:
            grace = self._first + max(GRACE, self._first - self._began)
        patience = min(max(PATIENCE, SLOWER * self._pause), LONGEST_PATIENCE)
        return frozenset(
            name
            for name, mate in self._mates.items()
            if name not in gone
            and (now - mate.at < patience if mate.pieces else now < grace)
            and mate.pieces < self._count  # it needs nothing any more; what it has, it serves
        )

    def team(self, active: frozenset[str], size: int) -> frozenset[str]:
        """The `size` boards that bring pieces, among the `active` ones and this one; the same whoever asks."""
        everybody = active | {self._me}
        if len(everybody) <= size:
            return everybody
        return frozenset(sorted(everybody, key=lambda board: (self.lot(self._count, board), board))[:size])

    def mine(self, piece: int, team: frozenset[str]) -> bool:
        """Whether this board is the first of the `team` in the order for `piece`."""
        if team != self._among:
            self._among, self._judged = team, {}
        known = self._judged.get(piece)
        if known is None:
            first = min(team, key=lambda board: (self.lot(piece, board), board), default=None)
            known = self._judged[piece] = first == self._me
        return known

    def lot(self, piece: int, board: str) -> bytes:
        """The weight of `board` for `piece`: who has the lowest brings it; the same whoever asks."""
        said = self._manifest + piece.to_bytes(4, "big") + board.encode(errors="replace")
        return hashlib.blake2b(said, digest_size=8).digest()
