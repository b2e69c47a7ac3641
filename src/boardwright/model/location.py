"""Where a board sits, and how near two places are.

A location is (chassis, slot). Same chassis is decided by the chassis id alone, same board by chassis and slot
together (requirement M5): a slot id means nothing outside its chassis.
"""

import enum

import msgspec


class Location(msgspec.Struct, frozen=True, order=True):
    """A slot of a chassis; both ids are free text of 1 to 64 characters."""

    chassis: str
    slot: str

    def __str__(self) -> str:
        return f"{self.chassis}/{self.slot}"


class Tier(enum.Enum):
    """How near an offer is; ``rank`` 0 is the nearest."""

    SAME_BOARD = "same-board"
    SAME_CHASSIS = "same-chassis"
    ELSEWHERE = "elsewhere"

    @property
    def rank(self) -> int:
        return _RANK[self]


_RANK = {Tier.SAME_BOARD: 0, Tier.SAME_CHASSIS: 1, Tier.ELSEWHERE: 2}


def tier_between(board: Location, server: Location) -> Tier:
    """Tier of a server at `server` as seen from a board at `board` (M4, M5)."""
    if board.chassis != server.chassis:
        return Tier.ELSEWHERE
    return Tier.SAME_BOARD if board.slot == server.slot else Tier.SAME_CHASSIS
