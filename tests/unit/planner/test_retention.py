"""What the stores must keep: the plan, what runs, what a rollback needs, and what those require."""

from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.inventory import Board, Inventory
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy, parse_selector
from boardwright.model.software import Target
from boardwright.planner.retention import Past, Situation, Version, disposable, freed, needed, to_retire

GROUPS = ("platform", "routing")
VERSIONS = tuple(str(number) for number in range(1, 7))
BOARDS = tuple(f"c{chassis}s{slot}" for chassis in (1, 2) for slot in (1, 2, 3))


def target(version: str, group: str = "platform") -> Target:
    return Target(group, version, "*", f"{group}{version}".encode().hex().ljust(64, "0"))


def version(name: str, group: str = "platform", **requires: str) -> Version:
    return Version(target(name, group), float(name), requires)


def board(name: str) -> Board:
    chassis, slot = name.removeprefix("c").split("s")
    return Board(name, Location(chassis, slot), "lc", GROUPS)


def past(name: str, *selectors: str, done: bool = True, group: str = "platform") -> Past:
    return Past(Assignment(group, name, tuple(parse_selector(text) for text in selectors)), done)


def plan(**boards: str) -> Plan:
    """A plan by board of versions of `platform`."""
    targets = tuple(target(name) for name in sorted(set(boards.values())))
    index = {one.version: number for number, one in enumerate(targets)}
    return Plan(1, 0, targets, {name: (index[chosen],) for name, chosen in boards.items()})


def situation(*versions: Version, **facts: object) -> Situation:
    inventory = Inventory({name: board(name) for name in BOARDS})
    return Situation(versions, **{"plan": Plan(), "policy": Policy(), "inventory": inventory, **facts})  # type: ignore[arg-type]


ALL = tuple(version(name) for name in VERSIONS)
HEARD = {name: {"platform": {"6"}} for name in BOARDS}


def names(found: object) -> set[str]:
    return {one.version for one in found}  # type: ignore[attr-defined]


class TestWhatIsNeeded:
    def test_what_the_plan_names_and_the_policy_wants_stays(self) -> None:
        found = needed(situation(*ALL, plan=plan(c1s1="3"), policy=Policy((Assignment("platform", "4"),)), runs=HEARD))
        assert names(found) == {"3", "4", "6"}
        assert found[target("3")] == "is in the plan"

    def test_what_a_board_runs_or_was_told_to_run_stays_whatever_the_plan_says(self) -> None:
        runs = {**HEARD, "c1s2": {"platform": {"2", "5"}}}
        assert names(needed(situation(*ALL, plan=plan(c1s1="6"), runs=runs))) == {"2", "5", "6"}

    def test_what_a_board_would_go_back_to_stays(self) -> None:
        history = (past("1"), past("2"), past("3", "chassis=1"), past("6"))
        found = needed(situation(*ALL, plan=plan(c1s1="6"), past=history, runs=HEARD))
        assert names(found) == {"2", "3", "6"}

    def test_a_version_that_failed_does_not_hide_the_last_that_did_well(self) -> None:
        history = (past("1"), past("2"), past("4", done=False), past("5", done=False), past("6"))
        assert names(needed(situation(*ALL, plan=plan(c1s1="6"), past=history, runs=HEARD))) == {"2", "5", "6"}

    def test_a_group_of_which_a_board_was_not_heard_keeps_everything(self) -> None:
        runs = {name: told for name, told in HEARD.items() if name != "c2s3"}
        other = version("1", "routing")
        found = needed(situation(*ALL, other, plan=plan(c1s1="6", c2s3="6"), runs=runs))
        assert names(found) == set(VERSIONS)
        assert target("1", "routing") not in found
        assert found[target("1")] == "may run on board c2s3, which was not heard yet"

    def test_what_a_needed_version_requires_stays_and_what_that_requires(self) -> None:
        routing = version("1", "routing", platform="< 4")
        base = version("3", platform=">= 1", routing="*")
        found = needed(situation(*ALL[:2], base, *ALL[3:], routing, policy=Policy((Assignment("routing", "1"),))))
        assert names(found) == {"1", "3"}
        assert found[target("3")] == "is required by routing 1"


