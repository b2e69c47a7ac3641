"""`deploy`: an assignment joins the policy, the plan follows, a rollout begins; all in one transaction or not at all.

Rules:

* What cannot be meant is refused before anything is read: another strategy than "all-at-once" (this release has no
  other), the deployment group (`upgrade` does that), a selector that cannot be read.
* A group or version that is not published, and a selector that matches no board, are errors that name what there is.
* A board that is meant and cannot take the version stays as it is, with its reason in the answer; what it needs may
  come later, then it follows. A version that none of the boards that are meant can take is an error with the reasons.
* A dry run goes the same way and stops before the commit.
* A commit that lost against another change is decided anew from a new reading, a few times.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator

from boardwright.boot.names import SERVER_GROUP
from boardwright.errors import ConflictError, FailedError, RefusedError, UsageError
from boardwright.model.api import Deployment, DeploymentRequest, PlanChange
from boardwright.model.audit import Act
from boardwright.model.policy import Assignment, Selector, parse_selector
from boardwright.model.software import MAX_NAME
from boardwright.planner.planner import Proposal
from boardwright.planner.safety import strategy_named
from boardwright.server.audit_log import AuditedCommit
from boardwright.server.facts import Facts, encoded, read_facts
from boardwright.server.held import held_reason
from boardwright.server.mirror import Mirror
from boardwright.server.planning import propose, transaction
from boardwright.server.publishing import SEEN_WITHIN
from boardwright.server.rollouts import number, ordered
from boardwright.server.signing import Signing
from boardwright.state.kv import KV, Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.records import ROLLOUTS, RolloutRecord

DEPLOYMENT_GROUP = SERVER_GROUP
ATTEMPTS = 5  # commits that may lose in a row; joins and publishes come in bursts, an operator waits for none of them
KEPT_ROLLOUTS = 200  # older ones are forgotten, so that the state stays small
MAX_SELECTORS = 1000  # of one deployment; a board each, where no glob fits
MAX_SELECTOR = 600  # characters: four keys with a name each
NAMED = 10  # how many known names an error lists


class Deployments:
    """Deploys through `commit` (see ``audit_log``); `wall` is seconds since the epoch."""

    def __init__(
        self,
        kv: KV,
        commit: AuditedCommit,
        mirror: Mirror,
        signing: Signing,
        wall: Callable[[], float],
    ) -> None:
        self._kv = kv
        self._commit = commit
        self._mirror = mirror
        self._signing = signing
        self._wall = wall

    def deploy(self, request: DeploymentRequest, act: Act) -> Deployment:
        """Do it, or with `dry_run` say what would happen. UsageError, FailedError, RefusedError, ConflictError."""
        assignment = _assignment(request)
        for _ in range(ATTEMPTS - 1):
            try:
                return self._attempt(request, assignment, act)
            except DeposedError:
                raise
            except ConflictError:
                continue
        return self._attempt(request, assignment, act)

    def _attempt(self, request: DeploymentRequest, assignment: Assignment, act: Act) -> Deployment:
        facts = read_facts(self._kv)
        _check_published(facts, assignment)
        _check_matches(facts, assignment)
        policy = facts.policy.assign(assignment)
        proposal = propose(facts, policy)
        _check_taken(facts, assignment, proposal)
        generation = facts.plan.generation if proposal.plan is None else proposal.plan.generation
        if request.dry_run:
            return Deployment(None, generation, _changes(facts, assignment, proposal))
        rollout = RolloutRecord(
            id=f"r{max((number(known) for known in facts.rollouts), default=0) + 1}",
            group=assignment.group,
            version=assignment.version,
            selectors=assignment.selectors,
            strategy=request.strategy,
            generation=generation,
            started=self._wall(),
            by=act.actor.id,
        )
        change = transaction(facts, policy, proposal)
        key = f"{ROLLOUTS}{rollout.id}"
        forgotten = [f"{ROLLOUTS}{old.id}" for old in ordered(facts.rollouts.values())[: 1 - KEPT_ROLLOUTS]]
        change = Transaction(
            {**change.compares, key: 0}, {**change.puts, key: encoded(rollout), **dict.fromkeys(forgotten)}
        )
        if proposal.plan is not None:
            change = self._signing.change(self._kv, change, proposal.plan)
        done = act.on(
            f"{rollout.group} {rollout.version}",
            rollout=rollout.id,
            to=" or ".join(map(str, rollout.selectors)),
            strategy=rollout.strategy,
            generation=generation,
        )
        self._mirror.wait_for(self._commit(change, done), SEEN_WITHIN)
        return Deployment(rollout.id, generation, _changes(facts, assignment, proposal))


def _assignment(request: DeploymentRequest) -> Assignment:
    if request.group == DEPLOYMENT_GROUP:
        raise RefusedError(
            f"{DEPLOYMENT_GROUP!r} is the deployment group, its servers are not deployed like other software",
            hint="use `boardwright upgrade VERSION`",
        )
    _check_bounds(request)
    strategy_named(request.strategy)
    selectors = tuple(parse_selector(text) for text in request.selectors)
    return Assignment(request.group, request.version, selectors)


def _check_bounds(request: DeploymentRequest) -> None:
    """What is refused is said with its words, so that these must not be long; the policy keeps the selectors."""
    for field, word in (("group", request.group), ("version", request.version), ("strategy", request.strategy)):
        if len(word) > MAX_NAME:
            raise UsageError(f"{field} {word[:MAX_NAME]!r}... has {len(word)} characters", hint=f"at most {MAX_NAME}")
    if len(request.selectors) > MAX_SELECTORS:
        raise UsageError(f"{len(request.selectors)} selectors are more than {MAX_SELECTORS}", hint="use globs")
    for selector in request.selectors:
        if len(selector) > MAX_SELECTOR:
            raise UsageError(f"selector {selector[:MAX_NAME]!r}... has {len(selector)} characters", hint="use globs")


def _check_published(facts: Facts, assignment: Assignment) -> None:
    catalog = facts.catalog.values()
    retired = {record.version for record in catalog if record.group == assignment.group and record.retired}
    records = [record for record in catalog if not record.retired]
    versions = {record.version for record in records if record.group == assignment.group}
    if assignment.version in retired - versions:
        raise FailedError(
            f"version {assignment.version!r} of {assignment.group} was retired from the stores to make room",
            hint="publish it again, with the same content",
        )
    if not versions:
        near = _near(assignment.group, (record.group for record in records))
        groups = _names(record.group for record in records)
        raise FailedError(f"no version of the group {assignment.group!r} is published", hint=f"{near}groups: {groups}")
    if assignment.version not in versions:
        raise FailedError(
            f"version {assignment.version!r} of {assignment.group} is not published",
            hint=f"{_near(assignment.version, versions)}published are {_names(versions)}",
        )


def _check_matches(facts: Facts, assignment: Assignment) -> None:
    boards = facts.inventory.boards.values()
    if not boards:
        raise FailedError("the cluster knows no board yet", hint="start agents, or name boards in cluster.toml")
    for selector in assignment.selectors:
        if not any(selector.matches(board) for board in boards):
            raise FailedError(f"selector {str(selector)!r} matches no board", hint=_what_there_is(facts, selector))


def _check_taken(facts: Facts, assignment: Assignment, proposal: Proposal) -> None:
    """One of the boards that are meant takes the version, or is planned to run it already."""
    plan = proposal.plan or facts.plan
    name = f"{assignment.group} {assignment.version}"
    for board in facts.inventory.boards.values():
        if assignment.matches(board):
            target = plan.for_board(board.id).groups.get(assignment.group)
            if target is not None and target.version == assignment.version:
                return
    refused: dict[str, list[str]] = {}
    for change in _refused(facts, assignment, proposal):
        refused.setdefault(change.reason, []).append(change.board)
    if not refused:
        raise FailedError(
            f"no board runs the group {assignment.group!r}",
            hint="name it in groups of the boards' agent.toml and restart their agents",
        )
    reasons = [f"{_names(boards)}: {reason}" for reason, boards in refused.items()]
    more = f"; and {len(reasons) - NAMED} reasons more" if len(reasons) > NAMED else ""
    raise FailedError(
        f"no board can take {name}, nothing was changed: {'; '.join(reasons[:NAMED])}{more}",
        hint="`boardwright software` shows which board types (variants) a version fits, `boardwright boards` what runs",
    )


def _what_there_is(facts: Facts, selector: Selector) -> str:
    """The values of the first key that no board meets which the keys before it left."""
    left = list(facts.inventory.boards.values())
    met: list[str] = []
    for term in selector.terms:
        words = {
            "board": [board.id for board in left],
            "chassis": [board.location.chassis for board in left],
            "slot": [board.location.slot for board in left],
            "type": [board.type for board in left],
        }
        left = [board for board in left if Selector((term,)).matches(board)]
        if not left:
            near = _near(term[1], words[term[0]])
            return f"{near}{term[0]}{' of ' + ','.join(met) if met else ''}: {_names(words[term[0]])}"
        met.append("=".join(term))
    return "none"


def _changes(facts: Facts, assignment: Assignment, proposal: Proposal) -> tuple[PlanChange, ...]:
    """What the plan changes, and for every board that was meant and stays as it is, why."""
    return (*proposal.changes, *_refused(facts, assignment, proposal), *_held(facts, assignment, proposal))


def _held(facts: Facts, assignment: Assignment, proposal: Proposal) -> Iterator[PlanChange]:
    """Boards that are planned to run it, now as before, and rolled back from it."""
    plan = proposal.plan or facts.plan
    for key, record in sorted(facts.held.items()):
        board, _, group = key.rpartition("/")
        known = facts.inventory.boards.get(board)
        if group == assignment.group and known is not None and assignment.matches(known):
            target = plan.for_board(board).groups.get(group)
            if target is not None and target.manifest == record.manifest:
                yield PlanChange(board, group, target.version, target.version, held_reason(board))


def _refused(facts: Facts, assignment: Assignment, proposal: Proposal) -> Iterator[PlanChange]:
    boards = facts.inventory.boards
    for change in proposal.refused:
        if change.group == assignment.group and change.board in boards and assignment.matches(boards[change.board]):
            yield change


def _names(words: Iterable[str]) -> str:
    names = sorted(set(words))
    return (", ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")) or "none"


def _near(word: str, known: Iterable[str]) -> str:
    """A question after the word that was meant, for the beginning of a hint; '' if none is close."""
    close = difflib.get_close_matches(word, set(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
