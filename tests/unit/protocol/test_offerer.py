"""What a server answers to a version request (M2, M4, M7)."""

from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan, Withheld
from boardwright.model.software import Target
from boardwright.protocol.messages import GroupOffer, GroupQuery, Holding, Offer, Request
from boardwright.protocol.offerer import Catalogued, ServerFacts, answer

V1, V2 = b"1" * 32, b"2" * 32
FACTS = ServerFacts("lab", "c1s1", Location("1", "1"), "https://10.0.1.1:6688", "https://10.0.1.1:6689")
NONCE = bytes(range(16))


def request(*queries: GroupQuery, cluster: str = "lab") -> Request:
    return Request(cluster, NONCE, "c1s3", "1", "3", "lc", groups=queries)


def plan(**versions: bytes) -> BoardPlan:
    return BoardPlan(
        7, {group: Target(group, digest.decode()[0], "*", digest.hex()) for group, digest in versions.items()}
    )


def held(holding: Holding, pieces: bytes = b"") -> Catalogued:
    return Catalogued("2", holding, pieces)


def offered(
    *queries: GroupQuery, of: BoardPlan, holdings: dict[bytes, Catalogued] | None = None, load: int = 0
) -> Offer:
    offer = answer(request(*queries), FACTS, of, holdings or {}, load)
    assert offer is not None
    return offer


def test_m2_m4_the_offer_says_where_how_loaded_how_new_and_how_to_get_the_files() -> None:
    """M2, M4."""
    offer = offered(GroupQuery("platform"), of=plan(platform=V1), holdings={V1: held(Holding.ALL)}, load=250)
    assert (offer.server, offer.chassis, offer.slot) == ("c1s1", "1", "1")
    assert (offer.load, offer.generation, offer.nonce) == (250, 7, NONCE)
    assert (offer.api, offer.blobs) == ("https://10.0.1.1:6688", "https://10.0.1.1:6689")
    assert offer.groups == (GroupOffer("platform", "1", V1, Holding.ALL),)


def test_a_version_that_is_planned_but_not_there_is_offered_as_none() -> None:
    assert offered(GroupQuery("platform"), of=plan(platform=V1)).groups[0].holding is Holding.NONE


def test_a_version_still_being_copied_is_offered_as_preparing() -> None:
    offer = offered(GroupQuery("platform"), of=plan(platform=V1), holdings={V1: held(Holding.PREPARING)})
    assert offer.groups[0].holding is Holding.PREPARING


def test_a_wanted_manifest_is_answered_beside_the_planned_one() -> None:
    """A server whose plan is old still serves what the board knows it needs."""
    holdings = {V1: held(Holding.ALL), V2: held(Holding.ALL)}
    offer = offered(GroupQuery("platform", want=V2), of=plan(platform=V1), holdings=holdings)
    assert [(group.manifest, group.planned) for group in offer.groups] == [(V1, True), (V2, False)]


def test_a_wanted_manifest_that_is_the_planned_one_is_answered_once() -> None:
    offer = offered(GroupQuery("platform", want=V1), of=plan(platform=V1), holdings={V1: held(Holding.ALL)})
    assert [(group.manifest, group.planned) for group in offer.groups] == [(V1, True)]


def test_a_wanted_manifest_that_nobody_knows_here_is_passed_over() -> None:
    assert offered(GroupQuery("platform", want=V2), of=plan()).groups == ()


def test_what_the_board_rolled_back_from_is_offered_neither_as_planned_nor_as_wanted() -> None:
    withheld = {"platform": Withheld(plan(platform=V1).groups["platform"])}
    of = BoardPlan(7, withheld=withheld)
    holdings = {V1: held(Holding.ALL), V2: held(Holding.ALL)}
    assert offered(GroupQuery("platform", want=V1), of=of, holdings=holdings).groups == ()
    (other,) = offered(GroupQuery("platform", want=V2), of=of, holdings=holdings).groups
    assert other.manifest == V2


def test_a_board_that_the_plan_does_not_name_still_gets_an_answer_with_the_generation() -> None:
    offer = offered(GroupQuery("platform"), of=BoardPlan(7))
    assert offer.groups == ()
    assert offer.generation == 7


def test_groups_that_were_not_asked_for_are_not_offered() -> None:
    offer = offered(GroupQuery("routing"), of=plan(platform=V1, routing=V2))
    assert [group.group for group in offer.groups] == ["routing"]


def test_a_part_carries_its_pieces() -> None:
    offer = offered(GroupQuery("platform"), of=plan(platform=V1), holdings={V1: held(Holding.PART, b"\x05")})
    assert offer.groups[0].pieces == b"\x05"


def test_another_cluster_gets_no_answer() -> None:
    assert answer(request(GroupQuery("platform"), cluster="other"), FACTS, plan(platform=V1), {}, 0) is None


groups = st.sampled_from(["platform", "routing", "fpga"])
digests = st.sampled_from([V1, V2, b"3" * 32])


@given(
    st.lists(st.builds(GroupQuery, groups, want=st.none() | digests), max_size=4, unique_by=lambda query: query.group),
    st.dictionaries(groups, digests),
    st.dictionaries(digests, st.sampled_from(Holding)),
)
def test_nothing_is_offered_as_whole_that_is_not_held_whole(
    queries: list[GroupQuery], planned: dict[str, bytes], holdings: dict[bytes, Holding]
) -> None:
    catalogue = {digest: held(holding) for digest, holding in holdings.items()}
    offer = offered(*queries, of=plan(**planned), holdings=catalogue)
    for group in offer.groups:
        assert group.holding is holdings.get(group.manifest, Holding.NONE)
    assert len({(group.group, group.manifest) for group in offer.groups}) == len(offer.groups)
