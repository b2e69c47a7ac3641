"""From datagram to offer (M7), without sockets."""

import time
from pathlib import Path

import msgspec
import pytest

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.report import BoardReport
from boardwright.model.software import Target
from boardwright.net.multicast import Address
from boardwright.protocol.budget import BURST, RATE
from boardwright.protocol.codec import Received, decode, encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import MAX_DATAGRAM, Announcement, Holding, Offer
from boardwright.protocol.offerer import ServerFacts
from boardwright.server.facts import encoded
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.responder import Responder
from boardwright.state.kv import Change
from boardwright.state.records import PLAN
from boardwright.trust.witness import Witness
from tests.identities import Identities
from tests.unit.server.builders import Version, board, request

SENDER = ("127.1.1.3", 5000)
VERSION = Version()

IDENTITIES = Identities("test")
OWN = IDENTITIES.server("c1s1")
EVERY = frozenset({b"n" * 16})


class Question:
    """An open question with the nonce of every request here."""

    def __init__(self) -> None:
        self.nonces = EVERY
        self.heard: list[Offer] = []

    def hear(self, offer: Offer) -> None:
        self.heard.append(offer)


class Bench:
    """A responder of server c1s1 whose answers are kept."""

    def __init__(self, folder: Path) -> None:
        self.mirror = Mirror(folder / "mirror.json")
        self.holdings = Holdings()
        self.sightings: list[BoardReport] = []
        self.sent: list[tuple[bytes, Address]] = []
        self.now = 100.0
        self.revocations = 0
        facts = ServerFacts("test", "c1s1", Location("1", "1"), "https://api", "https://blobs")
        self.responder = Responder(
            facts,
            OWN,
            Witness(IDENTITIES.authority, self.now),
            self.mirror,
            self.holdings,
            lambda: 250,
            lambda seen, *_: self.sightings.append(seen),
            lambda: self.now,
            lambda: self.revocations,
        )

    def plan(self, *boards: Board) -> None:
        target = Target("platform", "1", "*", VERSION.digest)
        plan = Plan(3, 2, (target,), {one.id: (0,) for one in boards})
        self.mirror.apply([Change(PLAN, encoded(plan), 1)])
        self.holdings.know([VERSION.record])

    def hear(self, data: bytes, sender: Address = SENDER) -> list[Offer]:
        before = len(self.sent)
        self.responder.hear(data, sender, lambda answer, address: self.sent.append((answer, address)))
        assert all(address == sender for _, address in self.sent[before:])
        received = (decode(data, "test") for data, _ in self.sent[before:])
        witness = Witness(IDENTITIES.authority, 0.0)
        heard = (witness.hear(one, "", 0.0, EVERY) for one in received if isinstance(one, Received))
        return [offer for offer in heard if isinstance(offer, Offer)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_m7_a_request_is_answered_with_place_load_generation_and_the_planned_version(bench: Bench) -> None:
    bench.plan(board())
    bench.holdings.mark(VERSION.digest, Holding.ALL)
    (offer,) = bench.hear(encode_request(request(board())))
    assert (offer.server, offer.chassis, offer.slot, offer.load, offer.generation) == ("c1s1", "1", "1", 250, 3)
    assert (offer.api, offer.blobs, offer.nonce) == ("https://api", "https://blobs", b"n" * 16)
    (group,) = offer.groups
    assert (group.version, group.manifest.hex(), group.holding) == ("1", VERSION.digest, Holding.ALL)


def test_every_offer_says_which_list_of_revoked_keys_the_server_has(bench: Bench) -> None:
    bench.plan(board())
    bench.revocations = 4
    assert bench.hear(encode_request(request(board())))[0].revocations == 4


def test_what_is_not_complete_is_never_offered_as_such(bench: Bench) -> None:
    bench.plan(board())
    for holding in (Holding.PREPARING, Holding.NONE):
        bench.holdings.mark(VERSION.digest, holding)
        assert bench.hear(encode_request(request(board())))[0].groups[0].holding is holding


def test_a_board_that_no_plan_knows_is_answered_without_groups_and_noted(bench: Bench) -> None:
    bench.plan(board())
    newcomer = board("c7s7")
    (offer,) = bench.hear(encode_request(request(newcomer)))
    assert offer.groups == ()
    assert [seen.board for seen in bench.sightings] == [newcomer]


def test_as_long_as_it_catches_up_it_names_no_plan_and_has_nothing_whole(bench: Bench) -> None:
    bench.plan(board())
    bench.holdings.mark(VERSION.digest, Holding.ALL)
    bench.responder.caught_up = lambda: False
    (offer,) = bench.hear(encode_request(request(board())))
    assert (offer.generation, offer.groups) == (0, ())
    (offer,) = bench.hear(encode_request(request(board(), want=bytes.fromhex(VERSION.digest))))
    assert [(group.holding, group.planned) for group in offer.groups] == [(Holding.PREPARING, False)]


def test_another_servers_question_is_answered_and_is_no_sighting(bench: Bench) -> None:
    bench.plan(board())
    bench.holdings.mark(VERSION.digest, Holding.ALL)
    question = request(board("c2s1"), want=bytes.fromhex(VERSION.digest), board_type="")
    (offer,) = bench.hear(encode_request(question))
    assert offer.groups[0].holding is Holding.ALL
    assert bench.sightings == []


def test_its_own_question_looped_back_is_not_answered(bench: Bench) -> None:
    assert bench.hear(encode_request(request(board("c1s1"), board_type=""))) == []


def test_all_answers_together_are_not_larger_than_the_request(bench: Bench) -> None:
    bench.plan(board())
    data = encode_request(request(board()))
    bench.hear(data)
    assert sum(len(answer) for answer, _ in bench.sent) <= len(data) == MAX_DATAGRAM


def test_what_it_cannot_use_is_dropped_and_counted_by_reason(bench: Bench) -> None:
    whole = encode_request(request(board()))
    for data in (b"", b"\x00" * 50, whole[:600], b"\xff" * 1200, whole + b"x", b"x" * 2048):
        assert bench.hear(data) == []
    assert sum(bench.responder.dropped.values()) == 6
    assert bench.hear(whole)


def test_offers_go_to_whoever_waits_for_them_and_announcements_are_only_counted(bench: Bench) -> None:
    question = Question()
    (offer,) = bench.hear(encode_request(request(board())))
    bench.hear(encode_offers(offer, OWN)[0])
    bench.responder.asking = question
    bench.hear(encode_offers(offer, OWN)[0])
    for _ in range(2):
        bench.hear(encode_announcement(Announcement("test", generation=9), OWN))
    assert question.heard == [offer]
    assert bench.responder.received == {"request": 1, "offer": 2, "announcement": 2}


def test_an_offer_that_nobody_vouches_for_is_counted_and_not_heard(bench: Bench) -> None:
    question = bench.responder.asking = Question()
    (offer,) = bench.hear(encode_request(request(board())))
    stranger = Identities("test").server("c9s1")
    bench.hear(encode_offers(offer, stranger)[0])
    bench.hear(encode_offers(msgspec.structs.replace(offer, nonce=b"o" * 16), OWN)[0])
    assert question.heard == []
    assert bench.responder.ignored == {"untrusted": 1, "unasked": 1}


def test_a_thousand_boards_that_ask_at_one_moment_are_answered_without_the_disk(bench: Bench) -> None:
    """Far below the two seconds of the target: the answer is memory alone, whatever the machine."""
    boards = [board(f"c1s{slot}") for slot in range(1000)]
    bench.plan(*boards)
    requests = [encode_request(request(one)) for one in boards]
    begun = time.monotonic()
    assert all(bench.hear(data) for data in requests)
    assert time.monotonic() - begun < 2


def test_who_asks_without_end_is_answered_up_to_its_budget_and_the_others_always(bench: Bench) -> None:
    bench.plan(board())
    data = encode_request(request(board()))
    answered = 0
    for tick in range(20_000):
        bench.now += 1 / 20_000
        answered += len(bench.hear(data))
        if tick % 1000 == 0:
            assert bench.hear(data, ("127.1.1.4", 5000))
    assert answered <= BURST + RATE + 1
    assert bench.responder.dropped["over-budget"] == 20_000 - answered
    assert bench.responder.last_dropped == SENDER[0]
