"""Whom a board believes what it hears, and what it counts of everybody else."""

import msgspec
import pytest

from boardwright.model.location import Location
from boardwright.protocol.budget import BURST
from boardwright.protocol.codec import Received, decode, encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import Announcement, GroupOffer, Holding, Offer, Request
from boardwright.protocol.sealing import Seal
from boardwright.trust.identity import Role
from boardwright.trust.witness import Witness
from tests.identities import Identities

NONCE, OTHER = b"n" * 16, b"o" * 16
IDENTITIES = Identities("core1")
SERVER = IDENTITIES.server("c1s1", "1", "1")
OFFER = Offer("core1", NONCE, generation=7, groups=(GroupOffer("platform", "1", bytes(32)),))


class Board:
    def __init__(self) -> None:
        self.revoked: frozenset[str] = frozenset()
        self.witness = Witness(IDENTITIES.authority, 0.0, lambda: self.revoked)

    def hear(self, data: bytes, sender: str = "10.0.0.1", now: float = 1.0) -> Offer | Announcement | None:
        received = decode(data, "core1")
        assert isinstance(received, Received)
        return self.witness.hear(received, sender, now, {NONCE})


@pytest.fixture
def board() -> Board:
    return Board()


def offered(offer: Offer = OFFER, seal: Seal = SERVER) -> bytes:
    return encode_offers(offer, seal)[0]


def forged(data: bytes, *, certificate: bytes | None = None, signature: bytes | None = None) -> bytes:
    parts = msgspec.msgpack.decode(data)
    parts[3] = parts[3] if certificate is None else certificate
    parts[4] = parts[4] if signature is None else signature
    return msgspec.msgpack.encode(parts)


class TestAServer:
    def test_is_believed_and_sits_where_its_certificate_says(self, board: Board) -> None:
        lie = msgspec.structs.replace(OFFER, server="c9s9", chassis="9", slot="9")
        heard = board.hear(offered(lie))
        assert isinstance(heard, Offer)
        assert (heard.server, heard.chassis, heard.slot) == ("c1s1", "1", "1")
        assert (heard.generation, heard.groups) == (7, OFFER.groups)
        assert not board.witness.ignored

    def test_says_that_there_is_a_new_plan(self, board: Board) -> None:
        heard = board.hear(encode_announcement(Announcement("core1", generation=9), SERVER))
        assert heard == Announcement("core1", "c1s1", 9)


class TestNobodyBelieves:
    def ignored(self, board: Board, data: bytes, reason: str) -> None:
        assert board.hear(data) is None
        assert board.witness.ignored == {reason: 1}

    def test_an_offer_of_another_cluster_s_server(self, board: Board) -> None:
        self.ignored(board, offered(seal=Identities("core1").server("c1s1")), "untrusted")

    def test_a_liar_in_another_slot_with_a_server_s_certificate_and_not_its_key(self, board: Board) -> None:
        liar = IDENTITIES.server("c2s1", "2", "1")
        self.ignored(board, forged(offered(seal=liar), certificate=SERVER.certificate), "untrusted")

    def test_an_offer_that_was_changed_on_the_way(self, board: Board) -> None:
        parts = msgspec.msgpack.decode(offered())
        parts[2] = parts[2].replace(b"platform", b"plattorm")
        self.ignored(board, msgspec.msgpack.encode(parts), "untrusted")

    def test_the_signature_of_another_kind_of_message(self, board: Board) -> None:
        announcement = msgspec.msgpack.decode(encode_announcement(Announcement("core1", generation=9), SERVER))
        self.ignored(board, forged(offered(), signature=announcement[4]), "untrusted")

    @pytest.mark.parametrize("junk", [b"", b"x" * 70, bytes(71)])
    def test_no_signature_or_no_certificate(self, board: Board, junk: bytes) -> None:
        assert board.hear(forged(offered(), signature=junk)) is None
        assert board.hear(forged(offered(), certificate=junk)) is None
        assert board.witness.ignored == {"untrusted": 2}

    @pytest.mark.parametrize("role", [Role.BOARD, Role.ADMIN, Role.ENROLLER])
    def test_somebody_who_is_no_server(self, board: Board, role: Role) -> None:
        self.ignored(board, offered(seal=IDENTITIES.person(role)), "no-server")

    def test_a_server_whose_key_is_revoked_known_before_or_not(self, board: Board) -> None:
        assert board.hear(offered()) is not None
        board.revoked = frozenset({SERVER.identity.key})
        self.ignored(board, offered(), "revoked")

    def test_and_it_is_named_to_whoever_has_heard_it_before(self, board: Board) -> None:
        assert board.hear(offered()) is not None
        assert board.hear(encode_announcement(Announcement("core1"), IDENTITIES.server("c2s1", "2"))) is not None
        assert board.witness.outcasts() == frozenset()
        board.revoked = frozenset({SERVER.identity.key})
        assert board.witness.outcasts() == {"c1s1"}

    def test_a_replay_to_which_nobody_asked(self, board: Board) -> None:
        self.ignored(board, offered(msgspec.structs.replace(OFFER, nonce=OTHER)), "unasked")


