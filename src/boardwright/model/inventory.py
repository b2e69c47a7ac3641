"""Which boards exist: their ids, places, types, the groups they run and their redundancy pairs."""

import msgspec

from boardwright.model.location import Location


class Board(msgspec.Struct, frozen=True, omit_defaults=True):
    """A board as the cluster knows it; `server` says that it is a control board, `pair` names its redundancy pair.

    `key` is the digest of the key that it proved itself with; an agent does not say it, its server does.
    """

    id: str
    location: Location
    type: str
    groups: tuple[str, ...] = ()
    server: bool = False
    pair: str | None = None
    key: str | None = None


class Inventory(msgspec.Struct, frozen=True):
    """Every board that the cluster knows, by id."""

    boards: dict[str, Board] = {}
