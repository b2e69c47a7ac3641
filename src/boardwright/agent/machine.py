"""The deployment machine of one (board, group): pure, a table.

Rules:

* ``step(deployment, event, now)`` answers the new deployment and the actions to carry out. The caller writes the new
  deployment to the ledger **before** it carries the actions out, so that a crash finds what was begun.
* Every (state, event) pair that means something stands in ``TABLE`` with the states it may lead to; every other
  pair, and every answer about another manifest than the current one, changes nothing.
* Either the old version runs or the new one: only ``Healthy`` makes the new one `running`; whatever goes wrong after
  the take-over began rolls back to `running` (on a blank board: to nothing).
* A version that was vetoed, failed to activate or was unhealthy is bad: it is not tried again until the plan names
  another one or the operator says so. The servers remember it, too, for boards that lose their disk.
* What is not the version's fault (no source, broken download, full disk) is tried again: a bounded number of times with
  back-off, then, as ``failed``, slowly. A rollback that the disk does not take is tried until it does.
* What the plan names no version of stays as it is; of Boardwright itself it goes, and the installed program runs again.
* While a version takes over, is probed or rolled back, a new wish only is noted; it is acted on after that.
* After a restart ``agent.resume`` goes on from the ledger.
"""

from collections.abc import Callable

import msgspec

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Action, Deployment, Event, Phase
from boardwright.agent.timing import DEFAULT_TIMING, MachineTiming
from boardwright.boot.names import RELEASE_GROUPS
from boardwright.model.report import DeploymentState
from boardwright.model.software import Target

State = DeploymentState
Result = tuple[Deployment, tuple[Action, ...]]


class Context(msgspec.Struct, frozen=True):
    now: float
    timing: MachineTiming


class Transition(msgspec.Struct, frozen=True):
    """`to`: every state that the event may lead to; `note` is for the diagram."""

    to: tuple[State, ...]
    do: Callable[..., Result]
    note: str = ""


def step(deployment: Deployment, event: Event, now: float, timing: MachineTiming = DEFAULT_TIMING) -> Result:
    """One event; `now` in monotonic seconds. Events that mean nothing in this state change nothing."""
    transition = TABLE[deployment.state].get(type(event))
    if transition is None or not _concerns(deployment, event):
        return deployment, ()
    if isinstance(event, d.Tick):
        due = deadline(deployment)
        if due is None or now < due:
            return deployment, ()
    result: Result = transition.do(deployment, event, Context(now, timing))
    if result[0].state not in transition.to:
        raise AssertionError(f"{deployment.state} on {event} led to {result[0].state}, which its table does not say")
    return result


def deadline(deployment: Deployment) -> float | None:
    """When a ``Tick`` is due; None: never. A wish that was noted meanwhile is due at once."""
    phase, wanted = deployment.phase, deployment.wanted
    if isinstance(phase, d.Idle | d.Confirmed | d.Failed) and _to_go(deployment):
        return 0.0
    if isinstance(phase, d.Idle | d.Confirmed) and _goal(deployment) is not None:
        return 0.0
    if isinstance(phase, d.Failed) and wanted is not None and not same(wanted, phase.target):
        return 0.0
    return phase.deadline


def same(one: Target | None, other: Target | None) -> bool:
    """Whether both are the same bytes (or both nothing)."""
    return (one and one.manifest) == (other and other.manifest)


# --- what the transitions do -----------------------------------------------------------------------------------------


def _concerns(deployment: Deployment, event: Event) -> bool:
    if isinstance(event, d.Wanted | d.Retried | d.ServersBack | d.Tick):
        return True
    return deployment.target is not None and deployment.target.manifest == event.manifest


def to(deployment: Deployment, phase: Phase) -> Deployment:
    return msgspec.structs.replace(deployment, phase=phase)


def _goal(deployment: Deployment) -> Target | None:
    """The wanted version if it is another than the running one and not bad."""
    wanted = deployment.wanted
    if wanted is None or same(wanted, deployment.running) or deployment.badness(wanted) is not None:
        return None
    return wanted


def _to_go(deployment: Deployment) -> bool:
    return deployment.unwanted and deployment.wanted is None and deployment.running is not None


