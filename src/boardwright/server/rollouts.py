"""How far a rollout is, computed from its record, the plan and what boards say.

Rules:

* The boards of a rollout are those that its selectors match, that run its group and whose type a variant of the
  version fits. They are counted at this moment: boards that join late belong to it.
* A later rollout of the same group takes over the boards that it matches. A rollout that lost all its boards keeps
  the outcome that it had; one that had none then failed, and the reason names who took over.
* Confirmed: the board runs the version and knows that it is wanted. Failed: the board says so, of this version and
  a plan not older than the rollout. **Silence counts as failure** until the board speaks again: it was heard, or
  should have been, and said nothing for ``SILENT_AFTER``.
* Done: every board confirmed. Failed: some failed and none is moving any more. Running: all else.
"""

from collections.abc import Collection, Mapping

import msgspec

from boardwright.model.api import RolloutStatus
from boardwright.model.inventory import Board
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment
from boardwright.model.report import DeploymentState
from boardwright.model.software import variant_fits
from boardwright.server.collector import BoardView
from boardwright.server.mirror import MirrorState
from boardwright.state.records import RolloutRecord

SILENT_AFTER = 30.0  # seconds; six heartbeats of an idle agent
RUNNING, DONE, FAILED = "running", "done", "failed"
_CONFIRMED = (DeploymentState.CONFIRMED, DeploymentState.IDLE)


class Hearing(msgspec.Struct, frozen=True):
    """What this server heard, and since when in seconds it would have heard anything."""

    views: Mapping[str, BoardView]
    listening: float


def status(
    rollout: RolloutRecord, later: Collection[RolloutRecord], state: MirrorState, hearing: Hearing, age: float
) -> RolloutStatus:
    """The rollout's status; `later` are the rollouts after it, `age` the seconds since it began."""
    boards = members(rollout, state)
    successors = {board.id: taker for board in boards if (taker := _taken_over(board, rollout, later)) is not None}
    mine = [board for board in boards if board.id not in successors]
    confirmed, reasons, moving = 0, {}, 0
    for board in mine:
        verdict = _verdict(rollout, board, state.plan, hearing, age)
        if verdict is None:
            moving += 1
        elif verdict:
            reasons[board.id] = verdict
        else:
            confirmed += 1
    outcome = RUNNING if moving else (FAILED if reasons else DONE)
    if boards and not mine:
        outcome = rollout.outcome or FAILED
        if outcome == FAILED:
            reasons = {board: f"superseded by rollout {taker.id}" for board, taker in successors.items()}
    return RolloutStatus(
        id=rollout.id,
        group=rollout.group,
        version=rollout.version,
        selectors=tuple(str(selector) for selector in rollout.selectors),
        strategy=rollout.strategy,
        generation=rollout.generation,
        state=outcome,
        boards=len(mine),
        confirmed=confirmed,
        failed=len(reasons) if mine else 0,
        reasons=reasons,
    )


def members(rollout: RolloutRecord, state: MirrorState) -> list[Board]:
    """The boards that the rollout means, by the inventory as it is now."""
    assignment = Assignment(rollout.group, rollout.version, rollout.selectors)
    variants = {
        record.variant
        for record in state.catalog.values()
        if (record.group, record.version) == (rollout.group, rollout.version)
    }
    return [
        board
        for board in state.boards.values()
        if rollout.group in board.groups
        and assignment.matches(board)
        and any(variant_fits(variant, board.type) for variant in variants)
    ]


def ordered(rollouts: Collection[RolloutRecord]) -> list[RolloutRecord]:
    """Oldest first."""
    return sorted(rollouts, key=lambda rollout: number(rollout.id))


def number(rollout: str) -> int:
    """The number in a rollout's id (``r12`` -> 12); -1 for an id of another form."""
    digits = rollout.removeprefix("r")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _taken_over(board: Board, rollout: RolloutRecord, later: Collection[RolloutRecord]) -> RolloutRecord | None:
    for other in later:
        if other.group == rollout.group and Assignment(other.group, other.version, other.selectors).matches(board):
            return other
    return None


def _verdict(rollout: RolloutRecord, board: Board, plan: Plan, hearing: Hearing, age: float) -> str | None:
    """'' if the board confirmed, the reason if it failed, None while it moves."""
    view = hearing.views.get(board.id)
    report = None if view is None else view.groups.get(rollout.group)
    if view is not None and report is not None and report.wanted == rollout.version:
        if report.version == rollout.version and report.state in _CONFIRMED:
            return ""
        if report.state is DeploymentState.FAILED and view.generation >= rollout.generation:
            return report.reason or "failed"
    silence = min(hearing.listening if view is None else view.age, age)
    if silence > SILENT_AFTER and rollout.group in plan.for_board(board.id).groups:
        return f"silent for {silence:.0f} s" if view is not None else "never heard from"
    return None
