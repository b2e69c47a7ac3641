"""What the log says of a deployment's way through its states."""

from boardwright import log
from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment

_log = log.get("agent.driver")


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