def _seconds(deployment: Deployment, context: Context) -> float:
    phase = deployment.phase
    return 0.0 if isinstance(phase, d.Idle | d.Confirmed | d.Failed) else max(0.0, context.now - phase.since)


def _note(deployment: Deployment, event: d.Wanted, context: Context) -> Result:
    """Remember the wish. What was bad is forgotten as soon as the plan names another version."""
    del context
    bad, target = deployment.bad, event.target
    if target is not None:
        bad = tuple(one for one in bad if one.manifest == target.manifest)
        if event.bad is not None and not bad and not same(target, deployment.running):
            bad = (event.bad,)
    return msgspec.structs.replace(deployment, wanted=event.target, bad=bad, unwanted=event.leave), ()


def _want(deployment: Deployment, event: d.Wanted, context: Context) -> Result:
    """A wish while nothing is going on."""
    phase = deployment.phase
    noted, _ = _note(deployment, event, context)
    goal = _goal(noted)
    if goal is not None:
        waits = isinstance(phase, d.Failed) and phase.target.manifest == goal.manifest
        return (noted, ()) if waits else request(noted, goal, context)
    if event.target is None:
        return (noted if isinstance(phase, d.Failed) else to(noted, d.Idle(reason=event.reason))), ()
    bad = noted.badness(event.target)
    if bad is not None:
        known = isinstance(phase, d.Failed) and phase.target.manifest == bad.manifest
        return (noted if known else to(noted, d.Failed(target=event.target, reason=bad.reason, log=bad.log))), ()
    return (noted if isinstance(phase, d.Confirmed) else to(noted, d.Confirmed())), ()


def _want_other(deployment: Deployment, event: d.Wanted, context: Context) -> Result:
    """A wish while a version is fetched or lies staged: another one ends that."""
    target = deployment.target
    assert target is not None  # noqa: S101  (these states have one)
    if event.target is not None and event.target.manifest == target.manifest and event.bad is None:
        return _note(deployment, event, context)
    result, actions = _want(to(deployment, d.Idle()), event, context)
    return result, (d.Stop(target), *discard(deployment, target), *actions)


def discard(deployment: Deployment, target: Target) -> tuple[Action, ...]:
    """What was staged of `target` goes, unless it is what runs or what a rollback needs."""
    if same(target, deployment.running) or same(target, deployment.previous):
        return ()
    return (d.Discard(target),)


def request(deployment: Deployment, target: Target, context: Context) -> Result:
    until = context.now + context.timing.search
    phase = d.Requesting(target=target, since=context.now, deadline=until)
    return to(deployment, phase), (d.FindSources(target),)


def _go_on(deployment: Deployment, event: d.Tick, context: Context) -> Result:
    """A wish was noted meanwhile, or the time to try again has come."""
    del event
    phase, wanted = deployment.phase, deployment.wanted
    if _to_go(deployment):
        return _remove(deployment, context)
    if wanted is not None and not (isinstance(phase, d.Failed) and same(wanted, phase.target)):
        return _want(deployment, d.Wanted(wanted), context)
    goal = _goal(deployment)
    if goal is not None:
        return request(deployment, goal, context)
    return to(deployment, msgspec.structs.replace(phase, deadline=None)), ()


def _remove(deployment: Deployment, context: Context) -> Result:
    """What runs goes. Its files stay until the next version is confirmed: the program may need them to its end."""
    gone = deployment.running
    assert gone is not None  # noqa: S101
    reason = f"the plan names no version of {deployment.group} for this board"
    until = context.now + context.timing.roll_back
    phase = d.RollingBack(target=gone, since=context.now, reason=reason, bad=False, removal=True, deadline=until)
    left = msgspec.structs.replace(deployment, phase=phase, running=None, previous=None)
    return left, (d.RollBack(gone, None),)


def _search_anew(deployment: Deployment, event: d.ServersBack, context: Context) -> Result:
    """What nobody could answer does not count as attempts."""
    del event
    old = deployment.phase
    assert isinstance(old, d.Requesting)  # noqa: S101
    until = context.now + context.timing.search
    return to(deployment, msgspec.structs.replace(old, attempt=0, deadline=until)), ()


