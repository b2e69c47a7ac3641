"""What the planner plans for whom, and the named reasons for what it does not plan."""

import pytest

from boardwright.errors import UsageError
from boardwright.model.api import PlanChange
from boardwright.model.inventory import Board, Inventory
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy, parse_selector
from boardwright.model.software import Target
from boardwright.planner.check import check
from boardwright.planner.planner import CatalogEntry, Outcome, Proposal, plan
from boardwright.planner.reason import Reason, ReasonKind
from boardwright.planner.safety import strategy_named


def board(name: str, board_type: str = "lc", groups: tuple[str, ...] = ("platform", "routing")) -> Board:
    return Board(name, Location("1", name), board_type, groups)


def inventory(*boards: Board) -> Inventory:
    return Inventory({one.id: one for one in boards})


def entry(group: str, version: str, variant: str = "*", **requires: str) -> CatalogEntry:
    target = Target(group, version, variant, f"{group}-{version}-{variant}".ljust(64, "0"))
    return CatalogEntry(target, requires, tuple(variant.split(",")))


def policy(*wishes: tuple[str, str] | tuple[str, str, str]) -> Policy:
    result = Policy()
    for group, version, *selectors in wishes:
        result = result.assign(Assignment(group, version, tuple(parse_selector(text) for text in selectors)))
    return result


def versions(proposal: Proposal, name: str) -> dict[str, str]:
    assert proposal.plan is not None
    return {group: target.version for group, target in proposal.plan.for_board(name).groups.items()}


def planned(wishes: Policy, boards: Inventory, catalog: list[CatalogEntry], parent: Plan) -> Plan:
    """The plan that follows, checked."""
    proposal = plan(wishes, boards, catalog, parent)
    assert proposal.plan is not None
    assert check(proposal.plan, parent, boards, catalog) == ()
    return proposal.plan


CATALOG = [entry("platform", "1"), entry("platform", "2"), entry("routing", "8"), entry("routing", "9")]


class TestWhatIsPlanned:
    def test_every_board_gets_the_version_that_the_policy_names(self) -> None:
        proposal = plan(policy(("platform", "1")), inventory(board("a"), board("b")), CATALOG, Plan())
        assert versions(proposal, "a") == versions(proposal, "b") == {"platform": "1"}
        assert proposal.outcome is Outcome.NEW_PLAN
        assert proposal.reasons == {}

    def test_a_plan_follows_on_its_parent(self) -> None:
        proposal = plan(policy(("platform", "1")), inventory(board("a")), CATALOG, Plan(generation=7, parent=6))
        assert proposal.plan is not None
        assert (proposal.plan.parent, proposal.plan.generation) == (7, 8)

    def test_the_changes_say_what_each_board_had_and_gets(self) -> None:
        boards = inventory(board("a"), board("b"))
        parent = planned(policy(("platform", "1")), boards, CATALOG, Plan())
        proposal = plan(policy(("platform", "1"), ("platform", "2", "b")), boards, CATALOG, parent)
        assert proposal.changes == (PlanChange("b", "platform", "1", "2"),)

    def test_nothing_to_change_is_a_value(self) -> None:
        boards = inventory(board("a"))
        parent = planned(policy(("platform", "1")), boards, CATALOG, Plan())
        proposal = plan(policy(("platform", "1")), boards, CATALOG, parent)
        assert proposal == Proposal(None, (), {})
        assert proposal.outcome is Outcome.NOTHING_TO_CHANGE

    def test_the_variant_is_that_of_the_boards_type(self) -> None:
        catalog = [entry("platform", "1", "rp"), entry("platform", "1", "lc,lc-*")]
        boards = inventory(board("a", "rp"), board("b", "lc-100g"))
        result = planned(policy(("platform", "1")), boards, catalog, Plan())
        assert result.for_board("a").groups["platform"].variant == "rp"
        assert result.for_board("b").groups["platform"].variant == "lc,lc-*"

    def test_boards_share_the_targets_of_a_plan(self) -> None:
        boards = inventory(*(board(f"b{number}") for number in range(50)))
        result = planned(policy(("platform", "1"), ("routing", "8")), boards, CATALOG, Plan())
        assert len(result.targets) == 2
        assert set(result.boards.values()) == {(0, 1)}

    def test_what_the_policy_does_not_name_stays(self) -> None:
        boards = inventory(board("a"))
        parent = planned(policy(("platform", "1"), ("routing", "8")), boards, CATALOG, Plan())
        proposal = plan(policy(("routing", "9")), boards, CATALOG, parent)
        assert versions(proposal, "a") == {"platform": "1", "routing": "9"}

    def test_the_last_assignment_that_matches_wins(self) -> None:
        wishes = policy(("platform", "1"), ("platform", "2", "type=lc"), ("platform", "1", "b"))
        proposal = plan(wishes, inventory(board("a"), board("b"), board("c", "rp")), CATALOG, Plan())
        assert [versions(proposal, name)["platform"] for name in "abc"] == ["2", "1", "1"]

    def test_a_board_without_any_target_is_not_in_the_plan(self) -> None:
        proposal = plan(policy(("platform", "1", "a")), inventory(board("a"), board("b")), CATALOG, Plan())
        assert proposal.plan is not None
        assert set(proposal.plan.boards) == {"a"}


