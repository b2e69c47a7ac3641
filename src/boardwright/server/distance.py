"""Whether what a client of the blob port gets leaves this server's chassis: for the cap of inter-chassis links.

Clients are believed what they call themselves until they have to prove it; a name that nobody knows counts as far.
"""

from collections.abc import Callable

from boardwright.model.location import Location
from boardwright.server.mirror import Mirror


def leaves_chassis(mirror: Mirror, here: Location) -> Callable[[str], bool]:
    """By the client's name: a board of the inventory or a server."""

    def is_far(client: str) -> bool:
        state = mirror.state
        server = state.servers.get(client)
        if server is not None:
            return server.chassis != here.chassis
        board = state.boards.get(client)
        return board is None or board.location.chassis != here.chassis

    return is_far