def _try_now(deployment: Deployment, event: d.ServersBack, context: Context) -> Result:
    """Unless the version is bad: then there is nothing to wait for."""
    del event
    if deployment.phase.deadline is None or _to_go(deployment):
        return deployment, ()
    return _go_on(deployment, d.Tick(), context)


def _try_anew(deployment: Deployment, event: d.Retried, context: Context) -> Result:
    """Nothing is bad any more."""
    del event
    forgiven = msgspec.structs.replace(deployment, bad=())
    goal = _goal(forgiven)
    return (forgiven, ()) if goal is None else request(forgiven, goal, context)


def _download(deployment: Deployment, event: d.SourceFound, context: Context) -> Result:
    del event
    old = deployment.phase
    assert isinstance(old, d.Requesting)  # noqa: S101
    until = context.now + context.timing.stall
    phase = d.Downloading(target=old.target, since=old.since, attempt=old.attempt, deadline=until)
    return to(deployment, phase), (d.Download(old.target),)


def _try_again(deployment: Deployment, event: d.NoSource | d.DownloadFailed, context: Context) -> Result:
    return _again(deployment, event.reason, context)


def _timed_out(deployment: Deployment, event: d.Tick, context: Context) -> Result:
    del event
    old, timing = deployment.phase, context.timing
    if isinstance(old, d.Requesting):
        return _again(deployment, f"no answer to the search within {timing.search:g} s", context)
    assert isinstance(old, d.Downloading)  # noqa: S101
    reason = (
        f"the version was not built on disk within {timing.build:g} s"
        if old.fetched
        else f"no byte came in for {timing.stall:g} s"
    )
    result, actions = _again(deployment, reason, context)
    return result, (d.Stop(old.target), *actions)


def _again(deployment: Deployment, reason: str, context: Context) -> Result:
    old, timing = deployment.phase, context.timing
    assert isinstance(old, d.Requesting | d.Downloading)  # noqa: S101
    attempt = old.attempt + 1
    if attempt >= timing.attempts:
        return _fail(deployment, f"gave up after {attempt} attempts: {reason}", "", context, bad=False)
    after = min(timing.backoff * 2.0 ** (attempt - 1), timing.longest_backoff)
    until = context.now + after + timing.search
    phase = d.Requesting(target=old.target, since=old.since, attempt=attempt, reason=reason, deadline=until)
    return to(deployment, phase), (d.FindSources(old.target, after),)


def _progress(deployment: Deployment, event: d.Progressed | d.Fetched, context: Context) -> Result:
    old, timing = deployment.phase, context.timing
    assert isinstance(old, d.Downloading)  # noqa: S101
    fetched = old.fetched or isinstance(event, d.Fetched)
    until = context.now + (timing.build if fetched else timing.stall)
    return to(deployment, msgspec.structs.replace(old, fetched=fetched, deadline=until)), ()


def _staged(deployment: Deployment, event: d.StageSucceeded, context: Context) -> Result:
    del event, context
    old = deployment.phase
    assert isinstance(old, d.Downloading)  # noqa: S101
    return to(deployment, d.Staged(target=old.target, since=old.since)), ()


def _stage_failed(deployment: Deployment, event: d.StageFailed, context: Context) -> Result:
    return _fail(deployment, event.reason, event.log, context, bad=event.bad)


def _activate(deployment: Deployment, event: d.Permitted, context: Context) -> Result:
    old = deployment.phase
    assert isinstance(old, d.Staged)  # noqa: S101
    until = context.now + event.limit + context.timing.slack
    phase = d.Activating(target=old.target, since=old.since, deadline=until)
    return to(deployment, phase), (d.Activate(old.target, deployment.running),)


def _hold(deployment: Deployment, event: d.Held, context: Context) -> Result:
    del context
    return to(deployment, msgspec.structs.replace(deployment.phase, reason=event.reason)), ()


def _probe(deployment: Deployment, event: d.Activated, context: Context) -> Result:
    old = deployment.phase
    assert isinstance(old, d.Activating)  # noqa: S101
    until = context.now + event.limit + context.timing.slack
    phase = d.Probing(target=old.target, since=old.since, attempt=old.attempt, deadline=until)
    return to(deployment, phase), (d.Probe(old.target),)


