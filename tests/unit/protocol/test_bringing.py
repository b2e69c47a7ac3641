"""The boards of a chassis agree without talking which of them brings a piece."""

from hypothesis import given
from hypothesis import strategies as st

from boardwright.protocol.bringing import (
    GRACE,
    LONGEST_GRACE,
    LONGEST_PATIENCE,
    MAX_MATES,
    PATIENCE,
    Bringers,
)

VERSION = bytes(range(32))
PIECES = 40
NOBODY: tuple[str, ...] = ()
names = st.sets(st.text("abcs123", min_size=1, max_size=4), min_size=1, max_size=8)


def board(name: str, *mates: str) -> Bringers:
    """`name`, which began at 0 and has heard these ask."""
    known = Bringers(name, VERSION, PIECES, 0.0)
    for mate in mates:
        known.asks(mate)
    return known


class TestAgreement:
    @given(names, st.integers(1, 9))
    def test_each_piece_is_brought_by_exactly_one_of_those_that_know_of_each_other(
        self, boards: set[str], size: int
    ) -> None:
        known = {name: board(name, *boards) for name in boards}
        teams = {name: one.team(one.active(NOBODY, 0.0), size) for name, one in known.items()}
        assert len(set(teams.values())) == 1
        for piece in range(PIECES):
            assert sum(one.mine(piece, teams[name]) for name, one in known.items()) == 1

    @given(names.filter(lambda found: len(found) > 1))
    def test_who_goes_moves_only_its_own_pieces(self, boards: set[str]) -> None:
        lost = min(boards)
        for name in boards - {lost}:
            one = board(name, *boards)
            everybody = one.active(NOBODY, 0.0) | {name}
            before = {piece for piece in range(PIECES) if one.mine(piece, everybody)}
            assert before <= {piece for piece in range(PIECES) if one.mine(piece, everybody - {lost})}

    @given(names, st.integers(1, 4))
    def test_a_team_has_its_size_and_changes_by_one_when_one_goes(self, boards: set[str], size: int) -> None:
        name = max(boards)
        one = board(name, *boards)
        team = one.team(one.active(NOBODY, 0.0), size)
        assert len(team) == min(size, len(boards))
        others = team - {name}
        if others:
            again = one.team(one.active({min(others)}, 0.0), size)
            assert len(again - team) <= 1
            assert team - again == {min(others)}

    def test_shares_are_fair(self) -> None:
        boards = [f"c1s{slot}" for slot in range(3, 11)]
        shares = []
        for name in boards:
            one = Bringers(name, VERSION, 1000, 0.0)
            team = frozenset(boards)
            shares.append(sum(one.mine(piece, team) for piece in range(1000)))
        assert sum(shares) == 1000
        assert min(shares) > 80
        assert max(shares) < 180


class TestWhoCounts:
    def test_a_mate_that_only_asks_counts_during_the_grace(self) -> None:
        one = board("a", "b")
        one.brought(0.5)
        assert one.active(NOBODY, 0.5 + GRACE - 0.1) == {"b"}
        assert not one.active(NOBODY, 0.5 + GRACE)

    def test_the_grace_is_as_long_as_the_own_first_piece_took_on_a_slow_link(self) -> None:
        one = board("a", "b")
        one.brought(6.0)
        assert one.active(NOBODY, 11.9) == {"b"}
        assert not one.active(NOBODY, 12.0)

    def test_a_board_that_gets_nothing_does_not_wait_for_names_for_ever(self) -> None:
        one = board("a", "b")
        assert one.active(NOBODY, LONGEST_GRACE - 0.1)
        assert not one.active(NOBODY, LONGEST_GRACE)

    def test_who_shows_pieces_counts_until_it_shows_no_new_one(self) -> None:
        one = board("a")
        one.shows("b", 1, 1.0)
        one.shows("b", 2, 2.0)
        one.brought(1.0)
        assert one.active(NOBODY, 2.0 + PATIENCE - 0.1) == {"b"}
        one.shows("b", 2, 4.0)  # nothing new
        assert not one.active(NOBODY, 2.0 + PATIENCE)
        one.shows("b", 3, 9.0)
        assert one.active(NOBODY, 9.1) == {"b"}

    def test_the_patience_grows_with_the_pauses_that_mates_make_and_has_an_end(self) -> None:
        slow = board("a")
        slow.shows("b", 1, 4.0)
        assert slow.active(NOBODY, 11.9) == {"b"}
        assert not slow.active(NOBODY, 12.0)
        slow.shows("b", 2, 1000.0)
        assert not slow.active(NOBODY, 1000.0 + LONGEST_PATIENCE)

    def test_who_cannot_be_reached_or_has_all_is_out(self) -> None:
        one = board("a", "c")
        one.shows("b", 1, 0.0)
        assert one.active({"b"}, 0.1) == {"c"}
        one.shows("b", PIECES, 0.1)
        assert one.active(NOBODY, 0.2) == {"c"}

    def test_a_flood_of_names_is_bounded_and_hides_nobody_who_has_proved_itself(self) -> None:
        one = board("a", *(f"liar{number}" for number in range(1000)))
        assert one.size == MAX_MATES
        one.shows("b", 1, 0.0)
        assert one.size == MAX_MATES
        assert "b" in one.active(NOBODY, 0.0)

    def test_new_names_begin_no_new_waits(self) -> None:
        one = board("a")
        one.brought(0.5)
        for number in range(1000):
            one.asks(f"liar{number}")
        assert not one.active(NOBODY, 0.5 + GRACE)
