"""What a board hears of its neighbours while it downloads, and when it asks for more of them."""

import pytest

from boardwright.agent.downloads import MAX_GIVERS, Download, Relaying
from boardwright.agent.neighbourhood import AGAIN, FIRST, LATELY, MAX_HEARD, Neighbourhood
from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier
from boardwright.model.report import Source
from boardwright.model.software import BlobRef, Target
from boardwright.protocol.choose import Candidate
from boardwright.protocol.messages import GroupQuery, Request
from boardwright.transfer.sharing import Sharing
from tests.unit.transfer.blobs import MemorySource

BOARD = Board("c1s3", Location("1", "3"), "lc-100g", ("platform",))
WANTED = Target("platform", "2", "*", "ab" * 32)
SERVER = Candidate(Source("c1s1", "1", "1", Tier.SAME_CHASSIS), "https://10.0.1.1:6689", "https://10.0.1.1:6688", 0)
RELAY = Candidate(Source("c1s4", "1", "4", Tier.SAME_CHASSIS), "https://10.0.1.4:6690", "", 0, True, b"\x01")
BLOB = BlobRef("11" * 32, 10, bytes(32))


def neighbourhood(*, enabled: bool = True) -> Neighbourhood:
    return Neighbourhood(BOARD, lambda name, url, sharing: MemorySource(name), enabled=enabled)


def request(board: str, chassis: str = "1", group: str = "platform", want: bytes | None = None) -> Request:
    return Request("core1", bytes(16), board, chassis, "4", "lc-100g", groups=(GroupQuery(group, None, want),))


def download(neighbours: Neighbourhood, now: float = 0.0, *ranking: Candidate) -> Download:
    relaying = neighbours.begin(WANTED, now)
    return Download(lambda name, url: MemorySource(name), WANTED, ranking, None, relaying)


def mates(made: Download) -> int:
    assert made.sharing is not None
    made.sharing.begin([BLOB])
    return made.sharing.open([BLOB], 0).bringers.size


class TestWhoIsAMate:
    def test_a_board_of_the_chassis_that_asks_while_this_one_downloads(self) -> None:
        neighbours = neighbourhood()
        made = download(neighbours)
        neighbours.requested(request("c1s4", want=bytes.fromhex(WANTED.manifest)), {"platform": made}, 1.0)
        assert mates(made) == 1

    def test_one_that_asked_just_before_and_did_not_say_for_which(self) -> None:
        neighbours = neighbourhood()
        neighbours.requested(request("c1s4"), {}, 0.0)
        assert mates(download(neighbours, LATELY)) == 1

    @pytest.mark.parametrize(
        ("other", "later"),
        [
            (request("c2s4", chassis="2"), 0.0),
            (request("c1s3"), 0.0),
            (request("c1s4", group="routing"), 0.0),
            (request("c1s4", want=bytes(32)), 0.0),
            (request("c1s4"), LATELY + 0.1),
        ],
        ids=["another-chassis", "itself", "another-group", "another-version", "long-ago"],
    )
    def test_nobody_else(self, other: Request, later: float) -> None:
        neighbours = neighbourhood()
        neighbours.requested(other, {}, 0.0)
        assert mates(download(neighbours, later)) == 0

    def test_what_is_remembered_of_a_flood_is_bounded(self) -> None:
        neighbours = neighbourhood()
        for number in range(10 * MAX_HEARD):
            neighbours.requested(request(f"liar{number}"), {}, 0.0)
        assert len(neighbours._heard) == MAX_HEARD


class TestQuestions:
    def test_they_come_quickly_at_first_then_slowly_until_the_download_is_over(self) -> None:
        neighbours = neighbourhood()
        download(neighbours, 10.0)
        asked, now = [], 10.0
        while now < 18.0:
            wakeup = neighbours.next_wakeup()
            assert wakeup is not None
            now = wakeup
            assert neighbours.due(now)
            asked.append(round(now - 10.0, 3))
        assert asked == [*FIRST, 1.0 + AGAIN, 1.0 + 2 * AGAIN, 1.0 + 3 * AGAIN, 1.0 + 4 * AGAIN]
        neighbours.end("platform")
        assert neighbours.next_wakeup() is None
        assert not neighbours.due(100.0)


class TestWhereRelayIsOff:
    def test_nothing_is_shared_asked_or_remembered(self) -> None:
        neighbours = neighbourhood(enabled=False)
        neighbours.requested(request("c1s4"), {}, 0.0)
        made = download(neighbours, 0.0, SERVER, RELAY)
        assert made.sharing is None
        assert neighbours.next_wakeup() is None
        assert made.sources.ids() == ("c1s1",)


class TestTheAccount:
    def made(self) -> Download:
        sharing = Sharing("c1s3", WANTED.manifest)
        relaying = Relaying(sharing, lambda name, url, _: MemorySource(name))
        return Download(lambda name, url: MemorySource(name), WANTED, [SERVER, RELAY], None, relaying)

    def test_bytes_are_counted_by_tier_by_giver_and_those_of_relays(self) -> None:
        made = self.made()
        made.on_bytes("c1s1", 10)
        made.on_bytes("c1s4", 5)
        made.on_bytes("c1s4", 5)
        account = made.account
        assert account.bytes == {Tier.SAME_CHASSIS: 20}
        assert account.relayed == 10
        assert account.givers == {"c1s1": 10, "c1s4": 10}
        assert account.server == SERVER.source  # the one that was chosen, not whoever came last

    def test_manifests_are_asked_of_servers_only(self) -> None:
        assert self.made().urls == (SERVER.blobs,)

    def test_givers_are_bounded(self) -> None:
        made = self.made()
        for slot in range(MAX_GIVERS + 10):
            source = Source(f"x{slot}", "1", str(slot), Tier.SAME_CHASSIS)
            made.join(Candidate(source, f"https://x{slot}", "", 0, True, b"\x01"))
            made.on_bytes(source.id, 1)
        assert len(made.account.givers) == MAX_GIVERS
        assert made.account.relayed == MAX_GIVERS + 10

    def test_a_relay_that_offers_again_is_not_connected_again(self) -> None:
        made, connected = self.made(), []
        made._relaying = Relaying(made.sharing, lambda *arguments: connected.append(arguments))  # type: ignore[arg-type, func-returns-value]
        made.join(RELAY)
        assert connected == []
