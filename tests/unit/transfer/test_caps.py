"""Whose turn it is under the caps of a server, in virtual time: rates, fairness, patience, bounds."""

import heapq
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.software import RANGE_SIZE
from boardwright.transfer.caps import (
    MAX_CLIENTS,
    MAX_TICKETS,
    MIN_GRANT,
    PATIENCE,
    RANGES_AT_ONCE,
    TICKETS,
    Caps,
    Turns,
)

MB = 1_000_000


class Boards:
    """Boards that ask for range after range, three at once, at a server with `caps` and an endless line.

    Who is refused comes back a second later, as Retry-After says.
    """

    def __init__(self, caps: Caps, near: int, far: int = 0) -> None:
        self.turns = Turns(caps)
        self.now = 100.0
        self.got: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.longest_wait = 0.0
        self.far = {f"far{number}" for number in range(far)}
        names = [f"near{number}" for number in range(near)] + sorted(self.far)
        self._asks = [(self.now, number, name) for number, name in enumerate(names * RANGES_AT_ONCE)]
        self._number = len(self._asks)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            while self._asks and self._asks[0][0] <= self.now:
                _, _, name = heapq.heappop(self._asks)
                self.turns.ask(name, name in self.far, RANGE_SIZE, self.now)
            for ticket in self.turns.due(self.now):
                self.longest_wait = max(self.longest_wait, self.now - ticket.since)
                (self.refused if ticket.refused else self.got)[ticket.client] += ticket.granted or 1
                self._number += 1
                again = self.now + (1.0 if ticket.refused else 0.0)
                heapq.heappush(self._asks, (again, self._number, ticket.client))
            wait = self.turns.next_wakeup(self.now)
            steps = [self.now + wait] if wait is not None else []
            if self._asks:
                steps.append(self._asks[0][0])
            self.now = max(self.now + 1e-6, min(steps, default=until))

    def rate(self, prefix: str = "") -> float:
        """Bytes granted to these boards, by the seconds that passed."""
        return sum(count for name, count in self.got.items() if name.startswith(prefix)) / (self.now - 100.0)


class TestRates:
    @pytest.mark.parametrize("rate", [200_000, 5 * MB, 125 * MB])
    @pytest.mark.parametrize("boards", [1, 3, 16])
    def test_the_server_sends_what_its_cap_says_however_many_ask(self, rate: int, boards: int) -> None:
        run = Boards(Caps(total=rate), boards)
        run.run(30.0)
        assert run.rate() == pytest.approx(rate, rel=0.03)

    @pytest.mark.parametrize("rate", [100_000, 10 * MB])
    def test_no_board_gets_more_than_a_board_may(self, rate: int) -> None:
        run = Boards(Caps(per_board=rate), 8)
        run.run(30.0)
        for count in run.got.values():
            assert count / 30.0 == pytest.approx(rate, rel=0.03)

    def test_the_line_between_chassis_is_capped_and_the_own_chassis_is_not_slowed(self) -> None:
        run = Boards(Caps(per_board=10 * MB, inter_chassis=2 * MB), near=2, far=4)
        run.run(30.0)
        assert run.rate("far") == pytest.approx(2 * MB, rel=0.05)
        assert run.rate("near") == pytest.approx(20 * MB, rel=0.05)

    def test_all_caps_hold_at_once(self) -> None:
        run = Boards(Caps(per_board=4 * MB, total=10 * MB, inter_chassis=1 * MB), near=4, far=4)
        run.run(30.0)
        assert run.rate() == pytest.approx(10 * MB, rel=0.03)
        assert run.rate("far") <= 1.05 * MB
        assert max(run.got.values()) / 30.0 <= 4.1 * MB

    def test_what_was_not_used_is_not_saved(self) -> None:
        run = Boards(Caps(total=MB), 1)
        run.now += 3600.0
        before = run.now
        run.run(10.0)
        assert sum(run.got.values()) / (run.now - before) == pytest.approx(MB, rel=0.06)

    def test_a_blob_that_was_sent_whole_is_paid_off_before_others_go_on(self) -> None:
        turns = Turns(Caps(total=MB))
        turns.ask("curl", False, 3 * MB, 100.0, whole=True)
        assert [ticket.granted for ticket in turns.due(100.0)] == [3 * MB]
        turns.ask("a", False, RANGE_SIZE, 100.0)
        assert turns.due(100.9) == []
        (ticket,) = turns.due(101.0)
        assert ticket.refused

    def test_blobs_that_are_asked_for_whole_wait_their_turn_so_that_debts_do_not_add_up(self) -> None:
        turns = Turns(Caps(total=MB))
        for number in range(100):
            turns.ask(f"curl{number}", False, RANGE_SIZE, 100.0, whole=True)
        assert [ticket.granted for ticket in turns.due(100.0)] == [RANGE_SIZE]
        assert all(ticket.refused for ticket in turns.due(100.0 + PATIENCE))
        turns.ask("a", False, RANGE_SIZE, 100.0 + RANGE_SIZE / MB)
        (ticket,) = turns.due(100.0 + RANGE_SIZE / MB)
        assert ticket.granted

    def test_without_caps_that_concern_it_a_range_is_granted_whole_at_once(self) -> None:
        turns = Turns(Caps(inter_chassis=1))
        turns.ask("a", False, RANGE_SIZE, 100.0)
        assert [ticket.granted for ticket in turns.due(100.0)] == [RANGE_SIZE]


