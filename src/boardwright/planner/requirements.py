"""Which wanted versions of one board go together.

Rules:

* A board moves from what it has to what is wanted, group by group. Of the wanted versions as many are taken as possible
  without **breaking** a requirement: one of a version that is new on the board and not met by what the board will run,
  or one of a version that stays and was met before.
* If a requirement breaks, the version that requires is refused if it is new, else the new version of the group that
  it requires.
* What was broken already and what is not in our hands (a group that left the board) stops nothing.
* The result is a fixpoint: from there, the same wishes lead to the same result.
"""

from collections.abc import Mapping

import msgspec

from boardwright.errors import UsageError
from boardwright.model.requirement import satisfies
from boardwright.model.software import Target
from boardwright.planner.reason import Reason, required_by_other, requirement_not_planned

Targets = Mapping[str, Target]  # by group
Requires = Mapping[Target, Mapping[str, str]]


class _Broken(msgspec.Struct, frozen=True):
    """`target` requires `group` as `requirement` says, and does not get it."""

    target: Target
    group: str
    requirement: str


def settle(present: Targets, wanted: Targets, requires: Requires) -> dict[str, Target]:
    """What the board shall run: `present` with every version of `wanted` that breaks no requirement."""
    now = dict(present)
    while True:
        settled = _refuse(now, wanted, requires)
        settled = _accept(now, settled, wanted, requires)
        if settled == now:
            return now
        now = settled


def refusal(settled: Targets, refused: Target, requires: Requires) -> Reason | None:
    """Why `refused` cannot stand beside what was settled; None if it can."""
    broken = _broken(settled, {**settled, refused.group: refused}, requires)
    if broken is None:
        return None
    name = f"{broken.target.group} {broken.target.version}"
    if broken.target == refused:
        planned = settled.get(broken.group)
        return requirement_not_planned(name, broken.group, broken.requirement, planned.version if planned else None)
    return required_by_other(name, broken.group, broken.requirement)


def met(target: Target | None, requirement: str) -> bool:
    """Whether `target` meets `requirement`; a malformed one is met by nothing."""
    if target is None:
        return False
    try:
        return satisfies(target.version, requirement)
    except UsageError:
        return False


def _refuse(present: Targets, wanted: Targets, requires: Requires) -> dict[str, Target]:
    """Everything wanted, less what breaks a requirement, one after the other until nothing breaks."""
    state = {**present, **wanted}
    while (broken := _broken(present, state, requires)) is not None:
        group = broken.target.group
        if state[group] == present.get(group):
            group = broken.group
        if group in present:
            state[group] = present[group]
        else:
            del state[group]
    return state


def _accept(present: Targets, settled: dict[str, Target], wanted: Targets, requires: Requires) -> dict[str, Target]:
    """What was refused only because of something that was refused later goes in after all."""
    for group, target in sorted(wanted.items()):
        candidate = {**settled, group: target}
        if candidate != settled and _broken(present, candidate, requires) is None:
            settled = candidate
    return settled


def _broken(present: Targets, state: Targets, requires: Requires) -> _Broken | None:
    """The first requirement that going from `present` to `state` would break."""
    for _, target in sorted(state.items()):
        for group, requirement in sorted(requires.get(target, {}).items()):
            if met(state.get(group), requirement):
                continue
            new = target != present.get(target.group)
            if new or met(present.get(group), requirement):
                return _Broken(target, group, requirement)
    return None
