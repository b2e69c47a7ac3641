"""What a plan means for the groups of a board (pure).

Rules:

* A group that the plan names gets it as its wish; one that it names nothing for hears so, with the reason.
* Boardwright itself goes where the plan names no version of it any more: then the installed program runs again. A plan
  of generation 0 is none.
* What the servers withhold, because this board rolled back from it, is wished for and bad: the board keeps what it runs
  and says so, also if it has lost its own memory of it.
* A higher count of retries than the board has heard of makes it forget what was bad, of every group that is not
  withheld in the same plan. A plan with a lower count comes from a server that lags: what it withholds does not count.
"""

from collections.abc import Iterable, Iterator

from boardwright.agent.deployment import BadVersion, Event, Retried, Wanted
from boardwright.boot.names import RELEASE_GROUPS
from boardwright.model.plan import BoardPlan


def follow(plan: BoardPlan, groups: Iterable[str], retry: int) -> Iterator[tuple[str, Event]]:
    """The events by group, in order; `retry` is the count that the board has heard of."""
    for group in groups:
        target, withheld = plan.groups.get(group), plan.withheld.get(group)
        if withheld is not None and plan.retry >= retry:
            bad = BadVersion(withheld.target.manifest, withheld.reason or "it was rolled back from")
            yield group, Wanted(withheld.target, bad=bad)
            continue
        target = target or (withheld.target if withheld is not None else None)
        if plan.retry > retry:
            yield group, Retried()
        reason = "" if target else f"plan {plan.generation} names no version of {group} for this board"
        leave = group in RELEASE_GROUPS and target is None and plan.generation > 0
        yield group, Wanted(target, reason, leave=leave)
