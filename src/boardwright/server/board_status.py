"""A board as people see it: the inventory's facts, the plan's wish and the board's own word put together."""

from collections.abc import Mapping

import msgspec

from boardwright.boot.names import RELEASE_GROUPS
from boardwright.model.api import BoardStatus
from boardwright.model.location import Tier
from boardwright.model.report import DeploymentState, GroupReport
from boardwright.server.board_reports import BoardView
from boardwright.server.mirror import MirrorState
from boardwright.state.records import HeldRecord


def board_statuses(state: MirrorState, views: Mapping[str, BoardView]) -> tuple[BoardStatus, ...]:
    """Every board of the inventory and every board that was heard, by chassis, slot and id."""
    known = state.boards.keys() | views.keys()
    statuses = (board_status(board, state, views.get(board)) for board in known)
    return tuple(sorted((status for status in statuses if status is not None), key=_place))


def board_status(board: str, state: MirrorState, view: BoardView | None) -> BoardStatus | None:
    """One board, or None if nobody knows it. `wanted` is what the newest plan says, heard or not by the board.

    Every tier is counted, those that sent nothing as 0. Boardwright's own groups are shown where they are in use.
    """
    facts = state.boards.get(board) or (None if view is None else view.board)
    if facts is None:
        return None
    groups = {} if view is None else dict(view.groups)
    for group, target in state.plan.for_board(board).groups.items():
        report = msgspec.structs.replace(groups.get(group, GroupReport()), wanted=target.version)
        record = state.held_of(board, group, target)
        groups[group] = report if record is None else _held(report, record, board)
    nothing = dict.fromkeys(Tier, 0)
    groups = {
        group: msgspec.structs.replace(report, bytes={**nothing, **report.bytes})
        for group, report in groups.items()
        if group not in RELEASE_GROUPS or report.wanted is not None or report.version is not None
    }
    return BoardStatus(
        id=facts.id,
        chassis=facts.location.chassis,
        slot=facts.location.slot,
        type=facts.type,
        generation=0 if view is None else view.generation,
        seen=None if view is None else round(view.age, 3),
        groups=groups,
        conflict="" if view is None else view.conflict,
        key=facts.key,
    )


def _held(report: GroupReport, record: HeldRecord, board: str) -> GroupReport:
    """What is held failed, also of a board that was not heard or has forgotten; only the reason says how to go on."""
    known = report.state is DeploymentState.FAILED
    reason = (report.reason if known else "") or record.reason or "it failed before"
    return msgspec.structs.replace(
        report,
        state=DeploymentState.FAILED,
        reason=f"{reason}; held until `boardwright retry {board}`",
        log=(report.log if known else "") or record.log,
        held=record.manifest,
    )


def _place(status: BoardStatus) -> tuple[tuple[int, str], tuple[int, str], str]:
    return _natural(status.chassis), _natural(status.slot), status.id


def _natural(word: str) -> tuple[int, str]:
    """Slot 2 before slot 10; words without a number come last."""
    return (int(word), "") if word.isascii() and word.isdigit() else (1 << 62, word)
