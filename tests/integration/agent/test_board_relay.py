"""A board's relay beside its downloads: when there is one, whom it offers what, and how long it keeps it."""

import itertools
import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec
import pytest

from boardwright.agent.board_relay import KEPT, RATES, WAITING, BoardRelay
from boardwright.agent.manifests import Manifests
from boardwright.agent.stock import Stock
from boardwright.config.settings import Address, AgentSettings, ClusterSettings
from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier
from boardwright.model.software import PIECE_SIZE, FileEntry, Manifest, Target
from boardwright.net.agent_client import AgentClient
from boardwright.protocol.choose import Candidate
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import GroupOffer, GroupQuery, Holding, Offer, Request
from boardwright.protocol.offerer import MAX_BITMAP, MAX_BITMAP_ENROLLED
from boardwright.transfer.neighbour import ADDRESS, NeighbourSource
from boardwright.transfer.relay import Neighbour
from boardwright.transfer.sharing import HEADER, Sharing
from boardwright.transfer.sources import SourceError
from boardwright.transfer.space import Space
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import Credentials
from boardwright.trust.neighbours import NeighbourLines
from boardwright.trust.witness import Witness
from tests.integration.server.processes import until
from tests.integration.transfer.relays import BLOB, DATA, PACK, SMALL, TARGET, Asker, door_of, files_of
from tests.tls import LAB
from tests.unit.transfer.blobs import blob_of, some_bytes

ME, NEIGHBOUR = LAB.board("c1s3", slot="3"), LAB.board("c1s4", slot="4")
THERE: Address = ("127.0.0.9", 5000)
NONCE = b"n" * 16
WANT = bytes.fromhex(TARGET.manifest)
ASKS = Request("lab", NONCE, "c1s4", "1", "4", "lc", groups=(GroupQuery("os", want=WANT),))