def _vetoed(deployment: Deployment, event: d.Vetoed, context: Context) -> Result:
    return _fail(deployment, event.reason, event.log, context, bad=True)


def _gone_wrong(deployment: Deployment, event: d.ActivationFailed | d.Unhealthy, context: Context) -> Result:
    bad = isinstance(event, d.Unhealthy) or event.bad
    return roll_back(deployment, event.reason, event.log, context, bad=bad)


def _take_over_timed_out(deployment: Deployment, event: d.Tick, context: Context) -> Result:
    del event
    old = deployment.phase
    assert isinstance(old, d.Activating | d.Probing)  # noqa: S101
    what = "activation" if isinstance(old, d.Activating) else "health check"
    result, actions = roll_back(deployment, f"the {what} did not end in time", "", context)
    return result, (d.Stop(old.target), *actions)


def roll_back(deployment: Deployment, reason: str, log: str, context: Context, *, bad: bool = True) -> Result:
    old = deployment.phase
    assert isinstance(old, d.Activating | d.Probing)  # noqa: S101
    until = context.now + context.timing.roll_back
    phase = d.RollingBack(target=old.target, since=old.since, reason=reason, log=log, bad=bad, deadline=until)
    return to(deployment, phase), (d.RollBack(old.target, deployment.running),)


def _confirm(deployment: Deployment, event: d.Healthy, context: Context) -> Result:
    del event
    old = deployment.phase
    assert isinstance(old, d.Probing)  # noqa: S101
    previous = deployment.running if deployment.running != old.target else deployment.previous
    done = msgspec.structs.replace(
        deployment,
        running=old.target,
        previous=previous,
        bad=tuple(bad for bad in deployment.bad if bad.manifest != old.target.manifest),
        phase=d.Confirmed(seconds=_seconds(deployment, context)),
    )
    return done, (d.Confirm(old.target, previous),)


def _rolled_back(deployment: Deployment, event: d.RolledBack, context: Context) -> Result:
    del event
    old = deployment.phase
    assert isinstance(old, d.RollingBack)  # noqa: S101
    if old.removal:
        return to(deployment, d.Idle(reason=old.reason)), ()
    running = deployment.running
    rest = "the installed program runs" if deployment.group in RELEASE_GROUPS else "nothing runs"
    what = f"rolled back to {running.version}" if running else f"removed {old.target.version}, {rest}"
    return _fail(deployment, f"{what}: {old.reason}", old.log, context, bad=old.bad)


def _roll_back_again(deployment: Deployment, event: d.RollBackFailed | d.Tick, context: Context) -> Result:
    old, timing = deployment.phase, context.timing
    assert isinstance(old, d.RollingBack)  # noqa: S101
    if isinstance(event, d.RollBackFailed) and event.disk:
        return to(deployment, msgspec.structs.replace(old, waits=event.reason, deadline=context.now + timing.disk)), ()
    if old.waits:
        anew = msgspec.structs.replace(old, waits="", deadline=context.now + timing.roll_back)
        return to(deployment, anew), (d.RollBack(old.target, deployment.running),)
    why = event.reason if isinstance(event, d.RollBackFailed) else "it did not end in time"
    stop = (d.Stop(old.target),) if isinstance(event, d.Tick) else ()
    if old.attempt + 1 >= timing.restarts:
        reason = f"{old.reason}; rolling back failed {timing.restarts} times: {why}"
        result, actions = _fail(deployment, reason, old.log, context, bad=not old.removal)
        # What lies in the place of the running version is unknown: nothing may be collected.
        return result, (*stop, *(action for action in actions if not isinstance(action, d.Discard)))
    again = msgspec.structs.replace(old, attempt=old.attempt + 1, deadline=context.now + timing.roll_back)
    return to(deployment, again), (*stop, d.RollBack(old.target, deployment.running))


