"""An upgrade of Boardwright itself: begun, taken back, told of. ``upgrading`` carries it out.

Rules:

* Before anything is written all is looked at: the release is published, every server's board fits and runs the group,
  its agent speaks, every server is healthy, and the release can read what today's servers write. What is wrong
  is named.
* A release says in its manifest from which releases on it can take over the state: ``requires`` of its own group
  (``boardwright = ">= 1.2"``); every server must run one that meets that.
* One upgrade at a time. The same release again goes on with one that stopped, with what ran before *that* one to go
  back to; boards that rolled back from it try it again.
* Going back is always possible, also from one that is done, as long as no other one began.
"""

from collections.abc import Callable, Mapping

import msgspec

from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.errors import ConflictError, FailedError, RefusedError, UsageError
from boardwright.model.api import ServerList
from boardwright.model.audit import Act, Action
from boardwright.model.policy import Assignment, Selector
from boardwright.model.requirement import satisfies
from boardwright.model.upgrade import Outcome, UpgradeRecord, UpgradeRequest, UpgradeStatus
from boardwright.planner.upgrade import HEALTHY, ServerView, UpgradeWatch
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.held import HeldVersions
from boardwright.server.mirror import Mirror
from boardwright.server.planning import propose
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.server.upgrading import wanted_of_agents
from boardwright.state.kv import KV, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.records import UPGRADE, CatalogRecord

ATTEMPTS = 5  # commits that may lose in a row, as for `deploy`
HOW_FAR = "`boardwright upgrade` shows how far it is"