class TestAChangingInventory:
    def test_a_late_board_gets_its_targets_in_the_next_plan(self) -> None:
        wishes = policy(("platform", "1"))
        parent = planned(wishes, inventory(board("a")), CATALOG, Plan())
        proposal = plan(wishes, inventory(board("a"), board("late")), CATALOG, parent)
        assert proposal.changes == (PlanChange("late", "platform", None, "1"),)

    def test_a_board_that_left_leaves_the_plan(self) -> None:
        wishes = policy(("platform", "1"))
        parent = planned(wishes, inventory(board("a"), board("b")), CATALOG, Plan())
        proposal = plan(wishes, inventory(board("a")), CATALOG, parent)
        assert proposal.changes == (PlanChange("b", "platform", "1", None),)

    def test_a_group_that_the_board_no_longer_runs_leaves_its_plan(self) -> None:
        wishes = policy(("platform", "1"), ("routing", "8"))
        parent = planned(wishes, inventory(board("a")), CATALOG, Plan())
        proposal = plan(wishes, inventory(board("a", groups=("platform",))), CATALOG, parent)
        assert versions(proposal, "a") == {"platform": "1"}

    def test_a_board_swapped_for_another_type_gets_the_variant_of_its_type(self) -> None:
        catalog = [entry("platform", "1", "rp"), entry("platform", "1", "lc")]
        wishes = policy(("platform", "1"))
        parent = planned(wishes, inventory(board("a", "rp")), catalog, Plan())
        proposal = plan(wishes, inventory(board("a", "lc")), catalog, parent)
        assert proposal.changes == (PlanChange("a", "platform", "1", "1"),)
        assert proposal.plan is not None
        assert proposal.plan.for_board("a").groups["platform"].variant == "lc"

    def test_a_board_swapped_for_a_type_that_nothing_fits_keeps_nothing(self) -> None:
        catalog = [entry("platform", "1", "rp")]
        wishes = policy(("platform", "1"))
        parent = planned(wishes, inventory(board("a", "rp")), catalog, Plan())
        proposal = plan(wishes, inventory(board("a", "lc")), catalog, parent)
        assert proposal.changes == (PlanChange("a", "platform", "1", None),)
        assert proposal.reasons["a", "platform"].kind is ReasonKind.NO_VARIANT


