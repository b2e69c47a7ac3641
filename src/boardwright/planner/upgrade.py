"""What an upgrade of Boardwright itself does next (design section 9; M8).

Rules:

* One server at a time, the active of the beginning first. The next one is planned only when the one before is
  **proven**: its agent confirmed the release, its server runs it, is healthy and knows the plan, for `soak` seconds.
* A server is planned only while every other one is healthy: at every moment all but one offer.
* When the first is proven the active role goes to it, if an older release holds it: the new release leads the rest.
* A server whose agent failed or rolled back ends the upgrade with its reason; so does one that waits or changes for
  ``PATIENCE`` seconds without anything moving. What was upgraded stays as it is, until somebody goes back.
* Going back is the same with the releases of before, in the opposite order, without the handing over; servers that are
  not healthy come first and wait for nobody: they serve nobody, and are the likely reason.
* Everything is decided from the record, the plan and what is said now; only how long something lasts is remembered, by
  one active's clock. An active that takes over decides the same, a little later.
"""

from collections.abc import Mapping

import msgspec

from boardwright.model.report import DeploymentState
from boardwright.model.upgrade import Outcome, ServerProgress, ServerStep, UpgradeRecord

PATIENCE = 180.0  # seconds without any progress; a board restarts within that, and each downloaded byte is progress
HEALTHY = "healthy"
_SETTLED = (DeploymentState.CONFIRMED, DeploymentState.IDLE)


class AgentView(msgspec.Struct, frozen=True):
    """What the agent of a control board says of the servers' group; '' for no version."""

    version: str = ""
    wanted: str = ""
    state: DeploymentState = DeploymentState.IDLE
    reason: str = ""
    moved: int = 0  # bytes so far


class ServerView(msgspec.Struct, frozen=True):
    """A control board as the active sees it; `planned` is the release that the plan names, '' for none.

    `agent` is None if it is silent; `knows`: the server knows the newest plan.
    """

    health: str
    release: str
    knows: bool
    planned: str
    agent: AgentView | None

    def proven(self, goal: str) -> bool:
        """Whether it runs `goal`, and well."""
        agent = self.agent
        if agent is None or self.planned != goal or agent.wanted != goal or agent.version != goal:
            return False
        return agent.state in _SETTLED and self.release == goal and self.health == HEALTHY and self.knows


class PlanServer(msgspec.Struct, frozen=True):
    """The plan shall name `version` for the server; '' for no release."""

    server: str
    version: str


class HandOver(msgspec.Struct, frozen=True):
    """The server shall be the active."""

    server: str


class MoveAgents(msgspec.Struct, frozen=True):
    """The agents shall follow, or go back: '' for no release."""

    version: str


