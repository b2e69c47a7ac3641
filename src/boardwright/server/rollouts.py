"""How far a rollout is, computed from its record, the plan and what boards say.

Rules:

* The boards of a rollout are those that its selectors match, that run its group and whose type a variant of the
  version fits. They are counted at this moment: boards that join late belong to it.
* A later rollout of the same group takes over the boards that it matches. A rollout that had ended before is shown as
  it ended; one that loses all its boards before its end failed, and the reason of board ``*`` names who came after it.
* Confirmed: the board runs the version and knows that it is wanted. Failed: the board says so, of this version and
  a plan not older than the rollout. **Silence counts as failure** until the board speaks again: for ``SILENT_AFTER`` it
  said nothing, this server would have heard it, and the rollout was on.
* Done: every board confirmed. Failed: some failed and none is moving any more. Running: all else.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from boardwright.model.api import RolloutStatus
from boardwright.model.inventory import Board
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy
from boardwright.model.report import SILENT_AFTER, DeploymentState
from boardwright.model.software import variant_fits
from boardwright.planner.wishes import Wishes
from boardwright.server.board_reports import BoardView
from boardwright.server.mirror import MirrorState
from boardwright.state.records import RolloutRecord

RUNNING, DONE, FAILED = "running", "done", "failed"
_CONFIRMED = (DeploymentState.CONFIRMED, DeploymentState.IDLE)


class Hearing(msgspec.Struct, frozen=True):
    """What this server heard, for how many seconds it would have heard anything, and for how many it knows rollouts.

    All of one monotonic clock: the hosts' own times may be hours apart.
    """

    views: Mapping[str, BoardView]
    listening: float
    known: Mapping[str, float]


def statuses(
    rollouts: Collection[RolloutRecord], state: MirrorState, hearing: Hearing
) -> list[tuple[RolloutRecord, RolloutStatus]]:
    """Every rollout with its status, oldest first.

    The cost is one look per board and group, however many rollouts there were (see ``planner.wishes``).
    """
    in_order = ordered(rollouts)
    boards = _boards_of(in_order, state)
    found = []
    for index, rollout in enumerate(in_order):
        successor = next((later for later in in_order[index + 1 :] if later.group == rollout.group), None)
        if successor is not None and rollout.outcome and len(boards[rollout.id]) < rollout.boards:
            found.append((rollout, _as_it_ended(rollout)))
        elif boards[rollout.id] or successor is None:
            found.append((rollout, _status(rollout, boards[rollout.id], state.plan, hearing)))
        else:
            found.append((rollout, _superseded(rollout, successor)))
    return found


def ordered(rollouts: Collection[RolloutRecord]) -> list[RolloutRecord]:
    """Oldest first."""
    return sorted(rollouts, key=lambda rollout: number(rollout.id))


def number(rollout: str) -> int:
    """The number in a rollout's id (``r12`` -> 12); -1 for an id of another form."""
    digits = rollout.removeprefix("r")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _boards_of(in_order: Sequence[RolloutRecord], state: MirrorState) -> dict[str, list[Board]]:
    """The boards of each rollout, by the inventory as it is now: those that no later one took over."""
    assignments = tuple(Assignment(one.group, one.version, one.selectors) for one in in_order)
    by_assignment = {id(assignment): one for assignment, one in zip(assignments, in_order, strict=True)}
    wishes = Wishes(Policy(assignments))
    variants: dict[tuple[str, str], list[str]] = {}
    for record in state.catalog.values():
        variants.setdefault((record.group, record.version), []).append(record.variant)
    boards: dict[str, list[Board]] = {one.id: [] for one in in_order}
    for board in state.boards.values():
        for group in board.groups:
            assignment = wishes.wanted(board, group)
            if assignment is not None:
                fitting = variants.get((group, assignment.version), ())
                if any(variant_fits(variant, board.type) for variant in fitting):
                    boards[by_assignment[id(assignment)].id].append(board)
    return boards


def _status(rollout: RolloutRecord, boards: Collection[Board], plan: Plan, hearing: Hearing) -> RolloutStatus:
    confirmed, moving = 0, 0
    reasons: dict[str, str] = {}
    for board in boards:
        verdict = _verdict(rollout, board, plan, hearing)
        if verdict is None:
            moving += 1
        elif verdict:
            reasons[board.id] = verdict
        else:
            confirmed += 1
    outcome = RUNNING if moving else (FAILED if reasons else DONE)
    return _named(rollout, outcome, reasons, boards=len(boards), confirmed=confirmed, failed=len(reasons))


def _as_it_ended(rollout: RolloutRecord) -> RolloutStatus:
    counts = {"boards": rollout.boards, "confirmed": rollout.confirmed, "failed": rollout.failed}
    return _named(rollout, rollout.outcome, rollout.reasons, **counts)


def _superseded(rollout: RolloutRecord, successor: RolloutRecord) -> RolloutStatus:
    outcome = rollout.outcome or FAILED
    reasons = {"*": f"superseded by rollout {successor.id}"} if outcome == FAILED else {}
    return _named(rollout, outcome, reasons)


def _named(
    rollout: RolloutRecord,
    outcome: str,
    reasons: dict[str, str],
    *,
    boards: int = 0,
    confirmed: int = 0,
    failed: int = 0,
) -> RolloutStatus:
    return RolloutStatus(
        id=rollout.id,
        group=rollout.group,
        version=rollout.version,
        selectors=tuple(str(selector) for selector in rollout.selectors),
        strategy=rollout.strategy,
        generation=rollout.generation,
        state=outcome,
        boards=boards,
        confirmed=confirmed,
        failed=failed,
        reasons=reasons,
        by=rollout.by,
    )


def _verdict(rollout: RolloutRecord, board: Board, plan: Plan, hearing: Hearing) -> str | None:
    """'' if the board confirmed, the reason if it failed, None while it moves."""
    view = hearing.views.get(board.id)
    report = None if view is None else view.groups.get(rollout.group)
    if view is not None and report is not None and report.wanted == rollout.version:
        if report.version == rollout.version and report.state in _CONFIRMED:
            return ""
        if report.state is DeploymentState.FAILED and view.generation >= rollout.generation:
            return report.reason or "failed"
    grace = min(hearing.listening, hearing.known.get(rollout.id, 0.0))
    silence = grace if view is None else min(view.age, grace)
    if silence > SILENT_AFTER and rollout.group in plan.for_board(board.id).groups:
        return f"silent for {view.age:.0f} s" if view is not None else "never heard from"
    return None
