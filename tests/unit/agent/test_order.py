"""The order of the groups of one board."""

from boardwright.agent.order import Release, objection, order

PLATFORM_2, PLATFORM_3 = Release("2.0"), Release("3.1")
ROUTING_7 = Release("7.0", {"platform": ">= 2"})
ROUTING_8 = Release("8.4", {"platform": ">= 3"})


def test_the_required_group_goes_first() -> None:
    found = order({"platform": PLATFORM_2, "routing": ROUTING_7}, {"routing": ROUTING_8, "platform": PLATFORM_3})
    assert found.sequence == ("platform", "routing")
    assert found.reasons == {}


def test_on_the_way_down_the_required_group_goes_last() -> None:
    found = order({"platform": PLATFORM_3, "routing": ROUTING_8}, {"routing": ROUTING_7, "platform": PLATFORM_2})
    assert found.sequence == ("routing", "platform")


def test_a_blank_board_begins_with_what_requires_nothing() -> None:
    assert order({}, {"routing": ROUTING_8, "platform": PLATFORM_3}).sequence == ("platform", "routing")


def test_an_unmet_requirement_is_named_with_what_runs_instead() -> None:
    found = order({"platform": PLATFORM_2}, {"routing": ROUTING_8})
    assert found.reasons == {"routing": "requires platform >= 3, but 2.0 runs"}
    assert order({}, {"routing": ROUTING_8}).reasons == {"routing": "requires platform >= 3, but nothing of it runs"}


def test_a_running_version_is_not_left_without_what_it_requires() -> None:
    found = order({"platform": PLATFORM_3, "routing": ROUTING_8}, {"platform": PLATFORM_2})
    assert found.reasons == {"platform": "routing 8.4 runs and requires platform >= 3"}


def test_what_is_broken_already_blocks_nobody() -> None:
    assert objection("platform", Release("2.5"), {"platform": PLATFORM_2, "routing": ROUTING_8}) is None


def test_a_circle_is_named_and_nobody_of_it_goes() -> None:
    wanted = {
        "a": Release("2", {"b": ">= 2"}),
        "b": Release("2", {"a": ">= 2"}),
        "c": Release("2"),
    }
    found = order({"a": Release("1"), "b": Release("1")}, wanted)
    assert found.sequence == ("c",)
    assert found.reasons == {
        "a": "requires b >= 2, but 1 runs; a and b wait for each other",
        "b": "requires a >= 2, but 1 runs; a and b wait for each other",
    }


def test_who_waits_for_a_circle_is_told_for_whom() -> None:
    wanted = {
        "a": Release("2", {"b": ">= 2"}),
        "b": Release("2", {"a": ">= 2"}),
        "c": Release("2", {"a": ">= 2"}),
    }
    found = order({"a": Release("1"), "b": Release("1")}, wanted)
    assert found.reasons["c"] == "requires a >= 2, but 1 runs; waits for a"


def test_a_requirement_that_nobody_can_read_is_met_by_nothing() -> None:
    found = order({"platform": PLATFORM_3}, {"routing": Release("1", {"platform": "about three"})})
    assert found.reasons == {"routing": "requires platform about three, but 3.1 runs"}


def test_a_group_may_require_several_clauses() -> None:
    release = Release("1", {"platform": "< 4, >= 3"})
    assert objection("routing", release, {"platform": PLATFORM_3}) is None
    assert objection("routing", release, {"platform": Release("4")}) is not None