class TestReasons:
    def reason(self, proposal: Proposal, name: str, group: str) -> tuple[ReasonKind, str]:
        found = proposal.reasons[name, group]
        return found.kind, str(found)

    def test_a_version_that_is_not_published(self) -> None:
        proposal = plan(policy(("platform", "3")), inventory(board("a")), CATALOG, Plan())
        assert self.reason(proposal, "a", "platform") == (ReasonKind.NOT_PUBLISHED, "platform 3 is not published")
        assert proposal.outcome is Outcome.NOTHING_TO_CHANGE

    def test_a_version_without_a_variant_for_the_board_type_leaves_the_board_what_it_has(self) -> None:
        catalog = [*CATALOG, entry("platform", "3", "rp")]
        boards = inventory(board("a", "lc"), board("b", "rp"))
        parent = planned(policy(("platform", "2")), boards, catalog, Plan())
        proposal = plan(policy(("platform", "3")), boards, catalog, parent)
        assert versions(proposal, "a") == {"platform": "2"}
        assert versions(proposal, "b") == {"platform": "3"}
        sentence = "platform 3 has no variant for board type lc"
        assert self.reason(proposal, "a", "platform") == (ReasonKind.NO_VARIANT, sentence)
        assert proposal.refused == (PlanChange("a", "platform", "2", "3", sentence),)
        assert ("b", "platform") not in proposal.reasons

    def test_several_variants_that_fit_are_not_chosen_among(self) -> None:
        catalog = [entry("platform", "1", "lc-*"), entry("platform", "1", "*-100g")]
        proposal = plan(policy(("platform", "1")), inventory(board("a", "lc-100g")), catalog, Plan())
        assert self.reason(proposal, "a", "platform") == (
            ReasonKind.SEVERAL_VARIANTS,
            "several variants of platform 1 fit board type lc-100g: '*-100g' and 'lc-*'",
        )

    def test_a_group_that_a_picked_board_does_not_run(self) -> None:
        boards = inventory(board("a", groups=("platform",)))
        proposal = plan(policy(("routing", "8", "a")), boards, CATALOG, Plan())
        assert self.reason(proposal, "a", "routing") == (ReasonKind.GROUP_NOT_RUN, "this board does not run routing")

    def test_a_wish_for_every_board_is_silent_about_boards_that_do_not_run_the_group(self) -> None:
        boards = inventory(board("a", groups=("platform",)), board("b"))
        proposal = plan(policy(("routing", "8")), boards, CATALOG, Plan())
        assert proposal.reasons == {}
        assert proposal.changes == (PlanChange("b", "routing", None, "8"),)

    def test_a_strategy_may_hold_a_board_back_with_its_reason(self) -> None:
        held = Reason(ReasonKind.NOT_YET, "its pair is changing")
        boards = inventory(board("a"), board("b"))
        wishes = policy(("platform", "1"))
        proposal = plan(wishes, boards, CATALOG, Plan(), may_change=lambda one: held if one.id == "a" else None)
        assert proposal.changes == (PlanChange("b", "platform", None, "1"),)
        assert proposal.reasons == {("a", "platform"): held}


