"""Faults that a run plants into a program, so that the checker is seen to find them in real processes."""

import msgspec

from boardwright.agent.driver import BoardDriver
from boardwright.agent.plan_source import PlanFound
from boardwright.model.plan import BoardPlan
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.kv import Transaction
from boardwright.state.records import ROLLOUTS


def lost_write() -> None:
    """A server that acknowledges the second deployment and writes nothing."""
    commit, seen = EtcdKV.commit, list[str]()

    def forgetful(self: EtcdKV, transaction: Transaction) -> int:
        begun = [key for key in transaction.puts if key.startswith(ROLLOUTS) and transaction.compares.get(key) == 0]
        seen.extend(begun)
        if begun and len(seen) == 2:
            return self.range("").revision
        return commit(self, transaction)

    EtcdKV.commit = forgetful  # type: ignore[method-assign]


def stale_plan() -> None:
    """An agent that, having a plan, takes the one before it when it hears of the third."""
    planned, plans = BoardDriver.planned, dict[str, list[BoardPlan]]()

    def forgetful(self: BoardDriver, found: PlanFound, now: float) -> None:
        mine = plans.setdefault(self.board.id, [])
        if found.plan is not None:
            mine.append(found.plan)
        if len(mine) == 3 and found.plan is not None:
            old = next(plan for plan in mine if plan.generation < found.plan.generation)
            self._record = msgspec.structs.replace(self._record, generation=0)
            found = msgspec.structs.replace(found, plan=old)
        planned(self, found, now)

    BoardDriver.planned = forgetful  # type: ignore[method-assign]


PLANTS = {"lost-write": lost_write, "stale-plan": stale_plan}
