"""How a deployment goes on after the agent, the board or the power stopped in the middle (pure).

Rules:

* Either the old version runs or the new one, whatever the step that was interrupted.
* A search or a download begins anew with what is wanted; its verified bytes are in the store and count.
* A staged version stays staged, if it is whole on disk.
* A take-over that was interrupted is done again (every step of it may be done twice), a bounded number of times,
  because the new version may be what restarts the board; then it is rolled back. So it is, if nothing may take over on
  this board any more (``agent.place``): it is no longer where it was when the take-over began.
* A release of the agent itself that fell at the boot stage is rolled back, and bad.
* A rollback is done again, a confirmed version is confirmed again, a bad version stays bad and is
  removed again.
* What the disk says is in place beats what the ledger remembers: a board whose root is gone provisions itself.
"""

import msgspec

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Deployment
from boardwright.agent.machine import Context, Result, discard, request, roll_back, same, to
from boardwright.agent.timing import DEFAULT_TIMING, MachineTiming
from boardwright.model.software import Target


def resume(
    recorded: Deployment,
    found: Target | None,
    now: float,
    timing: MachineTiming = DEFAULT_TIMING,
    *,
    staged: bool = True,
    conflict: str = "",
    fallen: str = "",
) -> Result:
    """Go on after a restart from what the ledger says.

    `found` is what the installer says is in place, `staged` whether the version being worked on is whole on disk,
    `conflict` why nothing may take over on this board, `fallen` why the boot stage went back from that version.
    """
    phase, context = recorded.phase, Context(now, timing)
    match phase:
        case d.Activating() | d.Probing() if staged and fallen:
            return roll_back(to(recorded, msgspec.structs.replace(phase, since=now)), fallen, "", context)
        case d.Activating() | d.Probing() if staged:
            return _take_over_again(recorded, phase, found, context, conflict)
        case d.RollingBack():
            again_back = msgspec.structs.replace(phase, since=now, waits="", deadline=now + timing.roll_back)
            return to(recorded, again_back), (d.RollBack(phase.target, recorded.running),)
    if not same(found, recorded.running):
        gone = f"{recorded.running.version} is gone from the disk" if recorded.running and not found else ""
        phase = d.Idle(reason=gone) if isinstance(phase, d.Confirmed | d.Idle) else phase
        recorded = msgspec.structs.replace(recorded, running=found, phase=phase)
    match phase:
        case d.Requesting() | d.Downloading() | d.Activating() | d.Probing():
            return request(recorded, phase.target, context)
        case d.Staged() if not staged:
            return request(recorded, phase.target, context)
        case d.Staged():
            return to(recorded, msgspec.structs.replace(phase, since=now)), ()
        case d.Failed() if phase.deadline is not None:
            return to(recorded, msgspec.structs.replace(phase, deadline=now + timing.retry)), ()
        case d.Failed():
            return recorded, discard(recorded, phase.target)
        case d.Confirmed() if recorded.running is not None:
            return recorded, (d.Confirm(recorded.running, recorded.previous),)
    return recorded, ()


def _take_over_again(
    recorded: Deployment, phase: d.Activating | d.Probing, found: Target | None, context: Context, conflict: str
) -> Result:
    now, timing = context.now, context.timing
    begun = to(recorded, msgspec.structs.replace(phase, since=now))
    if phase.attempt + 1 >= timing.restarts:
        reason = f"the agent was restarted {timing.restarts} times while {phase.target.version} took over"
        return roll_back(begun, reason, "", context)
    again = msgspec.structs.replace(
        phase, since=now, attempt=phase.attempt + 1, deadline=now + timing.roll_back + timing.slack
    )
    if isinstance(phase, d.Probing) and same(found, phase.target):
        return to(recorded, again), (d.Probe(phase.target),)
    if conflict:
        return roll_back(begun, conflict, "", context, bad=False)
    activating = d.Activating(target=phase.target, since=now, attempt=again.attempt, deadline=again.deadline)
    return to(recorded, activating), (d.Activate(phase.target, recorded.running),)


def adopt(group: str, found: Target | None) -> Deployment:
    """A deployment without a ledger: what is in place is taken as running."""
    return Deployment(group=group, running=found)