class Outside:
    """The process around a relay, in virtual time."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.sent: list[tuple[bytes, Address]] = []
        self.sources: list[tuple[str, Candidate]] = []
        self.tidied = 0

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        self.timers.append((seconds, call))

    def soon(self, call: Callable[[], object]) -> None:
        call()

    def address_towards(self, address: Address) -> str:
        return "127.0.0.1"

    def send_to(self, data: bytes, address: Address) -> None:
        self.sent.append((data, address))

    def joined(self, manifest: str, candidate: Candidate) -> None:
        self.sources.append((manifest, candidate))

    def kept_enough(self) -> None:
        self.tidied += 1

    def pass_time(self, seconds: float) -> None:
        due = [call for after, call in self.timers if after <= seconds]
        self.timers = [(after - seconds, call) for after, call in self.timers if after > seconds]
        for call in due:
            call()


class Here:
    """A board with a relay and a version of which it has pieces."""

    def __init__(
        self,
        tmp_path: Path,
        who: Credentials = ME,
        *,
        enabled: bool = True,
        listen: Address | None = ("127.0.0.1", 0),
        quota: int = 0,
    ) -> None:
        self.outside = Outside()
        certificate, key = files_of(who, tmp_path)
        settings = AgentSettings(
            cluster=ClusterSettings(
                name="lab", interfaces=("lo",), multicast=None, trust=tmp_path, certificate=certificate, key=key
            ),
            board=Board("c1s3", Location("1", "3"), "lc", ("os",)),
            root=tmp_path / "root",
            state_dir=tmp_path / "state",
            relay_enabled=enabled,
            relay_listen=listen,
        )
        store = BlobStore(tmp_path / "state" / "store")
        self.stock = Stock(store, Manifests(tmp_path / "manifests", AgentClient(LAB.lines())), quota)
        self.greeted = 0
        self._door = door_of(who)
        self.relay = BoardRelay(settings, who, self.stock.shelf, lambda: self, self.outside, random.Random(1), 0.0)
        self.relay.reached_at(["127.0.0.1"])
        self.stock.relay = self.relay
        self.sharing = Sharing("c1s3", TARGET.manifest)
        self.sharing.begin((BLOB, PACK))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.relay.close()

    # The door of its relay, which counts.

    def greet(self, line: socket.socket, seconds: float) -> ssl.SSLSocket:
        self.greeted += 1
        return self._door.greet(line, seconds)

    def who(self, line: ssl.SSLSocket) -> Neighbour:
        return self._door.who(line)

    def downloads(self, pieces: int) -> None:
        """The download has begun, and brought these pieces."""
        with self.stock.store.partial(BLOB) as partial:
            for index in range(4):
                start, length = BLOB.piece_span(index)
                if pieces >> index & 1:
                    assert partial.write(index, DATA[start : start + length])
        self.relay.begin(TARGET, (BLOB, PACK), self.sharing)
        self.sharing.open((BLOB, PACK), pieces)

    def stages(self) -> None:
        self.stock.store.put(BLOB.sha256, [DATA])
        self.stock.store.put(PACK.sha256, [SMALL])
        self.relay.staged(TARGET)
        self.relay.ended(TARGET)

    def offers(self, request: Request = ASKS, sender: Address = THERE, now: float = 1.0) -> tuple[Offer, ...]:
        """What a neighbour that asks is told and believes."""
        self.relay.heard(request, sender, now)
        self.outside.pass_time(0.05)
        sent, self.outside.sent = self.outside.sent, []
        witness = Witness(LAB.authority, 0.0, chassis="1")
        heard = []
        for data, address in sent:
            assert address == sender
            received = decode(data, "lab")
            assert isinstance(received, Received)
            heard.append(witness.hear(received, "127.0.0.1", now, {NONCE}))
        assert not witness.ignored
        return tuple(offer for offer in heard if isinstance(offer, Offer))

    @property
    def address(self) -> Address:
        host, port = self.relay.url.removeprefix("https://").split(":")
        return host, int(port)


class TestWhatIsOffered:
    def test_nothing_and_no_port_before_there_is_a_piece(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            assert here.relay.url == ""
            assert here.offers() == ()
            here.downloads(0)
            assert here.relay.url
            assert here.offers() == ()

    def test_the_pieces_while_it_downloads_and_all_afterwards(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(0b0101)
            (offer,) = here.offers()
            assert (offer.server, offer.chassis, offer.slot, offer.relay) == ("c1s3", "1", "3", True)
            assert (offer.blobs, offer.api, offer.generation) == (here.relay.url, "", 0)
            assert offer.groups == (GroupOffer("os", "1.0", WANT, Holding.PART, planned=False, pieces=b"\x05"),)
            here.stages()
            (offer,) = here.offers()
            assert offer.groups == (GroupOffer("os", "1.0", WANT, Holding.ALL, planned=False),)

    def test_who_asked_before_there_was_a_piece_is_answered_when_there_is_one(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(0)
            assert here.offers() == ()
            pieces = here.sharing.pieces
            assert pieces is not None
            pieces.verified(0, 1.0)
            here.sharing.on_first()
            here.outside.pass_time(0.05)
            assert [address for _, address in here.outside.sent] == [THERE]
            here.outside.sent.clear()
            here.sharing.on_first()
            here.outside.pass_time(0.05)
            assert here.outside.sent == []

    def test_not_if_that_was_long_ago(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(0)
            assert here.offers(now=1.0) == ()
            assert here.offers(msgspec.structs.replace(ASKS, chassis="2"), now=1.1 + WAITING) == ()
            here.sharing.pieces.verified(0, 1.0)  # type: ignore[union-attr]
            here.sharing.on_first()
            here.outside.pass_time(0.05)
            assert here.outside.sent == []

    def test_a_few_milliseconds_later(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.relay.heard(ASKS, THERE, 1.0)
            assert not here.outside.sent
            assert [0.0 <= after <= 0.01 for after, _ in here.outside.timers] == [True]

    @pytest.mark.parametrize(
        "change",
        [
            {"chassis": "2"},
            {"board": "c1s3", "slot": "3"},
            {"board_type": ""},
            {"groups": (GroupQuery("os"),)},
            {"groups": (GroupQuery("os", want=bytes(32)),)},
        ],
        ids=["another chassis", "the board itself", "a server", "no version named", "another version"],
    )
    def test_not_to(self, tmp_path: Path, change: dict[str, object]) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            assert here.offers(msgspec.structs.replace(ASKS, **change)) == ()

    def test_by_a_board_that_an_enroller_let_in_too(self, tmp_path: Path) -> None:
        with Here(tmp_path, LAB.enrolled("c1s9")) as here:
            here.downloads(1)
            assert [offer.server for offer in here.offers()] == ["c1s9"]

    @pytest.mark.parametrize(("who", "most"), [(ME, MAX_BITMAP), (LAB.enrolled("c1s9"), MAX_BITMAP_ENROLLED)])
    def test_with_a_bitmap_that_fits_into_a_datagram_or_none(self, tmp_path: Path, who: Credentials, most: int) -> None:
        with Here(tmp_path, who) as here:
            for length, told in ((most, most), (most + 1, 0)):
                many = msgspec.structs.replace(BLOB, size=length * 8 * PIECE_SIZE)
                sharing = Sharing("c1s3", TARGET.manifest)
                sharing.begin((many,))
                here.relay.begin(TARGET, (many,), sharing)
                sharing.open((many,), 1)
                (offer,) = here.offers()
                assert (offer.groups[0].holding, len(offer.groups[0].pieces)) == (Holding.PART, told)

    def test_nobody_who_shouts_gets_an_answer_to_each_word(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            answers = sum(len(here.offers(now=1.0)) for _ in range(500))
            assert answers <= RATES.own[1]
            assert len(here.offers(sender=("127.0.0.8", 1), now=2.0)) == 1

    def test_offers_that_wait_are_bounded(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            for number in range(200):
                here.relay.heard(ASKS, (f"127.0.1.{number}", 1), 1.0)
            assert len(here.outside.timers) <= 64


class TestWhoDoesNotRelay:
    def test_who_is_told_not_to(self, tmp_path: Path) -> None:
        with Here(tmp_path, enabled=False) as here:
            here.downloads(1)
            assert (here.relay.url, here.offers()) == ("", ())

    def test_a_control_board_whose_server_serves(self, tmp_path: Path) -> None:
        with Here(tmp_path, LAB.server("c1s3", slot="3")) as here:
            here.downloads(1)
            assert (here.relay.url, here.offers()) == ("", ())

    def test_whose_port_is_somebody_else_s(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with Here(tmp_path, listen=taken.getsockname()[:2]) as here:
                here.downloads(1)
                assert here.relay.url == ""
                here.stages()

    def test_but_boards_that_share_an_address_take_other_ports(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        with Here(tmp_path, listen=None) as one, Here(tmp_path / "other", listen=None) as other:
            one.downloads(1)
            other.downloads(1)
            assert one.relay.url != other.relay.url
            assert len(other.offers()) == 1

    def test_without_an_address_there_is_none(self, tmp_path: Path) -> None:
        with Here(tmp_path, listen=None) as here:
            here.relay.reached_at([])
            here.downloads(1)
            assert here.relay.url == ""

    def test_several_addresses_are_all_listened_on_and_who_asks_is_told_his(self, tmp_path: Path) -> None:
        with Here(tmp_path, listen=None) as here:
            here.relay.reached_at(["127.0.0.2", "127.0.0.1"])
            here.downloads(1)
            (offer,) = here.offers()
            assert offer.blobs.startswith("https://127.0.0.1:")
            with Asker(here.address, NEIGHBOUR) as asker:
                assert asker.span(BLOB, 0, 9).body == DATA[:10]


class TestHowLongItIsKept:
    def test_for_a_while_after_it_was_staged_and_then_it_goes_with_the_port(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.stages()
            address = here.address
            here.stock.collect(())
            with Asker(address, NEIGHBOUR) as asker:
                assert asker.span(PACK, 0, 9).body == SMALL[:10]
            here.outside.pass_time(KEPT - 1.0)
            assert here.relay.url
            here.outside.pass_time(1.0)
            assert (here.relay.url, here.outside.tidied) == ("", 1)
            here.stock.collect(())
            assert here.stock.empty

    def test_one_that_came_to_nothing_is_not(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.relay.ended(TARGET)
            assert (here.relay.url, here.stock.shelf.targets()) == ("", ())

    def test_one_that_is_begun_anew_is_kept_for_its_own_time(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.stages()
            here.relay.begin(TARGET, (BLOB, PACK), here.sharing)
            here.outside.pass_time(KEPT)
            assert here.relay.url
            assert here.outside.tidied == 0

    def test_what_is_kept_goes_when_a_download_needs_the_space(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.stages()
            other = Target("fw", "2", "*", "b" * 64)
            here.relay.begin(other, (PACK,), Sharing("c1s3", other.manifest))
            here.relay.drop_all_but(other)
            assert here.stock.shelf.targets() == (other,)
            here.stock.collect(())
            assert not here.stock.store.has(BLOB.sha256)

    def test_a_version_that_fits_only_without_what_is_kept_gets_its_space(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.stages()
            other = Target("fw", "2", "*", "b" * 64)
            new = blob_of(some_bytes(PIECE_SIZE, seed=9))
            manifest = Manifest(1, "fw", "2", files=(FileEntry("f", 0o644, new.size, new.sha256, 0),), blobs=(new,))

            def free(_: Path) -> int:
                return 3 * PIECE_SIZE - (PIECE_SIZE if here.stock.store.has(BLOB.sha256) else 0)

            here.stock.store.space = Space(tmp_path, PIECE_SIZE + 1, free)
            here.stock.make_room(manifest, [new], tmp_path / "root" / "fw", (other,))
            assert not here.stock.store.has(BLOB.sha256)
            assert here.relay.url == ""

    def test_as_long_as_there_is_space_it_stays(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            here.stages()
            other = Target("fw", "2", "*", "b" * 64)
            here.stock.make_room(Manifest(1, "fw", "2"), [], tmp_path / "root" / "fw", (other,))
            assert here.stock.store.has(BLOB.sha256)

    def test_not_over_the_store_s_quota_when_another_download_begins(self, tmp_path: Path) -> None:
        with Here(tmp_path, quota=100_000_000) as here:
            here.downloads(1)
            here.stages()
            other = Target("fw", "2", "*", "b" * 64)
            here.stock.make_room(Manifest(1, "fw", "2"), [], tmp_path / "root" / "fw", (other,))
            assert not here.stock.store.has(BLOB.sha256)


class TestANeighbourThatAsksTheRelay:
    def test_becomes_a_source_and_its_news_count(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            with Asker(here.address, NEIGHBOUR) as asker:
                for bitmap in ("02", "06"):
                    said = f"{HEADER}: {TARGET.manifest[:16]}:{bitmap}"
                    assert asker.span(BLOB, 0, 9, said, f"{ADDRESS}: https://127.0.0.1:6690").status == 206
            ((manifest, candidate),) = here.outside.sources
            assert (manifest, candidate.source.id, candidate.relay) == (TARGET.manifest, "c1s4", True)
            assert (candidate.blobs, candidate.pieces) == ("https://127.0.0.1:6690", b"\x02")

    def test_of_another_version_does_not(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            with Asker(here.address, NEIGHBOUR) as asker:
                said = f"{HEADER}: {'0' * 16}:02"
                assert asker.span(BLOB, 0, 9, said, f"{ADDRESS}: https://127.0.0.1:6690").status == 206
            assert here.outside.sources == []

    def test_needs_no_offer_of_what_it_asks_for_until_its_line_is_gone(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            asks_for_more = msgspec.structs.replace(
                ASKS, groups=(GroupQuery("os", want=WANT), GroupQuery("other", want=b"o" * 32))
            )
            with Asker(here.address, NEIGHBOUR) as asker:
                assert here.offers()
                assert asker.span(BLOB, 0, 9).status == 206
                assert here.offers(now=3.0) == here.offers(asks_for_more, now=5.0) == ()
                somebody_else = msgspec.structs.replace(ASKS, board="c1s5", slot="5")
                assert here.offers(somebody_else, now=7.0)
            moments = itertools.count(9)  # so that no budget is used up
            until(lambda: here.offers(now=float(next(moments))), "it is offered again")

    def test_of_another_version_is_offered_this_one(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            with Asker(here.address, NEIGHBOUR) as asker:
                assert asker.get(f"/v1/pieces/{'0' * 64}").status == 404
                assert here.offers()


class TestBothEnds:
    """A neighbour's download as it comes to this relay."""

    def test_a_board_that_joined_gives_pieces_too(self, tmp_path: Path) -> None:
        with Here(tmp_path, LAB.enrolled("c1s9")) as here:
            here.downloads(1)
            source, _ = asking(here, tmp_path)
            assert take(source, PIECE_SIZE) == DATA[:PIECE_SIZE]
            source.close()

    def test_the_line_stays_when_the_answer_is_no(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(1)
            source, _ = asking(here, tmp_path)
            for _ in range(5):
                with pytest.raises(SourceError, match="404"):
                    source.open_range(BLOB.sha256, 2 * PIECE_SIZE, 10, 2.0)
                assert take(source, 10) == DATA[:10]
            assert here.greeted == 1
            source.close()

    def test_pieces_and_news_travel(self, tmp_path: Path) -> None:
        with Here(tmp_path) as here:
            here.downloads(0b0011)
            source, sharing = asking(here, tmp_path)
            sharing.join("c1s3", Tier.SAME_CHASSIS, relay=True, pieces=b"\x01")
            source.ask(2.0)
            assert take(source, 2 * PIECE_SIZE) == DATA[: 2 * PIECE_SIZE]
            with pytest.raises(SourceError, match="404"):
                source.open_range(BLOB.sha256, 2 * PIECE_SIZE, 10, 2.0)
            source.close()
            assert [one.source.id for _, one in here.outside.sources] == ["c1s4"]
            assert here.outside.sources[0][1].blobs == "https://127.0.0.1:6699"


def asking(here: Here, tmp_path: Path) -> tuple[NeighbourSource, Sharing]:
    """A neighbour that downloads the version, too."""
    sharing = Sharing("c1s4", TARGET.manifest)
    sharing.begin((BLOB, PACK))
    sharing.open((BLOB, PACK), 0b0100)
    lines = NeighbourLines(NEIGHBOUR, *files_of(NEIGHBOUR, tmp_path))
    return NeighbourSource("c1s3", here.relay.url, lines, sharing, lambda: "https://127.0.0.1:6699"), sharing


def take(source: NeighbourSource, count: int) -> bytes:
    """The first bytes of the blob."""
    reader = source.open_range(BLOB.sha256, 0, count, 2.0)
    buffer, filled = memoryview(bytearray(count)), 0
    while filled < count:
        filled += reader.readinto(buffer[filled:])
    reader.close()
    return bytes(buffer)
