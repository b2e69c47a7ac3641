"""The checker finds every fault that a plan may have, whoever made it."""

import msgspec
import pytest

from boardwright.model.inventory import Board, Inventory
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.software import Target
from boardwright.planner.check import FindingKind, check
from boardwright.planner.planner import CatalogEntry

PLATFORM_1 = Target("platform", "1", "*", "1" * 64)
PLATFORM_2 = Target("platform", "2", "*", "2" * 64)
ROUTING = Target("routing", "8", "*", "3" * 64)
FOR_RP = Target("platform", "1", "rp", "4" * 64)
CATALOG = [
    CatalogEntry(PLATFORM_1, {}, ("*",)),
    CatalogEntry(PLATFORM_2, {}, ("*",)),
    CatalogEntry(ROUTING, {"platform": "== 1"}, ("*",)),
    CatalogEntry(FOR_RP, {}, ("rp",)),
]
INVENTORY = Inventory(
    {
        "a": Board("a", Location("1", "1"), "lc", ("platform", "routing")),
        "b": Board("b", Location("1", "2"), "lc", ("platform",)),
    }
)
PARENT = Plan(4, 3, (PLATFORM_1, ROUTING), {"a": (0, 1)})
GOOD = Plan(5, 4, (PLATFORM_1, PLATFORM_2, ROUTING), {"a": (0, 2), "b": (1,)})


def kinds(plan: Plan, parent: Plan = PARENT) -> set[FindingKind]:
    findings = check(plan, parent, INVENTORY, CATALOG)
    assert all(str(finding) for finding in findings)
    return {finding.kind for finding in findings}


def test_a_good_plan_has_no_findings() -> None:
    assert check(GOOD, PARENT, INVENTORY, CATALOG) == ()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"parent": 3}, FindingKind.WRONG_PARENT),
        ({"generation": 6}, FindingKind.WRONG_GENERATION),
        ({"generation": 4}, FindingKind.WRONG_GENERATION),
        ({"targets": (PLATFORM_1, Target("platform", "7", "*", "7" * 64), ROUTING)}, FindingKind.UNKNOWN_TARGET),
        ({"targets": (PLATFORM_1, Target("platform", "2", "*", "x" * 64), ROUTING)}, FindingKind.UNKNOWN_TARGET),
        ({"targets": (PLATFORM_1, PLATFORM_1, ROUTING)}, FindingKind.REPEATED_TARGET),
        ({"boards": {"a": (0, 3)}}, FindingKind.BAD_INDEX),
        ({"boards": {"a": (-1,)}}, FindingKind.BAD_INDEX),
        ({"boards": {"ghost": (0,)}}, FindingKind.UNKNOWN_BOARD),
        ({"boards": {"b": (0, 1)}}, FindingKind.GROUP_TWICE),
        ({"boards": {"b": (0, 0)}}, FindingKind.GROUP_TWICE),
        ({"boards": {"b": (0, 2)}}, FindingKind.GROUP_NOT_RUN),
        ({"targets": (FOR_RP, PLATFORM_2, ROUTING)}, FindingKind.VARIANT_DOES_NOT_FIT),
        ({"boards": {"a": (1, 2)}}, FindingKind.REQUIREMENT_BROKEN),
    ],
)
def test_every_fault_is_found(fault: dict[str, object], kind: FindingKind) -> None:
    assert kind in kinds(msgspec.structs.replace(GOOD, **fault))


def test_a_new_target_without_what_it_requires_is_found() -> None:
    assert kinds(Plan(5, 4, (ROUTING,), {"a": (0,)}), Plan(4)) == {FindingKind.REQUIREMENT_BROKEN}


def test_a_kept_target_that_lost_the_group_it_requires_is_not_the_plans_fault() -> None:
    gone = Inventory({"a": Board("a", Location("1", "1"), "lc", ("routing",))})
    assert check(Plan(5, 4, (ROUTING,), {"a": (0,)}), PARENT, gone, CATALOG) == ()


def test_a_target_that_left_the_catalog_may_stay_but_not_come_back() -> None:
    old = Target("platform", "0", "*", "0" * 64)
    kept = Plan(5, 4, (old,), {"a": (0,)})
    assert kinds(kept, Plan(4, 3, (old,), {"a": (0,)})) == set()
    assert kinds(kept, Plan(4)) == {FindingKind.UNKNOWN_TARGET}
