"""One server of a chassis brings a version over the inter-chassis link; all agree without talking."""

import random
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.inventory import Board
from boardwright.model.location import Location, tier_between
from boardwright.model.report import Source
from boardwright.protocol.carrier import (
    FAILED_FOR,
    FORGOTTEN,
    SILENT,
    STALLED,
    TURN,
    Carriers,
    Copy,
    Found,
    Mate,
    Wait,
    mates_of,
    order_of,
)
from boardwright.protocol.choose import Candidate, Choice
from boardwright.protocol.messages import GroupOffer, Holding, Offer

VERSION = bytes(range(32))
FIRST, SECOND, THIRD = order_of(VERSION, ("c2s1", "c2s2", "c2s3"))


def place(server: str) -> Location:
    chassis, slot = server.removeprefix("c").split("s")
    return Location(chassis, slot)


def candidate(server: str, me: str = "c2s1") -> Candidate:
    where = place(server)
    source = Source(server, where.chassis, where.slot, tier_between(place(me), where))
    return Candidate(source, f"https://{server}", "", 0)


def found(holders: str, *mates: Mate) -> Found:
    ranking = sorted((candidate(server) for server in holders.split()), key=lambda one: one.source.tier.rank)
    return Found(Choice(tuple(ranking), (), "", False), mates)


def queued(server: str) -> Mate:
    return Mate(server, holding=Holding.PREPARING)


def copying(server: str, count: int = 0) -> Mate:
    return Mate(server, holding=Holding.PREPARING, copied=count)


def silent(server: str) -> Mate:
    return Mate(server, heard=False)


class TestWhoCarries:
    def test_a_server_alone_in_its_chassis_copies_at_once(self) -> None:
        turn = Carriers("c2s1").turn(VERSION, found("c1s1 c1s2"), 0.0)
        assert isinstance(turn, Copy)
        assert [one.source.id for one in turn.sources] == ["c1s1", "c1s2"]
        assert not turn.near

    def test_of_three_that_ask_at_one_moment_exactly_one_copies_and_the_others_name_who_is_before_them(self) -> None:
        turns = {}
        for me in (FIRST, SECOND, THIRD):
            others = [queued(other) for other in (FIRST, SECOND, THIRD) if other != me]
            turns[me] = Carriers(me).turn(VERSION, found("c1s1", *others), 0.0)
        assert isinstance(turns[FIRST], Copy)
        assert turns[SECOND] == turns[THIRD] == Wait(f"it is the turn of {FIRST} to bring it over from another chassis")

    def test_different_versions_have_different_carriers(self) -> None:
        versions = [bytes([number]) * 32 for number in range(30)]
        assert {order_of(version, ("c2s1", "c2s2"))[0] for version in versions} == {"c2s1", "c2s2"}

    def test_who_copies_already_is_the_carrier_whatever_the_order(self) -> None:
        carriers = Carriers(FIRST)
        waits = Wait(f"{THIRD} brings it over from another chassis")
        for second in range(60):
            assert carriers.turn(VERSION, found("c1s1", queued(SECOND), copying(THIRD, second)), second) == waits

    def test_whoever_has_it_in_the_own_chassis_is_copied_from_and_nobody_else(self) -> None:
        turn = Carriers("c2s1").turn(VERSION, found("c1s1 c2s3 c1s2"), 0.0)
        assert isinstance(turn, Copy)
        assert [one.source.id for one in turn.sources] == ["c2s3"]
        assert turn.near


