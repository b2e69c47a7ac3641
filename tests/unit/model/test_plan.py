"""A plan keeps each target once and tells every board its part."""

from boardwright.model.plan import BoardPlan, Plan
from boardwright.model.software import Target

PLATFORM = Target("platform", "1", "*", "a" * 64)
ROUTING = Target("routing", "2", "lc-*", "b" * 64)
PLAN = Plan(7, 6, (PLATFORM, ROUTING), {"c1s1": (0,), "c1s3": (0, 1)})


def test_a_board_gets_its_targets_by_group_and_the_generation() -> None:
    assert PLAN.for_board("c1s3") == BoardPlan(7, {"platform": PLATFORM, "routing": ROUTING})


def test_a_board_that_the_plan_does_not_know_gets_no_targets() -> None:
    assert PLAN.for_board("c9s9") == BoardPlan(7, {})
