"""May this board change now, and if not, why not.

Every rule that protects redundancy sits in this file, as a ``MayChange``: a function of one board, made by its
strategy from all that the strategy needs to know. The planner asks it before it changes a board's targets.
"""

from collections.abc import Callable

from boardwright.errors import UsageError
from boardwright.model.inventory import Board
from boardwright.planner.reason import Reason

MayChange = Callable[[Board], Reason | None]


def all_at_once(board: Board) -> Reason | None:
    """Every board may change at any time."""
    return None


_STRATEGIES: dict[str, MayChange] = {"all-at-once": all_at_once}


def strategy_named(name: str) -> MayChange:
    """The strategy of that name; UsageError if there is none."""
    try:
        return _STRATEGIES[name]
    except KeyError:
        raise UsageError(
            f"strategy {name!r} is not known", hint=f"strategies are {', '.join(sorted(_STRATEGIES))}"
        ) from None
