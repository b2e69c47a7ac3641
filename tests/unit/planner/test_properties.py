"""What holds for every policy, inventory, catalog and parent."""

from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.inventory import Board, Inventory
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy, Selector
from boardwright.model.software import Target
from boardwright.planner.check import check
from boardwright.planner.diff import diff
from boardwright.planner.planner import CatalogEntry, plan
from boardwright.planner.wishes import Wishes

GROUPS = ("a", "b", "c")
VERSIONS = ("1", "2", "3")
VARIANTS = ("*", "lc", "rp", "lc,rp")
REQUIREMENTS = (">= 2", "== 1", "< 3", "!= 2", "*", "broken")

board_ids = st.sampled_from([f"c{chassis}s{slot}" for chassis in "12" for slot in "123"])


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    boards = {}
    for name in draw(st.sets(board_ids)):
        groups = tuple(sorted(draw(st.sets(st.sampled_from(GROUPS)))))
        boards[name] = Board(name, Location(name[1], name[3]), draw(st.sampled_from(["lc", "rp", "fan"])), groups)
    return Inventory(boards)


@st.composite
def catalogs(draw: st.DrawFn) -> list[CatalogEntry]:
    entries = []
    names = st.tuples(st.sampled_from(GROUPS), st.sampled_from(VERSIONS), st.sampled_from(VARIANTS))
    for group, version, variant in sorted(draw(st.sets(names, max_size=15))):
        others = st.sampled_from([other for other in GROUPS if other != group])
        requires = draw(st.dictionaries(others, st.sampled_from(REQUIREMENTS), max_size=2))
        target = Target(group, version, variant, f"{group}{version}{variant}".ljust(64, "0"))
        entries.append(CatalogEntry(target, requires, tuple(variant.split(","))))
    return entries


terms = st.one_of(
    st.tuples(st.just("board"), st.one_of(board_ids, st.sampled_from(["c1*", "*", "c?s1", "c[12]s2"]))),
    st.tuples(st.just("chassis"), st.sampled_from(["1", "2", "*"])),
    st.tuples(st.just("slot"), st.sampled_from(["1", "[12]"])),
    st.tuples(st.just("type"), st.sampled_from(["lc", "rp", "?c"])),
)
selectors = st.lists(terms, max_size=2).map(lambda found: Selector(tuple(found)))
assignments = st.builds(
    Assignment, st.sampled_from(GROUPS), st.sampled_from((*VERSIONS, "9")), st.lists(selectors, max_size=2).map(tuple)
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    policy = Policy()
    for assignment in draw(st.lists(assignments, max_size=6)):
        policy = policy.assign(assignment)
    return policy


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, list[CatalogEntry]]:
    """A plan that came about by planning under changing policies and inventories, and the catalog then."""
    catalog = draw(catalogs())
    parent = Plan()
    for _ in range(draw(st.integers(0, 2))):
        parent = plan(draw(policies()), draw(inventories()), catalog, parent).plan or parent
    return parent, catalog


@settings(max_examples=300, deadline=None)
@given(policies(), inventories(), histories())
def test_every_plan_passes_the_check(
    policy: Policy, inventory: Inventory, history: tuple[Plan, list[CatalogEntry]]
) -> None:
    parent, catalog = history
    proposal = plan(policy, inventory, catalog, parent)
    if proposal.plan is not None:
        assert check(proposal.plan, parent, inventory, catalog) == ()


@settings(max_examples=300, deadline=None)
@given(policies(), inventories(), histories())
def test_planning_again_finds_nothing_to_change_and_the_same_reasons(
    policy: Policy, inventory: Inventory, history: tuple[Plan, list[CatalogEntry]]
) -> None:
    parent, catalog = history
    first = plan(policy, inventory, catalog, parent)
    again = plan(policy, inventory, catalog, first.plan or parent)
    assert again.plan is None
    assert again.changes == ()
    assert again.reasons.keys() == first.reasons.keys()


@settings(max_examples=200, deadline=None)
@given(policies(), inventories(), histories(), assignments)
def test_a_new_assignment_never_touches_boards_outside_its_selectors(
    policy: Policy, inventory: Inventory, history: tuple[Plan, list[CatalogEntry]], assignment: Assignment
) -> None:
    parent, catalog = history
    settled = plan(policy, inventory, catalog, parent).plan or parent
    following = plan(policy.assign(assignment), inventory, catalog, settled).plan or settled
    for board in inventory.boards.values():
        if not assignment.matches(board):
            assert following.for_board(board.id).groups == settled.for_board(board.id).groups


@settings(max_examples=200, deadline=None)
@given(policies(), inventories(), histories())
def test_the_changes_are_the_difference_from_the_parent(
    policy: Policy, inventory: Inventory, history: tuple[Plan, list[CatalogEntry]]
) -> None:
    parent, catalog = history
    proposal = plan(policy, inventory, catalog, parent)
    assert proposal.changes == diff(parent, proposal.plan or parent)
    assert all(not change.reason for change in proposal.changes)


@settings(max_examples=200, deadline=None)
@given(policies(), inventories(), histories())
def test_every_wish_is_met_or_has_a_reason(
    policy: Policy, inventory: Inventory, history: tuple[Plan, list[CatalogEntry]]
) -> None:
    parent, catalog = history
    proposal = plan(policy, inventory, catalog, parent)
    result = proposal.plan or parent
    for board in inventory.boards.values():
        for group in board.groups:
            wanted = policy.wanted(board, group)
            target = result.for_board(board.id).groups.get(group)
            if wanted is None or (board.id, group) in proposal.reasons:
                continue
            assert target is not None
            assert target.version == wanted.version


@settings(max_examples=200, deadline=None)
@given(policies(), inventories())
def test_prepared_wishes_answer_as_the_policy_does(policy: Policy, inventory: Inventory) -> None:
    wishes = Wishes(policy)
    for board in inventory.boards.values():
        for group in GROUPS:
            assert wishes.wanted(board, group) == policy.wanted(board, group)


class TestSize:
    def many(self, count: int) -> Inventory:
        return Inventory(
            {
                f"b{number}": Board(f"b{number}", Location(str(number // 16), str(number % 16)), "lc", GROUPS)
                for number in range(count)
            }
        )

    def test_a_policy_that_names_every_board_by_itself_costs_no_look_per_pair(self) -> None:
        boards = self.many(2000)
        policy = Policy(
            (
                Assignment("a", "1"),
                *(Assignment("a", "2", (Selector((("board", name),)),)) for name in boards.boards),
            )
        )
        wishes = Wishes(policy)
        for board in boards.boards.values():
            assert wishes.wanted(board, "a") == Assignment("a", "2", (Selector((("board", board.id),)),))
        assert wishes.looks <= 2 * len(boards.boards)

    def test_ten_thousand_boards_are_planned_and_checked(self) -> None:
        boards = self.many(10_000)
        catalog = [CatalogEntry(Target(group, "1", "*", group * 64), {}, ("*",)) for group in GROUPS]
        policy = Policy(tuple(Assignment(group, "1") for group in GROUPS))
        proposal = plan(policy, boards, catalog, Plan())
        assert proposal.plan is not None
        assert len(proposal.plan.boards) == 10_000
        assert len(proposal.plan.targets) == 3
        assert check(proposal.plan, Plan(), boards, catalog) == ()
