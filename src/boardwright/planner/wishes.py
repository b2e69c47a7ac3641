"""The policy, prepared for asking it about very many boards.

The answers are those of ``Policy.wanted``: the last assignment that matches wins. Assignments that name single boards
(what ``deploy --to c1s3`` leaves behind, possibly once per board) are looked up by board id; of the others, those of
the same selector collapse into the newest. So the cost per board grows with the number of different globs only.
"""

from boardwright.model.inventory import Board
from boardwright.model.policy import Assignment, Policy, Selector

_EVERY_BOARD = Selector()


class Wishes:
    """`looks` counts the selectors that were matched against a board, the cost of asking."""

    def __init__(self, policy: Policy) -> None:
        self._groups: dict[str, _GroupWishes] = {}
        for order, assignment in enumerate(policy.assignments):
            self._groups.setdefault(assignment.group, _GroupWishes()).add(order, assignment)
        self.looks = 0

    def groups(self) -> tuple[str, ...]:
        """Every group that any assignment names."""
        return tuple(self._groups)

    def wanted(self, board: Board, group: str) -> Assignment | None:
        """The assignment that holds for `group` on `board`; None if there is none."""
        wishes = self._groups.get(group)
        if wishes is None:
            return None
        best, assignment = wishes.boards.get(board.id, (-1, None))
        for selector, (order, other) in wishes.newest_first():
            if order < best:
                break
            self.looks += 1
            if selector.matches(board):
                return other
        return assignment


class _GroupWishes:
    """For one group: per board id, and per selector, the newest assignment with its place in the policy."""

    def __init__(self) -> None:
        self.boards: dict[str, tuple[int, Assignment | None]] = {}
        self._selectors: dict[Selector, tuple[int, Assignment]] = {}
        self._sorted: list[tuple[Selector, tuple[int, Assignment]]] | None = None

    def add(self, order: int, assignment: Assignment) -> None:
        """Assignments come oldest first, so a later one of the same selector replaces the earlier."""
        self._sorted = None
        for selector in assignment.selectors or (_EVERY_BOARD,):
            board = _single_board(selector)
            if board is None:
                self._selectors[selector] = (order, assignment)
            else:
                self.boards[board] = (order, assignment)

    def newest_first(self) -> list[tuple[Selector, tuple[int, Assignment]]]:
        if self._sorted is None:
            self._sorted = sorted(self._selectors.items(), key=lambda item: -item[1][0])
        return self._sorted


def _single_board(selector: Selector) -> str | None:
    """The id if the selector can match one board only."""
    if len(selector.terms) == 1:
        key, glob = selector.terms[0]
        if key == "board" and not set(glob) & set("*?["):
            return glob
    return None
