"""How versions compare, and when a requirement of one group on another is met."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.errors import UsageError
from boardwright.model.requirement import compare, parse_requirement, satisfies

versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("8.9", "8.10"),
        ("8.4", "8.4.1"),
        ("1.0-alpha", "1.0-beta"),
        ("1.0-beta2", "1.0-rc1"),
        ("1.0-rc1", "1.0~rc2"),
        ("1.0~rc2", "1.0"),
        ("1.0-rc9", "1.0-rc10"),
        ("1.0", "1.0-1"),
        ("1.0-1", "1.0-2"),
        ("1.0.2", "1.0.2a"),
        ("1.0.2a", "1.0.2b"),
        ("1.0-9", "1.0.hotfix"),
        ("202305.1", "202311"),
        ("9", "10"),
    ],
)
def test_an_earlier_version_is_before_a_later_one(before: str, after: str) -> None:
    assert compare(before, after) == -1
    assert compare(after, before) == 1


@pytest.mark.parametrize(("a", "b"), [("3", "3.0.0"), ("v1.2", "1.2"), ("1.02", "1.2"), ("1.0-RC1", "1.0rc1")])
def test_spellings_of_the_same_version_are_equal(a: str, b: str) -> None:
    assert compare(a, b) == 0


def test_a_number_of_any_length_compares_without_trouble() -> None:
    assert compare("9" * 9000, "1" + "0" * 9000) == -1


@given(versions, versions, versions)
def test_the_ordering_is_one(a: str, b: str, c: str) -> None:
    assert compare(a, a) == 0
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_compares(a: str, b: str) -> None:
    assert compare(a, b) in (-1, 0, 1)


@pytest.mark.parametrize(
    ("version", "requirement", "met"),
    [
        ("3", ">= 3", True),
        ("2.9", ">= 3", False),
        ("8.4.0", "== 8.4", True),
        ("8.4.4", "== 8.4", False),
        ("1.5", "< 2, >= 1", True),
        ("2.0", "< 2, >= 1", False),
        ("2.0-rc1", "< 2", True),
        ("1.7", "!= 1.7", False),
        ("1.8", ">1.7", True),
        ("1.7", "<=1.7", True),
        ("anything", "*", True),
    ],
)
def test_a_requirement_holds_if_every_clause_holds(version: str, requirement: str, met: bool) -> None:
    assert satisfies(version, requirement) is met


@pytest.mark.parametrize("requirement", ["", "3", ">=", ">= 3,", "=> 3", ">= 3 4", "*, >= 3", "~= 3", ">= ../x"])
def test_a_malformed_requirement_is_refused_with_its_text(requirement: str) -> None:
    with pytest.raises(UsageError, match="requirement") as caught:
        parse_requirement(requirement)
    assert caught.value.hint
