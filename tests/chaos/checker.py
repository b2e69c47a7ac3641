"""Judges the history of a chaos run; pure, and it knows nothing of how Boardwright works inside.

Rules (each is a function, its findings are sentences):

* ``acknowledged``: what was acknowledged was committed, just so; what was refused was not; what has no answer at most
  once; nothing was committed that nobody asked for; and the versions are still there at the end.
* ``in_order``: a deployment that was acknowledged before another was asked for comes before it, in the state's
  revisions, in the rollouts' numbers and in the generations.
* ``chained``: each plan follows on the one before it, and nothing was planned but what the deployments up to then say.
* ``never_back``: no board ever goes back to an older generation, and no server while it lives. (One that is killed
  while its disk is full begins anew with an older copy of the state, and follows within a second.)
* ``as_planned``: what a board wants is what the plan of its generation names; what runs was named for it by that or
  an earlier plan; and what lies on its disk is that version, whole.
* ``converged``: at the end, within the bound, every board runs and wants what the last plan names, and that is what the
  deployments come to.
* ``one_active``: an epoch has one holder and never goes back.
* ``nothing_twice``: no verified byte came again. ``nobody_died``: no program ended by itself.
"""

import fnmatch
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import msgspec

from tests.chaos.history import (
    Answered,
    BoardIs,
    Catalog,
    Deployed,
    Died,
    FaultBegan,
    Happening,
    Healed,
    Lease,
    Listed,
    Plan,
    Published,
    Refetched,
    Rollout,
    Runs,
    Said,
    Seen,
    read,
)

OK, REFUSED = "ok", "refused"
_T = TypeVar("_T")


class Finding(msgspec.Struct, frozen=True):
    """What is wrong, by which rule."""

    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.sentence}"


class Story:
    """A history, sorted by what its events are about."""

    def __init__(self, history: Sequence[Happening]) -> None:
        self._history = history
        self.answers = {answer.call: answer for answer in self.of(Answered)}
        self.published = self.of(Published)
        self.deployed = self.of(Deployed)
        self.plans = sorted(self.of(Plan), key=lambda plan: plan.revision)
        self.plan_of = {plan.generation: plan for plan in self.plans}
        self.rollouts = sorted(_first_of_each(self.of(Rollout)), key=lambda rollout: rollout.revision)
        self.boards = self.of(BoardIs)
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        for seen in self.of(Seen):
            self.seen[seen.board].append(seen)

    def of(self, kind: type[_T]) -> list[_T]:
        """The events of this kind, in their order."""
        return [event for event in self._history if isinstance(event, kind)]

    def lives(self, server: str) -> Iterator[Said | None]:
        """What a server said, with None where a life of it ended."""
        for event in self._history:
            if isinstance(event, Said) and event.server == server:
                yield event
            elif f"server-{server}" in _killed(event):
                yield None

    def outcome(self, call: int) -> str:
        answer = self.answers.get(call)
        return "unknown" if answer is None else answer.outcome

    def committed(self, call: Deployed) -> list[Rollout]:
        """The rollouts that this deployment may have begun."""
        return [one for one in self.rollouts if (one.version, one.selectors) == (call.version, call.selectors)]

    def wanted(self, revision: float) -> dict[str, str]:
        """What the deployments that were committed up to this revision come to: board -> version."""
        wanted: dict[str, str] = {}
        for rollout in self.rollouts:
            if rollout.revision <= revision:
                wanted |= {board.board: rollout.version for board in self.boards if _meant(rollout, board)}
        return wanted

    def named(self, board: str, generation: int) -> set[str]:
        """Every manifest that a plan up to this generation named for the board; '' is none."""
        return {"", *(plan.boards.get(board, "") for plan in self.plans if plan.generation <= generation)}


def check(history: Sequence[Happening]) -> list[Finding]:
    """What is wrong with the history; an empty list is a cluster that kept its word."""
    story = Story(history)
    return [Finding(rule.__name__, sentence) for rule in RULES for sentence in rule(story)]


