"""Selectors and the policy: the last assignment that matches wins."""

import pytest

from boardwright.errors import UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.policy import Assignment, Policy, parse_selector

CARD = Board("c1s3", Location("1", "3"), "lc-100g", ("platform",))
CONTROL = Board("c2s1", Location("2", "1"), "rp", ("platform",))


@pytest.mark.parametrize("text", ["c1s3", "c1*", "board=c1s3", "chassis=1", "slot=3,type=lc-*", "chassis=1, slot=3"])
def test_a_selector_matches_by_its_globs_joined_by_and(text: str) -> None:
    assert parse_selector(text).matches(CARD)
    assert not parse_selector(text).matches(CONTROL)


@pytest.mark.parametrize(
    ("text", "sentence"), [("rack=1", "has the key 'rack'"), ("chassis=", "no value"), ("", "no value")]
)
def test_a_wrong_selector_is_refused_with_its_text(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_selector(text)


def test_the_last_assignment_that_matches_wins() -> None:
    policy = Policy().assign(Assignment("platform", "1")).assign(Assignment("platform", "2", (parse_selector("c1*"),)))
    assert policy.wanted(CARD, "platform") == Assignment("platform", "2", (parse_selector("c1*"),))
    assert policy.wanted(CONTROL, "platform") == Assignment("platform", "1")
    assert policy.wanted(CARD, "routing") is None


def test_an_assignment_to_every_board_drops_the_earlier_ones_of_its_group() -> None:
    policy = Policy().assign(Assignment("platform", "1", (parse_selector("c1*"),))).assign(Assignment("other", "1"))
    assert policy.assign(Assignment("platform", "2")).assignments == (
        Assignment("other", "1"),
        Assignment("platform", "2"),
    )


def test_the_same_selectors_again_replace_the_earlier_assignment() -> None:
    chosen = (parse_selector("chassis=1"),)
    policy = Policy().assign(Assignment("platform", "1", chosen)).assign(Assignment("platform", "2", chosen))
    assert policy.assignments == (Assignment("platform", "2", chosen),)
