"""Which piece a board fetches next, and from whom."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.location import Tier
from boardwright.protocol.pieces import (
    FAR,
    FAR_START,
    LATE_AT_LEAST,
    LONGEST,
    LONGEST_STARVED,
    NEIGHBOURS,
    SPILL,
    STALE,
    STARVED,
    Ask,
    Fetch,
    Pieces,
    Wait,
    from_bitmap,
    to_bitmap,
)

VERSION = bytes(range(32))
NEAR, FARTHER, OWN = Tier.SAME_CHASSIS, Tier.ELSEWHERE, Tier.SAME_BOARD
COUNT = 32
FULL = (1 << COUNT) - 1


def download(*, starts: tuple[int, ...] = (0, COUNT), have: int = 0, needed: int | None = None) -> Pieces:
    return Pieces("c1s3", VERSION, starts, (1 << starts[-1]) - 1 if needed is None else needed, have, 0.0)


def shared(**options: int) -> Pieces:
    """A download that knows of eight neighbours which are about to ask."""
    pieces = download(**options)  # type: ignore[arg-type]
    for slot in range(4, 11):
        pieces.bringers.asks(f"c1s{slot}")
    return pieces


def ready(pieces: Pieces) -> set[str]:
    return set(pieces._sources)


def ask(pieces: Pieces, now: float = 0.0, *, without: str = "", busy: str = "") -> Fetch | Ask | Wait:
    """What to do when everybody can be asked but those named."""
    return pieces.next(ready(pieces) - set(without.split()) - set(busy.split()), set(busy.split()), now)


def fetched(pieces: Pieces, now: float = 0.0) -> Fetch:
    found = ask(pieces, now)
    assert isinstance(found, Fetch)
    return found


def brings(pieces: Pieces, fetch: Fetch, now: float) -> None:
    for piece in range(fetch.piece, fetch.piece + fetch.count):
        pieces.verified(piece, now)
    pieces.ended(fetch, fetch.count, now)


def all_that_is_asked(pieces: Pieces, now: float = 0.0) -> list[Fetch]:
    """What as many idle lines as there are work for ask for at once."""
    found = []
    while isinstance(one := ask(pieces, now), Fetch):
        found.append(one)
    return found


class TestBitmaps:
    def test_bit_i_is_in_byte_i_over_8_the_lowest_first(self) -> None:
        assert to_bitmap(1 << 0 | 1 << 9, 12) == b"\x01\x02"
        assert from_bitmap(b"\x01\x02") == 1 << 0 | 1 << 9

    @given(st.integers(1, 100).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, (1 << count) - 1))))
    def test_there_and_back(self, both: tuple[int, int]) -> None:
        count, pieces = both
        assert from_bitmap(to_bitmap(pieces, count)) == pieces

    def test_bits_behind_the_last_piece_are_nothing(self) -> None:
        pieces = download()
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=1 << COUNT)
        assert isinstance(ask(pieces), Wait)


class TestAlone:
    def test_stretches_grow_and_several_are_under_way(self) -> None:
        pieces = download(starts=(0, 200))
        pieces.join("c1s1", NEAR, 0.0)
        first = all_that_is_asked(pieces)
        assert [one.count for one in first] == [1]
        counts = []
        now = 0.0
        while not pieces.done:
            for one in all_that_is_asked(pieces, now) or first:
                counts.append(one.count)
                now += 0.1
                brings(pieces, one, now)
            first = []
        assert max(counts) == LONGEST
        assert sum(counts) == 200

    def test_a_stretch_ends_where_its_blob_ends(self) -> None:
        pieces = download(starts=(0, 3, 4, 9, 30))
        pieces.join("c1s1", NEAR, 0.0)
        while not pieces.done:
            one = fetched(pieces)
            assert not any(one.piece < end < one.piece + one.count for end in (3, 4, 9))
            brings(pieces, one, 0.1)

    def test_the_best_ranked_server_is_used_and_no_other(self) -> None:
        pieces = download()
        pieces.join("c1s1", NEAR, 0.0)
        pieces.join("c1s2", NEAR, 0.0)
        while not pieces.done:
            one = fetched(pieces)
            assert one.source == "c1s1"
            brings(pieces, one, 0.1)


class TestServersOfTheChassis:
    def test_a_board_that_shares_them_asks_for_one_piece_at_a_time(self) -> None:
        for slot in range(3, 11):
            pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
            for other in range(3, 11):
                pieces.bringers.asks(f"c1s{other}")
            pieces.join("c1s1", NEAR, 0.0)
            pieces.join("c1s2", NEAR, 0.0)
            asked = all_that_is_asked(pieces)
            assert len(asked) <= 1
            assert all(one.count == 1 for one in asked)

    def test_two_boards_for_each_server_ask_and_they_take_different_pieces_of_different_servers(self) -> None:
        found = []
        for slot in range(3, 11):
            pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
            for other in range(3, 11):
                pieces.bringers.asks(f"c1s{other}")
            pieces.join("c1s1", NEAR, 0.0)
            pieces.join("c1s2", NEAR, 0.0)
            found += all_that_is_asked(pieces)
        assert len(found) == 4
        assert len({one.piece for one in found}) == 4
        assert sorted(one.source for one in found) == ["c1s1", "c1s1", "c1s2", "c1s2"]

    def test_who_gets_nothing_from_anybody_asks_a_server_after_a_while(self) -> None:
        pieces = next(one for slot in range(3, 11) if isinstance(ask(one := _member(slot)), Wait))
        assert isinstance(ask(pieces, STARVED), Wait)
        assert fetched(pieces, 2 * STARVED).source == "c1s1"

    def test_who_waits_for_full_relays_asks_a_server_later(self) -> None:
        pieces = next(one for slot in range(3, 11) if isinstance(ask(one := _member(slot)), Wait))
        pieces.join("c1s12", NEAR, 0.0, relay=True, pieces=FULL)
        assert not isinstance(ask(pieces, 2 * STARVED, busy="c1s12"), Fetch)
        assert isinstance(ask(pieces, LONGEST_STARVED, busy="c1s12"), Fetch)

    def test_a_boards_own_server_is_asked_and_nobody_else(self) -> None:
        pieces = shared()
        pieces.join("c1s3", OWN, 0.0)
        pieces.join("c1s1", NEAR, 0.0)
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=FULL)
        while not pieces.done:
            one = fetched(pieces)
            assert one.source == "c1s3"
            brings(pieces, one, 0.1)


def _member(slot: int) -> Pieces:
    pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
    for other in range(3, 11):
        pieces.bringers.asks(f"c1s{other}")
    pieces.join("c1s1", NEAR, 0.0)
    return pieces


class TestRelays:
    def test_the_rarest_piece_comes_first(self) -> None:
        pieces = shared()
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=0b111)
        pieces.join("c1s5", NEAR, 0.0, relay=True, pieces=0b011)
        pieces.join("c1s6", NEAR, 0.0, relay=True, pieces=0b001)
        assert fetched(pieces).piece == 2
        assert fetched(pieces).piece == 1

    def test_boards_take_equally_rare_pieces_in_different_orders(self) -> None:
        firsts = set()
        for slot in range(3, 11):
            pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
            pieces.join("c1s20", NEAR, 0.0, relay=True, pieces=FULL)
            firsts.add(fetched(pieces).piece)
        assert len(firsts) > 4

    def test_each_is_asked_for_one_piece_at_a_time_and_so_many_at_once_only(self) -> None:
        pieces = shared()
        for slot in range(4, 18):
            pieces.join(f"c1s{slot}", NEAR, 0.0, relay=True, pieces=FULL)
        asked = all_that_is_asked(pieces)
        assert len(asked) == len({one.source for one in asked}) == NEIGHBOURS
        assert len({one.piece for one in asked}) == NEIGHBOURS

    def test_one_that_failed_counts_for_nothing_until_it_is_heard_again(self) -> None:
        pieces = shared()
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=0b1)
        pieces.ended(fetched(pieces), 0, 0.1, failed=True)
        assert not isinstance(ask(pieces, 10.0), Fetch)
        pieces.join("c1s4", NEAR, 10.0, relay=True, pieces=0b1)
        assert fetched(pieces, 10.0).source == "c1s4"

    def test_a_full_one_is_asked_again(self) -> None:
        pieces = shared()
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=0b1)
        pieces.ended(fetched(pieces), 0, 0.1)
        assert fetched(pieces, 0.2).source == "c1s4"

    def test_news_may_take_pieces_away(self) -> None:
        pieces = shared()
        pieces.join("c1s4", NEAR, 0.0, relay=True)
        pieces.news("c1s4", 0b10, 0.0)
        assert [one.piece for one in all_that_is_asked(pieces)] == [1]

    def test_news_of_strangers_and_of_servers_are_nothing(self) -> None:
        pieces = shared()
        pieces.join("c1s1", NEAR, 0.0)
        pieces.news("c1s1", 0, 0.0)
        pieces.news("c1s9", FULL, 0.0)
        assert fetched(pieces, 10.0).source == "c1s1"

    def test_who_waits_asks_neighbours_for_news_one_after_the_other(self) -> None:
        pieces = shared()
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=0)
        pieces.join("c1s5", NEAR, 0.0, relay=True, pieces=0)
        assert isinstance(ask(pieces, STALE / 2), Wait)
        assert {ask(pieces, STALE), ask(pieces, STALE)} == {Ask("c1s4"), Ask("c1s5")}
        assert isinstance(ask(pieces, STALE), Wait)

    def test_who_waits_only_for_what_is_under_way_asks_nobody(self) -> None:
        pieces = shared(needed=0b1)
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=0b1)
        pieces.join("c1s5", NEAR, 0.0, relay=True, pieces=0b0)
        fetched(pieces)
        assert isinstance(ask(pieces, 10 * STALE), Wait)


class TestTheEnd:
    def late(self) -> Pieces:
        """Three pieces are left, all of them long under way from c1s4 to c1s6; c1s7 has them, too."""
        pieces = shared(needed=0b11111)
        for slot in range(4, 9):
            pieces.join(f"c1s{slot}", NEAR, 0.0, relay=True, pieces=0b11111)
        five = [fetched(pieces) for _ in range(5)]
        brings(pieces, five[0], 0.1)
        brings(pieces, five[1], 0.1)
        self.left = {one.piece: one.source for one in five[2:]}
        return pieces

    def test_a_late_piece_is_asked_for_once_more_from_somebody_else(self) -> None:
        pieces = self.late()
        assert not isinstance(ask(pieces, LATE_AT_LEAST - 0.01), Fetch)
        again = fetched(pieces, LATE_AT_LEAST + 0.1)
        assert self.left[again.piece] != again.source

    def test_two_are_under_way_twice_at_most_and_none_three_times(self) -> None:
        pieces = self.late()
        again = all_that_is_asked(pieces, 10.0)
        assert len(again) == 2
        assert len({one.piece for one in again}) == 2

    def test_nothing_is_under_way_twice_as_long_as_something_else_can_be_asked_for(self) -> None:
        pieces = shared()
        for slot in range(4, 8):
            pieces.join(f"c1s{slot}", NEAR, 0.0, relay=True, pieces=FULL)
        first = fetched(pieces)
        seen = [first.piece]
        for _ in range(COUNT - 1):
            one = fetched(pieces, 5.0)
            seen.append(one.piece)
            brings(pieces, one, 5.0)
        assert sorted(seen) == list(range(COUNT))


class TestBetweenChassis:
    def test_nothing_comes_from_afar_while_a_server_of_the_chassis_lives(self) -> None:
        pieces = shared()
        pieces.join("c2s1", FARTHER, 0.0)
        pieces.join("c1s1", NEAR, 0.0)
        now = 0.0
        while not pieces.done:
            one = ask(pieces, now)
            now += 0.1
            if isinstance(one, Fetch):
                assert one.source == "c1s1"
                brings(pieces, one, now)

    def test_without_one_each_piece_is_brought_by_one_board(self) -> None:
        crossing: list[int] = []
        for slot in range(3, 11):
            pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
            for other in range(3, 11):
                pieces.bringers.asks(f"c1s{other}")
            pieces.join("c2s1", FARTHER, 0.0)
            pieces.join("c2s2", FARTHER, 0.0)
            now = FAR_START
            while isinstance(one := ask(pieces, now), Fetch):
                crossing.append(one.piece)
                now += 0.01
                brings(pieces, one, now)
        assert sorted(crossing) == list(range(COUNT))

    def test_a_board_waits_for_others_to_begin_before_it_goes_far(self) -> None:
        pieces = download()
        pieces.join("c2s1", FARTHER, 0.0)
        assert isinstance(ask(pieces, FAR_START - 0.01), Wait)
        assert isinstance(ask(pieces, FAR_START), Fetch)

    def test_few_pieces_at_a_time_cross_a_link(self) -> None:
        for slot in range(3, 11):
            pieces = Pieces(f"c1s{slot}", VERSION, (0, COUNT), FULL, 0, 0.0)
            for other in range(3, 11):
                pieces.bringers.asks(f"c1s{other}")
            pieces.join("c2s1", FARTHER, 0.0)
            assert len(all_that_is_asked(pieces, 1.0)) in (0, FAR)

    def test_what_a_neighbour_has_does_not_cross(self) -> None:
        pieces = download()
        pieces.join("c2s1", FARTHER, 0.0)
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=FULL)
        while not pieces.done:
            one = fetched(pieces, 1.0)
            assert one.source == "c1s4"
            brings(pieces, one, 1.0)

    def test_what_a_full_neighbour_has_does_not_cross_either(self) -> None:
        pieces = download()
        pieces.join("c2s1", FARTHER, 0.0)
        pieces.join("c1s4", NEAR, 0.0, relay=True, pieces=FULL)
        assert not isinstance(ask(pieces, 60.0, busy="c1s4"), Fetch)

    def test_when_the_servers_of_the_chassis_have_failed_the_link_is_crossed(self) -> None:
        pieces = download()
        pieces.join("c1s1", NEAR, 0.0)
        pieces.join("c2s1", FARTHER, 0.0)
        pieces.ended(fetched(pieces), 0, 1.0, failed=True)
        assert fetched(pieces, 1.0).source == "c2s1"

    def test_full_servers_of_the_chassis_are_waited_for_a_bounded_time(self) -> None:
        pieces = download()
        pieces.join("c1s1", NEAR, 0.0)
        pieces.join("c2s1", FARTHER, 0.0)
        assert isinstance(ask(pieces, SPILL - 0.1, busy="c1s1"), Wait)
        assert isinstance(ask(pieces, SPILL, busy="c1s1"), Fetch)

    def test_a_failed_server_is_tried_again_if_nobody_else_is_left(self) -> None:
        pieces = download()
        pieces.join("c1s1", NEAR, 0.0)
        pieces.ended(fetched(pieces), 0, 0.1, failed=True)
        assert fetched(pieces, 1.0).source == "c1s1"


class TestWhateverComes:
    @settings(max_examples=60)
    @given(st.data())
    def test_it_ends_with_all_and_asks_for_nothing_twice_or_in_vain(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, 40))
        full = (1 << count) - 1
        have, needed = data.draw(st.integers(0, full)), data.draw(st.integers(0, full))
        rng = random.Random(data.draw(st.integers(0, 1000)))
        pieces = Pieces("c1s3", VERSION, (0, count), needed, have, 0.0)
        what = {"c1s1": full, "c2s1": full}
        pieces.join("c1s1", NEAR, 0.0)
        pieces.join("c2s1", FARTHER, 0.0)
        for slot in range(4, 4 + data.draw(st.integers(0, 5))):
            what[f"c1s{slot}"] = data.draw(st.integers(0, full))
            pieces.join(f"c1s{slot}", NEAR, 0.0, relay=True, pieces=what[f"c1s{slot}"])
        under_way: list[Fetch] = []
        now, looks = 0.0, 0
        while not pieces.done:
            looks += 1
            assert looks < 5000
            now += 0.05
            found = pieces.next({name for name in what if rng.random() < 0.9}, set(), now)
            if isinstance(found, Fetch):
                for piece in range(found.piece, found.piece + found.count):
                    assert what[found.source] >> piece & 1
                    assert needed & ~pieces.have & 1 << piece
                    assert sum(one.piece <= piece < one.piece + one.count for one in under_way) <= 1
                under_way.append(found)
            if under_way and (isinstance(found, Wait) or rng.random() < 0.5):
                one = under_way.pop(rng.randrange(len(under_way)))
                if rng.random() < 0.2:
                    pieces.ended(one, 0, now, failed=rng.random() < 0.5)
                else:
                    brings(pieces, one, now)
        assert pieces.have & needed == needed

    @pytest.mark.parametrize("needed", [0, 0b101])
    def test_what_is_there_is_not_fetched(self, needed: int) -> None:
        pieces = download(needed=needed, have=0b101)
        pieces.join("c1s1", NEAR, 0.0)
        assert pieces.done
        assert isinstance(ask(pieces), Wait)
