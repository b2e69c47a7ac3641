"""What is told of a deployment's way through its states: a line in the log, and the trail that a failure leaves.

Rules:

* The trail of a group begins with its deployment and is given out, and forgotten, when the deployment fails. It stands
  before what hooks and health check printed, in the ledger and in every report, so it outlives the agent and servers.
* It is bounded by lines and by characters; the newest are kept. Times are seconds since its first line.
* A version that is bad already (after a restart, or withheld by the servers) leaves no trail: nothing was done.
"""

from collections import deque

import msgspec

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment
from boardwright.model.report import MAX_LOG

MAX_LINES = 40  # ten attempts of four states
MAX_LINE = 300  # characters, as much as is kept of a reason
MAX_TRAIL = 2048  # characters; a quarter of what a report takes, the rest is for what programs printed
_SETTLED = (d.Idle, d.Confirmed, d.Failed)
_log = log.get("agent.driver")


class Trails:
    """The trails of one board's groups; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[str]] = {}
        self._since: dict[str, float] = {}

    def moved(self, before: Deployment, after: Deployment, now: float) -> Deployment:
        """Note the step; what has failed by it answers with its trail before its log."""
        group = after.group
        if isinstance(before.phase, _SETTLED):
            self._lines.pop(group, None)
            if isinstance(after.phase, _SETTLED):
                return after
        if group not in self._lines:
            self._lines[group], self._since[group] = deque(maxlen=MAX_LINES), now
        self._lines[group].append(_line(after, now - self._since[group]))
        if not isinstance(after.phase, _SETTLED):
            return after
        lines = self._lines.pop(group)
        return _with_trail(after, _bounded(lines)) if isinstance(after.phase, d.Failed) else after


def _line(deployment: Deployment, seconds: float) -> str:
    target = deployment.target or deployment.running
    reason = getattr(deployment.phase, "reason", "")
    words = f"{deployment.state.value} {target.version if target else ''}{': ' if reason else ''}{reason}"
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    return f"+{seconds:.3f} s {printable}"[:MAX_LINE]


def _bounded(lines: deque[str]) -> str:
    while len(lines) > 1 and sum(len(line) + 1 for line in lines) > MAX_TRAIL:
        lines.popleft()
    return "".join(f"{line}\n" for line in lines)


def _with_trail(deployment: Deployment, trail: str) -> Deployment:
    phase = deployment.phase
    assert isinstance(phase, d.Failed)  # noqa: S101
    told = trail + phase.log[-(MAX_LOG - len(trail)) :]
    bad = tuple(msgspec.structs.replace(one, log=told) for one in deployment.bad)
    return msgspec.structs.replace(deployment, phase=msgspec.structs.replace(phase, log=told), bad=bad)


def log_transition(board: str, before: Deployment, after: Deployment) -> None:
    """One line: which state of which group, and why."""
    target = after.target or after.running
    reason = getattr(after.phase, "reason", "")
    say = _log.warning if isinstance(after.phase, d.Failed | d.RollingBack) else _log.info
    say(
        after.state.value,
        board=board,
        group=after.group,
        version=target.version if target else None,
        before=before.state.value,
        **({"reason": reason} if reason else {}),
    )