def acknowledged(story: Story) -> Iterator[str]:
    yield from _versions(story)
    asked = Counter((call.version, call.selectors) for call in story.deployed)
    for rollout in story.rollouts:
        if not asked[rollout.version, rollout.selectors]:
            yield f"rollout {rollout.rollout} of {rollout.version} to {rollout.selectors} was asked for by nobody"
    for call in story.deployed:
        found, outcome = story.committed(call), story.outcome(call.call)
        what = f"call {call.call}, deploy {call.version} to {call.selectors}, which ended {outcome},"
        if outcome == OK and not found:
            yield f"{what} is lost: no rollout was committed"
        if outcome == REFUSED and found:
            yield f"{what} was done as {found[0].rollout} at revision {found[0].revision}"
        if len(found) > 1:
            yield f"{what} was done {len(found)} times: {', '.join(one.rollout for one in found)}"
        answer = story.answers.get(call.call)
        if outcome == OK and answer is not None and found:
            told, done = (answer.rollout, answer.generation), (found[0].rollout, found[0].generation)
            if told != done:
                yield f"{what} was answered {told}, and {done} was committed"


def _versions(story: Story) -> Iterator[str]:
    last: dict[str, str] = {}
    for record in sorted(story.of(Catalog), key=lambda record: record.revision):
        if last.get(record.version, record.manifest) != record.manifest:
            yield f"version {record.version} became another one, or went, at revision {record.revision}"
        last[record.version] = record.manifest
    listed = {one.version: one.manifest for one in story.of(Listed)}
    asked: dict[str, set[str]] = defaultdict(set)
    for call in story.published:
        asked[call.version].add(call.manifest)
        if story.outcome(call.call) == OK:
            if last.get(call.version) != call.manifest:
                yield f"call {call.call}, publish {call.version}, was acknowledged and is lost: not committed"
            if listed.get(call.version) != call.manifest:
                yield f"call {call.call}, publish {call.version}, was acknowledged and is lost: servers do not list it"
    for version, manifest in last.items():
        if manifest and manifest not in asked[version]:
            yield f"version {version} with manifest {manifest[:12]} was published by nobody"


def in_order(story: Story) -> Iterator[str]:
    done = [(call, found[0]) for call in story.deployed if (found := story.committed(call))]
    for call, rollout in done:
        answer = story.answers.get(call.call)
        if answer is None or answer.outcome != OK:
            continue
        for other, later in done:
            if answer.at < other.at and not _before(rollout, later):
                yield (
                    f"call {call.call} was acknowledged as {rollout.rollout} (revision {rollout.revision}, generation "
                    f"{rollout.generation}) before call {other.call} was asked for, which was done as {later.rollout} "
                    f"(revision {later.revision}, generation {later.generation})"
                )


def _before(one: Rollout, other: Rollout) -> bool:
    numbers = int(one.rollout.removeprefix("r")), int(other.rollout.removeprefix("r"))
    return one.revision < other.revision and numbers[0] < numbers[1] and one.generation <= other.generation


def chained(story: Story) -> Iterator[str]:
    for before, after in pairwise([Plan(0, 0, 0, {}), *story.plans]):
        if (after.parent, after.generation) != (before.generation, before.generation + 1):
            yield f"plan {after.generation} on {after.parent} was committed after plan {before.generation}"
    manifests = {record.version: record.manifest for record in story.of(Catalog)}
    for plan in story.plans:
        meant = {board: manifests.get(version, "?") for board, version in story.wanted(plan.revision).items()}
        if plan.boards != meant:
            boards = sorted(b for b in {**plan.boards, **meant} if plan.boards.get(b) != meant.get(b))
            yield f"plan {plan.generation} is not what the deployments up to revision {plan.revision} say: {boards}"


def never_back(story: Story) -> Iterator[str]:
    for board, seen in story.seen.items():
        for before, after in pairwise(seen):
            if after.generation < before.generation:
                yield f"{board} went back from generation {before.generation} to {after.generation} at {after.at:.2f} s"
    for server in dict.fromkeys(word.server for word in story.of(Said)):
        known = 0
        for word in story.lives(server):
            if word is not None and word.generation < known:
                yield f"server {server} went back from {known} to {word.generation} at {word.at:.2f} s"
            known = 0 if word is None else word.generation