class TestAFlood:
    def test_of_forgeries_from_one_address_keeps_nobody_else_from_being_heard(self, board: Board) -> None:
        junk = forged(offered(), signature=bytes(71))
        for _ in range(int(BURST) + 100):
            board.hear(junk, "10.0.0.66")
        assert board.witness.ignored["crowded"] >= 100
        assert board.hear(offered(), "10.0.0.1") is not None

    def test_of_replays_costs_no_signature(self, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*_: object, **__: object) -> None:
            raise AssertionError("a replay was looked at")

        monkeypatch.setattr(board.witness._authority, "verify", never)
        assert board.hear(offered(msgspec.structs.replace(OFFER, nonce=OTHER))) is None


def test_requests_need_no_signature_and_are_not_for_boards(board: Board) -> None:
    request = Request("core1", NONCE, "c1s3", "1", "3", "lc")
    assert board.hear(encode_request(request)) is None
    assert not board.witness.ignored
    assert IDENTITIES.board("c1s3").identity.location == Location("1", "9")


class TestARelay:
    """A board that offers what it has; it may lie as it likes."""

    OFFER = Offer(
        "core1",
        NONCE,
        generation=99,
        api="https://10.0.0.9:1",
        blobs="https://10.0.0.9:6690",
        relay=True,
        groups=(GroupOffer("platform", "1", bytes(32), Holding.PART, pieces=b"\x05"),),
        revocations=77,
    )
    BOARD = IDENTITIES.board("c1s9", "1", "9")

    def hear(self, data: bytes, chassis: str = "1") -> Offer | str:
        witness = Witness(IDENTITIES.authority, 0.0, chassis=chassis)
        received = decode(data, "core1")
        assert isinstance(received, Received)
        heard = witness.hear(received, "10.0.0.9", 1.0, {NONCE})
        return heard if isinstance(heard, Offer) else next(iter(witness.ignored))

    def test_says_what_it_has_and_where_and_nothing_else(self) -> None:
        heard = self.hear(offered(self.OFFER, self.BOARD))
        assert isinstance(heard, Offer)
        assert (heard.server, heard.chassis, heard.slot, heard.relay) == ("c1s9", "1", "9", True)
        assert (heard.blobs, heard.api, heard.generation, heard.revocations) == ("https://10.0.0.9:6690", "", 0, 0)
        said = self.OFFER.groups[0]
        assert heard.groups == (msgspec.structs.replace(said, planned=False),)

    def test_keeps_nobody_waiting_for_what_it_says_to_prepare(self) -> None:
        groups = (
            GroupOffer("platform", "1", bytes(32), Holding.PREPARING, copied=5),
            GroupOffer("platform", "2", bytes(32), Holding.NONE),
        )
        heard = self.hear(offered(msgspec.structs.replace(self.OFFER, groups=groups), self.BOARD))
        assert isinstance(heard, Offer)
        assert heard.groups == ()

    def test_of_another_chassis_is_not_believed(self) -> None:
        assert self.hear(offered(self.OFFER, IDENTITIES.board("c2s9", "2", "9"))) == "no-neighbour"

    def test_is_not_believed_by_who_wants_none(self) -> None:
        assert self.hear(offered(self.OFFER, self.BOARD), chassis="") == "no-neighbour"
        nowhere = IDENTITIES.board("c1s9", "", "")
        assert self.hear(offered(self.OFFER, nowhere), chassis="") == "no-neighbour"

    def test_is_no_server_and_a_server_is_none(self) -> None:
        assert self.hear(offered(msgspec.structs.replace(self.OFFER, relay=False), self.BOARD)) == "no-server"
        assert self.hear(offered(self.OFFER, SERVER)) == "no-server"
        for role in (Role.VIEWER, Role.ADMIN, Role.ENROLLER):
            assert self.hear(offered(self.OFFER, IDENTITIES.person(role))) == "no-server"

    def test_announces_nothing(self) -> None:
        witness = Witness(IDENTITIES.authority, 0.0, chassis="1")
        received = decode(encode_announcement(Announcement("core1", generation=9), self.BOARD), "core1")
        assert isinstance(received, Received)
        assert witness.hear(received, "10.0.0.9", 1.0) is None
        assert witness.ignored == {"no-server": 1}

    def test_is_believed_if_an_enroller_let_it_in_whose_certificate_it_brings(self) -> None:
        board = IDENTITIES.enrolled("c1s9")
        heard = self.hear(encode_offers(self.OFFER, board, enroller=board.chain[1])[0])
        assert isinstance(heard, Offer)
        assert heard.server == "c1s9"
        assert self.hear(encode_offers(self.OFFER, board)[0]) == "untrusted"
        assert self.hear(encode_offers(self.OFFER, board, enroller=SERVER.certificate)[0]) == "untrusted"
        assert self.hear(encode_offers(self.OFFER, board, enroller=b"nothing")[0]) == "untrusted"

    def test_is_not_believed_when_it_or_its_enroller_is_revoked(self) -> None:
        board = IDENTITIES.enrolled("c1s9")
        enroller = IDENTITIES.authority.verify(board.chain[1]).identity.key
        for revoked in (board.identity.key, enroller):
            witness = Witness(IDENTITIES.authority, 0.0, lambda key=revoked: frozenset({key}), "1")  # type: ignore[misc]
            received = decode(encode_offers(self.OFFER, board, enroller=board.chain[1])[0], "core1")
            assert isinstance(received, Received)
            assert witness.hear(received, "10.0.0.9", 1.0, {NONCE}) is None
            assert witness.ignored == {"revoked": 1}
