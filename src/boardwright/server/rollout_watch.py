"""Every rollout with its status, and the ends of rollouts written into the state.

A status is computed when it is asked for. Its end ("done", "failed") is a transition, so the active writes it with the
boards' counts and reasons into the rollout's record, where it outlives this server and the rollouts that come after it.
"""

from collections.abc import Callable

import msgspec

from boardwright.errors import ConflictError
from boardwright.model.api import RolloutStatus
from boardwright.server.board_reports import BoardReports
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror
from boardwright.server.rollouts import RUNNING, Hearing, statuses
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import MAX_REASON, MAX_REASONS, ROLLOUTS, RolloutRecord


class RolloutWatch:
    """`listening_since` answers the time of `clock` since which this server hears what boards say."""

    def __init__(
        self,
        mirror: Mirror,
        board_reports: BoardReports,
        listening_since: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._mirror = mirror
        self._board_reports = board_reports
        self._listening_since = listening_since
        self._clock = clock
        self._first_seen: dict[str, float] = {}

    def statuses(self) -> tuple[RolloutStatus, ...]:
        """Oldest first."""
        return tuple(found for _, found in self._computed())

    def write_ends(self, kv: KV, commit: Callable[[Transaction], int]) -> None:
        """Record the rollouts whose outcome or counts are not what their record says."""
        for record, found in self._computed():
            if found.boards == 0 or found.state == RUNNING or _result(found) == _recorded(record):
                continue
            key = f"{ROLLOUTS}{record.id}"
            entry = kv.get(key)
            if entry is not None:
                ended = _ended(record, found)
                try:
                    commit(Transaction({key: entry.revision}, {key: encoded(ended)}))
                except ConflictError:
                    return  # somebody else writes; the next look tells

    def _computed(self) -> list[tuple[RolloutRecord, RolloutStatus]]:
        state = self._mirror.state
        if not state.rollouts:
            return []
        now = self._clock()
        seen = self._first_seen
        self._first_seen = seen = {rollout: seen.get(rollout, now) for rollout in state.rollouts}
        known = {rollout: now - first for rollout, first in seen.items()}
        hearing = Hearing(self._board_reports.views(), now - self._listening_since(), known)
        return statuses(state.rollouts.values(), state, hearing)


def _result(status: RolloutStatus) -> tuple[str, int, int, int]:
    return status.state, status.boards, status.confirmed, status.failed


def _recorded(record: RolloutRecord) -> tuple[str, int, int, int]:
    return record.outcome, record.boards, record.confirmed, record.failed


def _ended(record: RolloutRecord, status: RolloutStatus) -> RolloutRecord:
    """The record with how the rollout ended; reasons alone, which may count seconds, are no cause to write again."""
    first = sorted(status.reasons.items())[:MAX_REASONS]
    return msgspec.structs.replace(
        record,
        outcome=status.state,
        boards=status.boards,
        confirmed=status.confirmed,
        failed=status.failed,
        reasons={board: reason[:MAX_REASON] for board, reason in first},
    )
