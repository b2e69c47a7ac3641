"""The active's part in an upgrade of Boardwright itself: looks, and does the next act (``planner.upgrade`` decides).

Rules:

* One act a round, which may be done again: what is there already is not changed. Each is one transaction that compares
  the record of the upgrade, so nothing is done for one that was aborted meanwhile; but for the rollout of the agents,
  which going back looks for.
* Servers change by the plan: an assignment of the group ``SERVER_GROUP`` for one board. Their agents do the rest.
* Trouble that passes (a commit that lost, a standby that is a moment behind) is tried again in the next round; a board
  that cannot be planned ends the upgrade with the reason.
"""

from collections.abc import Callable, Mapping

import msgspec

from boardwright import log
from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.errors import FailedError, RefusedError
from boardwright.model.api import DeploymentRequest, ServerList, SwitchoverRequest
from boardwright.model.audit import Act, Action
from boardwright.model.policy import NO_VERSION, Assignment, Policy, Selector
from boardwright.model.report import SILENT_AFTER
from boardwright.model.upgrade import Outcome, UpgradeRecord
from boardwright.planner.upgrade import (
    AgentView,
    End,
    HandOver,
    MoveAgents,
    PlanServer,
    ServerView,
    UpgradeWatch,
    Wait,
)
from boardwright.server.board_reports import BoardReports, BoardView
from boardwright.server.deployments import Deployments
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.planning import propose, transaction
from boardwright.server.rollouts import ordered
from boardwright.server.signing import Signing
from boardwright.server.switchover import Switching
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import POLICY, UPGRADE

_log = log.get("server.upgrading")


