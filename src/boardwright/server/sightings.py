"""What a version request tells of the board that sent it, beside its reports.

Rules:

* A request is signed by nobody, so a sighting shows that a board lives, and changes nothing that the cluster knows;
  reports do that, whose session proves who sent them.
* A server that copies versions asks with the same message and an empty board type: that is no board.
* A sighting travels between servers as a report with sequence 0 and no groups.
"""

from boardwright.errors import MalformedError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport
from boardwright.model.software import check_name
from boardwright.protocol.messages import Request

SIGHTING = 0  # the sequence number of a report that stands for a request
MAX_PLACE = 64  # characters of a chassis or slot id


def sighting(request: Request) -> BoardReport | None:
    """The board behind `request`, or None if a server asked or the words cannot be a board's."""
    if not request.board_type:
        return None
    board = Board(
        id=request.board,
        location=Location(request.chassis, request.slot),
        type=request.board_type,
        groups=tuple(query.group for query in request.groups),
    )
    return BoardReport(board, request.generation, SIGHTING) if plausible(board) else None


def plausible(board: Board) -> bool:
    """Whether the facts keep the bounds that every name and place has; anybody can send them."""
    try:
        check_name("board", board.id)
        check_name("type", board.type)
        for group in board.groups:
            check_name("group", group)
    except MalformedError:
        return False
    place = board.location
    return len(board.groups) <= MAX_BOARD_GROUPS and all(
        0 < len(word) <= MAX_PLACE for word in (place.chassis, place.slot)
    )


MAX_BOARD_GROUPS = 32  # the bound of a request (protocol.messages.MAX_GROUPS) holds for reports, too
