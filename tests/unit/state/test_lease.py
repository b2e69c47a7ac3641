"""The invariant of the lease: at most one server acts at any time. Then: somebody acts again within a bounded time.

Time is virtual. A server's round is cut at every step (read, take in, propose, note the clock, commit, note the
outcome), and between any two steps anything may happen: other servers' steps, long pauses, engine outages.
"""

import enum
from collections.abc import Generator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.errors import ConflictError
from boardwright.state.kv import EngineError, Entry, Transaction
from boardwright.state.lease import (
    HOLD_FOR,
    LOOK_EVERY,
    MISSED_AFTER,
    RENEW_EVERY,
    SUCCESSOR_FIRST,
    TAKE_AFTER,
    LeaseKeeper,
    fenced,
)
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import LEASE


class Outage(enum.Enum):
    NONE = "none"
    REFUSES = "the call fails and had no effect"
    SWALLOWS = "the call fails but took effect"


class World:
    """One engine and one true time."""

    def __init__(self) -> None:
        self.kv = MemoryKV()
        self.time = 0.0
        self.outage = Outage.NONE

    def get(self) -> Entry | None:
        if self.outage is not Outage.NONE:
            raise EngineError("the engine is down")
        return self.kv.get(LEASE)

    def commit(self, transaction: Transaction) -> int:
        if self.outage is Outage.REFUSES:
            raise EngineError("the engine is down")
        revision = self.kv.commit(transaction)
        if self.outage is Outage.SWALLOWS:
            raise EngineError("the engine did not answer")
        return revision


class Server:
    """A LeaseKeeper with a clock of its own (offset and rate) and a round that stops after every step."""

    def __init__(self, world: World, name: str, *, offset: float = 0.0, rate: float = 1.0) -> None:
        self.world = world
        self.name = name
        self.keeper = LeaseKeeper(name)
        self.offset = offset
        self.rate = rate
        self.chosen = True
        self._round = self._steps()
        self._between_rounds = True

    @property
    def clock(self) -> float:
        return self.offset + self.world.time * self.rate

    @property
    def acts(self) -> bool:
        return self.keeper.held(self.clock) is not None

    def step(self) -> bool:
        """Do one step; False if it was the last of its round."""
        try:
            next(self._round)
        except StopIteration:
            self._round = self._steps()
            self._between_rounds = True
            return False
        self._between_rounds = False
        return True

    def round(self) -> None:
        while self.step():
            pass

    def restart(self) -> None:
        self.keeper = LeaseKeeper(self.name)
        self._round = self._steps()
        self._between_rounds = True

    def hand_over(self, successor: str = "") -> None:
        if not self._between_rounds:
            self.round()  # the driver hands over between rounds only
        proposal = self.keeper.handover(self.clock, successor)
        if proposal is None:
            return
        began = self.clock
        try:
            self.keeper.committed(self.world.commit(proposal), began)
        except EngineError:
            self.keeper.unsure()
        except ConflictError:
            self.keeper.conflicted()

    def _steps(self) -> Generator[None, None, None]:
        try:
            if self.keeper.must_read:
                entry = self.world.get()
                yield
                self.keeper.observe(entry, self.clock)
                yield
            proposal = self.keeper.proposal(self.clock, chosen=self.chosen)
            yield
            if proposal is None:
                return
            began = self.clock
            yield
            revision = self.world.commit(proposal)
            yield
            self.keeper.committed(revision, began)
        except EngineError:
            self.keeper.unsure()
        except ConflictError:
            self.keeper.conflicted()


def run(world: World, servers: list[Server], seconds: float, each: float = 0.05) -> None:
    """Let every server do whole rounds for a while; the invariant is looked at after each."""
    end = world.time + seconds
    while world.time < end:
        for server in servers:
            server.round()
            assert sum(one.acts for one in servers) <= 1
        world.time += each


def active(servers: list[Server]) -> Server | None:
    acting = [server for server in servers if server.acts]
    assert len(acting) <= 1
    return acting[0] if acting else None


def go_on(world: World, servers: list[Server], seconds: float) -> Iterator[None]:
    """Rounds of these servers for a while, the others stand still."""
    end = world.time + seconds
    while world.time < end:
        for server in servers:
            server.round()
            yield
        world.time += 0.1