def _fail(deployment: Deployment, reason: str, log: str, context: Context, *, bad: bool) -> Result:
    target = deployment.target
    assert target is not None  # noqa: S101
    retry = None if bad else context.now + context.timing.retry
    phase = d.Failed(target=target, reason=reason, log=log, seconds=_seconds(deployment, context), deadline=retry)
    # If the plan has named another version meanwhile, nothing is to be remembered.
    stands = deployment.wanted is None or same(deployment.wanted, target)
    known = (d.BadVersion(target.manifest, reason, log),) if bad and stands else ()
    failed = msgspec.structs.replace(deployment, phase=phase, bad=known)
    return failed, discard(deployment, target) if bad else ()


# --- the table -------------------------------------------------------------------------------------------------------

_SETTLED = (State.IDLE, State.CONFIRMED, State.FAILED, State.REQUESTING)
_AGAIN = (State.REQUESTING, State.FAILED)

TABLE: dict[State, dict[type[Event], Transition]] = {
    State.IDLE: {
        d.Wanted: Transition(_SETTLED, _want),
        d.Tick: Transition((*_SETTLED, State.ROLLING_BACK), _go_on, "a wish was noted"),
    },
    State.REQUESTING: {
        d.Wanted: Transition(_SETTLED, _want_other, "another version"),
        d.SourceFound: Transition((State.DOWNLOADING,), _download),
        d.NoSource: Transition(_AGAIN, _try_again, "attempts over: failed"),
        d.ServersBack: Transition((State.REQUESTING,), _search_anew),
        d.Tick: Transition(_AGAIN, _timed_out, "as NoSource"),
    },
    State.DOWNLOADING: {
        d.Wanted: Transition((*_SETTLED, State.DOWNLOADING), _want_other, "another version"),
        d.Progressed: Transition((State.DOWNLOADING,), _progress),
        d.Fetched: Transition((State.DOWNLOADING,), _progress),
        d.StageSucceeded: Transition((State.STAGED,), _staged),
        d.StageFailed: Transition((State.FAILED,), _stage_failed),
        d.DownloadFailed: Transition(_AGAIN, _try_again, "attempts over: failed"),
        d.Tick: Transition(_AGAIN, _timed_out, "no progress"),
    },
    State.STAGED: {
        d.Wanted: Transition((*_SETTLED, State.STAGED), _want_other, "another version"),
        d.Permitted: Transition((State.ACTIVATING,), _activate),
        d.Held: Transition((State.STAGED,), _hold),
    },
    State.ACTIVATING: {
        d.Wanted: Transition((State.ACTIVATING,), _note),
        d.Activated: Transition((State.PROBING,), _probe),
        d.Vetoed: Transition((State.FAILED,), _vetoed),
        d.ActivationFailed: Transition((State.ROLLING_BACK,), _gone_wrong),
        d.Tick: Transition((State.ROLLING_BACK,), _take_over_timed_out, "too long"),
    },
    State.PROBING: {
        d.Wanted: Transition((State.PROBING,), _note),
        d.Healthy: Transition((State.CONFIRMED,), _confirm),
        d.Unhealthy: Transition((State.ROLLING_BACK,), _gone_wrong),
        d.Tick: Transition((State.ROLLING_BACK,), _take_over_timed_out, "too long"),
    },
    State.CONFIRMED: {
        d.Wanted: Transition(_SETTLED, _want),
        d.Tick: Transition((*_SETTLED, State.ROLLING_BACK), _go_on, "a wish was noted"),
    },
    State.ROLLING_BACK: {
        d.Wanted: Transition((State.ROLLING_BACK,), _note),
        d.RolledBack: Transition((State.FAILED, State.IDLE), _rolled_back, "idle if the version is not wanted"),
        d.RollBackFailed: Transition((State.ROLLING_BACK, State.FAILED), _roll_back_again, "attempts over: failed"),
        d.Tick: Transition((State.ROLLING_BACK, State.FAILED), _roll_back_again, "too long"),
    },
    State.FAILED: {
        d.Wanted: Transition(_SETTLED, _want),
        d.ServersBack: Transition(_SETTLED, _try_now, "not if the version is bad"),
        d.Retried: Transition(_AGAIN, _try_anew, "the operator's word"),
        d.Tick: Transition((*_SETTLED, State.ROLLING_BACK), _go_on, "time to try again"),
    },
}
