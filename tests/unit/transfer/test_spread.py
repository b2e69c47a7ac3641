"""A download from servers and neighbours at once, with sources in memory."""

import os
import threading
from pathlib import Path

import pytest

from boardwright.errors import FailedError
from boardwright.model.location import Tier
from boardwright.model.software import PIECE_SIZE, BlobRef
from boardwright.protocol.pieces import from_bitmap, to_bitmap
from boardwright.transfer.fetch import FetchLimits, FetchResult, fetch
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import SourceError, SourceList
from boardwright.transfer.space import NoSpaceError, Space
from boardwright.transfer.spread import MAX_OPEN
from boardwright.transfer.store import BlobStore
from tests.unit.transfer.blobs import MemorySource, Recorder, blob_of, some_bytes

COUNT = 21
DATA = some_bytes(20 * PIECE_SIZE + 77)
BLOB = blob_of(DATA)
ALL = (1 << COUNT) - 1
MANIFEST = "ab" * 32
QUICK = FetchLimits(give_up=0.0, give_up_busy=0.0)


class Relay(MemorySource):
    """A neighbour with the pieces `has` of `DATA`; it says so when it is asked."""

    def __init__(self, name: str, sharing: Sharing, has: int = ALL) -> None:
        super().__init__(name, DATA)
        self.has = has
        self.questions = 0
        self._sharing = sharing

    def open_range(self, sha256: str, start: int, length: int, timeout: float):  # type: ignore[no-untyped-def]
        assert self.has >> start // PIECE_SIZE & 1, "asked for what it has not"
        return super().open_range(sha256, start, length, timeout)

    def ask(self, timeout: float) -> None:
        del timeout
        self.questions += 1
        self._sharing.news(self.id, to_bitmap(self.has, COUNT))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store")


@pytest.fixture
def sharing() -> Sharing:
    made = Sharing("c1s3", MANIFEST)
    made.begin([BLOB])
    return made


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def server(sharing: Sharing, name: str = "c1s1", tier: Tier = Tier.SAME_CHASSIS) -> MemorySource:
    sharing.join(name, tier, relay=False, pieces=None)
    return MemorySource(name, DATA)


def relay(sharing: Sharing, name: str, has: int = ALL) -> Relay:
    sharing.join(name, Tier.SAME_CHASSIS, relay=True, pieces=to_bitmap(has, COUNT))
    return Relay(name, sharing, has)


def brought(
    sharing: Sharing, store: BlobStore, *sources: MemorySource, recorder: Recorder | None = None
) -> FetchResult:
    return fetch([BLOB], SourceList(sources), store, observer=recorder, sharing=sharing)


class TestFromNeighbours:
    def test_all_pieces_come_and_are_verified_each_once(self, sharing: Sharing, store: BlobStore) -> None:
        sources = [server(sharing), relay(sharing, "c1s4", 0b1010101), relay(sharing, "c1s5", ALL ^ 0b1111)]
        result = brought(sharing, store, *sources)
        assert result.complete
        assert sum(result.bytes.values()) == len(DATA)
        assert result.refetched == result.failovers == 0
        assert store.path(BLOB.sha256).read_bytes() == DATA

    def test_servers_and_neighbours_give_side_by_side(self, sharing: Sharing, store: BlobStore) -> None:
        sources = [server(sharing), *(relay(sharing, f"c1s{slot}") for slot in range(4, 8))]
        result = brought(sharing, store, *sources)
        assert result.bytes.get("c1s1", 0) < len(DATA)
        assert len(result.bytes) >= 2

    def test_a_neighbour_is_asked_for_one_piece_at_a_time(self, sharing: Sharing, store: BlobStore) -> None:
        neighbour = relay(sharing, "c1s4")
        brought(sharing, store, neighbour)
        assert len(neighbour.asked) == COUNT
        assert {length for _, _, length in neighbour.asked} == {PIECE_SIZE, 77}

    def test_one_that_gets_pieces_meanwhile_is_asked_what_it_has(self, sharing: Sharing, store: BlobStore) -> None:
        neighbour = relay(sharing, "c1s4", 0b1)
        neighbour.has = ALL
        assert brought(sharing, store, neighbour).complete
        assert neighbour.questions

    def test_one_that_joins_during_the_download_is_used(self, sharing: Sharing, store: BlobStore) -> None:
        first, late = relay(sharing, "c1s4", 0b11), Relay("c1s5", sharing)
        sources = SourceList([first])

        def joins(_: int) -> None:
            sources.add(late)
            sharing.join("c1s5", Tier.SAME_CHASSIS, relay=True, pieces=to_bitmap(ALL, COUNT))

        first.before_read = joins
        assert fetch([BLOB], sources, store, sharing=sharing).bytes["c1s5"] >= len(DATA) - 2 * PIECE_SIZE

    def test_nobody_else_than_the_own_server_is_asked(self, sharing: Sharing, store: BlobStore) -> None:
        own, other = server(sharing, "c1s3", Tier.SAME_BOARD), relay(sharing, "c1s4")
        assert brought(sharing, store, own, other).bytes == {"c1s3": len(DATA)}

    def test_nothing_comes_from_afar_while_the_chassis_has_it(self, sharing: Sharing, store: BlobStore) -> None:
        sources = [server(sharing, "c2s1", Tier.ELSEWHERE), server(sharing), relay(sharing, "c1s4", 0b111)]
        assert "c2s1" not in brought(sharing, store, *sources).bytes