def happen(world: World, servers: list[Server], server: Server, kind: str, argument: object) -> Iterator[None]:
    """One random event; stops after every part of it, so that the invariant can be looked at."""
    match kind, argument:
        case "pass", float(seconds):
            world.time += seconds
        case "outage", Outage() as outage:
            world.outage = outage
        case "steps", int(count):
            for _ in range(count):
                server.step()
                yield
        case "rounds", int(count):
            for _ in range(count):
                server.round()
                yield
        case "all but one", float(seconds):
            yield from go_on(world, [other for other in servers if other is not server], seconds)
        case "restart", _:
            server.restart()
        case "chosen", bool(chosen):
            server.chosen = chosen
        case "hand over", str(successor):
            server.hand_over(successor)
    yield


class TestTheInvariant:
    """At most one acts at any time."""

    @settings(max_examples=250, deadline=None)
    @given(st.data())
    def test_no_schedule_of_steps_pauses_outages_and_restarts_makes_two_act(self, data: st.DataObject) -> None:
        world = World()
        rates = st.floats(0.986, 1.014)  # at most three per cent between any two
        servers = [
            Server(world, name, offset=data.draw(st.floats(0, 1e6)), rate=data.draw(rates))
            for name in ("a", "b", "c")[: data.draw(st.integers(2, 3))]
        ]
        who = st.integers(0, len(servers) - 1)
        action = st.one_of(
            st.tuples(st.just("steps"), who, st.integers(1, 7)),
            st.tuples(st.just("rounds"), who, st.integers(1, 3)),
            st.tuples(st.just("pass"), who, st.sampled_from([0.01, 0.3, 0.5, 1.0, 2.4, 2.9, 3.0, 3.05, 3.1, 3.2, 7.0])),
            st.tuples(st.just("outage"), who, st.sampled_from(list(Outage))),
            st.tuples(st.just("restart"), who, st.none()),
            st.tuples(st.just("chosen"), who, st.booleans()),
            st.tuples(st.just("hand over"), who, st.sampled_from(["", "a", "b", "c", "nobody"])),
            st.tuples(st.just("all but one"), who, st.sampled_from([1.0, 2.7, 5.0])),
        )
        for kind, index, argument in data.draw(st.lists(action, min_size=5, max_size=60)):
            for _ in happen(world, servers, servers[index], kind, argument):
                active(servers)

    def test_the_margin_covers_clocks_that_differ_by_three_per_cent(self) -> None:
        assert TAKE_AFTER >= HOLD_FOR * 1.03

    def test_a_holder_is_deposed_by_its_own_clock_before_a_rival_may_take_over(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        a.round()
        b.round()
        world.time = HOLD_FOR
        assert not a.acts
        world.time = TAKE_AFTER - 0.01
        b.round()
        assert not b.acts

    def test_a_renewal_that_takes_long_counts_from_its_beginning(self) -> None:
        world = World()
        a = Server(world, "a")
        a.round()
        world.time = RENEW_EVERY
        a.step()  # propose
        a.step()  # note the clock
        world.time += 2.0
        a.round()  # the commit returns two seconds later
        assert a.acts
        world.time = RENEW_EVERY + HOLD_FOR
        assert not a.acts

    def test_a_rival_counts_from_after_its_first_read_of_a_record(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        a.round()
        b.step()  # the read returns ...
        world.time = 2.0  # ... late
        b.round()
        world.time = TAKE_AFTER + 1.9
        b.round()
        assert not b.acts
        world.time = TAKE_AFTER + 2.01
        b.round()
        assert b.acts

    def test_a_renewal_between_a_rivals_look_and_its_takeover_wins(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        a.round()
        b.round()
        world.time = 2.9
        a.step()  # proposes a renewal
        a.step()  # notes the clock
        world.time = TAKE_AFTER + 0.1
        for _ in range(4):
            b.step()  # reads, takes in, proposes to take over, notes the clock
        a.round()  # the renewal lands
        b.round()
        assert a.acts
        assert not b.acts

    def test_a_restarted_server_takes_the_record_of_its_former_life_over_at_once_with_a_new_epoch(self) -> None:
        world = World()
        Server(world, "a").round()
        again = Server(world, "a")
        again.round()
        held = again.keeper.held(again.clock)
        assert held is not None
        assert held.epoch == 2

    def test_a_restarted_server_does_not_take_what_another_took_meanwhile(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        a.round()
        a.hand_over("b")
        b.round()
        a.restart()
        a.round()
        assert not a.acts
        assert b.acts

    def test_two_that_run_with_one_id_do_not_take_the_role_from_each_other_again_and_again(self) -> None:
        world = World()
        first = Server(world, "a")
        first.round()
        copied = Server(world, "a")
        copied.round()
        world.time = RENEW_EVERY
        first.round()  # its renewal fails, so it reads next who has the role
        for _ in range(20):
            world.time += RENEW_EVERY
            first.round()
            copied.round()
            assert copied.acts
            assert not first.acts

    def test_a_deposed_active_that_does_not_know_it_cannot_write(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        a.round()
        held = a.keeper.held(a.clock)
        assert held is not None
        a.rate = 0.0  # a machine whose clock stood still while it slept
        b.round()
        world.time = TAKE_AFTER
        b.round()
        assert a.acts
        assert b.acts
        with pytest.raises(ConflictError):
            world.kv.commit(fenced(Transaction({"plan": 0}, {"plan": b"of a"}), held))
        other = b.keeper.held(b.clock)
        assert other is not None
        world.kv.commit(fenced(Transaction({"plan": 0}, {"plan": b"of b"}), other))


class TestAHolderThatIsSilent:
    def test_is_known_to_be_before_its_lease_is_over_and_never_while_it_renews(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        for _ in range(50):
            run(world, [a, b], 0.1)
            assert not a.keeper.missed(a.clock)
            assert not b.keeper.missed(b.clock)
        gone = world.time
        while not b.keeper.missed(b.clock):
            run(world, [b], 0.05)
        assert MISSED_AFTER - RENEW_EVERY < world.time - gone < HOLD_FOR
        run(world, [b], TAKE_AFTER)
        assert b.acts
        assert not b.keeper.missed(b.clock)


class TestTheHardwaresChoice:
    def test_who_is_not_chosen_takes_nothing_even_if_it_is_alone(self) -> None:
        world = World()
        a = Server(world, "a")
        a.chosen = False
        run(world, [a], 10.0)
        assert not a.acts
        a.chosen = True
        run(world, [a], 0.1)
        assert a.acts

    def test_a_holder_that_is_not_chosen_any_more_hands_over_to_the_one_that_is(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        b.chosen = False
        run(world, [a, b], 5.0)
        assert active([a, b]) is a
        a.chosen, b.chosen = False, True
        a.round()
        b.round()
        assert active([a, b]) is b
        assert b.keeper.record is not None
        assert b.keeper.record.epoch == 2

    def test_a_handover_of_unknown_outcome_leaves_nobody_acting_for_good(self) -> None:
        for outage in Outage:
            world = World()
            a, b = Server(world, "a"), Server(world, "b")
            run(world, [a, b], 5.0)
            holder, rival = (a, b) if a.acts else (b, a)
            holder.chosen = False
            world.outage = outage
            holder.round()
            assert not holder.acts
            world.outage = Outage.NONE
            run(world, [holder, rival], 3.5)
            assert rival.acts


class TestTakingOver:
    def test_the_first_server_takes_a_lease_that_never_was_at_once(self) -> None:
        world = World()
        a = Server(world, "a")
        a.round()
        assert a.acts
        assert a.keeper.record is not None
        assert a.keeper.record.epoch == 1

    def test_of_many_that_start_together_one_wins(self) -> None:
        world = World()
        servers = [Server(world, name) for name in "abc"]
        for _ in range(8):
            for server in servers:
                server.step()
        run(world, servers, 1.0)
        assert active(servers) is not None

    def test_a_living_holder_keeps_the_lease(self) -> None:
        world = World()
        servers = [Server(world, name) for name in "abc"]
        run(world, servers, 60.0)
        holder = active(servers)
        assert holder is servers[0]
        assert holder.keeper.record is not None
        assert holder.keeper.record.epoch == 1
        assert 100 <= holder.keeper.record.beat <= 121  # twice a second

    @pytest.mark.parametrize("steps", range(6))
    def test_a_holder_that_dies_after_any_step_is_followed_within_four_seconds(self, steps: int) -> None:
        world = World()
        a, b, c = (Server(world, name) for name in "abc")
        run(world, [a, b, c], 10.0)
        world.time += RENEW_EVERY
        for _ in range(steps):
            a.step()
        died = world.time
        while active([b, c]) is None:
            assert world.time < died + 4.0
            run(world, [b, c], LOOK_EVERY, each=LOOK_EVERY)
        assert not a.acts
        follower = active([b, c])
        assert follower is not None
        assert follower.keeper.record is not None
        assert follower.keeper.record.epoch == 2

    def test_a_handover_is_taken_at_the_next_look(self) -> None:
        world = World()
        a, b = Server(world, "a"), Server(world, "b")
        run(world, [a, b], 5.0)
        a.hand_over()
        assert not a.acts
        b.round()
        assert b.acts
        assert b.keeper.record is not None
        assert b.keeper.record.epoch == 2

    def test_a_handover_to_one_is_taken_by_that_one_whoever_looks_first(self) -> None:
        world = World()
        a, b, c = (Server(world, name) for name in "abc")
        run(world, [a, b, c], 5.0)
        a.hand_over("c")
        b.round()
        a.round()
        assert active([a, b, c]) is None
        c.round()
        assert active([a, b, c]) is c

    def test_a_successor_that_is_gone_costs_a_second_and_not_the_role(self) -> None:
        world = World()
        a, b, c = (Server(world, name) for name in "abc")
        run(world, [a, b, c], 5.0)
        a.hand_over("c")
        begun = world.time
        while active([a, b]) is None:
            world.time = min(one.keeper.next_at(one.clock) for one in (a, b))
            for one in (b, a):
                one.round()
        assert SUCCESSOR_FIRST <= world.time - begun <= SUCCESSOR_FIRST + LOOK_EVERY
        c.round()
        assert not c.acts

    def test_the_epoch_grows_with_every_holder(self) -> None:
        world = World()
        epochs = []
        for name in "abcd":
            server = Server(world, name)
            server.round()
            assert server.keeper.record is not None
            epochs.append(server.keeper.record.epoch)
            server.hand_over()
        assert epochs == [1, 2, 3, 4]


class TestEngineOutages:
    @pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.SWALLOWS])
    def test_a_short_outage_costs_the_holder_nothing(self, outage: Outage) -> None:
        world = World()
        servers = [Server(world, name) for name in "ab"]
        run(world, servers, 5.0)
        world.outage = outage
        run(world, servers, 2.0)
        assert active(servers) is servers[0]
        world.outage = Outage.NONE
        run(world, servers, 10.0)
        assert active(servers) is servers[0]
        assert servers[0].keeper.record is not None
        assert servers[0].keeper.record.epoch == 1

    @pytest.mark.parametrize("outage", [Outage.REFUSES, Outage.SWALLOWS])
    def test_in_a_long_outage_nobody_acts_and_after_it_somebody_does(self, outage: Outage) -> None:
        world = World()
        servers = [Server(world, name) for name in "ab"]
        run(world, servers, 5.0)
        world.outage = outage
        run(world, servers, 10.0)
        assert active(servers) is None
        world.outage = Outage.NONE
        run(world, servers, 4.0)
        assert active(servers) is not None

    def test_a_takeover_of_unknown_outcome_is_not_believed(self) -> None:
        world = World()
        a = Server(world, "a")
        a.step()
        a.step()
        world.outage = Outage.SWALLOWS
        a.round()
        assert not a.acts
        world.outage = Outage.NONE
        run(world, [a], TAKE_AFTER + LOOK_EVERY)
        assert a.acts


class TestWaking:
    def test_a_holder_wakes_for_its_next_renewal(self) -> None:
        world = World()
        a = Server(world, "a")
        a.round()
        assert a.keeper.next_at(a.clock) == RENEW_EVERY

    def test_a_rival_wakes_when_the_lease_would_be_lost_and_never_spins(self) -> None:
        world = World()
        Server(world, "a").round()
        b = Server(world, "b")
        b.round()
        assert b.keeper.next_at(0.0) == LOOK_EVERY
        assert b.keeper.next_at(TAKE_AFTER - 0.1) == TAKE_AFTER
        assert b.keeper.next_at(TAKE_AFTER + 5) == TAKE_AFTER + 5 + LOOK_EVERY
