"""What boards say about themselves, in memory (design section 8: only transitions are state).

Rules:

* Requests (as sightings) and reports go in; for each board its last report, the newest explanation of each group
  and the age of its last word are kept. Nothing of it is written to disk or to the engine.
* A report with a lower sequence than the last one is late and dropped, unless the board was silent for
  ``LATE_WINDOW``: an agent that lost its disk counts from the start again, and nothing is late for that long.
* What is taken in waits to be passed on to the active (``outgoing``), once per board: the newest report stands
  for the ones before. What another server passed on is not passed on again, so nothing goes in circles.
* The table is bounded: the board that was silent the longest makes room, so strangers cannot lock boards out.
* Facts that are new (an unknown board that reported, another place or type) wait in ``facts`` for the active to record
  them. Those of one board are recorded every `CHANGE_EVERY` at most, and not at all while two computers speak as it
  (`contested`): each record is a write to the engine and a new plan.
* Boards that the cluster does not know (`known`) are taken in at a bounded rate; what comes beyond it is counted and
  dropped. They go on asking and are taken in later.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from boardwright.model.inventory import Board
from boardwright.model.report import MAX_LOG, BoardReport, Explanation, GroupReport
from boardwright.protocol.budget import Bucket
from boardwright.server.sightings import SIGHTING, plausible

MAX_BOARDS = 20_000  # twice the boards that a cluster is designed for
LATE_WINDOW = 10.0  # seconds; a report is on its way for two at most (batches twice a second, one retry)
CHANGE_EVERY = 30.0  # seconds; a card is moved in minutes, a liar and the board that it plays alternate in seconds
# A few chassis that no inventory lists power on at one moment; then one more board every 0.1 s.
STRANGERS_BURST, STRANGERS_RATE = 500.0, 10.0
MAX_HEARD = 64  # offers of one explanation
MAX_CONFLICT = 400  # characters; the sentence with two places of 64 and 64 characters each


class BoardView(msgspec.Struct, frozen=True):
    """What the server knows of a board; `age` in seconds since its last word."""

    board: Board
    generation: int
    age: float
    groups: dict[str, GroupReport] = {}
    retry: int = 0
    conflict: str = ""


class _Entry:
    __slots__ = (
        "board",
        "changed",
        "conflict",
        "explanations",
        "generation",
        "groups",
        "heard",
        "reported",
        "retry",
        "sequence",
    )

    def __init__(self, board: Board) -> None:
        self.board = board
        self.generation = 0
        self.heard = 0.0
        self.changed = -CHANGE_EVERY
        self.reported = False
        self.sequence = SIGHTING
        self.retry = 0
        self.conflict = ""
        self.groups: dict[str, GroupReport] = {}
        # Encoded: as objects the explanations of 10,000 boards would take 40 MiB.
        self.explanations: dict[str, bytes] = {}


class BoardReports:
    """Safe to call from several threads; `clock` is monotonic seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        max_boards: int = MAX_BOARDS,
        *,
        known: Callable[[str], bool] = lambda board: False,
        contested: Callable[[str], bool] = lambda board: False,
        key_of: Callable[[str, str | None], str | None] = lambda board, said: said,
    ) -> None:
        """`key_of` answers which key is to be recorded for a board that proved itself with this one."""
        self._clock = clock
        self._known = known
        self._contested = contested
        self._key_of = key_of
        self._strangers = Bucket(STRANGERS_RATE, STRANGERS_BURST, clock())
        self._max_boards = max_boards
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._outgoing: dict[str, None] = {}
        self._facts: dict[str, None] = {}
        self.late = 0
        self.implausible = 0
        self.crowded_out = 0

    def take(self, reports: Iterable[BoardReport], *, passed_on: bool = False) -> int:
        """Take reports and sightings in; answers how many said something new. `passed_on`: by another server."""
        with self._lock:
            return sum(self._take(report, passed_on) for report in reports)

    def knows(self, board: str) -> bool:
        """Whether a word of this board was taken."""
        with self._lock:
            return board in self._entries

    def view(self, board: str) -> BoardView | None:
        with self._lock:
            entry = self._entries.get(board)
            return None if entry is None else self._view(entry)

    def views(self) -> dict[str, BoardView]:
        """Every board that was heard, by id."""
        with self._lock:
            return {board: self._view(entry) for board, entry in self._entries.items()}

    def explanations(self, board: str) -> tuple[Explanation, ...]:
        with self._lock:
            entry = self._entries.get(board)
            encoded = () if entry is None else tuple(entry.explanations.values())
        return tuple(msgspec.msgpack.decode(data, type=Explanation) for data in encoded)

    def outgoing(self, limit: int) -> list[BoardReport]:
        """Up to `limit` reports to pass on, taken out of the queue."""
        with self._lock:
            boards = [board for board, _ in zip(self._outgoing, range(limit), strict=False)]
            for board in boards:
                del self._outgoing[board]
            return [self._report(self._entries[board]) for board in boards if board in self._entries]

    def pass_on_again(self, boards: Iterable[str] | None = None) -> None:
        """Queue these boards again (all: None), because the active did not get them or another one took over."""
        with self._lock:
            self._outgoing |= dict.fromkeys(list(self._entries) if boards is None else boards)

    def forget_outgoing(self) -> None:
        """There is nobody to pass anything on to: this server is the active."""
        with self._lock:
            self._outgoing.clear()

    def facts(self, known: Mapping[str, Board], *, everything: bool = False) -> dict[str, Board]:
        """Boards whose facts the state lacks, of those that spoke since the last call (`everything`: of all)."""
        with self._lock:
            spoke = list(self._entries) if everything else list(self._facts)
            self._facts.clear()
            news, now = {}, self._clock()
            for board in spoke:
                entry = self._entries.get(board)
                if entry is None or (board not in known and not entry.reported):
                    continue  # a request proves nothing: it makes nobody a board of the cluster
                if (facts := self._recorded(known.get(board), entry)) == known.get(board):
                    continue
                if self._contested(board) or (not everything and now - entry.changed < CHANGE_EVERY):
                    self._facts[board] = None  # looked at again in the next round
                    continue
                entry.changed = now if board in known else -CHANGE_EVERY
                news[board] = facts
            return news

    def _recorded(self, known: Board | None, entry: _Entry) -> Board:
        key = self._key_of(entry.board.id, entry.board.key or (known.key if known else None))
        return _facts(known, entry, key)

    def _take(self, report: BoardReport, passed_on: bool) -> bool:
        if not plausible(report.board):
            self.implausible += 1
            return False
        now = self._clock()
        entry = self._entries.get(report.board.id)
        if entry is None:
            if not self._known(report.board.id) and not self._strangers.take(now):
                self.crowded_out += 1
                return False
            while len(self._entries) >= self._max_boards:
                gone, _ = self._entries.popitem(last=False)
                self._outgoing.pop(gone, None)
                self._facts.pop(gone, None)
            entry = self._entries[report.board.id] = _Entry(report.board)
            self._facts[report.board.id] = None
        elif 0 < report.sequence <= entry.sequence and now - entry.heard < LATE_WINDOW:
            self.late += 1
            return False
        entry.heard = now
        self._entries.move_to_end(report.board.id)
        entry.generation = (
            max(entry.generation, report.generation) if report.sequence == SIGHTING else report.generation
        )
        if report.sequence != SIGHTING:
            self._take_report(entry, report)
        if not passed_on:
            self._outgoing[report.board.id] = None
        return True

    def _take_report(self, entry: _Entry, report: BoardReport) -> None:
        if entry.board != report.board or not entry.reported:
            entry.board = report.board
            self._facts[report.board.id] = None
        entry.reported = True
        entry.sequence = report.sequence
        entry.retry = report.retry
        entry.conflict = report.conflict[:MAX_CONFLICT]
        entry.groups = {name: _trimmed(group) for name, group in report.groups.items()}
        for explanation in report.explanations:
            kept = msgspec.structs.replace(explanation, offers=explanation.offers[:MAX_HEARD])
            entry.explanations[explanation.group] = msgspec.msgpack.encode(kept)
        for group in entry.explanations.keys() - set(report.board.groups):
            del entry.explanations[group]

    def _view(self, entry: _Entry) -> BoardView:
        age = self._clock() - entry.heard
        return BoardView(entry.board, entry.generation, age, entry.groups, entry.retry, entry.conflict)

    def _report(self, entry: _Entry) -> BoardReport:
        explanations = (msgspec.msgpack.decode(data, type=Explanation) for data in entry.explanations.values())
        return BoardReport(
            entry.board,
            entry.generation,
            entry.sequence,
            entry.groups,
            tuple(explanations),
            entry.retry,
            entry.conflict,
        )


def _facts(known: Board | None, entry: _Entry, key: str | None) -> Board:
    """The record of a board: its own word where it reported, but pair and server are the operator's to say."""
    if known is None:
        return entry.board
    if not entry.reported:
        return known
    said = entry.board
    return msgspec.structs.replace(known, location=said.location, type=said.type, groups=said.groups, key=key)


def _trimmed(group: GroupReport) -> GroupReport:
    return group if len(group.log) <= MAX_LOG else msgspec.structs.replace(group, log=group.log[-MAX_LOG:])
