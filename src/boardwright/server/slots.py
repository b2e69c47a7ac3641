"""Which key belongs to which board and which slot: a second one is an alarm, and nobody gets in with it by himself.

Rules:

* A board's record keeps the digest of the key that it proved itself with first. Another key for the same board, or
  another board's key for the same slot, is a conflict until the known key is revoked or the operator approves the
  other.
* A listed board that was never heard has a key, too: the one that `init` made for it. Nobody else joins in its name.
* What is looked at is the server's own copy of the state; the index by slot is made anew when the boards change.
"""

from collections.abc import Callable

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.mirror import Mirror

NOBODY: frozenset[str] = frozenset()


class Slots:
    """Safe to call from any thread; `revoked` answers the digests of revoked keys."""

    def __init__(self, mirror: Mirror, revoked: Callable[[], frozenset[str]] = lambda: NOBODY) -> None:
        self._mirror = mirror
        self.revoked = revoked
        self._index: tuple[dict[str, Board], dict[Location, list[Board]]] = ({}, {})

    def taken(self, board: str, place: Location, key: str) -> str:
        """Why `key` may not join as `board` there by itself; '' if id and slot are free, or known by this very key."""
        boards, places = self._read()
        known = boards.get(board)
        if known is not None and known.key is None:
            return f"{board} is known already, with a key of its own"
        return self.quarrel(board, place, key) or next(
            (
                f"slot {place} is that of {other.id}"
                for other in places.get(place, ())
                if other.id != board and (other.key is None or other.key not in self.revoked())
            ),
            "",
        )

    def quarrel(self, board: str, place: Location, key: str) -> str:
        """Who has another key for the same board or slot, as a sentence; '' if nobody."""
        boards, places = self._read()
        revoked = self.revoked()
        known = boards.get(board)
        if known is not None and _another(known, key, revoked):
            return f"{board} is known with another key ({_short(known.key)}) than {_short(key)}"
        for other in places.get(place, ()):
            if other.id != board and _another(other, key, revoked):
                return f"slot {place} is that of {other.id} (key {_short(other.key)}), not of {board} ({_short(key)})"
        return ""

    def key_of(self, board: str, said: str | None) -> str | None:
        """The key to record for a board that proved itself with `said`: the known one, unless there is none left."""
        known = self._mirror.state.boards.get(board)
        if known is None or known.key is None or known.key in self.revoked():
            return said
        return known.key

    def _read(self) -> tuple[dict[str, Board], dict[Location, list[Board]]]:
        boards, places = self._index
        if boards is not self._mirror.state.boards:
            boards, places = self._mirror.state.boards, {}
            for board in boards.values():
                places.setdefault(board.location, []).append(board)
            self._index = (boards, places)
        return boards, places


def _another(known: Board, key: str, revoked: frozenset[str]) -> bool:
    return known.key is not None and known.key != key and known.key not in revoked


def _short(key: str | None) -> str:
    return (key or "")[:12]