class TestFairness:
    @pytest.mark.parametrize("boards", [2, 7, 20])
    def test_every_board_gets_the_same(self, boards: int) -> None:
        run = Boards(Caps(total=MB), boards)
        run.run(40.0)
        assert len(run.got) == boards
        assert max(run.got.values()) <= 1.1 * min(run.got.values())

    def test_who_asks_for_more_at_once_gets_no_more(self) -> None:
        turns = Turns(Caps(total=MB))
        got: Counter[str] = Counter()
        now = 100.0
        for _ in range(500):
            while not turns.ask("greedy", False, RANGE_SIZE, now).refused:
                pass
            if not turns._clients.get("modest") or not turns._clients["modest"].tickets:
                turns.ask("modest", False, RANGE_SIZE, now)
            for ticket in turns.due(now):
                got[ticket.client] += ticket.granted
            now += turns.next_wakeup(now) or 0.01
        assert got["greedy"] <= 1.2 * got["modest"]

    def test_nobody_starves_even_if_more_are_let_in_than_the_cap_can_serve_in_time(self) -> None:
        run = Boards(Caps(total=200_000), 64)
        run.run(120.0)
        assert len(run.got) == 64
        assert max(run.got.values()) <= 2.0 * min(run.got.values())
        assert run.rate() == pytest.approx(200_000, rel=0.05)


class TestPatience:
    def test_nobody_waits_so_long_that_the_server_looks_dead(self) -> None:
        for boards in (1, 16, 200):
            run = Boards(Caps(total=MB), boards)
            run.run(20.0)
            assert run.longest_wait <= PATIENCE + 0.01

    @pytest.mark.parametrize("rate", [100_000, MB, 20 * MB])
    def test_the_bound_lets_in_who_can_be_served_in_time(self, rate: int) -> None:
        caps = Caps(total=rate)
        run = Boards(caps, caps.bound(64))
        run.run(30.0)
        assert run.refused.total() == 0

    def test_the_bound_is_the_admission_if_there_is_no_cap_and_never_nobody(self) -> None:
        assert Caps(per_board=1, inter_chassis=1).bound(64) == 64
        assert Caps(total=1).bound(64) == 1
        assert Caps(total=10**12).bound(64) == 64

    def test_one_slow_board_cap_serves_three_ranges_at_once_without_a_refusal(self) -> None:
        run = Boards(Caps(per_board=64_000), 1)
        run.run(30.0)
        assert run.refused.total() == 0


class TestBounds:
    def test_one_client_cannot_fill_the_queue(self) -> None:
        turns = Turns(Caps(total=1))
        assert [turns.ask("a", False, 1, 100.0).refused for _ in range(TICKETS + 3)].count(True) == 3

    def test_nor_can_many(self) -> None:
        turns = Turns(Caps(total=1))
        for number in range(MAX_TICKETS + 50):
            turns.ask(f"a{number}", False, 1, 100.0)
        assert turns.waiting == MAX_TICKETS
        turns.due(100.0)
        assert len(turns.due(100.0 + PATIENCE)) >= MAX_TICKETS - 2
        assert turns.waiting == 0
        assert turns.next_wakeup(200.0) is None

    def test_names_that_come_once_are_forgotten(self) -> None:
        turns = Turns(Caps(per_board=MB))
        for number in range(3 * MAX_CLIENTS):
            turns.ask(f"a{number}", False, 1, 100.0)
            turns.due(100.0)
        assert len(turns._clients) <= MAX_CLIENTS


@settings(max_examples=50)
@given(
    st.builds(Caps, *[st.sampled_from([0, 20_000, 10**6, 10**9])] * 3),
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.booleans(), st.integers(1, RANGE_SIZE), st.floats(0, 3, allow_subnormal=False)
        ),
        max_size=60,
    ),
)
def test_every_ticket_is_answered_in_time_with_at_most_what_was_asked(
    caps: Caps, asks: list[tuple[str, bool, int, float]]
) -> None:
    turns, now, tickets = Turns(caps), 50.0, []
    for client, far, length, pause in asks:
        tickets.append(turns.ask(client, far, length, now))
        turns.due(now)
        now += pause
    turns.due(now + PATIENCE)
    for ticket in tickets:
        assert ticket.refused != (ticket.granted > 0)
        assert ticket.granted <= ticket.asked
        assert ticket.granted >= min(MIN_GRANT, ticket.asked) or ticket.refused
