"""From the policy to a change of the state: what it compares."""

from boardwright.model.inventory import Inventory
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy
from boardwright.server.facts import Facts
from boardwright.server.planning import propose, transaction
from boardwright.state.kv import MAX_OPERATIONS, check_transaction
from boardwright.state.records import PLAN, POLICY, CatalogRecord, catalog_key
from tests.unit.server.builders import board

GROUPS = tuple(f"g{number}" for number in range(MAX_OPERATIONS + 10))
BOARD = board(groups=GROUPS)


def facts(plan: Plan) -> Facts:
    """Two versions of very many groups, all on one board, as `plan` has it."""
    records = [
        CatalogRecord(group, version, "*", f"{version}{number:063d}", 1, 0.0)
        for number, group in enumerate(GROUPS)
        for version in ("1", "2")
    ]
    keys = [catalog_key(record.group, record.version, record.variant) for record in records]
    return Facts(
        policy=Policy(),
        plan=plan,
        inventory=Inventory({BOARD.id: BOARD}),
        catalog={key.partition("/")[2]: record for key, record in zip(keys, records, strict=True)},
        rollouts={},
        held={},
        retries={},
        revisions=dict.fromkeys((*keys, PLAN, POLICY), 7),
    )


def test_a_change_compares_what_its_plan_names_anew_and_is_small_however_many_versions_run() -> None:
    policy = Policy()
    for group in GROUPS:
        policy = policy.assign(Assignment(group, "1"))
    plan = propose(facts(Plan()), policy).plan
    assert plan is not None
    assert len(plan.targets) > MAX_OPERATIONS
    later = policy.assign(Assignment("g3", "2"))
    change = transaction(facts(plan), later, propose(facts(plan), later))
    assert change.compares == {POLICY: 7, PLAN: 7, "catalog/g3/2/*": 7}
    check_transaction(change)
