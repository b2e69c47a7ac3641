"""The operator's list of boards (cluster.toml) as a server knows it.

Where a listed board sits is the operator's word; what the board says of its place is compared, not believed. The list
is read at the start and again by a server that becomes the active; one that cannot be read leaves what was read before.
"""

from pathlib import Path

from boardwright import log
from boardwright.config import load_inventory
from boardwright.errors import BoardwrightError
from boardwright.model.inventory import Board
from boardwright.model.location import Location

_log = log.get("server.listed")


class Listed:
    """The boards of `path` by id; none without a path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.boards: dict[str, Board] = {}
        self.read()

    def read(self) -> None:
        """Read the list again."""
        if self._path is None:
            return
        try:
            self.boards = {entry.board.id: entry.board for entry in load_inventory(self._path).boards}
        except BoardwrightError as error:
            _log.error("inventory not taken in", file=self._path, error=str(error))

    def place(self, board: str) -> Location | None:
        """Where the list says that the board sits; None if it does not name it."""
        listed = self.boards.get(board)
        return None if listed is None else listed.location
