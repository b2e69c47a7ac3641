"""One round of asking: when it sends, what it hears, when it has heard enough."""

import itertools
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.protocol.codec import MAX_DATAGRAM, Received, decode
from boardwright.protocol.messages import GroupOffer, GroupQuery, Holding, Offer, Request
from boardwright.protocol.requester import MAX_RELAYS, MAX_SENDERS, MAX_VERSIONS, Requester, newest_first
from boardwright.protocol.timing import RequestTiming

TIMING = RequestTiming()
BOARD = Board("c1s1", Location("1", "1"), "rp")
V1, V2 = b"1" * 32, b"2" * 32


def requester(
    *groups: str,
    known: tuple[str, ...] = (),
    generation: int = 0,
    want: bytes | None = None,
    ignored: tuple[str, ...] = (),
    seed: int = 1,
) -> Requester:
    return Requester(
        cluster="lab",
        board=BOARD,
        queries=tuple(GroupQuery(group, want=want) for group in groups or ("platform",)),
        generation=generation,
        known_servers=frozenset(known),
        timing=TIMING,
        rng=Random(seed),
        now=100.0,
        ignored=frozenset(ignored),
    )


def asked(round_: Requester, now: float = 100.0) -> list[Request]:
    received = [decode(datagram, "lab") for datagram in round_.datagrams(now)]
    messages = [each.message for each in received if isinstance(each, Received)]
    return [message for message in messages if isinstance(message, Request)]


def offer(
    nonce: bytes,
    server: str = "c1s2",
    *groups: GroupOffer,
    chassis: str = "1",
    slot: str = "2",
    generation: int = 1,
    relay: bool = False,
) -> Offer:
    return Offer("lab", nonce, server, chassis, slot, generation, "https://a", "https://b", 0, relay, groups)


def whole(manifest: bytes = V1, group: str = "platform", *, planned: bool = True) -> GroupOffer:
    return GroupOffer(group, manifest.decode()[0], manifest, Holding.ALL, planned)


class TestAsking:
    def test_m1_the_request_says_who_where_which_groups_and_which_versions(self) -> None:
        """M1: a version request that carries the software-group information."""
        round_ = Requester(
            cluster="lab",
            board=BOARD,
            queries=(GroupQuery("platform", "1.0", V1), GroupQuery("routing")),
            generation=5,
            known_servers=frozenset(),
            timing=TIMING,
            rng=Random(1),
            now=0.0,
        )
        (request,) = asked(round_, 0.0)
        assert (request.board, request.chassis, request.slot, request.board_type) == ("c1s1", "1", "1", "rp")
        assert request.groups == (GroupQuery("platform", "1.0", V1), GroupQuery("routing"))
        assert request.generation == 5

    def test_the_first_request_is_due_at_once_and_only_once(self) -> None:
        round_ = requester()
        assert round_.next_wakeup() == 100.0
        assert [len(datagram) for datagram in round_.datagrams(100.0)] == [MAX_DATAGRAM]
        assert round_.datagrams(100.0) == []

    def test_repetitions_are_the_same_bytes_and_back_off_until_it_gives_up(self) -> None:
        round_ = requester()
        now, sent = 100.0, []
        while not round_.decided(now):
            sent += [(now, datagram) for datagram in round_.datagrams(now)]
            wakeup = round_.next_wakeup()
            assert wakeup is not None
            assert wakeup > now
            now = wakeup
        assert len({datagram for _, datagram in sent}) == 1
        gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(sent)]
        assert 0.06 <= gaps[0] <= 0.1
        assert all(gap <= TIMING.longest_repeat * (1 + TIMING.jitter) for gap in gaps)
        assert gaps[3] > 3 * gaps[0]
        assert len(sent) <= 12
        assert now == 100.0 + TIMING.give_up
        assert round_.next_wakeup() is None

    def test_boards_that_start_together_drift_apart(self) -> None:
        seconds = set()
        for seed in range(20):
            round_ = requester(seed=seed)
            round_.datagrams(100.0)
            seconds.add(round_.next_wakeup())
        assert len(seconds) == 20

    def test_every_round_has_a_nonce_of_its_own(self) -> None:
        assert asked(requester(seed=1))[0].nonce != asked(requester(seed=2))[0].nonce

    def test_many_groups_go_out_in_several_requests_and_all_must_be_answered(self) -> None:
        groups = tuple(f"group-{number}" for number in range(10))
        round_ = requester(*groups, known=("c1s2",))
        requests = asked(round_)
        assert [query.group for request in requests for query in request.groups] == list(groups)
        assert len({request.nonce for request in requests}) == len(requests) == 3
        for request in requests:
            assert not round_.decided(100.001)
            assert round_.hear(offer(request.nonce), 100.001)
        assert round_.decided(100.001)

    def test_nothing_is_sent_once_enough_was_heard(self) -> None:
        round_ = requester(known=("c1s2",))
        (request,) = asked(round_)
        round_.hear(offer(request.nonce), 100.002)
        assert round_.datagrams(100.5) == []
        assert round_.next_wakeup() is None


