"""From what the operator wants to a plan that may be committed: the planner proposes, the checker refuses.

Rules:

* The planner is pure and decides; nothing here weighs boards against each other.
* The checker judges every plan anew before it is committed, whoever made it.
* A plan is committed only onto its parent: its transaction compares the plan and the policy that it was made from, and
  the records of the versions that it names anew, so that none of them is retired at the same moment. What the parent
  named was kept from that already, because retiring compares the plan; so the change stays small, however many
  versions a cluster runs.
* Versions that were retired cannot be planned.
* What a version requires of its own group is what it may follow on, not what it must be (``upgrades``).
"""

from collections.abc import Mapping

from boardwright.errors import RefusedError
from boardwright.model.policy import Policy
from boardwright.model.software import Target
from boardwright.planner.check import check
from boardwright.planner.planner import CatalogEntry, Proposal, plan
from boardwright.server.facts import Facts, encoded
from boardwright.state.kv import Transaction
from boardwright.state.records import PLAN, POLICY, CatalogRecord, catalog_key

NAMED_FINDINGS = 5  # how many faults of a refused plan the sentence names


def propose(facts: Facts, policy: Policy) -> Proposal:
    """What follows from `policy` and the facts; RefusedError for a plan that the checker does not let pass."""
    catalog = catalog_entries(facts.catalog)
    proposal = plan(policy, facts.inventory, catalog, facts.plan)
    if proposal.plan is not None:
        findings = check(proposal.plan, facts.plan, facts.inventory, catalog)
        if findings:
            named = "; ".join(str(finding) for finding in findings[:NAMED_FINDINGS])
            raise RefusedError(f"plan {proposal.plan.generation} is unsafe: {named}")
    return proposal


def transaction(facts: Facts, policy: Policy, proposal: Proposal) -> Transaction:
    """The change that makes `policy` and the proposed plan true, if nobody changed either meanwhile."""
    puts: dict[str, bytes | None] = {}
    if policy != facts.policy:
        puts[POLICY] = encoded(policy)
    if proposal.plan is not None:
        puts[PLAN] = encoded(proposal.plan)
    added = set(proposal.plan.targets).difference(facts.plan.targets) if proposal.plan is not None else set()
    named = sorted(catalog_key(one.group, one.version, one.variant) for one in added)
    return Transaction(facts.compare(POLICY, PLAN, *(key for key in named if key in facts.revisions)), puts)


def target_of(record: CatalogRecord) -> Target:
    """A published version as plans name it."""
    return Target(record.group, record.version, record.variant, record.manifest)


def catalog_entries(catalog: Mapping[str, CatalogRecord]) -> tuple[CatalogEntry, ...]:
    """The catalog as the planner reads it."""
    return tuple(
        CatalogEntry(
            target=target_of(record),
            requires={group: clause for group, clause in record.requires.items() if group != record.group},
            board_types=tuple(record.variant.split(",")),
        )
        for _, record in sorted(catalog.items())
        if not record.retired
    )