class TestWhatGoesWrong:
    def test_a_damaged_neighbour_costs_a_piece_for_each_line_and_is_never_asked_again(
        self, sharing: Sharing, store: BlobStore
    ) -> None:
        liar, honest, recorder = relay(sharing, "c1s4"), server(sharing), Recorder()
        liar.blobs[BLOB.sha256] = bytes(len(DATA))
        result = brought(sharing, store, liar, honest, recorder=recorder)
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert len(liar.asked) == 1
        assert result.bytes == {"c1s4": PIECE_SIZE, "c1s1": len(DATA)} or result.bytes["c1s4"] == 77
        assert recorder.wrong == [("c1s4", BLOB.sha256)]

    def test_one_that_dies_in_the_middle_is_left_and_nothing_verified_comes_again(
        self, sharing: Sharing, store: BlobStore
    ) -> None:
        dying, honest = relay(sharing, "c1s4"), server(sharing)
        reads = 0

        def dies(_: int) -> None:
            nonlocal reads
            reads += 1
            if reads > 3:
                raise SourceError("broke the connection")

        dying.before_read = dies
        result = brought(sharing, store, dying, honest)
        assert result.complete
        assert result.refetched == 0
        assert result.failovers >= 1
        assert sum(result.bytes.values()) == len(DATA)

    def test_a_full_neighbour_is_asked_again(self, sharing: Sharing, store: BlobStore) -> None:
        busy, times = relay(sharing, "c1s4"), 0

        def full(_: int) -> None:
            nonlocal times
            times += 1
            if times in (1, 3):
                raise SourceError("busy (503)", wait=0.01, busy=True)

        busy.before_open = full
        assert brought(sharing, store, busy).complete

    def test_a_late_piece_is_asked_for_once_more_and_the_later_answer_broken_off(
        self, sharing: Sharing, store: BlobStore
    ) -> None:
        slow, quick = relay(sharing, "c1s4"), relay(sharing, "c1s5")

        def trickles(_: int) -> None:
            if slow.aborted.wait(30):
                raise SourceError("was broken off")

        slow.before_read = trickles
        recorder = Recorder()
        result = brought(sharing, store, slow, quick, recorder=recorder)
        assert result.bytes == {"c1s5": len(DATA)}
        assert result.refetched == 0
        assert not recorder.left  # it did nothing wrong

    def test_when_nobody_is_left_the_error_names_everybody(self, sharing: Sharing, store: BlobStore) -> None:
        dead, empty = relay(sharing, "c1s4"), server(sharing)
        del empty.blobs[BLOB.sha256]

        def refuses(_: int) -> None:
            raise SourceError("refused the connection")

        dead.before_open = refuses
        with pytest.raises(FailedError, match="c1s4: refused the connection") as caught:
            fetch([BLOB], SourceList([dead, empty]), store, sharing=sharing, limits=QUICK)
        assert "c1s1: c1s1 has no blob" in str(caught.value)

    def test_a_full_disk_ends_it_with_a_sentence(self, sharing: Sharing, tmp_path: Path) -> None:
        root, free = tmp_path / "store", [10 * len(DATA)]
        store = BlobStore(root, Space(root, 0, lambda _: free[0]))
        neighbour = relay(sharing, "c1s4")

        def fills(_: int) -> None:
            free[0] = 0

        neighbour.before_read = fills
        with pytest.raises(NoSpaceError):
            brought(sharing, store, neighbour)

    def test_when_told_to_stop_it_stops_and_keeps_what_it_has(self, sharing: Sharing, store: BlobStore) -> None:
        neighbour, stop = relay(sharing, "c1s4", 0b111), threading.Event()
        neighbour.before_read = lambda _: stop.set()
        result = fetch([BLOB], SourceList([neighbour]), store, sharing=sharing, stop=stop)
        assert not result.complete
        with store.partial(BLOB) as partial:
            assert 0 < partial.verified_bytes <= 3 * PIECE_SIZE