class TestDeciding:
    def test_the_own_board_s_server_that_holds_everything_is_enough(self) -> None:
        round_ = requester(known=("c1s1", "c1s2"))
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s1", whole(), slot="1"), 100.001)
        assert round_.decided(100.001)

    @pytest.mark.parametrize(
        ("groups", "why"),
        [
            ((), "nothing"),
            ((msgspec.structs.replace(whole(), holding=Holding.PREPARING),), "still copying"),
            ((whole(group="routing"),), "another group"),
        ],
    )
    def test_the_own_server_with_less_than_everything_is_not_enough(
        self, groups: tuple[GroupOffer, ...], why: str
    ) -> None:
        round_ = requester("platform", "routing")
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s1", *groups, slot="1"), 100.001)
        assert not round_.decided(100.001), why

    def test_the_own_server_with_an_older_plan_than_the_board_knows_is_not_enough(self) -> None:
        round_ = requester(generation=2)
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s1", whole(), slot="1", generation=1), 100.001)
        assert not round_.decided(100.001)

    def test_the_own_server_must_hold_the_manifest_that_the_board_already_wants(self) -> None:
        round_ = requester(want=V2)
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s1", whole(V1), slot="1"), 100.001)
        assert not round_.decided(100.001)
        round_.hear(offer(request.nonce, "c1s1", whole(V1), whole(V2, planned=False), slot="1"), 100.002)
        assert round_.decided(100.002)

    def test_a_relay_on_the_own_board_is_not_enough(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s1", whole(), slot="1", relay=True), 100.001)
        assert not round_.decided(100.001)

    def test_answers_of_all_known_servers_are_enough(self) -> None:
        round_ = requester(known=("a", "b"))
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "a"), 100.001)
        round_.hear(offer(request.nonce, "stranger"), 100.001)
        assert not round_.decided(100.001)
        round_.hear(offer(request.nonce, "b"), 100.002)
        assert round_.decided(100.002)

    def test_a_known_server_that_is_dead_costs_only_the_window(self) -> None:
        round_ = requester(known=("alive", "dead"))
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "alive"), 100.004)
        assert round_.next_wakeup() == pytest.approx(100.004 + TIMING.window)
        assert not round_.decided(100.05)
        assert round_.decided(100.004 + TIMING.window)
        assert TIMING.window <= 0.05

    def test_with_no_known_servers_the_window_after_the_first_offer_decides(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "a"), 101.0)
        assert not round_.decided(101.04)
        assert round_.decided(101.0 + TIMING.window)
        assert round_.decided_at == 101.0 + TIMING.window

    def test_relays_hurry_nobody_because_they_know_no_plan(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "c1s9", whole(), slot="9", relay=True), 100.001)
        assert not round_.decided(101.0)
        round_.hear(offer(request.nonce, "a"), 101.0)
        assert round_.decided(101.0 + TIMING.window)
        assert len(round_.offers) == 2

    def test_a_server_that_replicates_does_not_wait_for_itself(self) -> None:
        round_ = requester(known=("c1s1", "c1s2"), ignored=("c1s1",))
        (request,) = asked(round_)
        assert not round_.hear(offer(request.nonce, "c1s1", whole(), slot="1"), 100.001)
        round_.hear(offer(request.nonce, "c1s2"), 100.001)
        assert round_.decided(100.001)


