"""Servers copy versions from each other before they offer them (M6)."""

import threading
from pathlib import Path

import pytest

from boardwright.model.location import Tier
from boardwright.model.plan import Plan
from boardwright.model.report import HeardOffer, Source
from boardwright.model.software import Target
from boardwright.protocol.carrier import Found, Mate
from boardwright.protocol.choose import Candidate, Choice
from boardwright.protocol.messages import Holding
from boardwright.server.alarms import Alarms
from boardwright.server.collector import Collector
from boardwright.server.damage import Damage
from boardwright.server.facts import encoded
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.replicator import Copying, Replicator, by_need
from boardwright.server.room import Room
from boardwright.server.version_blobs import VersionBlobs
from boardwright.state.kv import Change
from boardwright.state.records import CatalogRecord
from boardwright.transfer.store import BlobStore
from tests.integration.server.processes import until
from tests.tls import LAB
from tests.unit.server.builders import Version

NOBODY = Choice((), (), "no offer was heard", False)
SOURCE = Source("c2s1", "2", "1", Tier.ELSEWHERE)


class Bench:
    """A replicator with an empty store; `answers` are what asking brings, one after the other, the last for ever."""

    def __init__(self, folder: Path) -> None:
        self.store = BlobStore(folder / "store")
        self.mirror = Mirror(folder / "mirror.json")
        self.holdings = Holdings()
        self.answers = [NOBODY]
        self.mates: tuple[Mate, ...] = ()
        self.asked: list[str] = []
        self.alarms = Alarms("c1s1", lambda: 0.0)
        versions = VersionBlobs(self.store)
        self.damage = Damage(self.store, self.holdings, versions, self.alarms, lambda: None)
        self.collector = Collector(self.store, self.mirror, versions, self.damage, lambda: 0.0)
        self.quota(0)

    def quota(self, quota: int) -> None:
        """Begin anew with this quota."""
        self.room = Room(self.store, quota, self.collector, self.alarms, lambda _: ())
        copying = Copying(self.ask, self.room, self.collector, lambda: "c2s1", LAB.lines(LAB.server("c1s1")))
        self.replicator = Replicator("c1s1", self.mirror, self.holdings, self.store, self.damage, copying)

    def ask(self, record: CatalogRecord) -> Found:
        self.asked.append(record.version)
        return Found(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], self.mates)

    def know(self, *versions: Version) -> None:
        self.mirror.apply([Change(version.key, encoded(version.record), 1) for version in versions])

    def store_all(self, version: Version, *, but: int = 0) -> None:
        for digest, data in list(version.blobs.items())[but:]:
            self.store.put(digest, [data])

    def run_until(self, condition: "threading.Event | object") -> None:
        stop = threading.Event()
        thread = threading.Thread(target=self.replicator.run, args=(stop,))
        thread.start()
        try:
            until(condition, "the replicator did it", patience=10)  # type: ignore[arg-type]
        finally:
            stop.set()
            self.replicator.wake()
            thread.join(10)
        assert not thread.is_alive()

    def holding(self, version: Version) -> Holding:
        return self.holdings.by_manifest[bytes.fromhex(version.digest)].holding


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestAtTheStart:
    def test_what_the_store_holds_whole_is_offered_without_asking(self, bench: Bench) -> None:
        bench.know(Version())
        bench.store_all(Version())
        bench.replicator.look_up()
        assert bench.holding(Version()) is Holding.ALL
        assert bench.asked == []

    def test_one_missing_blob_or_one_of_the_wrong_size_is_enough_not_to_offer(self, bench: Bench) -> None:
        lacking, short = Version(), Version(version="2")
        bench.know(lacking, short)
        bench.store_all(lacking, but=1)
        bench.store_all(short)
        bench.store.path(short.manifest.blobs[0].sha256).write_bytes(b"cut")
        bench.replicator.look_up()
        assert bench.holding(lacking) is not Holding.ALL
        assert bench.holding(short) is not Holding.ALL

    def test_a_manifest_that_rotted_on_disk_is_copied_again(self, bench: Bench) -> None:
        bench.know(Version())
        bench.store_all(Version())
        bench.store.path(Version().digest).write_bytes(b"rot")
        bench.replicator.look_up()
        assert not bench.store.has(Version().digest)


