"""Watching a rollout until it ends: a bar on a terminal, a line per change in a pipe, all of it on stderr.

Rules:

* The active may change hands while we watch; nobody answering is borne for ``SILENCE`` seconds.
* Whoever stops watching (Ctrl-C) stops nothing else, and is told so.
* A board that waits for a while says why, once for each reason: a full disk must not look like a slow download.
* Done returns; failed raises FailedError with every board's reason, so the command ends with exit code 1.
"""

import time
from collections.abc import Callable

import msgspec
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from boardwright.cli import output
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import RolloutStatus
from boardwright.model.report import DeploymentState
from boardwright.net.api_client import ApiClient

PERIOD = 0.5  # seconds between two looks; reports come about as often
SILENCE = 10.0  # seconds without any server before we give up; an active is replaced within five
LOOK_AT_BOARDS = 5.0  # seconds between looks at what boards wait for; a reason that is over by then was none
RUNNING, DONE = "running", "done"
MAX_REASONS = 20  # lines of boards that failed; `rollout show` has them all


class Pace(msgspec.Struct, frozen=True):
    """Time as the watcher sees it."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def watch(client: ApiClient, rollout: str, pace: Pace | None = None) -> RolloutStatus:
    """Return when the rollout is done; raises FailedError if it failed, UnreachableError after SILENCE."""
    try:
        status = _follow(client, rollout, pace or Pace())
    except (KeyboardInterrupt, UnreachableError):
        output.note(f"rollout {rollout} goes on; `boardwright rollout watch {rollout}` follows it again")
        raise
    if status.state == DONE:
        boards = output.count(status.boards, "board")
        output.note(f"{status.group} {status.version} is confirmed on {status.confirmed} of {boards}")
        return status
    raise FailedError(
        f"rollout {status.id} of {status.group} {status.version} ended {status.state}: {counts(status)}",
        hint=f"`boardwright rollout show {status.id}` has every reason; `boardwright boards` what runs now",
    ) from _reasons(status)


def _follow(client: ApiClient, rollout: str, pace: Pace) -> RolloutStatus:
    console = output.aside()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"rollout {rollout}", total=None, counts="")
        last, waiting = "", Waiting(pace.clock())
        while True:
            status = _look(client, rollout, pace)
            progress.update(
                task, total=status.boards or None, completed=status.confirmed + status.failed, counts=counts(status)
            )
            line = f"rollout {status.id}: {status.state}, {counts(status)}"
            if line != last and not console.is_terminal:
                output.note(line)
            last = line
            if status.state != RUNNING:
                return status
            for sentence in waiting.news(client, status, pace.clock()):
                progress.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
            pace.sleep(PERIOD)


class Waiting:
    """What unfinished boards wait for, told once they have waited for it from one look to the next."""

    def __init__(self, now: float) -> None:
        self._next = now + LOOK_AT_BOARDS
        self._seen: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()

    def news(self, client: ApiClient, status: RolloutStatus, now: float) -> list[str]:
        """Sentences that were not told yet, at most ``MAX_REASONS`` in all."""
        if now < self._next:
            return []
        self._next = now + LOOK_AT_BOARDS
        try:
            boards = client.boards().boards
        except UnreachableError:
            return []  # the next look at the rollout says how long that is borne
        reasons = {
            board.id: group.reason
            for board in boards
            if (group := board.groups.get(status.group)) is not None
            and group.wanted == status.version
            and group.state not in (DeploymentState.CONFIRMED, DeploymentState.FAILED)
            and group.reason
        }
        lasting = {item for item in reasons.items() if self._seen.get(item[0]) == item[1]} - self._told
        self._seen = reasons
        told = sorted(lasting)[: max(0, MAX_REASONS - len(self._told))]
        self._told.update(told)
        return [f"{board} waits: {reason}" for board, reason in told]


def counts(status: RolloutStatus) -> str:
    """How far a rollout is, for people."""
    failed = f", {status.failed} failed" if status.failed else ""
    return f"{status.confirmed} of {output.count(status.boards, 'board')} confirmed{failed}"


def _look(client: ApiClient, rollout: str, pace: Pace) -> RolloutStatus:
    give_up = pace.clock() + SILENCE
    while True:
        try:
            found = client.rollouts(rollout).rollouts
        except UnreachableError:
            if pace.clock() >= give_up:
                raise
            pace.sleep(PERIOD)
            continue
        if not found:
            raise FailedError(f"there is no rollout {rollout}", hint="`boardwright rollout list` shows all of them")
        return found[0]


def _reasons(status: RolloutStatus) -> Exception | None:
    reasons = [f"{board}: {reason}" for board, reason in sorted(status.reasons.items())]
    if len(reasons) > MAX_REASONS:
        reasons = [*reasons[:MAX_REASONS], f"and {len(reasons) - MAX_REASONS} boards more"]
    return ExceptionGroup("boards failed", [FailedError(reason) for reason in reasons]) if reasons else None
