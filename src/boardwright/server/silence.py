"""Boards that say nothing any more: the alarm `silent-board`, raised and cleared by the active.

Rules:

* A board of the inventory is silent when nothing was heard of it for ``SILENT_AFTER`` seconds, and this server has been
  the active, which hears everything, for as long: a new active gives every board its time.
* One alarm for each chassis, which names the first few boards and counts the others: a power cut of a whole system is
  a handful of alarms. It is raised again when other boards are silent, and cleared when none is.
* A server that is not the active warns of nobody: it hears only some of the boards.

So a silent board is noticed within ``SILENT_AFTER`` + `EVERY` seconds of its last word, or of the moment that a new
active took over.
"""

import threading
from collections.abc import Callable

from boardwright.model.report import SILENT_AFTER
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.board_reports import BoardReports
from boardwright.server.mirror import Mirror

EVERY = 2.0  # seconds between looks: little beside the bound, and nothing for ten thousand boards
NAMED = 5  # boards that a sentence names


class SilenceWatch:
    """`listening` answers for how many seconds this server would have heard every board, `active` whether it does."""

    def __init__(
        self,
        mirror: Mirror,
        board_reports: BoardReports,
        alarms: Alarms,
        listening: Callable[[], float],
        active: Callable[[], bool],
    ) -> None:
        self._mirror = mirror
        self._board_reports = board_reports
        self._alarms = alarms
        self._listening = listening
        self._active = active
        self._raised: dict[str, tuple[str, ...]] = {}  # silent boards by the alarm's subject

    def run(self, stop: threading.Event) -> None:
        """Looks until `stop`."""
        while not stop.wait(EVERY):
            self.look()

    def look(self) -> None:
        """Raise and clear what is due."""
        silent = self._silent() if self._active() and self._listening() > SILENT_AFTER else {}
        for subject in self._raised.keys() - silent.keys():
            self._alarms.clear(AlarmKind.SILENT_BOARD, subject)
        for subject, boards in silent.items():
            if self._raised.get(subject) != boards:
                self._alarms.sound(AlarmKind.SILENT_BOARD, subject, _sentence(boards))
        self._raised = silent

    def _silent(self) -> dict[str, tuple[str, ...]]:
        views = self._board_reports.views()
        found: dict[str, list[str]] = {}
        for board in self._mirror.state.boards.values():
            view = views.get(board.id)
            if view is None or view.age > SILENT_AFTER:
                found.setdefault(f"chassis {board.location.chassis}", []).append(board.id)
        return {subject: tuple(sorted(boards)) for subject, boards in sorted(found.items())}


def _sentence(boards: tuple[str, ...]) -> str:
    named = ", ".join(boards[:NAMED])
    more = f" and {len(boards) - NAMED} more" if len(boards) > NAMED else ""
    have = "has" if len(boards) == 1 else "have"
    return f"{named}{more} {have} not been heard for {SILENT_AFTER:.0f} s: look at power, network and agent"