class End(msgspec.Struct, frozen=True):
    """The upgrade is over."""

    outcome: Outcome
    reason: str = ""


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do now; `why` is a sentence."""

    why: str


Act = PlanServer | HandOver | MoveAgents | End | Wait


class UpgradeWatch:
    """The rules above for one upgrade at one active; every `now` is seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._proven_since: dict[str, float] = {}
        self._moved: tuple[object, float] | None = None

    def look(self, record: UpgradeRecord, views: Mapping[str, ServerView], active: str, now: float) -> Act:
        """What is to be done next, in a cluster with these servers, led by `active`."""
        for server, view in views.items():
            if view.proven(record.goal(server)):
                self._proven_since.setdefault(server, now)
            else:
                self._proven_since.pop(server, None)
        act = self._next(record, views, active, now)
        seen = (act, record.back, tuple(sorted(views.items())))
        if self._moved is None or self._moved[0] != seen or not isinstance(act, Wait | HandOver):
            self._moved = (seen, now)
        elif now - self._moved[1] >= max(PATIENCE, record.soak + PATIENCE):
            why = act.why if isinstance(act, Wait) else f"{act.server} does not become the active"
            return End(Outcome.STOPPED, f"nothing has moved for {now - self._moved[1]:.0f} s: {why}")
        return act

    def progress(self, record: UpgradeRecord, views: Mapping[str, ServerView]) -> tuple[ServerProgress, ...]:
        """How far every server is, in the order of the upgrade."""
        return tuple(_progress(record, server, views) for server in order(record, views))

    def _next(self, record: UpgradeRecord, views: Mapping[str, ServerView], active: str, now: float) -> Act:
        for server in order(record, views):
            view, goal = views.get(server), record.goal(server)
            if view is None:
                continue  # it belongs to the cluster no more
            step = _progress(record, server, views)
            if step.step is ServerStep.FAILED:
                return End(Outcome.STOPPED, f"{server}: {step.word}")
            if step.step is ServerStep.WAITS:
                sick = "" if record.back and view.health != HEALTHY else _sick(views, server)
                return Wait(f"{server} waits: {sick}") if sick else PlanServer(server, goal)
            if step.step is ServerStep.CHANGES:
                return Wait(f"{server} {step.word}")
            left = record.soak - (now - self._proven_since[server])
            if left > 0.0 and not record.back:
                return Wait(f"{server} runs {goal} and is watched for {record.soak:g} s")
            leads = views.get(active)
            if not record.back and server != active and leads is not None and leads.release != goal:
                return HandOver(server)
        return self._after(record)

    def _after(self, record: UpgradeRecord) -> Act:
        """All servers are where they shall be."""
        if record.back:
            return MoveAgents(record.agents_before) if record.agents else End(Outcome.GONE_BACK)
        return MoveAgents(record.version) if record.agents and not record.rollout else End(Outcome.DONE)


def order(record: UpgradeRecord, views: Mapping[str, ServerView]) -> tuple[str, ...]:
    """The servers as they come, those that joined meanwhile last."""
    known = (*record.order, *sorted(views.keys() - set(record.order)))
    if not record.back:
        return known
    sick = [server for server in known if server in views and views[server].health != HEALTHY]
    return (*reversed(sick), *(server for server in reversed(known) if server not in sick))


def _sick(views: Mapping[str, ServerView], beside: str) -> str:
    """Who else is not healthy, as a sentence; '' if all are."""
    others = (f"{server} is {view.health}" for server, view in sorted(views.items()) if _hurts(server, view, beside))
    return ", ".join(others)


def _hurts(server: str, view: ServerView, beside: str) -> bool:
    return server != beside and view.health != HEALTHY


def _progress(record: UpgradeRecord, server: str, views: Mapping[str, ServerView]) -> ServerProgress:
    view, goal, before = views.get(server), record.goal(server), record.before.get(server, "")
    if view is None:
        return ServerProgress(server, before, "", ServerStep.WAITS, "belongs to the cluster no more")
    agent = view.agent
    if view.proven(goal):
        step, word = ServerStep.PROVEN, ""
    elif view.planned != goal:
        step, word = ServerStep.WAITS, ""
    elif agent is not None and agent.wanted == goal and agent.state is DeploymentState.FAILED:
        step, word = ServerStep.FAILED, agent.reason or "its agent failed"
    else:
        step, word = ServerStep.CHANGES, _changes(view, goal)
    return ServerProgress(server, before, view.release, step, word)


def _changes(view: ServerView, goal: str) -> str:
    """What a server that changes is at."""
    name = goal or "the installed program"
    agent = view.agent
    if agent is None:
        return "is planned, its agent is silent"
    if agent.wanted != goal:
        return f"is planned to run {name}, its agent has not heard of that yet"
    if agent.state not in _SETTLED or agent.version != goal:
        return f"changes to {name}: {agent.state.value}"
    if view.release != goal:
        return f"has {name}, its server does not run it yet"
    return f"runs {name}, and is {view.health}" if view.health != HEALTHY else f"runs {name}, and catches up"
