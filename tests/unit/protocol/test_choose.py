"""Which server a board takes, and why (M3, M4, M5)."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier
from boardwright.protocol.choose import Choice, choose
from boardwright.protocol.messages import GroupOffer, Holding, Offer

V2 = b"2" * 32
V1 = b"1" * 32
BOARD = Board("c1s3", Location("1", "3"), "lc")


def offer(
    server: str,
    chassis: str,
    slot: str,
    *,
    load: int = 0,
    generation: int = 7,
    holding: Holding | None = Holding.ALL,
    manifest: bytes = V2,
    relay: bool = False,
) -> Offer:
    """An offer of one version of `platform`; no group at all with `holding` None."""
    groups = () if holding is None else (GroupOffer("platform", "2" if manifest == V2 else "1", manifest, holding),)
    urls = (f"https://{server}:6688", f"https://{server}:6689")
    return Offer("lab", b"n" * 16, server, chassis, slot, generation, *urls, load, relay, groups)


def chosen(*offers: Offer, board: Board = BOARD, patience: bool = True) -> list[str]:
    return [candidate.source.id for candidate in choice(*offers, board=board, patience=patience).ranking]


def choice(*offers: Offer, board: Board = BOARD, patience: bool = True) -> Choice:
    return choose(board, offers, "platform", V2, patience=patience)


def why(result: Choice, server: str) -> str:
    return next(line.reason for line in result.heard if line.source.id == server)


class TestLocation:
    def test_m5_same_board_first_then_same_chassis_then_elsewhere(self) -> None:
        """M4, M5: the location in the offer decides."""
        assert chosen(offer("far", "2", "1"), offer("near", "1", "1"), offer("own", "1", "3")) == ["own", "near", "far"]

    def test_m5_the_slot_id_means_nothing_in_another_chassis(self) -> None:
        assert chosen(offer("same-slot-elsewhere", "2", "3"), offer("near", "1", "9")) == [
            "near",
            "same-slot-elsewhere",
        ]

    def test_m4_location_goes_before_load(self) -> None:
        assert chosen(offer("idle-far", "2", "1", load=0), offer("busy-near", "1", "1", load=999))[0] == "busy-near"

    def test_m4_location_goes_before_generation(self) -> None:
        near, far = offer("near", "1", "1", generation=6), offer("far", "2", "1", generation=9)
        assert chosen(far, near) == ["near", "far"]

    def test_m3_one_server_is_selected_and_the_rest_is_the_failover_list(self) -> None:
        result = choice(offer("a", "2", "1"), offer("b", "1", "1"), offer("c", "3", "1"))
        assert result.ranking[0].source.tier is Tier.SAME_CHASSIS
        assert result.ranking[0].blobs == "https://b:6689"
        assert {candidate.source.id for candidate in result.ranking[1:]} == {"a", "c"}


class TestVersion:
    def test_offers_of_another_version_fall_out_however_near(self) -> None:
        result = choice(offer("own", "1", "3", manifest=V1), offer("far", "2", "1"))
        assert [candidate.source.id for candidate in result.ranking] == ["far"]
        assert why(result, "own") == "offers 1 instead"

    def test_a_stale_server_that_holds_the_wanted_version_is_as_good_as_any(self) -> None:
        stale = offer("stale", "1", "1", generation=1)
        old_plan = GroupOffer("platform", "1", V1)
        wanted = GroupOffer("platform", "2", V2, planned=False)
        stale = Offer("lab", b"n" * 16, "stale", "1", "1", 1, "https://s:1", "https://s:2", groups=(old_plan, wanted))
        assert chosen(stale, offer("new", "2", "1", generation=9)) == ["stale", "new"]

    def test_the_same_digest_under_another_group_does_not_count(self) -> None:
        other = Offer("lab", b"n" * 16, "x", "1", "1", 1, "a", "b", groups=(GroupOffer("routing", "2", V2),))
        assert not choice(other).ranking

    def test_a_nearer_server_that_said_nothing_of_the_version_is_to_be_asked_by_want(self) -> None:
        far = offer("far", "2", "1")
        assert choice(offer("near", "1", "1", manifest=V1), far).unasked
        assert choice(offer("near", "1", "1", holding=None), far).unasked
        assert choice(offer("near", "1", "1", manifest=V1)).unasked
        assert not choice(offer("near", "1", "1", holding=Holding.NONE), far).unasked
        assert not choice(offer("near", "1", "1"), offer("beside", "1", "2", manifest=V1)).unasked

    def test_nobody_offers_nothing_is_chosen(self) -> None:
        assert choice().ranking == ()
        assert choice().reason == "no offer was heard"
        assert choice(offer("x", "1", "1", holding=None)).reason == "none of 1 offers has the version"


class TestHolding:
    @pytest.mark.parametrize("holding", [Holding.PREPARING, Holding.NONE, Holding.PART])
    @pytest.mark.parametrize("patience", [True, False])
    def test_what_is_not_held_whole_is_never_chosen(self, holding: Holding, patience: bool) -> None:
        offers = (offer("own", "1", "3", holding=holding), offer("far", "2", "1"))
        assert chosen(*offers, patience=patience) == ["far"]

    def test_a_nearer_server_that_prepares_makes_the_board_wait(self) -> None:
        result = choice(offer("near", "1", "1", holding=Holding.PREPARING), offer("far", "2", "1"))
        assert result.wait
        assert "near" in result.reason

    def test_without_patience_it_crosses_to_the_farther_tier(self) -> None:
        offers = (offer("near", "1", "1", holding=Holding.PREPARING), offer("far", "2", "1"))
        result = choice(*offers, patience=False)
        assert not result.wait
        assert result.ranking[0].source.id == "far"

    def test_an_equally_near_or_farther_one_that_prepares_holds_nobody_up(self) -> None:
        ready = offer("ready", "1", "1")
        assert not choice(ready, offer("beside", "1", "2", holding=Holding.PREPARING)).wait
        assert not choice(ready, offer("far", "2", "1", holding=Holding.PREPARING)).wait

    def test_if_only_preparing_servers_answer_the_board_waits_for_them(self) -> None:
        assert choice(offer("far", "2", "1", holding=Holding.PREPARING)).wait

    def test_a_nearer_server_that_merely_lacks_the_version_holds_nobody_up(self) -> None:
        assert not choice(offer("near", "1", "1", holding=Holding.NONE), offer("far", "2", "1")).wait


class TestLoad:
    def test_inside_a_tier_the_least_loaded_goes_first(self) -> None:
        loads = {"a": 300, "b": 10, "c": 299}
        assert chosen(*(offer(name, "1", name, load=load) for name, load in loads.items())) == ["b", "c", "a"]

    def test_a_full_tier_spills_to_the_next(self) -> None:
        near = [offer(f"near{number}", "1", str(number), load=1000 + number) for number in range(2)]
        assert chosen(*near, offer("far", "2", "1", load=900)) == ["far", "near0", "near1"]

    def test_one_full_server_does_not_make_its_tier_spill(self) -> None:
        near = (offer("full", "1", "1", load=1500), offer("free", "1", "2", load=999))
        assert chosen(*near, offer("far", "2", "1")) == ["free", "far", "full"]

    def test_if_everybody_is_full_the_nearest_is_still_tried(self) -> None:
        result = choice(offer("far", "2", "1", load=1000), offer("near", "1", "1", load=2000))
        assert result.ranking[0].source.id == "near"
        assert "full" in result.reason

    def test_sixteen_boards_spread_over_equally_loaded_servers(self) -> None:
        servers = [offer(f"c1s{slot}", "1", str(slot)) for slot in range(1, 5)]
        boards = [Board(f"c1s{slot}", Location("1", str(slot)), "lc") for slot in range(10, 26)]
        taken = Counter(chosen(*servers, board=board)[0] for board in boards)
        assert len(taken) == 4
        assert max(taken.values()) <= 8

    def test_many_boards_spread_evenly(self) -> None:
        servers = [offer(f"s{number}", "1", str(number)) for number in range(4)]
        boards = [Board(f"board-{number}", Location("2", str(number)), "lc") for number in range(2000)]
        taken = Counter(chosen(*servers, board=board)[0] for board in boards)
        assert all(400 < count < 600 for count in taken.values())

    def test_a_server_that_goes_moves_only_its_own_boards(self) -> None:
        servers = [offer(f"s{number}", "1", str(number)) for number in range(4)]
        for number in range(100):
            board = Board(f"board-{number}", Location("2", str(number)), "lc")
            before = chosen(*servers, board=board)
            assert chosen(*servers[1:], board=board) == [server for server in before if server != "s0"]

    def test_of_two_equally_loaded_a_server_goes_before_a_relay(self) -> None:
        assert chosen(offer("a", "1", "4", relay=True), offer("b", "1", "1")) == ["b", "a"]

    def test_a_board_does_not_fetch_from_its_own_relay(self) -> None:
        assert chosen(offer(BOARD.id, "1", "3", relay=True), offer("far", "2", "1")) == ["far"]


class TestTrace:
    def test_every_offer_is_explained_with_its_rank_or_its_reason(self) -> None:
        result = choice(
            offer("near", "1", "1", load=500),
            offer("far", "2", "1"),
            offer("old", "1", "2", manifest=V1),
            offer("copying", "2", "2", holding=Holding.PREPARING),
        )
        assert [(line.source.id, line.rank, line.holding) for line in result.heard] == [
            ("near", 1, "all"),
            ("far", 2, "all"),
            ("old", None, "other"),
            ("copying", None, "preparing"),
        ]
        assert result.heard[0].load == 0.5
        assert all(line.reason for line in result.heard)

    def test_the_reason_names_the_server_and_what_decided(self) -> None:
        assert "same-chassis" in choice(offer("near", "1", "1"), offer("far", "2", "1")).reason
        assert "least loaded" in choice(offer("a", "1", "1"), offer("b", "1", "2", load=9)).reason
        assert "own order" in choice(offer("a", "1", "1"), offer("b", "1", "2")).reason


places = st.tuples(st.sampled_from("12"), st.sampled_from("1234"))
any_offer = st.builds(
    lambda server, place, load, generation, holding, manifest, relay: offer(
        server, *place, load=load, generation=generation, holding=holding, manifest=manifest, relay=relay
    ),
    st.sampled_from([f"s{number}" for number in range(8)]),
    places,
    st.sampled_from([0, 0, 15, 500, 999, 1000, 1500]),
    st.integers(0, 3),
    st.sampled_from([*Holding, None]),
    st.sampled_from([V1, V2]),
    st.booleans(),
)


class TestProperties:
    @given(st.lists(any_offer, max_size=8), st.randoms(use_true_random=False), st.booleans())
    def test_the_order_of_arrival_does_not_matter(self, offers: list[Offer], rng: object, patience: bool) -> None:
        shuffled = list(offers)
        rng.shuffle(shuffled)  # type: ignore[attr-defined]
        assert choice(*shuffled, patience=patience) == choice(*offers, patience=patience)

    @given(st.lists(any_offer, max_size=8))
    def test_only_whole_holders_of_the_wanted_manifest_are_ranked(self, offers: list[Offer]) -> None:
        able = {
            heard.server
            for heard in offers
            if any(group.manifest == V2 and group.holding is Holding.ALL for group in heard.groups)
        }
        ranked = chosen(*offers)
        assert set(ranked) <= able
        assert len(ranked) == len(set(ranked))

    @given(st.lists(any_offer, max_size=8, unique_by=lambda heard: heard.server))
    def test_the_order_is_total_and_adding_an_offer_never_reorders_the_others(self, offers: list[Offer]) -> None:
        whole = chosen(*offers)
        for left_out in offers:
            rest = [heard for heard in offers if heard is not left_out]
            assert chosen(*rest) == [server for server in whole if server != left_out.server]

    @given(st.lists(any_offer, max_size=8))
    def test_tiers_never_get_nearer_down_the_list_among_those_with_room(self, offers: list[Offer]) -> None:
        ranking = choice(*offers).ranking
        with_room = [candidate.source.tier.rank for candidate in ranking if candidate.load < 1000]
        assert with_room == sorted(with_room)
        assert [candidate.load >= 1000 for candidate in ranking] == sorted(
            candidate.load >= 1000 for candidate in ranking
        )

    @given(st.lists(any_offer, max_size=8))
    def test_generations_change_nothing(self, offers: list[Offer]) -> None:
        level = [msgspec.structs.replace(heard, generation=1) for heard in offers]
        assert set(chosen(*offers)) == set(chosen(*level))
        if len({heard.server for heard in offers}) == len(offers):
            assert chosen(*offers) == chosen(*level)

    @given(st.lists(any_offer, max_size=8))
    def test_every_offer_stands_in_the_trace_once(self, offers: list[Offer]) -> None:
        result = choice(*offers)
        assert len(result.heard) == len(offers)
        ranks = [line.rank for line in result.heard if line.rank is not None]
        assert ranks == list(range(1, len(result.ranking) + 1))
