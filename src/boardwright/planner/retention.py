"""Which versions must stay in the stores, and which may go when room is needed.

Rules:

* A version is needed if the plan names it, the policy wants it, a board runs it or is about to, it is what a board
  would be rolled back to (what the rollouts gave it before, and what the last one that ended well did), or a
  needed version requires its group and no other needed one will do.
* What a board runs is known only from its own word. As long as one that has a group in the plan was not heard, every
  version of that group is needed.
* What may go goes oldest publish first, and only if all of it together makes the room that is wanted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from boardwright.model.inventory import Board, Inventory
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy
from boardwright.model.software import Target
from boardwright.planner.requirements import met


class Version(msgspec.Struct, frozen=True):
    """A version that the stores hold; `published` orders them."""

    target: Target
    published: float
    requires: dict[str, str] = {}


class Past(msgspec.Struct, frozen=True):
    """A rollout: what it wanted, and whether it ended well."""

    assignment: Assignment
    done: bool


class Situation(msgspec.Struct, frozen=True):
    """All that decides; `past` oldest first, `runs` by board and group: the versions that a board names, once heard."""

    versions: tuple[Version, ...]
    plan: Plan
    policy: Policy
    inventory: Inventory
    past: tuple[Past, ...] = ()
    runs: Mapping[str, Mapping[str, Collection[str]]] = {}


def needed(situation: Situation) -> dict[Target, str]:
    """Every version that must stay, with the reason as a sentence without its subject."""
    found: dict[Target, str] = {}
    by_name: dict[tuple[str, str], list[Target]] = {}
    for version in situation.versions:
        by_name.setdefault((version.target.group, version.target.version), []).append(version.target)
    for target in situation.plan.targets:
        found[target] = "is in the plan"
    for group, name, reason in (*_wanted(situation.policy), *_running(situation.runs), *_rolled_back_to(situation)):
        for target in by_name.get((group, name), ()):
            found.setdefault(target, reason)
    for group, board in _unheard(situation).items():
        for version in situation.versions:
            if version.target.group == group:
                found.setdefault(version.target, f"may run on board {board}, which was not heard yet")
    _add_required(situation.versions, found)
    return found


def disposable(situation: Situation) -> list[Target]:
    """The versions that nobody needs, oldest publish first."""
    kept = needed(situation)
    free = [version for version in situation.versions if version.target not in kept]
    return [version.target for version in sorted(free, key=lambda version: (version.published, version.target))]


def to_retire(
    candidates: Sequence[Target], blobs: Mapping[Target, Collection[str]], sizes: Mapping[str, int], lacking: int
) -> list[Target]:
    """The first of `candidates` that together free `lacking` bytes, without any that frees nothing; [] if all cannot.

    `blobs` are those of every version that is kept, `sizes` of every blob in the store.
    """
    chosen: list[Target] = []
    for target in candidates:
        if target in blobs:
            chosen.append(target)
            if freed(chosen, blobs, sizes) >= lacking:
                break
    else:
        return []
    for target in list(chosen):
        without = [other for other in chosen if other != target]
        if freed(without, blobs, sizes) >= lacking:
            chosen = without
    return chosen


def freed(gone: Iterable[Target], blobs: Mapping[Target, Collection[str]], sizes: Mapping[str, int]) -> int:
    """Bytes of the blobs that only the versions in `gone` have."""
    going = set(gone)
    dropped = {sha256 for target in going for sha256 in blobs[target]}
    kept = {sha256 for target, names in blobs.items() if target not in going for sha256 in names}
    return sum(sizes.get(sha256, 0) for sha256 in dropped - kept)


_Named = tuple[str, str, str]  # group, version, reason


def _wanted(policy: Policy) -> Iterator[_Named]:
    for assignment in policy.assignments:
        yield assignment.group, assignment.version, "is wanted by the policy"


def _running(runs: Mapping[str, Mapping[str, Collection[str]]]) -> Iterator[_Named]:
    for board, groups in runs.items():
        for group, versions in groups.items():
            for version in versions:
                yield group, version, f"runs on board {board}"


def _rolled_back_to(situation: Situation) -> Iterator[_Named]:
    newest_first: dict[str, list[Past]] = {}
    for past in reversed(situation.past):
        newest_first.setdefault(past.assignment.group, []).append(past)
    for board in situation.inventory.boards.values():
        for group, rollouts in newest_first.items():
            if group in board.groups:
                for version in _before(board, rollouts):
                    yield group, version, f"is what board {board.id} would go back to"


def _before(board: Board, newest_first: Iterable[Past]) -> Iterator[str]:
    """The version of the newest rollout of the board, the one before it, and the last other one that ended well."""
    current: str | None = None
    previous = False
    for past in newest_first:
        version = past.assignment.version
        if version == current or not past.assignment.matches(board):
            continue
        if current is None or not previous or past.done:
            yield version
        if current is None:
            current = version
        else:
            previous = True
            if past.done:
                return


def _unheard(situation: Situation) -> dict[str, str]:
    """Groups that a board has in the plan which did not say yet what it runs, each with such a board."""
    found: dict[str, str] = {}
    for board, indexes in situation.plan.boards.items():
        heard = situation.runs.get(board, {})
        for index in indexes:
            group = situation.plan.targets[index].group
            if group not in heard:
                found.setdefault(group, board)
    return found


def _add_required(versions: Sequence[Version], found: dict[Target, str]) -> None:
    """What needed versions require and no needed version meets: the newest that does, and what that requires."""
    requires = {version.target: version.requires for version in versions}
    waiting = list(found)
    while waiting:
        target = waiting.pop()
        for group, requirement in requires.get(target, {}).items():
            meets = [one for one in versions if one.target.group == group and met(one.target, requirement)]
            if meets and not any(one.target in found for one in meets):
                newest = max(meets, key=lambda one: (one.published, one.target)).target
                found[newest] = f"is required by {target.group} {target.version}"
                waiting.append(newest)
