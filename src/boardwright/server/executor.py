"""What the active does beside answering calls: joins, plans, held versions, ends of rollouts.

Rules:

* Only the holder of the lease acts, and every write is fenced by it; one that was deposed changes nothing.
* On taking over, boards of the inventory file that the state lacks are added. The file removes none, and of a board
  that the state has it changes the place alone: where a listed board sits is the operator's word.
* Boards that were heard and that nobody knows, or that changed, are recorded; not more than `MAX_BOARDS` altogether,
  because anybody on the network can speak as a board that nobody knows.
* What boards verify the plan by is signed with it, and anew every day.
* When the boards or the catalog changed, the policy is planned anew: late boards join, new variants fit.
* An upgrade of Boardwright itself goes a step further.
* A round that was cut off, by a write that lost against another or by trouble with the engine, is followed by one
  that looks at everything again, like the first one. Trouble is logged once; nothing here may end the loop.
"""

import threading
from collections.abc import Callable, Mapping

import msgspec

from boardwright import log
from boardwright.errors import BoardwrightError, ConflictError
from boardwright.model.inventory import Board
from boardwright.server.board_reports import MAX_BOARDS, BoardReports
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.held import HeldVersions
from boardwright.server.listed import Listed
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.planning import propose, transaction
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.server.signing import Signing
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import BOARDS

EVERY = 0.5  # seconds between rounds, beside being woken; a storm of joins makes two plans a second at most
BOARDS_PER_COMMIT = 50  # etcd takes 128 operations in a transaction by default; a board is a compare and a put
_log = log.get("server.executor")

Commit = Callable[[Transaction], int]


class Executor:
    """`epoch` answers the epoch of the lease in hand, 0 for none; `commit` is fenced by it."""

    def __init__(  # noqa: PLR0913 - what the active writes, each part handed in
        self,
        kv: KV,
        commit: Commit,
        epoch: Callable[[], int],
        mirror: Mirror,
        board_reports: BoardReports,
        watch: RolloutWatch,
        held: HeldVersions,
        listed: Listed,
        signing: Signing,
        upgrading: Callable[[], None] = lambda: None,
    ) -> None:
        self._upgrading = upgrading
        self._kv = kv
        self._commit = commit
        self._epoch = epoch
        self._mirror = mirror
        self._board_reports = board_reports
        self._watch = watch
        self._held = held
        self._listed = listed
        self._signing = signing
        self._wake = threading.Event()
        self._acting_in = 0
        self._stale = True
        self._last_trouble = ""
        mirror.subscribe(self._on_state)

    def wake(self) -> None:
        """Begin a round now; from any thread."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`; call ``wake`` after setting it."""
        while not stop.is_set():
            self.round()
            self._wake.wait(EVERY)
            self._wake.clear()

    def round(self) -> None:
        """Do what is due, if this server is the active."""
        epoch = self._epoch()
        if not epoch:
            self._acting_in = 0
            return
        taking_over = epoch != self._acting_in
        try:
            self._sign(taking_over)
            self._record_boards(taking_over)
            if self._stale or taking_over:
                self._stale = False
                self._plan()
            self._held.write()
            self._watch.write_ends(self._kv, self._commit)
            self._upgrading()
        except ConflictError:
            self._acting_in = 0
        except BoardwrightError as error:
            self._acting_in = 0
            if str(error) != self._last_trouble:
                _log.error("the active cannot act", error=str(error), cause=error.__cause__)
            self._last_trouble = str(error)
        else:
            self._acting_in = epoch
            self._last_trouble = ""

    def _on_state(self, before: MirrorState, after: MirrorState) -> None:
        if before.boards != after.boards or before.catalog != after.catalog:
            self._stale = True
            self._wake.set()

    def _record_boards(self, taking_over: bool) -> None:
        if taking_over:
            facts = read_facts(self._kv)
            known = facts.inventory.boards
            self._listed.read()
            news = {
                board.id: self._in_place(known.get(board.id, board))
                for board in self._listed.boards.values()
                if board.id not in known or known[board.id].location != board.location
            }
            self._write_boards(facts, news)
            known = {**known, **news}
            news = self._heard(known, self._board_reports.facts(known, everything=True))
            self._write_boards(read_facts(self._kv), news)
        else:
            known = self._mirror.state.boards
            news = self._heard(known, self._board_reports.facts(known))
            if news:
                self._write_boards(read_facts(self._kv), news)

    def _write_boards(self, facts: Facts, boards: dict[str, Board]) -> None:
        news = [(f"{BOARDS}{board.id}", board) for board in boards.values()]
        for start in range(0, len(news), BOARDS_PER_COMMIT):
            part = news[start : start + BOARDS_PER_COMMIT]
            puts: dict[str, bytes | None] = {key: encoded(board) for key, board in part}
            self._commit(Transaction(facts.compare(*puts), puts))
            self._stale = True
        if boards:
            _log.info("boards recorded", count=len(boards), first=min(boards))

    def _heard(self, known: Mapping[str, Board], said: dict[str, Board]) -> dict[str, Board]:
        """What of the boards' own words is to be recorded."""
        news, room = {}, MAX_BOARDS - len(known)
        for board in map(self._in_place, said.values()):
            if board.id not in known:
                room -= 1
            if board != known.get(board.id) and (board.id in known or room >= 0):
                news[board.id] = board
        return news

    def _in_place(self, board: Board) -> Board:
        place = self._listed.place(board.id)
        return board if place is None else msgspec.structs.replace(board, location=place)

    def _sign(self, taking_over: bool) -> None:
        renewal = self._signing.renewal(self._kv, lambda: read_facts(self._kv).plan, look=taking_over)
        if renewal is not None:
            self._commit(renewal)

    def _plan(self) -> None:
        facts = read_facts(self._kv)
        if not facts.policy.assignments:
            return
        proposal = propose(facts, facts.policy)
        if proposal.plan is not None:
            change = transaction(facts, facts.policy, proposal)
            self._commit(self._signing.change(self._kv, change, proposal.plan))
            _log.info("plan committed", generation=proposal.plan.generation, changes=len(proposal.changes))
