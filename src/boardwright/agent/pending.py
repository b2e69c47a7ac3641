"""Actions that wait until the ledger is written (pure).

Rules:

* Nothing is done that the ledger does not know. As long as the disk does not take it, the clock of the groups whose
  actions wait stands still: a step that could not begin has not lasted too long, and no version is to blame for it.
* When the disk takes it again, their deadlines move by the time they have waited.
"""

from collections.abc import Iterable, Iterator

import msgspec

from boardwright.agent.deployment import Action, Deployment

SAVE_RETRY = 2.0  # seconds until a ledger that could not be written is tried again


class Pending:
    """In the order in which they came, by group; times in monotonic seconds."""

    def __init__(self) -> None:
        self.retry_at: float | None = None
        self._since: float | None = None
        self._actions: list[tuple[str, Action]] = []

    def __bool__(self) -> bool:
        return bool(self._actions)

    def add(self, group: str, actions: Iterable[Action]) -> None:
        self._actions += [(group, action) for action in actions]

    def waits(self, now: float) -> bool:
        """Whether it is too early to try the ledger again."""
        return self.retry_at is not None and now < self.retry_at

    @property
    def stalled(self) -> bool:
        """Whether the disk does not take the ledger."""
        return self._since is not None

    def holds(self, group: str) -> bool:
        """Whether an action of the group waits for a disk that does not take the ledger."""
        return self.stalled and any(waiting == group for waiting, _ in self._actions)

    def stall(self, now: float) -> None:
        """The ledger could not be written."""
        self._since = now if self._since is None else self._since
        self.retry_at = now + SAVE_RETRY

    def release(self, groups: dict[str, Deployment], now: float) -> Iterator[tuple[str, Action]]:
        """The ledger is written: the actions, to be carried out now; the deadlines in `groups` move on."""
        waited = 0.0 if self._since is None else now - self._since
        self._since = self.retry_at = None
        actions, self._actions = self._actions, []
        for group in {group for group, _ in actions} if waited else ():
            deployment = groups[group]
            if deployment.phase.deadline is not None:
                phase = msgspec.structs.replace(deployment.phase, deadline=deployment.phase.deadline + waited)
                groups[group] = msgspec.structs.replace(deployment, phase=phase)
        return iter(actions)
