"""What a server vouches for in a report: whose it is, by which key, and where the cluster says that it sits (pure).

Rules:

* The session says who sent a report. A board reports for itself; a server's certificate is that of its board, so its
  agent reports as that. Reports of others are passed on by servers, which have looked at them.
* The place in the inventory is the certificate's, whatever the board says; if it says another, its own reason stays, or
  gets said here for it.
* The key is never the board's own word.
"""

from collections.abc import Iterable

import msgspec

from boardwright.errors import ForbiddenError
from boardwright.model.report import BoardReport
from boardwright.trust.identity import Identity


def vouched(reports: Iterable[BoardReport], sender: Identity) -> list[BoardReport]:
    """The reports as they may be believed and passed on; ForbiddenError if one is of another board than `sender`."""
    return [_vouched(report, sender) for report in reports]


def _vouched(report: BoardReport, sender: Identity) -> BoardReport:
    said = report.board
    if said.id != sender.id:
        raise ForbiddenError(f"{sender.id} may not report for {said.id[:200]}")
    conflict = report.conflict
    if said.location != sender.location and not conflict:
        conflict = f"location-conflict: it says {said.location}, its certificate {sender.location}"
    board = msgspec.structs.replace(said, location=sender.location, key=sender.key)
    return msgspec.structs.replace(report, board=board, conflict=conflict)
