"""Datagrams: their sizes, what is dropped and why, and that no bytes can hurt."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.errors import UsageError
from boardwright.model.location import Location
from boardwright.protocol.codec import (
    GROUPS_PER_REQUEST,
    Dropped,
    Received,
    decode,
    encode_announcement,
    encode_offers,
    encode_request,
    split_request,
)
from boardwright.protocol.messages import (
    MAJOR,
    MAX_DATAGRAM,
    MAX_GROUPS,
    Announcement,
    GroupOffer,
    GroupQuery,
    Holding,
    Kind,
    Offer,
    Request,
)
from boardwright.sim.seal import SimSeal, placed

NONCE = bytes(range(16))
DIGEST = bytes(range(32))

names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40)
digests = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=16, max_size=16)
generations = st.integers(0, 2**53 - 1)
queries = st.builds(GroupQuery, names, st.none() | names, st.none() | digests)
requests = st.builds(
    Request,
    cluster=st.just("lab"),
    nonce=nonces,
    board=names,
    chassis=names,
    slot=names,
    board_type=st.text(max_size=20),
    generation=generations,
    groups=st.lists(queries, max_size=MAX_GROUPS).map(tuple),
)
group_offers = st.builds(
    GroupOffer, names, names, digests, st.sampled_from(Holding), st.booleans(), st.binary(max_size=99)
)
offers = st.builds(
    Offer,
    cluster=st.just("lab"),
    nonce=nonces,
    server=names,
    chassis=names,
    slot=names,
    generation=generations,
    api=names,
    blobs=names,
    load=st.integers(0, 5000),
    relay=st.booleans(),
    revocations=generations,
    groups=st.lists(group_offers, max_size=MAX_GROUPS).map(tuple),
)


def request(*groups: GroupQuery, cluster: str = "lab", board: str = "c1s3") -> Request:
    return Request(cluster, NONCE, board, "1", "3", "lc", groups=groups)


def offer(*groups: GroupOffer) -> Offer:
    return Offer("lab", NONCE, "c1s1", "1", "1", 7, "https://10.0.1.1:6688", "https://10.0.1.1:6689", groups=groups)


def envelope(kind: int, body: object, *, major: int = MAJOR, more: tuple[object, ...] = ()) -> bytes:
    encoded = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    return msgspec.msgpack.encode([major, kind, encoded, b"", b"", *more])


SEAL = SimSeal("c1s1", Location("1", "1"))


def bare(whole: Offer) -> Offer:
    """What travels of an offer beside its groups."""
    return msgspec.structs.replace(whole, server="", chassis="", slot="", groups=())


class TestSizes:
    @given(requests)
    def test_every_request_is_exactly_one_full_datagram(self, whole: Request) -> None:
        for part in split_request(whole):
            assert len(encode_request(part)) == MAX_DATAGRAM

    @given(offers, st.integers(0, 3 * MAX_DATAGRAM))
    def test_all_answers_together_fit_into_the_budget_and_each_into_a_datagram(self, whole: Offer, budget: int) -> None:
        datagrams = encode_offers(whole, SEAL, budget)
        assert sum(map(len, datagrams)) <= budget
        assert all(len(datagram) <= MAX_DATAGRAM for datagram in datagrams)

    @given(offers)
    def test_a_server_is_no_amplifier(self, whole: Offer) -> None:
        smallest = encode_request(request())
        assert sum(map(len, encode_offers(whole, SEAL))) <= len(smallest)

    def test_four_groups_fit_beside_a_certificate_and_a_signature(self) -> None:
        groups = [GroupOffer(f"group-name-{number}", "2024.10.1", DIGEST) for number in range(GROUPS_PER_REQUEST)]
        longest = SimSeal("c1s1", Location("1", "1"))
        longest.certificate = bytes(450)
        (datagram,) = encode_offers(msgspec.structs.replace(offer(*groups), revocations=10_000), longest)
        received = decode(datagram, "lab")
        assert isinstance(received, Received)
        assert isinstance(received.message, Offer)
        assert len(received.message.groups) == GROUPS_PER_REQUEST

    def test_an_offer_of_more_than_one_datagram_continues_in_others_that_stand_alone(self) -> None:
        whole = offer(*(GroupOffer(f"g{number}", "1.0", DIGEST) for number in range(MAX_GROUPS)))
        heard: list[GroupOffer] = []
        for datagram in encode_offers(whole, SEAL, 10 * MAX_DATAGRAM):
            received = decode(datagram, "lab")
            assert isinstance(received, Received)
            assert isinstance(received.message, Offer)
            assert msgspec.structs.replace(received.message, groups=()) == bare(whole)
            heard.extend(received.message.groups)
        assert tuple(heard) == whole.groups

    def test_an_offer_with_no_room_for_groups_still_says_the_generation(self) -> None:
        empty = encode_offers(offer(), SEAL)
        assert encode_offers(offer(GroupOffer("g", "1.0", DIGEST)), SEAL, len(empty[0]) + 1) == empty
        assert encode_offers(offer(), SEAL, 10) == []


class TestSplitting:
    @given(requests)
    def test_the_parts_together_name_every_group_once(self, whole: Request) -> None:
        parts = split_request(whole)
        assert tuple(query for part in parts for query in part.groups) == whole.groups
        assert all(len(part.groups) <= GROUPS_PER_REQUEST for part in parts)

    def test_a_request_that_fits_is_left_alone(self) -> None:
        small = request(GroupQuery("platform"))
        assert split_request(small) == [small]

    def test_a_name_that_cannot_fit_is_a_usage_error_that_names_the_board(self) -> None:
        with pytest.raises(UsageError, match="c1s3"):
            split_request(request(GroupQuery("g" * MAX_DATAGRAM)))
        with pytest.raises(UsageError, match="c1s3"):
            encode_request(request(GroupQuery("g" * MAX_DATAGRAM)))


class TestRoundTrip:
    @given(requests)
    def test_a_request_comes_out_as_it_went_in(self, whole: Request) -> None:
        for part in split_request(whole):
            assert decode(encode_request(part), "lab") == Received(part)

    @given(offers)
    def test_an_offer_comes_out_as_it_went_in(self, whole: Offer) -> None:
        (datagram, *rest) = encode_offers(msgspec.structs.replace(whole, groups=whole.groups[:2]), SEAL)
        assert not rest
        received = decode(datagram, "lab")
        assert isinstance(received, Received)
        assert received.message == msgspec.structs.replace(bare(whole), groups=whole.groups[:2])

    def test_an_announcement_comes_out_as_it_went_in(self) -> None:
        announcement = Announcement("lab", "c1s1", 12, 3)
        received = decode(encode_announcement(announcement, SEAL), "lab")
        assert isinstance(received, Received)
        assert received.message == msgspec.structs.replace(announcement, server="")
        assert placed(received) == announcement


class TestDropping:
    @given(st.binary(max_size=2 * MAX_DATAGRAM))
    def test_no_bytes_raise(self, data: bytes) -> None:
        assert isinstance(decode(data, "lab"), (Received, Dropped))

    @given(st.sampled_from([1, 2, 3, 4]), st.binary(max_size=300))
    def test_no_body_raises(self, kind: int, body: bytes) -> None:
        assert isinstance(decode(envelope(kind, body), "lab"), (Received, Dropped))

    @given(
        st.sampled_from([1, 2, 3]),
        st.dictionaries(
            st.sampled_from(["c", "n", "b", "ch", "sl", "t", "ge", "q", "p", "s", "r", "l", "a", "u", "o", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=8,
            ),
        ),
    )
    def test_no_fields_raise(self, kind: int, fields: dict[str, object]) -> None:
        assert isinstance(decode(envelope(kind, {"c": "lab", **fields}), "lab"), (Received, Dropped))

    @given(requests, st.data())
    def test_no_flipped_byte_raises(self, whole: Request, data: st.DataObject) -> None:
        datagram = bytearray(encode_request(split_request(whole)[0]))
        datagram[data.draw(st.integers(0, len(datagram) - 1))] = data.draw(st.integers(0, 255))
        assert isinstance(decode(bytes(datagram), "lab"), (Received, Dropped))

    @given(offers, st.integers(0, MAX_DATAGRAM))
    def test_a_truncated_offer_is_malformed(self, whole: Offer, length: int) -> None:
        datagram = encode_offers(whole, SEAL)[0]
        if length < len(datagram):
            assert decode(datagram[:length], "lab") is Dropped.MALFORMED

    @pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1x", b"\x95\x01\x01", b"\xdf\xff\xff\xff\xff", b"\xc1", b""])
    def test_deep_nests_and_boasting_lengths_are_malformed(self, opening: bytes) -> None:
        data = (opening * MAX_DATAGRAM)[:MAX_DATAGRAM]
        assert decode(data, "lab") is Dropped.MALFORMED
        assert isinstance(decode(envelope(Kind.OFFER, data[:1100]), "lab"), Dropped)

    def test_an_oversized_datagram_is_not_looked_into(self) -> None:
        assert decode(encode_request(request()) + b"\0", "lab") is Dropped.OVERSIZED

    def test_an_unpadded_request_is_dropped(self) -> None:
        body = {"c": "lab", "n": NONCE, "b": "c1s3", "ch": "1", "sl": "3", "t": "lc"}
        assert decode(envelope(Kind.REQUEST, body), "lab") is Dropped.UNPADDED

    def test_another_cluster_s_messages_are_told_apart(self) -> None:
        assert decode(encode_request(request(cluster="other")), "lab") is Dropped.FOREIGN_CLUSTER

    @pytest.mark.parametrize(
        "data",
        [envelope(1, {}, major=2), msgspec.msgpack.encode([2, "a new", {"shape": 1}]), msgspec.msgpack.encode([9])],
    )
    def test_another_major_version_is_recognised_whatever_its_shape(self, data: bytes) -> None:
        assert decode(data, "lab") is Dropped.UNKNOWN_MAJOR

    def test_an_unknown_kind_is_told_apart(self) -> None:
        assert decode(envelope(77, {"c": "lab"}), "lab") is Dropped.UNKNOWN_KIND

    @pytest.mark.parametrize(
        "fields",
        [
            {"n": b"short"},
            {"ge": -1},
            {"ge": 2**60},
            {"l": -1},
            {"rv": -1},
            {"rv": 2**60},
            {"a": "https://" + "x" * 300},
            {"o": [{"g": "g", "v": "1", "m": b"no digest"}]},
            {"o": [{"g": "g", "v": "1", "m": DIGEST, "h": 9}]},
            {"o": [{"g": "", "v": "1", "m": DIGEST}]},
        ],
    )
    def test_a_field_out_of_its_bounds_is_malformed(self, fields: dict[str, object]) -> None:
        good: dict[str, object] = {"c": "lab", "n": NONCE, "s": "c1s1", "ch": "1", "sl": "1", "ge": 7}
        assert isinstance(decode(envelope(Kind.OFFER, good), "lab"), Received)
        assert decode(envelope(Kind.OFFER, {**good, **fields}), "lab") is Dropped.MALFORMED

    def test_a_request_for_more_groups_than_any_board_has_is_malformed(self) -> None:
        body = {"c": "lab", "n": NONCE, "b": "b", "ch": "1", "sl": "3", "t": "lc", "q": [{"g": "g"}] * (MAX_GROUPS + 1)}
        assert decode(envelope(Kind.REQUEST, {**body, "p": bytes(900)}), "lab") is Dropped.MALFORMED


class TestGrowth:
    def test_fields_and_elements_of_later_releases_are_ignored(self) -> None:
        body = {"c": "lab", "s": "c1s1", "ge": 7, "later": {"nested": [1, 2]}}
        data = envelope(Kind.ANNOUNCEMENT, body, more=("a sixth element",))
        received = decode(data, "lab")
        assert isinstance(received, Received)
        assert received.message == Announcement("lab", "", 7)

    def test_who_and_where_somebody_is_is_not_taken_from_what_he_says(self) -> None:
        body = {"c": "lab", "n": NONCE, "s": "c1s1", "ch": "1", "sl": "1", "ge": 7}
        received = decode(envelope(Kind.OFFER, body), "lab")
        assert isinstance(received, Received)
        assert isinstance(received.message, Offer)
        assert (received.message.server, received.message.chassis, received.message.slot) == ("", "", "")

    def test_certificate_and_signature_are_handed_on_unverified(self) -> None:
        body = msgspec.msgpack.encode({"c": "lab", "s": "c1s1", "ge": 7})
        data = msgspec.msgpack.encode([MAJOR, Kind.ANNOUNCEMENT, body, b"certificate", b"signature"])
        assert decode(data, "lab") == Received(Announcement("lab", "", 7), b"certificate", b"signature", body)