class TestRequirements:
    def test_versions_that_need_each_other_change_together(self) -> None:
        catalog = [*CATALOG, entry("platform", "3"), entry("routing", "10", platform=">= 3")]
        boards = inventory(board("a"))
        parent = planned(policy(("platform", "2"), ("routing", "9")), boards, catalog, Plan())
        result = planned(policy(("platform", "3"), ("routing", "10")), boards, catalog, parent)
        assert {target.version for target in result.for_board("a").groups.values()} == {"3", "10"}

    def test_a_version_whose_requirement_is_not_planned_is_refused(self) -> None:
        catalog = [*CATALOG, entry("routing", "10", platform=">= 3")]
        boards = inventory(board("a"))
        parent = planned(policy(("platform", "2"), ("routing", "9")), boards, catalog, Plan())
        proposal = plan(policy(("platform", "2"), ("routing", "10")), boards, catalog, parent)
        assert proposal.outcome is Outcome.NOTHING_TO_CHANGE
        reason = proposal.reasons["a", "routing"]
        assert reason.kind is ReasonKind.REQUIREMENT_NOT_PLANNED
        assert str(reason) == "routing 10 requires platform >= 3, this board is planned to run platform 2"

    def test_a_requirement_on_a_group_that_the_board_does_not_run_cannot_be_met(self) -> None:
        catalog = [entry("routing", "10", platform=">= 3")]
        boards = inventory(board("a", groups=("routing",)))
        proposal = plan(policy(("routing", "10")), boards, catalog, Plan())
        assert str(proposal.reasons["a", "routing"]) == (
            "routing 10 requires platform >= 3, this board is planned to run no platform"
        )

    def test_a_new_version_may_not_break_what_a_kept_one_requires(self) -> None:
        catalog = [*CATALOG, entry("routing", "10", platform="< 2")]
        boards = inventory(board("a"))
        parent = planned(policy(("platform", "1"), ("routing", "10")), boards, catalog, Plan())
        proposal = plan(policy(("platform", "2")), boards, catalog, parent)
        assert proposal.outcome is Outcome.NOTHING_TO_CHANGE
        reason = proposal.reasons["a", "platform"]
        assert reason.kind is ReasonKind.REQUIRED_BY_OTHER
        assert str(reason) == "routing 10, which this board is planned to run, requires platform < 2"

    def test_what_is_refused_takes_along_what_requires_it(self) -> None:
        catalog = [*CATALOG, entry("platform", "3", "rp"), entry("routing", "10", platform=">= 3")]
        boards = inventory(board("a", "lc"))
        parent = planned(policy(("platform", "2"), ("routing", "9")), boards, catalog, Plan())
        proposal = plan(policy(("platform", "3"), ("routing", "10")), boards, catalog, parent)
        assert proposal.outcome is Outcome.NOTHING_TO_CHANGE
        assert proposal.reasons["a", "platform"].kind is ReasonKind.NO_VARIANT
        assert proposal.reasons["a", "routing"].kind is ReasonKind.REQUIREMENT_NOT_PLANNED

    def test_what_was_refused_for_the_sake_of_something_refused_goes_in_after_all(self) -> None:
        catalog = [
            entry("platform", "1"),
            entry("platform", "2"),
            entry("routing", "8", platform="== 1"),
            entry("zebra", "5"),
            entry("zebra", "6", platform="== 1"),
        ]
        boards = inventory(board("a", groups=("platform", "routing", "zebra")))
        parent = planned(policy(("platform", "1"), ("routing", "8"), ("zebra", "5")), boards, catalog, Plan())
        proposal = plan(policy(("platform", "2"), ("zebra", "6")), boards, catalog, parent)
        assert versions(proposal, "a") == {"platform": "1", "routing": "8", "zebra": "6"}
        assert set(proposal.reasons) == {("a", "platform")}

    def test_a_requirement_that_is_malformed_is_met_by_nothing(self) -> None:
        catalog = [*CATALOG, entry("routing", "10", platform="three")]
        proposal = plan(policy(("platform", "2"), ("routing", "10")), inventory(board("a")), catalog, Plan())
        assert versions(proposal, "a") == {"platform": "2"}
        assert proposal.reasons["a", "routing"].kind is ReasonKind.REQUIREMENT_NOT_PLANNED

    def test_a_requirement_that_was_broken_before_stops_nothing(self) -> None:
        catalog = [*CATALOG, entry("routing", "10", platform=">= 5")]
        boards = inventory(board("a"))
        broken = Plan(3, 2, (catalog[0].target, catalog[4].target), {"a": (0, 1)})
        proposal = plan(policy(("platform", "2")), boards, catalog, broken)
        assert versions(proposal, "a") == {"platform": "2", "routing": "10"}
        assert proposal.plan is not None
        assert check(proposal.plan, broken, boards, catalog) == ()


class TestStrategies:
    def test_all_at_once_holds_no_board_back(self) -> None:
        assert strategy_named("all-at-once")(board("a")) is None

    def test_another_strategy_is_wrong_usage(self) -> None:
        with pytest.raises(UsageError, match="'canary' is not known"):
            strategy_named("canary")