class TestWhatIsThere:
    def test_an_interrupted_download_goes_on_where_it_was(self, sharing: Sharing, store: BlobStore) -> None:
        with store.partial(BLOB) as partial:
            for piece in (0, 5, 20):
                start, length = BLOB.piece_span(piece)
                partial.write(piece, DATA[start : start + length])
        neighbour = relay(sharing, "c1s4")
        result = brought(sharing, store, neighbour)
        assert result.resumed == 2 * PIECE_SIZE + 77
        assert result.bytes == {"c1s4": len(DATA) - result.resumed}

    def test_the_bitmap_says_what_is_there_all_the_time(self, sharing: Sharing, store: BlobStore) -> None:
        neighbour, seen = relay(sharing, "c1s4"), []
        neighbour.before_read = lambda _: seen.append(from_bitmap(sharing.bitmap).bit_count())
        assert sharing.bitmap == b""
        brought(sharing, store, neighbour)
        assert seen[0] == 0
        assert max(seen) >= COUNT - 3
        assert from_bitmap(sharing.bitmap) == ALL

    def test_the_first_piece_is_told_once(self, sharing: Sharing, store: BlobStore) -> None:
        told: list[int] = []
        sharing.on_first = lambda: told.append(from_bitmap(sharing.bitmap).bit_count())
        brought(sharing, store, relay(sharing, "c1s4"))
        assert len(told) == 1
        assert told[0] >= 1

    def test_what_is_complete_is_not_fetched(self, sharing: Sharing, store: BlobStore) -> None:
        store.put(BLOB.sha256, [DATA])
        neighbour = relay(sharing, "c1s4")
        assert brought(sharing, store, neighbour).complete
        assert neighbour.asked == []


class TestManyBlobs:
    def blobs(self, count: int) -> tuple[list[bytes], list[BlobRef]]:
        datas = [os.urandom(PIECE_SIZE + 1 if number % 10 == 0 else 1000) for number in range(count)]
        return datas, [blob_of(data) for data in datas]

    def test_only_the_needed_ones_come_and_numbers_are_those_of_the_manifest(self, store: BlobStore) -> None:
        datas, blobs = self.blobs(30)
        sharing = Sharing("c1s3", MANIFEST)
        sharing.begin(blobs)
        source = MemorySource("c1s4", *datas)
        sharing.join("c1s4", Tier.SAME_CHASSIS, relay=True, pieces=to_bitmap(-1 & ((1 << 33) - 1), 33))
        needed = blobs[7:25]
        assert fetch(needed, SourceList([source]), store, sharing=sharing).complete
        assert store.digests() == {blob.sha256 for blob in needed}
        expected = sum(((1 << blob.piece_count) - 1) << sharing.first[blob.sha256] for blob in needed)
        assert from_bitmap(sharing.bitmap) == expected

    def test_few_files_are_open_however_many_blobs_there_are(self, store: BlobStore) -> None:
        datas, blobs = self.blobs(4 * MAX_OPEN)
        sharing = Sharing("c1s3", MANIFEST)
        sharing.begin(blobs)
        source, most = MemorySource("c1s1", *datas), 0

        def count(_: int) -> None:
            nonlocal most
            most = max(most, open_files())

        before = open_files()
        source.before_read = count
        sharing.join("c1s1", Tier.SAME_CHASSIS, relay=False, pieces=None)
        assert fetch(blobs, SourceList([source]), store, sharing=sharing).complete
        assert most - before <= 2 * (MAX_OPEN + 3)
        assert len(store.digests()) == len(blobs)