class Upgrading:
    """`own` is this server's id, `act` makes what it does by itself, `commit` is fenced by the lease.

    `clock` is monotonic seconds; `listing` says how the servers are.
    """

    def __init__(  # noqa: PLR0913 - what an upgrade moves, each part handed in
        self,
        own: str,
        kv: KV,
        commit: Callable[[Transaction], int],
        mirror: Mirror,
        board_reports: BoardReports,
        listing: Callable[[], ServerList],
        signing: Signing,
        switching: Switching,
        deployments: Deployments,
        act: Callable[[Action], Act],
        clock: Callable[[], float],
    ) -> None:
        self._own = own
        self._kv = kv
        self._commit = commit
        self._mirror = mirror
        self._board_reports = board_reports
        self._listing = listing
        self._signing = signing
        self._switching = switching
        self._deployments = deployments
        self._act = act
        self._clock = clock
        self._watch = UpgradeWatch()
        self._watched = ""
        self.waits = ""

    def views(self) -> dict[str, ServerView]:
        """Every server as it is now."""
        return server_views(self._mirror.state, self._listing(), self._board_reports.views())

    def round(self) -> None:
        """Do the next act of the upgrade that is under way, if one is; this server is the active.

        Raises ConflictError, DeposedError, EngineError: the next round looks again.
        """
        record = self._mirror.state.upgrade
        if record is None or not record.running:
            self.waits = self._watched = ""
            return
        if self._watched != record.id:
            self._watch, self._watched = UpgradeWatch(), record.id
        act = self._watch.look(record, self.views(), self._own, self._clock())
        self.waits = act.why if isinstance(act, Wait) else ""
        if isinstance(act, PlanServer):
            self._plan(record, act)
        elif isinstance(act, HandOver):
            self._hand_over(act)
        elif isinstance(act, MoveAgents):
            self._move_agents(record, act.version)
        elif isinstance(act, End):
            self._end(record, act)

    def _plan(self, record: UpgradeRecord, act: PlanServer) -> None:
        facts = self._facts(record)
        if facts is None:
            return
        board = Selector((("board", act.server),))
        policy = facts.policy.assign(Assignment(SERVER_GROUP, act.version, (board,)))
        proposal = propose(facts, policy)
        refused = [one.reason for one in proposal.refused if (one.board, one.group) == (act.server, SERVER_GROUP)]
        if refused:
            self._end(record, End(Outcome.STOPPED, f"{act.server} cannot run {act.version}: {refused[0]}"))
            return
        change = transaction(facts, policy, proposal)
        change = Transaction({**change.compares, **facts.compare(UPGRADE)}, change.puts)
        if proposal.plan is not None:
            change = self._signing.change(self._kv, change, proposal.plan)
        if change.puts:
            self._commit(change)
            _log.info("upgrade: planned", server=act.server, release=act.version or "the installed program")

    def _hand_over(self, act: HandOver) -> None:
        try:
            self._switching.switch(SwitchoverRequest(act.server), self._act(Action.SWITCHOVER))
        except (RefusedError, FailedError) as error:
            self.waits = f"{act.server} cannot be the active yet: {error}"

    def _move_agents(self, record: UpgradeRecord, version: str) -> None:
        """Deploy them, or withdraw their release, and then note it; what was done and not noted is not done twice."""
        facts, rollout, reason = self._facts(record), "", ""
        if facts is None:
            return
        if wanted_of_agents(facts) == version:
            rollout = _rollout_of(facts, version)
        elif version == NO_VERSION:
            self._write_policy(facts, facts.policy.assign(Assignment(AGENT_GROUP, NO_VERSION)))
        else:
            request = DeploymentRequest(AGENT_GROUP, version)
            try:
                rollout = self._deployments.deploy(request, self._act(Action.DEPLOY)).rollout or ""
            except (FailedError, RefusedError) as error:
                reason = f"the agents stay as they are: {error}"
        if record.back:
            self._record(record, rollout="", agents=False)
        else:
            self._record(record, rollout=rollout, agents=not reason, reason=reason)

    def _write_policy(self, facts: Facts, policy: Policy) -> None:
        proposal = propose(facts, policy)
        change = transaction(facts, policy, proposal)
        change = Transaction({**change.compares, **facts.compare(UPGRADE)}, change.puts)
        if proposal.plan is not None:
            change = self._signing.change(self._kv, change, proposal.plan)
        if change.puts:
            self._commit(change)

    def _end(self, record: UpgradeRecord, act: End) -> None:
        """Write how it ended; what all servers run is then wanted of those that join later, too."""
        facts = self._facts(record)
        if facts is None:
            return
        goals = {record.goal(server) for server in record.order}
        change = Transaction(facts.compare(UPGRADE), {})
        if act.outcome is not Outcome.STOPPED and len(goals) == 1:
            policy = facts.policy.assign(Assignment(SERVER_GROUP, goals.pop()))
            change = Transaction({**change.compares, **facts.compare(POLICY)}, {POLICY: encoded(policy)})
        ended = msgspec.structs.replace(record, outcome=act.outcome, reason=act.reason or record.reason)
        self._commit(Transaction(change.compares, {**change.puts, UPGRADE: encoded(ended)}))
        say = _log.error if act.outcome is Outcome.STOPPED else _log.info
        say("upgrade ended", version=record.version, outcome=act.outcome.value, reason=act.reason)

    def _record(self, record: UpgradeRecord, **differs: object) -> None:
        facts = self._facts(record)
        if facts is not None:
            changed = msgspec.structs.replace(record, **differs)
            self._commit(Transaction(facts.compare(UPGRADE), {UPGRADE: encoded(changed)}))

    def _facts(self, record: UpgradeRecord) -> Facts | None:
        """The state, if the upgrade in it is still the one that was looked at."""
        facts = read_facts(self._kv)
        return facts if facts.upgrade == record else None


def wanted_of_agents(facts: Facts) -> str:
    """What is wanted of all agents; '' for nothing."""
    for assignment in reversed(facts.policy.assignments):
        if assignment.group == AGENT_GROUP and not assignment.selectors:
            return assignment.version
    return NO_VERSION


def _rollout_of(facts: Facts, version: str) -> str:
    """The newest rollout that gave all agents this version; '' if none did."""
    found = [one.id for one in ordered(facts.rollouts.values()) if (one.group, one.version) == (AGENT_GROUP, version)]
    return found[-1] if found else ""


def server_views(state: MirrorState, listing: ServerList, boards: Mapping[str, BoardView]) -> dict[str, ServerView]:
    """Every server by id: what it says, what its agent says, and what the plan names for its board."""
    views = {}
    for server in listing.servers:
        planned = state.plan.for_board(server.id).groups.get(SERVER_GROUP)
        views[server.id] = ServerView(
            health=server.health,
            release=server.release,
            knows=server.generation >= state.plan.generation,
            planned="" if planned is None else planned.version,
            agent=_agent_view(boards.get(server.id)),
        )
    return views


def _agent_view(view: BoardView | None) -> AgentView | None:
    if view is None or view.age > SILENT_AFTER:
        return None
    report = view.groups.get(SERVER_GROUP)
    if report is None:
        return AgentView()
    return AgentView(
        version=report.version or "",
        wanted=report.wanted or "",
        state=report.state,
        reason=report.reason,
        moved=sum(report.bytes.values()),
    )
