"""Metadata from the newest: which server's plan a board takes (design section 3)."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from boardwright.errors import BoardwrightError, UnreachableError
from boardwright.model.plan import BoardPlan
from boardwright.protocol.messages import Offer
from boardwright.trust.errors import UntrustedError


class PlanClient(Protocol):
    """Fetches a board's part of the plan from one server; raises BoardwrightError."""

    def plan(self, api: str, board: str) -> BoardPlan: ...


class PlanFound(msgspec.Struct, frozen=True):
    """`plan` is None if nobody had a good one; `problems` are one sentence per server that was of no use.

    `silent` are the ids of those that did not answer at all, `era` is the one that the plan was verified in
    (``agent.signed_plans``), `untrusted` how many servers gave what nobody has signed.
    """

    plan: BoardPlan | None
    problems: tuple[str, ...]
    silent: frozenset[str] = frozenset()
    era: int = 0
    untrusted: int = 0


def find_plan(client: PlanClient, board: str, offers: Sequence[Offer], generation: int) -> PlanFound:
    """Ask the servers of `offers`, newest first, for a plan that is not older than `generation`.

    A server that cannot prove the generation that it claimed comes last: its plan is taken only if nobody
    else has a better one.
    """
    problems: list[str] = []
    unproved: list[BoardPlan] = []
    silent: set[str] = set()
    untrusted = 0
    for offer in offers:
        try:
            plan = client.plan(offer.api, board)
        except BoardwrightError as error:
            problems.append(f"{offer.server}: {error}")
            untrusted += isinstance(error, UntrustedError)
            if isinstance(error, UnreachableError):
                silent.add(offer.server)
            continue
        if plan.generation < generation:
            problems.append(
                f"{offer.server}: its plan {plan.generation} is older than {generation}, which this board has"
            )
        elif plan.generation < offer.generation:
            problems.append(f"{offer.server}: it claimed plan {offer.generation} and has {plan.generation}")
            unproved.append(plan)
        else:
            return PlanFound(plan, tuple(problems), frozenset(silent), untrusted=untrusted)
    best = max(unproved, key=lambda plan: plan.generation, default=None)
    return PlanFound(best, tuple(problems), frozenset(silent), untrusted=untrusted)
