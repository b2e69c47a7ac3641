"""In which order the groups of one board take over, and what stands against it (pure).

Rules:

* A version may be activated when every requirement of its manifest is met by what **runs** on the board (not by what is
  planned), and when it breaks no requirement that a running version of another group has and that is met now. So the
  required group goes up first, and goes down last.
* A requirement on a group is met by the confirmed version of that group on the same board; requirements between
  boards are the planner's.
* Whoever may not go gets one sentence: what is required, what runs instead, and whether the plan will bring it. Groups
  that wait for each other in a circle are told so; none of them goes.
"""

from collections.abc import Mapping

import msgspec

from boardwright.errors import UsageError
from boardwright.model.requirement import satisfies


class Release(msgspec.Struct, frozen=True):
    """What counts of a version here: its name and what it requires, by group."""

    version: str
    requires: Mapping[str, str] = {}


class Order(msgspec.Struct, frozen=True):
    """`sequence`: the groups that can take over, in this order; `reasons`: why the others cannot, by group."""

    sequence: tuple[str, ...]
    reasons: Mapping[str, str]


def order(running: Mapping[str, Release], wanted: Mapping[str, Release]) -> Order:
    """Order the groups of `wanted`, of which each is to replace what is in `running`, if anything."""
    now = dict(running)
    left = dict(sorted(wanted.items()))
    sequence = []
    while True:
        ready = next((group for group in left if objection(group, left[group], now) is None), None)
        if ready is None:
            break
        now[ready] = left.pop(ready)
        sequence.append(ready)
    reasons = {group: _why_not(group, now, left) for group in left}
    return Order(tuple(sequence), reasons)


def objection(group: str, release: Release, running: Mapping[str, Release]) -> str | None:
    """Why `release` of `group` may not take over on a board with `running`; None: it may."""
    for needed, requirement in sorted(release.requires.items()):
        has = running.get(needed)
        if needed == group or _met(has, requirement):
            continue
        what = f"{has.version} runs" if has else "nothing of it runs"
        return f"requires {needed} {requirement}, but {what}"
    for other, dependent in sorted(running.items()):
        requirement_of_other = dependent.requires.get(group)
        if other == group or requirement_of_other is None:
            continue
        if _met(running.get(group), requirement_of_other) and not _met(release, requirement_of_other):
            return f"{other} {dependent.version} runs and requires {group} {requirement_of_other}"
    return None


def _why_not(group: str, running: Mapping[str, Release], left: Mapping[str, Release]) -> str:
    reason = objection(group, left[group], running)
    if reason is None:  # not reached: who has no objection is not left
        return ""
    others = {other: release for other, release in left.items() if other != group}
    if objection(group, left[group], {**running, **others}) is None:
        circle = _circle(group, running, left)
        if circle:
            return f"{reason}; {' and '.join(circle)} wait for each other"
        waits = [other for other in _waits_for(group, running, left) if other in left]
        return f"{reason}; waits for {', '.join(waits)}"
    return reason


def _waits_for(group: str, running: Mapping[str, Release], left: Mapping[str, Release]) -> list[str]:
    """Groups that are left and whose taking over would remove an objection against `group`."""
    before = _objections(group, left[group], running)
    return [
        other
        for other in left
        if other != group and _objections(group, left[group], {**running, other: left[other]}) < before
    ]


def _objections(group: str, release: Release, running: Mapping[str, Release]) -> int:
    unmet = sum(
        1 for needed, clause in release.requires.items() if needed != group and not _met(running.get(needed), clause)
    )
    broken = sum(
        1
        for other, dependent in running.items()
        if other != group
        and group in dependent.requires
        and _met(running.get(group), dependent.requires[group])
        and not _met(release, dependent.requires[group])
    )
    return unmet + broken


def _circle(group: str, running: Mapping[str, Release], left: Mapping[str, Release]) -> list[str]:
    """The groups that `group` waits for and that wait for it, sorted, itself among them; empty if none."""
    reached = _reach(group, running, left)
    if group not in reached:
        return []
    return sorted(other for other in reached if other == group or group in _reach(other, running, left))


def _reach(group: str, running: Mapping[str, Release], left: Mapping[str, Release]) -> set[str]:
    reached: set[str] = set()
    frontier = [group]
    while frontier:
        new = [other for other in _waits_for(frontier.pop(), running, left) if other not in reached]
        reached.update(new)
        frontier.extend(new)
    return reached


def _met(release: Release | None, requirement: str) -> bool:
    if release is None:
        return False
    try:
        return satisfies(release.version, requirement)
    except UsageError:  # a requirement that nobody can read is met by nothing, and the reason shows it
        return False