def as_planned(story: Story) -> Iterator[str]:
    for board, looks in story.seen.items():
        for seen in looks:
            when = f"{board} at {seen.at:.2f} s, generation {seen.generation},"
            plan = story.plan_of.get(seen.generation)
            if plan is None and seen.generation:
                yield f"{when} has a plan that was never committed"
            elif plan is not None and seen.wanted != plan.boards.get(board, ""):
                yield f"{when} wants {seen.wanted[:12] or 'nothing'}: the plan of that generation names another"
            if seen.running not in story.named(board, seen.generation):
                yield f"{when} runs {seen.running[:12]}, which no plan up to then named for it"
    contents = {call.version: call.content for call in story.published}
    manifests = {record.version: record.manifest for record in story.of(Catalog)}
    last = max(story.plan_of, default=0)
    for runs in story.of(Runs):
        when = f"{runs.board} at {runs.at:.2f} s has {runs.version} in place,"
        if manifests.get(runs.version, "?") not in story.named(runs.board, last):
            yield f"{when} which no plan named for it"
        if contents.get(runs.version) != runs.content:
            yield f"{when} which is not whole"


def converged(story: Story) -> Iterator[str]:
    healed = story.of(Healed)
    if not healed:
        yield "the history ends before everything is healed"
        return
    end, last = healed[-1].at + healed[-1].bound, story.plans[-1] if story.plans else Plan(0, 0, 0, {})
    in_place = {runs.board: runs for runs in story.of(Runs)}
    wanted = story.wanted(float("inf"))
    for board in (one.board for one in story.boards):
        seen = [one for one in story.seen.get(board, ()) if one.at <= end]
        at = seen[-1] if seen else Seen(0.0, board, 0, "", "", "nothing")
        named = last.boards.get(board, "")
        if (at.generation, at.wanted, at.running) != (last.generation, named, named) or at.state != "confirmed":
            yield (
                f"{board} stands at generation {at.generation}, {at.state}, running {at.running[:12] or 'nothing'}, "
                f"not at {last.generation} with {named[:12] or 'nothing'}, "
                f"{healed[-1].bound:g} s after the end of faults"
            )
        elif named and (board not in in_place or in_place[board].version != wanted.get(board)):
            yield f"{board} says that it runs {wanted.get(board)}, which is not in place"


def one_active(story: Story) -> Iterator[str]:
    holders: dict[int, str] = {}
    newest = 0
    for lease in sorted(story.of(Lease), key=lambda lease: lease.revision):
        if lease.epoch < newest:
            yield f"the epoch went back from {newest} to {lease.epoch} at revision {lease.revision}"
        newest = max(newest, lease.epoch)
        if lease.holder and holders.setdefault(lease.epoch, lease.holder) != lease.holder:
            yield f"{holders[lease.epoch]} and {lease.holder} both held epoch {lease.epoch}"


def nothing_twice(story: Story) -> Iterator[str]:
    for one in story.of(Refetched):
        if one.bytes:
            yield f"{one.board} fetched {one.bytes} verified bytes of {one.version} again"


def nobody_died(story: Story) -> Iterator[str]:
    for one in story.of(Died):
        yield f"{one.program} ended by itself at {one.at:.2f} s with {one.code}: {one.told}"


RULES: tuple[Callable[[Story], Iterator[str]], ...] = (
    acknowledged,
    in_order,
    chained,
    never_back,
    as_planned,
    converged,
    one_active,
    nothing_twice,
    nobody_died,
)


def _killed(event: Happening) -> tuple[str, ...]:
    """Programs whose life ends with this event."""
    if isinstance(event, Died):
        return (event.program,)
    return event.whom if isinstance(event, FaultBegan) and event.what.startswith("kill") else ()


def _first_of_each(records: Sequence[Rollout]) -> list[Rollout]:
    """The record of each rollout as it began; a later one under the same id but of another deployment counts anew."""
    first: dict[tuple[str, str, tuple[str, ...]], Rollout] = {}
    for record in sorted(records, key=lambda record: record.revision):
        first.setdefault((record.rollout, record.version, record.selectors), record)
    return list(first.values())


def _meant(rollout: Rollout, board: BoardIs) -> bool:
    facts = {"board": board.board, "chassis": board.chassis, "slot": board.slot, "type": board.type}
    return not rollout.selectors or any(
        all(fnmatch.fnmatchcase(facts[key], glob) for key, _, glob in (term.partition("=") for term in one.split(",")))
        for one in rollout.selectors
    )


def main(words: Sequence[str]) -> int:
    """``python -m tests.chaos.checker FILE``: judge a history that was kept."""
    findings = check(read(Path(words[0])))
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
