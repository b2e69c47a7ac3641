"""What every board shall run now: immutable, numbered by its generation.

A plan is committed only if its parent is the current plan (compare and set); boards refuse an older generation
than they have. Targets are kept once and boards refer to them by index, so that 10,000 boards stay small.
"""

import msgspec

from boardwright.model.software import Target


class BoardPlan(msgspec.Struct, frozen=True):
    """One board's part of a plan: its targets by group."""

    generation: int
    groups: dict[str, Target] = {}


class Plan(msgspec.Struct, frozen=True):
    """`boards` maps a board id to indexes into `targets`."""

    generation: int = 0
    parent: int = 0
    targets: tuple[Target, ...] = ()
    boards: dict[str, tuple[int, ...]] = {}

    def for_board(self, board: str) -> BoardPlan:
        """The board's part; no groups if the plan does not know the board."""
        targets = (self.targets[index] for index in self.boards.get(board, ()))
        return BoardPlan(self.generation, {target.group: target for target in targets})