class TestHearing:
    def test_m2_every_server_is_one_offer_with_its_time(self) -> None:
        """M2: offers of at least two servers, each with how to get the files."""
        round_ = requester()
        (request,) = asked(round_)
        assert round_.hear(offer(request.nonce, "a", whole()), 100.001)
        assert round_.hear(offer(request.nonce, "b", whole()), 100.003)
        assert [heard.server for heard in round_.offers] == ["a", "b"]
        assert round_.heard_at == {"a": 100.001, "b": 100.003}
        assert round_.first_heard_at == 100.001

    def test_later_offers_still_join_after_the_decision(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "a"), 100.0)
        assert round_.decided(101.0)
        assert round_.hear(offer(request.nonce, "late", whole()), 105.0)
        assert len(round_.offers) == 2

    def test_an_answer_to_another_request_is_not_heard(self) -> None:
        round_ = requester()
        assert not round_.hear(offer(b"x" * 16, "a"), 100.0)
        assert round_.offers == ()

    def test_a_duplicate_says_nothing_new(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        first = offer(request.nonce, "a", whole())
        assert round_.hear(first, 100.0)
        assert not round_.hear(first, 100.1)
        assert round_.heard_at["a"] == 100.0

    def test_an_answer_in_several_datagrams_becomes_one_offer(self) -> None:
        round_ = requester("platform", "routing")
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "a", whole()), 100.0)
        round_.hear(offer(request.nonce, "a", whole(group="routing")), 100.0)
        (merged,) = round_.offers
        assert {group.group for group in merged.groups} == {"platform", "routing"}

    @pytest.mark.parametrize("late", [False, True])
    def test_a_version_that_got_ready_stays_ready_whatever_arrives_first(self, late: bool) -> None:
        round_ = requester()
        (request,) = asked(round_)
        preparing = offer(request.nonce, "a", msgspec.structs.replace(whole(), holding=Holding.PREPARING))
        ready = offer(request.nonce, "a", whole())
        for each in (ready, preparing) if late else (preparing, ready):
            round_.hear(each, 100.0)
        assert round_.offers[0].groups == (whole(),)

    @pytest.mark.parametrize("late", [False, True])
    def test_the_newer_generation_speaks_for_the_plan_whatever_arrives_first(self, late: bool) -> None:
        round_ = requester()
        (request,) = asked(round_)
        old = offer(request.nonce, "a", whole(V1), generation=1)
        new = offer(request.nonce, "a", whole(V2), generation=2)
        for each in (new, old) if late else (old, new):
            round_.hear(each, 100.0)
        assert round_.offers[0].generation == 2
        assert round_.offers[0].groups == (whole(V2),)

    def test_the_newest_list_of_revoked_keys_counts_whatever_arrives_first(self) -> None:
        for first, second in ((7, 5), (5, 7)):
            round_ = requester()
            (nonce,) = round_.nonces
            for number, generation in ((first, 1), (second, 2)):
                said = msgspec.structs.replace(offer(nonce, generation=generation), revocations=number)
                round_.hear(said, 100.1)
            assert round_.offers[0].revocations == 7

    def test_who_is_a_server_no_more_has_not_been_heard_and_is_not_waited_for(self) -> None:
        round_ = requester(known=("c1s2", "c2s1", "c3s1"))
        (nonce,) = round_.nonces
        for server in ("c1s2", "c2s1"):
            round_.hear(offer(nonce, server), 100.0)
        assert not round_.decided(100.01)
        round_.drop({"c1s2", "c3s1"})
        assert [one.server for one in round_.offers] == ["c2s1"]
        assert round_.decided(100.01)

    def test_groups_that_were_not_asked_for_are_left_out(self) -> None:
        round_ = requester("platform")
        (request,) = asked(round_)
        round_.hear(offer(request.nonce, "a", whole(group="other")), 100.0)
        assert round_.offers[0].groups == ()

    def test_a_flood_of_senders_is_bounded(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        for number in range(3 * MAX_SENDERS):
            round_.hear(offer(request.nonce, f"liar-{number}"), 100.0)
        assert len(round_.offers) == MAX_SENDERS

    def test_relays_however_many_leave_places_for_servers(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        for number in range(2 * MAX_SENDERS):
            round_.hear(offer(request.nonce, f"stolen-{number}", relay=True), 100.0)
        assert len(round_.offers) == MAX_RELAYS
        assert round_.hear(offer(request.nonce, "c1s1"), 100.0)
        assert round_.hear(offer(request.nonce, "stolen-0", whole(), relay=True), 100.0)

    def test_a_flood_of_versions_of_one_sender_is_bounded(self) -> None:
        round_ = requester()
        (request,) = asked(round_)
        for number in range(100):
            round_.hear(offer(request.nonce, "liar", whole(bytes([48 + number % 64]) * 32)), 100.0)
        assert len(round_.offers[0].groups) <= MAX_VERSIONS

    @given(st.permutations(range(5)), st.integers(0, 4))
    def test_order_and_repetition_of_one_server_s_answers_do_not_matter(self, order: list[int], again: int) -> None:
        round_, sorted_round = requester(), requester()
        (request,) = asked(round_)
        answers = [
            offer(request.nonce, "a", msgspec.structs.replace(whole(), holding=Holding.NONE)),
            offer(request.nonce, "a", msgspec.structs.replace(whole(), holding=Holding.PREPARING)),
            offer(request.nonce, "a", whole()),
            offer(request.nonce, "a", whole(V2), generation=2),
            offer(request.nonce, "a"),
        ]
        for index in [*order, order[again]]:
            round_.hear(answers[index], 100.0)
        for each in answers:
            sorted_round.hear(each, 100.0)
        assert set(round_.offers[0].groups) == set(sorted_round.offers[0].groups)
        assert round_.offers[0].generation == sorted_round.offers[0].generation


class TestNewestFirst:
    def test_metadata_comes_from_the_highest_generation_wherever_it_sits(self) -> None:
        near = offer(b"n" * 16, "near", generation=3)
        far = offer(b"n" * 16, "far", chassis="2", generation=9)
        also = offer(b"n" * 16, "also", generation=9)
        assert [each.server for each in newest_first([near, far, also])] == ["far", "also", "near"]

    def test_who_has_no_api_is_not_asked(self) -> None:
        assert newest_first([msgspec.structs.replace(offer(b"n" * 16, "relay"), api="")]) == []
