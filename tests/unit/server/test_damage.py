"""Blobs that rot on a server's disk: found, taken out of service, repaired, and people hear of it."""

import os
from pathlib import Path

import pytest

from boardwright.model.software import PIECE_SIZE
from boardwright.protocol.messages import Holding
from boardwright.server import scrubber as scrubbing
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.damage import Damage
from boardwright.server.holdings import Holdings
from boardwright.server.scrubber import AGAIN, QUEUE, Checker, Progress, Scrubber, rate
from boardwright.server.version_blobs import VersionBlobs
from boardwright.transfer.fetch import fetch
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from tests.unit.server.builders import Version
from tests.unit.transfer.blobs import MemorySource, blob_of, some_bytes

DAY = 86400.0


class Bench:
    """A server's store with two versions of which the second shares a blob with the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.one, self.two = Version(version="1"), Version(version="2")
        self.store = BlobStore(folder / "store")
        self.holdings = Holdings()
        self.holdings.know([self.one.record, self.two.record])
        for version in (self.one, self.two):
            for digest, data in version.blobs.items():
                self.store.put(digest, [data])
            self.holdings.mark(version.digest, Holding.ALL)
        self.woken = 0
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart of the server."""
        self.alarms = Alarms("c1s1", lambda: 0.0)
        self.damage = Damage(self.store, self.holdings, VersionBlobs(self.store), self.alarms, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def flip(self, sha256: str) -> None:
        path = self.store.path(sha256)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def check(self, sha256: str) -> bool | None:
        return self.damage.check(sha256, lambda _: True)

    def sentence(self, sha256: str) -> str:
        return next(alarm.sentence for alarm in self.alarms.listing() if alarm.subject == sha256)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestFinding:
    def test_a_sound_blob_is_left_alone(self, bench: Bench) -> None:
        assert bench.check(bench.one.manifest.blobs[0].sha256) is True
        assert bench.check("0" * 64) is None
        assert bench.alarms.listing() == ()

    def test_a_flipped_bit_takes_the_blob_and_its_versions_out_of_service_at_once(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        assert bench.check(sha256) is False
        assert not bench.store.has(sha256)
        assert not bench.holdings.holds(bench.one.digest)
        assert bench.holdings.holds(bench.two.digest)
        assert bench.woken == 1
        assert "platform 1 does not have its digest any more" in bench.sentence(sha256)

    def test_a_damaged_manifest_is_not_kept_in_part(self, bench: Bench) -> None:
        bench.flip(bench.one.digest)
        assert bench.check(bench.one.digest) is False
        assert bench.store.partial_digests() == set()
        assert not bench.holdings.holds(bench.one.digest)

    def test_a_sector_that_cannot_be_read_is_damage(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256

        def unreadable(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(os, "read", unreadable)
            assert bench.check(sha256) is False
        assert bench.store.partial_digests() == set()
        assert "cannot be read any more (Input/output error)" in bench.sentence(sha256)

    def test_a_check_that_is_stopped_says_nothing(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        assert bench.damage.check(sha256, lambda _: False) is None
        assert bench.store.has(sha256)


class TestMending:
    def test_only_the_bad_pieces_travel_anew(self, tmp_path: Path) -> None:
        bench, data = Bench(tmp_path), some_bytes(5 * PIECE_SIZE)
        blob = blob_of(data)
        bench.store.put(blob.sha256, [data])
        bench.flip(blob.sha256)
        bench.check(blob.sha256)
        result = fetch([blob], SourceList([MemorySource("c2s1", data)]), bench.store)
        assert result.resumed == 4 * PIECE_SIZE
        assert result.bytes == {"c2s1": PIECE_SIZE}
        assert bench.check(blob.sha256) is True

    def test_the_alarm_ends_with_the_damage(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        bench.check(sha256)
        bench.damage.whole(bench.one.record, ["c2s1"])
        assert bench.alarms.subjects(AlarmKind.DAMAGED_BLOB) == {sha256}  # it is not there yet
        bench.store.put(sha256, [bench.one.blobs[sha256]])
        bench.damage.whole(bench.one.record, ["c2s1"])
        assert bench.alarms.listing() == ()
        assert bench.damage.repaired == 1
        assert bench.store.damaged() == set()
        assert bench.store.partial_digests() == set()

    def test_when_nobody_can_send_it_the_alarm_says_what_helps(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        bench.check(sha256)
        bench.damage.nobody_has(bench.one.record)
        assert "publish the same content again to repair it" in bench.sentence(sha256)

    def test_the_alarm_sounds_again_after_a_restart_until_it_is_mended(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        bench.check(sha256)
        bench.start()
        bench.damage.recall()
        assert bench.alarms.subjects(AlarmKind.DAMAGED_BLOB) == {sha256}
        bench.store.put(sha256, [bench.one.blobs[sha256]])
        bench.start()
        bench.damage.recall()
        assert bench.alarms.listing() == ()

    def test_what_no_version_names_any_more_needs_no_repair(self, bench: Bench) -> None:
        sha256 = bench.one.manifest.blobs[0].sha256
        bench.flip(sha256)
        bench.check(sha256)
        bench.damage.forget(set(bench.two.blobs))
        assert bench.alarms.listing() == ()
        assert bench.store.damaged() == set()


class Days:
    """A stop signal whose waiting costs no time; ends after so many waits of a minute or more."""

    def __init__(self, rounds: int) -> None:
        self.now = 1e9
        self.long_waits: list[float] = []
        self._rounds = rounds

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        if seconds >= 60:
            self.long_waits.append(seconds)
        return len(self.long_waits) > self._rounds

    def is_set(self) -> bool:
        return len(self.long_waits) > self._rounds


@pytest.fixture(autouse=True)
def _priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own thread keeps its priority."""
    monkeypatch.setattr(scrubbing, "lower_priority", lambda: None)


class TestScrubber:
    def test_it_finds_damage_before_a_board_does_and_reads_all_once_in_a_period(self, bench: Bench) -> None:
        sha256 = bench.two.manifest.blobs[1].sha256
        bench.flip(sha256)
        days = Days(2)
        scrubber = Scrubber(bench.store, bench.damage, 7 * DAY, lambda: days.now)
        scrubber.run(days)  # type: ignore[arg-type]
        assert bench.alarms.subjects(AlarmKind.DAMAGED_BLOB) == {sha256}
        assert scrubber.rounds == 3
        assert days.now - 1e9 == pytest.approx(3 * 7 * DAY, rel=0.01)

    def test_it_goes_on_where_it_was_and_not_before_it_is_due(self, bench: Bench) -> None:
        digests = sorted(bench.store.digests())
        scrubber = Scrubber(bench.store, bench.damage, 7 * DAY, lambda: 0.0)
        scrubber._keep(Progress(after=digests[3]))
        assert list(scrubber._digests(scrubber._load().after)) == digests[4:]
        days = Days(0)
        scrubber._keep(Progress(ended=-DAY))
        scrubber.run(days)  # type: ignore[arg-type]
        assert days.long_waits == [pytest.approx(6 * DAY)]
        assert scrubber.bytes_read == 0

    def test_a_broken_note_of_its_progress_or_a_set_clock_means_from_the_start(self, bench: Bench) -> None:
        (bench.store.root / "scrub.json").write_bytes(b"{")
        assert Scrubber(bench.store, bench.damage, DAY)._load() == Progress()
        scrubber = Scrubber(bench.store, bench.damage, DAY, lambda: 0.0)
        scrubber._keep(Progress(ended=1e12))  # a clock that was in the future
        days = Days(0)
        scrubber.run(days)  # type: ignore[arg-type]
        assert scrubber.rounds == 1

    def test_its_rate_is_what_the_period_needs_within_bounds(self) -> None:
        assert rate(10**6, 7 * DAY) == scrubbing.SLOWEST
        assert rate(2 * 10**12, 7 * DAY) == pytest.approx(4e12 / (7 * DAY))
        assert rate(10**15, DAY) == scrubbing.FASTEST

    def test_zero_reads_nothing(self, bench: Bench) -> None:
        scrubber = Scrubber(bench.store, bench.damage, 0.0)
        scrubber.run(Days(0))  # type: ignore[arg-type]
        assert scrubber.bytes_read == 0


class TestVerifier:
    def test_a_blob_is_checked_once_in_a_minute_however_often_somebody_asks(self, bench: Bench) -> None:
        now = [0.0]
        checker = Checker(bench.store, bench.damage, lambda: now[0])
        sha256 = bench.one.manifest.blobs[0].sha256
        for _ in range(100):
            assert checker.ask(sha256)
        assert list(checker._waiting) == [sha256]
        checker._waiting.clear()
        now[0] = AGAIN - 1
        checker.ask(sha256)
        assert not checker._waiting
        now[0] = AGAIN
        checker.ask(sha256)
        assert list(checker._waiting) == [sha256]

    def test_what_is_not_here_is_not_queued_and_the_queue_is_bounded(self, bench: Bench) -> None:
        checker = Checker(bench.store, bench.damage, lambda: 0.0)
        assert not checker.ask("0" * 64)
        for number in range(QUEUE + 10):
            data = f"blob {number}".encode()
            bench.store.put(blob_of(data).sha256, [data])
            checker.ask(blob_of(data).sha256)
        assert len(checker._waiting) == len(checker._asked) == QUEUE