class TestEveryWaitIsBounded:
    def taken_over(self, mate: Mate) -> float:
        """Seconds after which the second in the order no longer waits for a mate that always says the same."""
        carriers = Carriers(SECOND)
        for tick in range(200):
            if isinstance(carriers.turn(VERSION, found("c1s1", mate), tick / 10), Copy):
                return tick / 10
        raise AssertionError("it waits for ever")

    def test_by_its_reason(self) -> None:
        assert self.taken_over(queued(FIRST)) == TURN
        assert self.taken_over(Mate(FIRST)) == TURN  # it has not heard of the version
        assert self.taken_over(copying(FIRST, 7)) == STALLED
        assert self.taken_over(silent(FIRST)) == SILENT
        assert self.taken_over(Mate(FIRST, holding=Holding.NONE)) == 0.0

    def test_a_silence_of_long_ago_says_nothing_of_a_new_one(self) -> None:
        carriers = Carriers(SECOND)
        carriers.turn(VERSION, found("c1s1", silent(FIRST)), 0.0)
        assert isinstance(carriers.turn(VERSION, found("c1s1", silent(FIRST)), FORGOTTEN + 1), Wait)

    def test_a_carrier_that_moves_again_is_waited_for_again(self) -> None:
        carriers = Carriers(SECOND)
        carriers.turn(VERSION, found("c1s1", copying(FIRST, 1)), 0.0)
        assert isinstance(carriers.turn(VERSION, found("c1s1", copying(FIRST, 2)), STALLED + 1), Wait)


class TestWhoFails:
    def test_a_server_of_the_chassis_from_which_it_could_not_be_copied_is_left_out_for_a_while(self) -> None:
        carriers = Carriers("c2s1")
        near = carriers.turn(VERSION, found("c2s3 c1s1"), 0.0)
        assert isinstance(near, Copy)
        carriers.failed(VERSION, near.sources, 1.0)
        far = carriers.turn(VERSION, found("c2s3 c1s1"), 2.0)
        assert isinstance(far, Copy)
        assert [one.source.id for one in far.sources] == ["c1s1"]
        assert carriers.turn(VERSION, found("c2s3 c1s1"), 1.0 + FAILED_FOR) == near

    def test_unless_nobody_else_has_it(self) -> None:
        carriers = Carriers("c2s1")
        near = carriers.turn(VERSION, found("c2s3"), 0.0)
        assert isinstance(near, Copy)
        carriers.failed(VERSION, near.sources, 1.0)
        assert carriers.turn(VERSION, found("c2s3"), 2.0) == near

    def test_what_is_no_longer_to_be_copied_is_forgotten(self) -> None:
        carriers = Carriers("c2s1")
        carriers.turn(VERSION, found("c1s1", queued("c2s2")), 0.0)
        carriers.failed(VERSION, [candidate("c2s2")], 0.0)
        carriers.forget_all_but([])
        assert not carriers._seen
        assert not carriers._failed


class TestMates:
    ME = Board("c2s1", Location("2", "1"), type="")

    def offer(self, server: str, *groups: GroupOffer, relay: bool = False) -> Offer:
        where = place(server)
        return Offer("test", b"n" * 16, server, where.chassis, where.slot, relay=relay, groups=groups)

    def test_are_the_servers_of_the_chassis_with_what_they_say_of_this_very_version(self) -> None:
        this = GroupOffer("os", "1", VERSION, Holding.PREPARING, copied=9)
        other = GroupOffer("os", "2", bytes(32))
        offers = [self.offer("c2s2", this, other), self.offer("c2s3", other), self.offer("c1s1", this)]
        assert mates_of(self.ME, offers, ["c2s1", "c2s2", "c2s4"], "os", VERSION) == (
            Mate("c2s2", holding=Holding.PREPARING, copied=9),
            Mate("c2s4", heard=False),
            Mate("c2s3"),
        )

    def test_relays_are_none(self) -> None:
        this = GroupOffer("os", "1", VERSION, Holding.PART)
        assert mates_of(self.ME, [self.offer("c2s9", this, relay=True)], [], "os", VERSION) == ()