def test_while_nobody_has_it_nobody_is_told_preparing_and_it_is_asked_again(bench: Bench) -> None:
    bench.know(Version())
    bench.run_until(lambda: len(bench.asked) >= 2)
    assert bench.holding(Version()) is Holding.NONE


def test_a_source_that_cannot_be_reached_is_trouble_and_no_end(bench: Bench) -> None:
    bench.know(Version())
    unreachable = Candidate(SOURCE, "https://127.0.0.1:1", "", 0)
    bench.answers = [Choice((unreachable,), (), "near", False)]
    bench.run_until(lambda: bench.asked)
    assert bench.holding(Version()) in (Holding.NONE, Holding.PREPARING)


def test_somebody_who_prepares_is_asked_again_soon_while_boards_hear_preparing(bench: Bench) -> None:
    bench.know(Version())
    preparing = HeardOffer(SOURCE, 0.0, 1, "preparing", None, "is still copying the version")
    bench.answers = [Choice((), (preparing,), "", False)]
    bench.run_until(lambda: len(bench.asked) >= 3)
    assert bench.holding(Version()) is Holding.PREPARING


def test_while_another_server_of_the_chassis_copies_it_nothing_is_fetched_and_boards_hear_so(bench: Bench) -> None:
    bench.know(Version())
    far = Candidate(SOURCE, "https://127.0.0.1:1", "", 0)
    bench.answers = [Choice((far,), (), "", False)]
    bench.mates = (Mate("c1s2", holding=Holding.PREPARING, copied=5),)
    bench.run_until(lambda: len(bench.asked) >= 3)
    assert bench.holding(Version()) is Holding.PREPARING
    assert bench.holdings.by_manifest[bytes.fromhex(Version().digest)].copied is None


def test_a_version_that_is_published_here_needs_no_copy(bench: Bench) -> None:
    bench.store_all(Version())
    bench.know(Version())
    bench.run_until(lambda: bench.holdings.holds(Version().digest))
    assert bench.asked == []


def test_what_the_plan_needs_comes_first_then_the_newest() -> None:
    old, planned, new = (
        CatalogRecord("platform", name, "*", name * 64, 1, published)
        for name, published in (("a", 1.0), ("b", 2.0), ("c", 3.0))
    )
    state = MirrorState(plan=Plan(1, 0, (Target("platform", "b", "*", "b" * 64),)))
    assert by_need([old, planned, new], state) == [planned, new, old]


class TestHoldings:
    def test_an_unknown_version_cannot_be_marked(self) -> None:
        holdings = Holdings()
        holdings.mark("a" * 64, Holding.ALL)
        assert holdings.by_manifest == {}

    def test_a_version_that_left_the_catalog_is_forgotten_and_others_keep_their_mark(self) -> None:
        holdings = Holdings()
        holdings.know([Version().record, Version(version="2").record])
        holdings.mark(Version().digest, Holding.ALL)
        holdings.know([Version().record])
        assert [one.holding for one in holdings.by_manifest.values()] == [Holding.ALL]
        assert holdings.incomplete() == []
        assert [record.version for record in holdings.complete()] == ["1"]

    def test_how_far_a_copy_is_is_said_until_it_is_over(self) -> None:
        holdings = Holdings()
        holdings.know([Version().record])
        holdings.copying(Version().digest, 7)
        (said,) = holdings.by_manifest.values()
        assert (said.holding, said.copied) == (Holding.PREPARING, 7)
        holdings.mark(Version().digest, Holding.PREPARING)
        (said,) = holdings.by_manifest.values()
        assert (said.holding, said.copied) == (Holding.PREPARING, None)

    def test_a_version_that_came_whole_by_another_way_stays_so_whatever_its_copy_still_says(self) -> None:
        holdings = Holdings()
        holdings.know([Version().record])
        holdings.mark(Version().digest, Holding.ALL)
        holdings.copying(Version().digest, 7)
        (said,) = holdings.by_manifest.values()
        assert (said.holding, said.copied) == (Holding.ALL, None)

    def test_readers_see_one_state_or_the_next(self) -> None:
        holdings = Holdings()
        holdings.know([Version().record])
        before = holdings.by_manifest
        holdings.mark(Version().digest, Holding.ALL)
        assert next(iter(before.values())).holding is Holding.PREPARING