class TestWhatGoes:
    BLOBS = {target(name): {name, "shared"} for name in VERSIONS}  # noqa: RUF012
    SIZES = {**dict.fromkeys(VERSIONS, 100), "shared": 1000}  # noqa: RUF012

    def test_the_oldest_first_and_no_more_than_needed(self) -> None:
        free = disposable(situation(*reversed(ALL), plan=plan(c1s1="6"), runs=HEARD))
        assert [one.version for one in free] == ["1", "2", "3", "4", "5"]
        assert [one.version for one in to_retire(free, self.BLOBS, self.SIZES, 150)] == ["1", "2"]

    def test_nothing_if_all_of_it_were_not_enough(self) -> None:
        free = [target("1"), target("2")]
        assert to_retire(free, self.BLOBS, self.SIZES, 201) == []
        assert to_retire([], self.BLOBS, self.SIZES, 1) == []

    def test_what_frees_nothing_stays(self) -> None:
        blobs = {target("1"): {"a"}, target("2"): {"b"}, target("6"): {"a"}}
        assert to_retire([target("1"), target("2")], blobs, {"a": 50, "b": 50}, 50) == [target("2")]

    def test_a_version_of_which_nobody_knows_the_blobs_is_no_candidate(self) -> None:
        assert to_retire([target("1")], {}, self.SIZES, 1) == []


requirements = st.dictionaries(st.sampled_from(GROUPS), st.sampled_from(("*", ">= 3", "< 4", "!= 2")), max_size=1)
assignments = st.builds(
    lambda group, name, selectors: Assignment(group, name, tuple(parse_selector(text) for text in selectors)),
    st.sampled_from(GROUPS),
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(("*", "chassis=1", "c2s3", "slot=2")), max_size=2),
)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Twelve versions of which few are needed, and mostly boards that were heard: so that something may go."""
    catalog = tuple(
        Version(target(name, group), float(name), draw(requirements) if draw(st.integers(0, 5)) == 0 else {})
        for group in GROUPS
        for name in VERSIONS
    )
    targets = tuple(draw(st.permutations([one.target for one in catalog])))[:2]
    indexes = st.lists(st.sampled_from(range(2)), max_size=2, unique=True)
    silent = draw(st.sampled_from((*BOARDS, *[None] * 20)))
    told = st.sets(st.sampled_from(VERSIONS[:2]), max_size=1)
    return Situation(
        catalog,
        Plan(1, 0, targets, {name: tuple(draw(indexes)) for name in BOARDS}),
        Policy(tuple(draw(st.lists(assignments, max_size=2)))),
        Inventory({name: board(name) for name in BOARDS}),
        tuple(draw(st.lists(st.builds(Past, assignments, st.booleans()), max_size=5))),
        {name: {group: draw(told) for group in GROUPS} for name in BOARDS if name != silent},
    )


@settings(max_examples=200, deadline=None)
@given(situations(), st.data())
def test_nothing_that_a_plan_a_running_version_or_a_rollback_needs_is_ever_retired(
    facts: Situation, data: st.DataObject
) -> None:
    """Whatever the history, the reports and the pressure: judged by rules that are written down here a second time."""
    blobs = {
        one.target: data.draw(st.sets(st.sampled_from("abcdefghijkl"), min_size=1, max_size=2))
        for one in facts.versions
    }
    sizes = {name: data.draw(st.integers(1, 50)) for name in "abcdefghijkl"}
    lacking = data.draw(st.integers(1, 60))
    gone = to_retire(disposable(facts), blobs, sizes, lacking)
    assert not gone or freed(gone, blobs, sizes) >= lacking
    for retired in gone:
        assert retired not in facts.plan.targets
        assert all((one.group, one.version) != (retired.group, retired.version) for one in facts.policy.assignments)
        for name in BOARDS:
            told = facts.runs.get(name, {})
            assert retired.version not in told.get(retired.group, ())
            in_plan = any(facts.plan.targets[index].group == retired.group for index in facts.plan.boards[name])
            assert retired.group in told or not in_plan
            given_to = [
                one
                for one in facts.past
                if one.assignment.group == retired.group and one.assignment.matches(board(name))
            ]
            changes = [
                one.assignment.version
                for index, one in enumerate(given_to)
                if not index or one.assignment.version != given_to[index - 1].assignment.version
            ]
            assert retired.version not in changes[-2:]
            well = [one.assignment.version for one in given_to if one.done]
            others = [one for one in well if one != changes[-1]] if changes else []
            assert retired.version not in others[-1:]
    assert all(freed([other for other in gone if other != one], blobs, sizes) < lacking for one in gone)