class Upgrades:
    """`views` and `listing` say how the servers are, `waits` what the upgrade waits for; `own` is this server."""

    def __init__(  # noqa: PLR0913 - what is looked at before, each part handed in
        self,
        own: str,
        kv: KV,
        commit: AuditedCommit,
        mirror: Mirror,
        held: HeldVersions,
        views: Callable[[], Mapping[str, ServerView]],
        listing: Callable[[], ServerList],
        waits: Callable[[], str],
        wall: Callable[[], float],
    ) -> None:
        self._own = own
        self._kv = kv
        self._commit = commit
        self._mirror = mirror
        self._held = held
        self._views = views
        self._listing = listing
        self._waits = waits
        self._wall = wall

    def begin(self, request: UpgradeRequest, act: Act) -> UpgradeStatus:
        """Begin, or go on; UsageError, FailedError, RefusedError, DeposedError, ConflictError, EngineError."""
        if why := request.trouble():
            raise UsageError(why)
        return self._tried(lambda: self._begin(request, act))

    def abort(self, act: Act) -> UpgradeStatus:
        """Go back everywhere; RefusedError if there is nothing to go back from; errors as for ``begin``."""
        return self._tried(lambda: self._abort(act))

    def status(self) -> UpgradeStatus:
        """The newest upgrade."""
        return self._status(self._mirror.state.upgrade)

    def listed(self) -> ServerList:
        """The servers, with the upgrade if there was one."""
        record = self._mirror.state.upgrade
        listing = self._listing()
        return listing if record is None else ServerList(listing.servers, self._status(record))

    def _tried(self, attempt: Callable[[], UpgradeStatus]) -> UpgradeStatus:
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt()
            except DeposedError:
                raise
            except ConflictError:
                continue
        return attempt()

    def _begin(self, request: UpgradeRequest, act: Act) -> UpgradeStatus:
        facts, views = self._read(), self._views()
        last = facts.upgrade
        if last is not None and last.running:
            if last.version == request.version and not last.back:
                return self._status(last)  # the call was repeated
            raise RefusedError(f"the upgrade to {last.version} is under way", hint=HOW_FAR)
        self._check_published(facts, request)
        self._check_servers(facts, views, request.version)
        order = (self._own, *sorted(views.keys() - {self._own}))
        before = {server: view.planned for server, view in views.items()}
        if last is not None and last.version == request.version and last.outcome is Outcome.STOPPED and not last.back:
            before |= last.before
            order = (*last.order, *(server for server in order if server not in last.order))
        record = UpgradeRecord(
            id=f"u{_number(last) + 1}",
            version=request.version,
            order=order,
            before=before,
            soak=request.soak,
            agents=request.agents and _publishes(facts, AGENT_GROUP, request.version),
            agents_before=wanted_of_agents(facts),
            started=self._wall(),
            by=act.actor.id,
        )
        for server in order:
            if f"{server}/{SERVER_GROUP}" in facts.held:
                self._held.retry(server, Act(act.actor, Action.RETRY), SERVER_GROUP)
        return self._write(facts, record, act)

    def _abort(self, act: Act) -> UpgradeStatus:
        facts = self._read()
        last = facts.upgrade
        if last is None or last.outcome is Outcome.GONE_BACK:
            raise RefusedError("there is no upgrade to go back from", hint=HOW_FAR)
        if last.back and last.running:
            return self._status(last)  # the call was repeated
        record = msgspec.structs.replace(last, back=True, outcome=Outcome.NONE, reason="")
        return self._write(facts, record, act)

    def _write(self, facts: Facts, record: UpgradeRecord, act: Act) -> UpgradeStatus:
        done = act.on(record.version, upgrade=record.id, before=", ".join(sorted(set(record.before.values()) - {""})))
        revision = self._commit(Transaction(facts.compare(UPGRADE), {UPGRADE: encoded(record)}), done)
        self._mirror.wait_for(revision, SEEN_WITHIN)
        return self._status(record)

    def _read(self) -> Facts:
        facts = read_facts(self._kv)
        if facts.upgrade is None and facts.revisions.get(UPGRADE):
            raise FailedError(
                "the record of the last upgrade is of a form that this release does not know",
                hint="a newer release wrote it: let a server of that release be the active",
            )
        return facts

    def _check_published(self, facts: Facts, request: UpgradeRequest) -> None:
        found = [one for one in facts.catalog.values() if (one.group, one.version) == (SERVER_GROUP, request.version)]
        if not found or all(one.retired for one in found):
            known = sorted({one.version for one in facts.catalog.values() if one.group == SERVER_GROUP})
            gone = "was retired from the stores" if found else "is not published"
            raise FailedError(
                f"release {request.version!r} of {SERVER_GROUP} {gone}",
                hint=f"published are {', '.join(known) or 'none'}; `make release-bundle` and `boardwright publish`",
            )
        for record in found:
            self._check_readable(record)

    def _check_readable(self, record: CatalogRecord) -> None:
        needed = record.requires.get(SERVER_GROUP, "*")
        for server in self._mirror.state.servers.values():
            if not satisfies(server.release, needed):
                raise RefusedError(
                    f"release {record.version} takes over from Boardwright {needed}, {server.id} is {server.release}",
                    hint="upgrade to a release in between first",
                )

    def _check_servers(self, facts: Facts, views: Mapping[str, ServerView], version: str) -> None:
        boards = tuple(Selector((("board", server),)) for server in sorted(views))
        proposal = propose(facts, facts.policy.assign(Assignment(SERVER_GROUP, version, boards)))
        refused = {one.board: one.reason for one in proposal.refused if one.group == SERVER_GROUP}
        for server, view in sorted(views.items()):
            if server not in facts.inventory.boards:
                raise RefusedError(f"no agent runs on {server}, which would upgrade it", hint="start one there")
            if SERVER_GROUP not in facts.inventory.boards[server].groups:
                raise RefusedError(
                    f"the agent of {server} does not run the group {SERVER_GROUP!r}",
                    hint=f'add "{SERVER_GROUP}" to groups in its agent.toml and restart it',
                )
            if server in refused:
                raise RefusedError(f"{server} cannot run {version}: {refused[server]}")
            if view.agent is None:
                raise RefusedError(f"the agent of {server} is silent", hint="`boardwright boards` shows since when")
            if view.health != HEALTHY:
                raise RefusedError(
                    f"{server} is {view.health}; an upgrade begins when every server is healthy",
                    hint="`boardwright doctor` says what is wrong",
                )

    def _status(self, record: UpgradeRecord | None) -> UpgradeStatus:
        if record is None:
            return UpgradeStatus()
        running = "going back" if record.back else "running"
        return UpgradeStatus(
            id=record.id,
            version=record.version,
            state=running if record.running else record.outcome.value,
            reason=record.reason,
            waits=self._waits() if record.running else "",
            servers=UpgradeWatch().progress(record, self._views()),
            rollout=record.rollout,
            by=record.by,
            started=record.started,
        )


def _number(last: UpgradeRecord | None) -> int:
    digits = "" if last is None else last.id.removeprefix("u")
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _publishes(facts: Facts, group: str, version: str) -> bool:
    return any((one.group, one.version, one.retired) == (group, version, False) for one in facts.catalog.values())
