"""What changes from one plan to another."""

from collections.abc import Iterator, Mapping

from boardwright.model.api import PlanChange
from boardwright.model.plan import Plan
from boardwright.model.software import Target


def diff(before: Plan, after: Plan) -> tuple[PlanChange, ...]:
    """One PlanChange per board and group whose target differs, sorted by board and group.

    Another variant or manifest of the same version is a change, too: then `before` and `after` are the same text.
    """
    changes: list[PlanChange] = []
    for board in sorted(before.boards.keys() | after.boards.keys()):
        old, new = before.for_board(board).groups, after.for_board(board).groups
        if old != new:
            changes.extend(_board_changes(board, old, new))
    return tuple(changes)


def _board_changes(board: str, old: Mapping[str, Target], new: Mapping[str, Target]) -> Iterator[PlanChange]:
    for group in sorted(old.keys() | new.keys()):
        had, gets = old.get(group), new.get(group)
        if had != gets:
            yield PlanChange(board, group, had.version if had else None, gets.version if gets else None)