class Chassis:
    """Servers of one chassis that copy a version; time goes in ticks of a quarter second.

    `dies`: at which tick a server is gone for good. A copy from afar takes `far` ticks, from a mate one. `late`: at
    which tick a server first hears of the version. Words that are lost are drawn by `rng`.
    """

    def __init__(
        self, servers: list[str], far: int, dies: dict[str, int], late: dict[str, int], loss: float, rng: random.Random
    ) -> None:
        self.carriers = {server: Carriers(server) for server in servers}
        self.dies, self.late, self.far, self.loss, self.rng = dies, late, far, loss, rng
        self.has: set[str] = set()
        self.busy: dict[str, tuple[bool, int]] = {}  # from afar, ticks left
        self.crossings = 0
        self.tick = 0

    def alive(self) -> Iterator[str]:
        return (one for one in self.carriers if self.dies.get(one, 10_000) > self.tick)

    def step(self) -> None:
        self.tick += 1
        now = self.tick / 4
        for server in list(self.busy):
            if server not in self.alive():
                del self.busy[server]
                continue
            far, left = self.busy[server]
            if left > 1:
                self.busy[server] = far, left - 1
            else:
                del self.busy[server]
                self.has.add(server)
        for server in list(self.alive()):
            lacks = server not in self.has and server not in self.busy and self.late.get(server, 0) <= self.tick
            if lacks and (self.tick + int(server[-1])) % 2 == 0:  # asks twice a second
                self._ask(server, now)

    def _ask(self, server: str, now: float) -> None:
        holders, mates = ["c1s1"], []
        for mate in self.carriers:
            if mate == server:
                continue
            heard = mate in self.alive() and self.rng.random() >= self.loss
            if heard and mate in self.has:
                holders.append(mate)
            mates.append(self._word(mate) if heard else silent(mate))
        turn = self.carriers[server].turn(VERSION, found(" ".join(holders), *mates), now)
        if isinstance(turn, Copy):
            self.crossings += not turn.near
            self.busy[server] = (not turn.near, 1 if turn.near else self.far)

    def _word(self, mate: str) -> Mate:
        if mate in self.has:
            return Mate(mate, holding=Holding.ALL)
        if mate in self.busy:
            return copying(mate, self.far - self.busy[mate][1])
        return queued(mate) if self.late.get(mate, 0) <= self.tick else Mate(mate)


SERVERS = [f"c2s{slot}" for slot in range(1, 6)]
TIMES = st.dictionaries(st.sampled_from(SERVERS), st.integers(0, 80), max_size=4)


class TestAChassisAsAWhole:
    @given(st.lists(st.sampled_from(SERVERS), min_size=1, unique=True), st.integers(1, 200), st.randoms())
    def test_without_faults_the_version_crosses_the_link_once_and_everybody_has_it(
        self, servers: list[str], far: int, rng: random.Random
    ) -> None:
        chassis = Chassis(servers, far, {}, {}, 0.0, rng)
        for _ in range(far + 30):
            chassis.step()
        assert chassis.has == set(servers)
        assert chassis.crossings == 1

    @given(st.integers(1, 120), TIMES, st.randoms())
    def test_every_death_costs_one_more_crossing_at_most_and_nobody_waits_for_ever(
        self, far: int, dies: dict[str, int], rng: random.Random
    ) -> None:
        chassis = Chassis(SERVERS, far, dies, {}, 0.0, rng)
        for _ in range((far + 30) * (len(dies) + 1) + 80):
            chassis.step()
        assert set(chassis.alive()) <= chassis.has
        assert chassis.crossings <= 1 + len(dies)

    @given(st.integers(1, 60), st.integers(0, 8), st.randoms())
    def test_servers_that_hear_of_the_version_a_little_later_do_not_bring_it_once_more(
        self, far: int, most: int, rng: random.Random
    ) -> None:
        late = {server: rng.randint(0, most) for server in SERVERS}
        chassis = Chassis(SERVERS, far, {}, late, 0.0, rng)
        for _ in range(far + 60):
            chassis.step()
        assert chassis.has == set(SERVERS)
        assert chassis.crossings == 1

    @settings(max_examples=50)
    @given(st.integers(1, 40), TIMES, TIMES, st.floats(0.0, 0.5), st.randoms())
    def test_whatever_is_lost_everybody_who_lives_has_it_in_the_end(
        self, far: int, dies: dict[str, int], late: dict[str, int], loss: float, rng: random.Random
    ) -> None:
        chassis = Chassis(SERVERS, far, dies, late, loss, rng)
        for _ in range((far + 60) * 6 + 160):
            chassis.step()
        assert set(chassis.alive()) <= chassis.has
