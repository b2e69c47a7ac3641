"""What every board shall run now: immutable, numbered by its generation.

A plan is committed only if its parent is the current plan (compare and set); boards refuse an older generation
than they have. Targets are kept once and boards refer to them by index, so that 10,000 boards stay small.
"""

import msgspec

from boardwright.model.software import Target


class Withheld(msgspec.Struct, frozen=True):
    """A target that the board has tried and must not try again; `reason` is what it said then."""

    target: Target
    reason: str = ""


class BoardPlan(msgspec.Struct, frozen=True):
    """One board's part of a plan: its targets by group, without those that are `withheld` from it.

    `retry` counts how often the operator let the board try again what it had failed at.
    """

    generation: int
    groups: dict[str, Target] = {}
    withheld: dict[str, Withheld] = {}
    retry: int = 0


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
